"""Many slides: a list that is predicted one after another, and a table of what came of each."""

from __future__ import annotations

from functools import partial
from itertools import chain
from itertools import count as count_from
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_stem.cohort.orders import Order, orders_of, slides_at
from napari_stem.cohort.outcomes import Outcome, Summary
from napari_stem.cohort.run import predict_in_turn
from napari_stem.errors import StemError
from napari_stem.io import require_writable
from napari_stem.texts import count
from napari_stem.widgets.common import parts
from napari_stem.widgets.common.dropping import dropped_paths
from napari_stem.widgets.common.table import TIP, Column, Table, TableView
from napari_stem.widgets.common.worker import Jobs, StoppableJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qtpy.QtGui import QDragEnterEvent, QDropEvent

    from napari_stem.progress import Poll, Progress

COLUMNS = (
    Column("slide", "Slide", "Click a slide that is predicted to see its map"),
    Column("state", "State", widest="failed, see why", is_text=True),
    Column("spots", "Spots", widest="10,000 of 10,000"),
    Column("unlike", "Unlike", "Spots that look unlike the training data", widest="10,000"),
)
STATES = {"waiting": "waiting", "running": "under way", "done": "done", "failed": "failed"}
FILES = "Slides and manifests (*);;Manifests (*.csv)"
ABOUT = "Add slides, a folder, or a manifest (.csv) with their pixel sizes and regions; or drop them here."
PARTS = 1000  # of a slide, for the bar
# slides and manifests, what to predict, which slides are new, and what cannot be used
_Looked = tuple[list[Path], list[Order], set[Path], list[str]]


class ManySlides(QWidget):
    """A window with the slides of a cohort.

    ``common`` gives what is asked for of each slide, as the dock has it now; ``show_map`` shows the map of one.
    """

    def __init__(
        self,
        jobs: Jobs,
        common: Callable[[], Order],
        show_map: Callable[[Order], None],
        parent: QWidget,
    ) -> None:
        super().__init__(parent, Qt.WindowType.Window)
        self.setWindowTitle("Many slides")
        self.setAcceptDrops(True)
        self.resize(640, 480)
        self.folder = ""  # of what was last asked for
        self._jobs, self._common, self._show_map = jobs, common, show_map
        self._places, self._left_out = list[Path](), set[Path]()
        self._added: list[Path] = []  # and not looked at yet
        self._results: Path | None = None
        self._asked: Order | None = None  # what was asked for of each when they were listed
        self._is_predicting = False
        self.outcomes: list[Outcome] = []
        self.job = StoppableJob(jobs, self._show_progress)
        self.table = Table(COLUMNS)
        self.view = TableView(self.table)
        self.slides_button = parts.button(
            "Add slides…", "Slides, or a manifest (.csv)", self._ask_for_slides
        )
        self.folder_button = parts.button(
            "Add folder…", "All slides of a folder", self._ask_for_folder
        )
        self.remove_button = parts.button(
            "Take off", "Take the chosen slide off the list (Delete)", self._take_off
        )
        self.remove_button.setShortcut("Del")
        self.results_button = parts.button(
            "Results in…", "Choose the folder that the results go to", self._ask_for_results
        )
        self.results, self.how, self.text = parts.Note(), parts.Note(), parts.Note()
        self.progress = parts.ProgressBar()
        self.run_button = parts.button(
            "Run", "Predict the slides of the list, one after another", self.run
        )
        self.cancel_button = parts.button("Cancel", "What is finished is kept", self.stop)
        choosing = parts.row(self.slides_button, self.folder_button, self.remove_button)
        results = parts.row(self.results, self.results_button, stretched=0)
        lines = self.how, self.text, self.progress
        running = parts.row(self.run_button, self.cancel_button)
        parts.stack(
            self, choosing, self.view, results, *lines, running, stretched=1, is_window=True
        )
        self.text.say("")
        self.view.selectionModel().currentChanged.connect(lambda *_: self._offer())
        self.view.clicked.connect(lambda index: self._choose(self.table.key(index.row())))
        self._show()

    def add(self, places: Sequence[Path]) -> None:
        """Add slides, folders of slides and manifests, now or after what runs; what cannot be used is told."""
        self._added += places
        if self._added and not self.job.is_running:
            self.text.say("Looking for slides …")
            self._look(self._rest)

    def run(self) -> None:
        """Predict the slides that are not finished, as the dock says now."""
        if not self.job.is_running:
            self._is_predicting = True
            self.progress.show_share(0, 0)
            self._look(self._begin)

    def _look(self, then: Callable[[], None]) -> None:
        """List anew what is to be predicted, off the GUI thread: a folder may be large, and far away."""
        self._asked = self._common()
        look = partial(_look, self._places, self._added, self._results, self._asked)
        self._added = []
        self.job.start(look, done=partial(self._take, then), failed=self._end)
        self._show()

    def _take(self, then: Callable[[], None], looked: _Looked | None) -> None:
        """Take what was found; of what is asked for as before, the outcome stays."""
        if looked is None:  # it was cancelled
            self._end()
            return
        self._places, orders, added, wrong = looked
        for sentence in wrong:
            self._jobs.fail(sentence)
        self._left_out -= added
        known = {each.order: each for each in self.outcomes}
        kept = [order for order in orders if order.slide not in self._left_out]
        self.outcomes = [known.get(order) or Outcome(order) for order in kept]
        then()

    def _begin(self) -> None:
        self.outcomes = [
            each if each.status == "done" else Outcome(each.order) for each in self.outcomes
        ]
        outcomes, summary = self.outcomes, Summary(self._folder(), self.outcomes)

        def predict(poll: Poll, progress: Progress) -> None:
            require_writable(summary.path)
            summary.recall()

            def watch(seconds_left: float | None) -> None:
                ended = sum(each.share for each in outcomes)
                number, now = next(
                    ((n, each) for n, each in enumerate(outcomes, 1) if each.status == "running"),
                    (len(outcomes), outcomes[-1]),
                )
                left = "" if seconds_left is None else f", {parts.duration(seconds_left)} left"
                text = f"Slide {number} of {len(outcomes)}, {now.order.name}{left}"
                progress(text, round(PARTS * ended), PARTS * len(outcomes))
                summary.write_if_due()

            predict_in_turn([each for each in outcomes if each.status == "waiting"], poll, watch)
            summary.write()

        self.job.start(predict, done=self._end, failed=self._end)
        self._show()

    def stop(self) -> None:
        """Stop within a moment; what is finished is kept."""
        self.job.stop()
        self.text.say("Stopping; what is finished is kept.")
        self._offer()

    def event(self, event: QEvent) -> bool:
        """List anew when the window comes to the front and the dock asks for something else by now.

        What was predicted as asked before stays where it is.
        """
        is_front = event.type() == QEvent.Type.WindowActivate
        if is_front and self._places and not self.job.is_running and self._common() != self._asked:
            if any(each.status != "waiting" for each in self.outcomes):
                self._results = _free(self._folder())
            self._look(self._rest)
        return bool(super().event(event))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files."""
        if not self.job.is_running and dropped_paths(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Add what was dropped."""
        self.add(dropped_paths(event))
        event.acceptProposedAction()

    def _folder(self) -> Path:
        return _folder(self._places, self._results)

    def _show(self) -> None:
        rows = self.outcomes
        places = pd.Index([each.order.out for each in rows], dtype=object)
        self.table.fill(pd.DataFrame([_row(each) for each in rows], index=places))
        order = self._common()
        self.how.say(
            f"Predicted is the whole tissue of each slide with the model {order.model}, "
            f"spots {order.pitch_um:g} µm apart, {count(order.settings.n_draws, 'sample')} a spot, as the "
            f"Model step of the dock says; a manifest can say otherwise of a slide."
        )
        self.results.say(f"Results go to {self._folder()}" if rows else ABOUT)
        self._offer()

    def _offer(self) -> None:
        is_idle, rows = not self.job.is_running, self.outcomes
        for each in (self.slides_button, self.folder_button):
            each.setEnabled(is_idle)
        self.remove_button.setEnabled(is_idle and self.view.currentIndex().isValid())
        self.results_button.setEnabled(is_idle and bool(rows))
        self.run_button.setEnabled(is_idle and any(each.status != "done" for each in rows))
        self.run_button.setVisible(not self._is_predicting)
        for shown in (self.progress, self.cancel_button):
            shown.setVisible(self._is_predicting)
        self.cancel_button.setEnabled(self.job.is_wanted)

    def _show_progress(self, text: str, n_done: int, n_all: int) -> None:
        self.progress.show_share(n_done, n_all)
        self.text.say(text)
        self._show()

    def _end(self, *ended: object) -> None:
        """Say how it ended; where nothing could be begun (no ``ended``), a notification has said why."""
        self._is_predicting = False
        n = {name: sum(each.status == name for each in self.outcomes) for name in STATES}
        for each in self.outcomes:
            if each.status == "running":  # it was cancelled
                each.status = "waiting"
        if not ended:
            self._rest()
            return
        said = f"{n['done']} of {count(len(self.outcomes), 'slide')} are done"
        n_wary = sum(bool(each.notes) for each in self.outcomes)
        said += f", {n['failed']} failed" if n["failed"] else ""
        said += f", {n_wary} to be wary of" if n_wary else ""
        self._rest(f"{said}; click one to see why, or read cohort.csv beside the results.")

    def _rest(self, text: str = "") -> None:
        self.text.say(text)
        self._show()
        self.add([])

    def _ask_for_slides(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Add slides", self.folder, FILES)
        if paths:
            self.folder = str(Path(paths[0]).parent)
            self.add([Path(path) for path in paths])

    def _ask_for_folder(self) -> None:
        if folder := parts.ask_for_folder(self, "Add the slides of a folder"):
            self.add([Path(folder)])

    def _ask_for_results(self) -> None:
        if folder := parts.ask_for_folder(self, "Folder of the results"):
            self._results = Path(folder)
            self._look(self._rest)

    def _take_off(self) -> None:
        out = self.table.key(self.view.currentIndex().row())
        self._left_out |= {each.order.slide for each in self.outcomes if each.order.out == out}
        self.outcomes = [each for each in self.outcomes if each.order.slide not in self._left_out]
        self._show()

    def _choose(self, out: object) -> None:
        each = next(each for each in self.outcomes if each.order.out == out)
        if not self.job.is_running:
            self.text.say(" ".join(filter(None, (each.error, *each.notes))))
        if each.n_done:
            self._show_map(each.order)


def _row(each: Outcome) -> dict[str, str]:
    is_done, told = each.status == "done", (str(each.order.slide), each.error, *each.notes)
    spots = f"{each.n_spots:,}" if is_done else f"{each.n_done:,} of {each.n_spots:,}"
    return {
        "slide": each.order.name,
        "state": STATES[each.status] + ", see why" * bool(each.error),
        "spots": spots if each.n_spots else "",
        "unlike": f"{each.n_unlike:,}" if is_done else "",
        TIP: "\n".join(filter(None, told)),
    }


def _folder(places: Sequence[Path], chosen: Path | None) -> Path:
    """Folder of the results: as chosen, or beside the first slide."""
    first = places[0] if places else Path()
    return first.parent / "predicted" if chosen is None else chosen


def _free(folder: Path) -> Path:
    """Name a folder beside one, which is not there yet."""
    names = (folder.with_name(f"{folder.name}-{number}") for number in count_from(2))
    return next(each for each in names if not each.exists())


def _look(
    places: Sequence[Path],
    added: Sequence[Path],
    results: Path | None,
    common: Order,
    poll: Poll,
    **_progress: object,  # is not told: how many there are is not known
) -> _Looked:
    """Look for slides in what was added, and list all; what does not go with the others is left out."""
    wrong, of_each = list[str](), list[list[Path]]()

    def listed(found: Sequence[Path], more: Iterable[Path] = ()) -> tuple[list[Path], list[Order]]:
        both = list(dict.fromkeys([*found, *more]))
        return both, orders_of(both, _folder(both, results), common)

    for place in added:
        try:
            of_each.append(slides_at(place))  # once: a folder may be large, and far away
        except StemError as error:
            wrong.append(str(error))
    try:
        found, orders = listed(places, chain(*of_each))
    except StemError:  # one by one only now, as hundreds would take long
        found = list(places)
        for more in of_each:
            try:
                found, _ = listed(found, more)
            except StemError as error:
                wrong.append(str(error))
        found, orders = listed(found)
    poll()
    _, new = listed((), set(found).intersection(chain(*of_each)))
    return found, orders, {order.slide for order in new}, wrong
