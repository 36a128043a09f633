"""Every slide's predictions, of this session and of earlier days: listed, and shown as is chosen."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from napari.utils.notifications import show_info
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QHeaderView, QLabel, QWidget

from napari_stem.caches import CACHES, TOUCH_S, Entry, keep_bounded, touch
from napari_stem.errors import PredictionError, StemError
from napari_stem.texts import count
from napari_stem.widgets.common.parts import Note, stack
from napari_stem.widgets.common.table import IS_GREY, TIP, Column, Role, Table, TableView
from napari_stem.widgets.common.worker import LatestJob

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_stem.geometry import Mpp
    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.genes.map_display import MapDisplay
    from napari_stem.widgets.slide.slide_panel import SlidePanel

COLUMNS = (
    Column("model", "Model", "Click a prediction to show it again"),
    Column("spots", "Spots"),
    Column("made", "Made"),
)
OTHERS = "Grey: made with another pixel size than the slide has now ({}); not shown on it."


class PredictionsList(QWidget):
    """Lists the predictions of the active slide, newest first, and puts those that are chosen on the map."""

    shown = Signal(object)  # the slide whose maps are on screen now
    homeless = Signal(object)  # path of a prediction whose slide is not open
    put_away = Signal(object)  # a slide whose maps were made with another pixel size than its own

    def __init__(self, jobs: Jobs, maps: MapDisplay, slides: SlidePanel) -> None:
        super().__init__()
        self._jobs, self._maps, self._slides = jobs, maps, slides
        self._open: dict[Path, Prediction] = {}  # were shown in this session
        self._stored: dict[Path, Stored] = {}  # seen in the cache folder
        self._looking = LatestJob(jobs)
        self._growing: Prediction | None = None  # that a run fills
        self.table = Table(COLUMNS)
        self.view = TableView(self.table)
        for column in (1, 2):
            self.view.header().setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.others = Note()
        title = QLabel("Predictions of this slide")
        stack(self, title, self.view, self.others).setContentsMargins(0, 6, 0, 0)
        self.view.clicked.connect(lambda index: self.choose(index.data(Role.UserRole)))
        self.refresh()
        slides.activated.connect(self._on_activated)
        slides.resized.connect(self._on_resized)
        # other processes remove nothing that was in use a moment ago, this one nothing that it opened
        timer = QTimer(self)
        timer.timeout.connect(self._touch)
        timer.start(TOUCH_S * 1000)

    def begin(self, slide: Slide, prediction: Prediction) -> None:
        """Show a prediction that a run fills, until `finish`."""
        self._growing = prediction
        self.put_on_map(slide, prediction)

    def put_on_map(self, slide: Slide, prediction: Prediction) -> None:
        """Show a prediction on its slide, which need not be the active one.

        Of one that a run fills the run's own object is shown, however often it is read from disk meanwhile.
        """
        growing = self._growing
        is_growing = growing is not None and growing.path == prediction.path
        if growing is not None and is_growing:
            prediction = growing
        self._open.pop(prediction.path, None)
        self._open[prediction.path] = prediction  # as the last
        self._touch()
        self._slides.note_prediction(slide, prediction)
        with self._slides.kept_unless_active(slide):
            self._maps.begin(slide, prediction, is_growing=is_growing)
        self.refresh()
        self.shown.emit(slide)

    def finish(self, slide: Slide, prediction: Prediction | None) -> None:
        """Show a prediction of a slide as it stays, or no more where it ended without any spot."""
        self._growing = None
        if prediction is None:
            return
        if prediction.done.any():
            self._maps.finish(prediction)
            self.refresh()
            self.make_room()
            return
        for known in (self._open, self._stored):
            known.pop(prediction.path, None)
        if self._on_screen(slide) == prediction.path:
            self._maps.put_away(slide)
            if earlier := self.paths(slide):
                self.put_on_map(slide, self._open[earlier[-1]])
        self.refresh()

    def make_room(self) -> None:
        """Remove what was used least recently, if the cache is full."""
        self._jobs.start(keep_bounded, "predictions", list(self._open), done=self._forget)

    def paths(self, slide: Slide) -> list[Path]:
        """Predictions of a slide that were shown in this session and fit it, the one on screen last."""
        own = [
            path for path, each in self._open.items() if _is_of(each, slide) and _fits(each, slide)
        ]
        return sorted(own, key=lambda path: path == self._on_screen(slide))

    def choose(self, path: Path) -> None:
        """Show a prediction of the active slide."""
        slide = self._slides.slide
        if slide is None or self._on_screen(slide) == path:
            return
        if path in self._open:
            self._take(self._open[path])
        else:
            self.open(path)

    def open(self, path: Path) -> None:
        """Show a prediction from disk on the open slide that it belongs to."""
        self._jobs.start(open_prediction, path, done=self._take)

    def _take(self, prediction: Prediction) -> None:
        slide, wanted = self._slides.slide, prediction.provenance.get("slide_fingerprint")
        if slide is None or slide.fingerprint != wanted:
            slide = self._slides.find_open(str(wanted))
        if slide is None:
            self.homeless.emit(prediction.path)
            return
        if not _fits(prediction, slide):
            self._jobs.fail(
                f"{prediction.path.name} was made at {um_per_pixel(prediction.mpp)}, the slide is now at "
                f"{um_per_pixel(slide.mpp)}: to see it, change the pixel size back; else predict again."
            )
            return
        self.put_on_map(slide, prediction)
        self.make_room()

    def _on_resized(self, slide: Slide) -> None:
        """Take maps from the screen that were made with another pixel size; their files stay."""
        shown = self._maps.shown_on(slide)
        if shown is not None and not _fits(shown.prediction, slide):
            self._maps.put_away(slide)
            self.put_away.emit(slide)
        self.refresh()

    def _on_activated(self, slide: Slide | None) -> None:
        self.refresh()
        if slide is not None:
            known = slide.fingerprint, self._stored
            self._looking.start(look, *known, done=partial(self._take_stored, slide))

    def _take_stored(self, slide: Slide, found: Mapping[Path, Stored]) -> None:
        self._stored.update(found)  # in place: the next look may have been asked for already
        for each in found.values():
            if each.prediction is not None and each.fingerprint == slide.fingerprint:
                self._slides.note_prediction(slide, each.prediction)
        self.refresh()

    def _on_screen(self, slide: Slide) -> Path | None:
        shown = self._maps.shown_on(slide)
        return None if shown is None else shown.prediction.path

    def _touch(self) -> None:
        for path in self._open:
            if path.parent == CACHES["predictions"].folder:
                touch(path)

    def _forget(self, removed: Sequence[Entry]) -> None:
        """List no more what was removed for want of room, and say so."""
        gone = [entry for entry in removed if entry.cache == "predictions"]
        if not gone:
            return
        for entry in gone:
            self._stored.pop(entry.path, None)
        self.refresh()
        latest = datetime.fromtimestamp(max(entry.used for entry in gone)).astimezone()
        show_info(
            f"{count(len(gone), 'prediction', 'was', 'were')} removed to make room, last used on "
            f"{latest:%d %b %Y} or before; 'napari-stem cache' shows how much is kept, and which variable "
            f"keeps more."
        )

    def refresh(self) -> None:
        """List what there is, mark what is on screen, and grey what was made with another pixel size."""
        slide = self._slides.slide
        mpp = None if slide is None else slide.mpp
        stored = {path: each.prediction for path, each in self._stored.items() if each.prediction}
        known = (stored | self._open).values()
        own = [each for each in known if slide is not None and _is_of(each, slide)]
        own.sort(key=_made, reverse=True)
        rows = [_row(each, mpp) for each in own]
        paths = pd.Index([each.path for each in own], dtype=object)
        self.table.fill(pd.DataFrame(rows, index=paths))
        self.view.choose(None if slide is None else self._on_screen(slide))
        self.others.setText(OTHERS.format(um_per_pixel(mpp)))
        self.others.setVisible(any(row[IS_GREY] for row in rows))
        self.setVisible(bool(rows))
        self.view.fit(most_rows=5)


def _row(prediction: Prediction, mpp: Mpp | None) -> dict[str, Any]:
    """Say of a prediction what the list of a slide with this pixel size does."""
    about, size = prediction.provenance, um_per_pixel(prediction.mpp)
    is_other = not is_same_size(prediction.mpp, mpp)
    n_done, n_spots = int(prediction.done.sum()), len(prediction.spots)
    now = datetime.now().astimezone()
    moment = datetime.fromtimestamp(_made(prediction)).astimezone()
    tip = (
        f"{count(len(prediction.genes), 'gene')}, {count(int(about.get('draws', 0)), 'sample')} per spot, "
        f"spots {prediction.spots.pitch_um:g} µm apart. {about.get('shared_tissue', '')}"
    ).strip(". ")
    return {
        "model": f"{about.get('model')} (at {size})" if is_other else str(about.get("model")),
        "spots": f"{n_done:,} of {n_spots:,}" if n_done < n_spots else f"{n_spots:,}",
        "made": f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%d %b %Y}",
        TIP: f"{tip}; made at {size}, which the slide has no more" if is_other else tip,
        IS_GREY: is_other,
    }


def _made(prediction: Prediction) -> float:
    """Seconds since the epoch at which a prediction was begun; 0 where its folder is gone."""
    with suppress(OSError):
        return (prediction.path / "zarr.json").stat().st_mtime
    return 0.0


def is_same_size(one: Mpp | None, other: Mpp | None) -> bool:
    """Whether two pixel sizes are known and the same."""
    if one is None or other is None:
        return False
    return all(abs(a / b - 1) < 1e-6 for a, b in ((one.y_um, other.y_um), (one.x_um, other.x_um)))


def um_per_pixel(mpp: Mpp | None) -> str:
    """Say a pixel size."""
    return "an unknown pixel size" if mpp is None else f"{mpp.x_um:.3g} µm per pixel"


def _is_of(prediction: Prediction, slide: Slide) -> bool:
    return prediction.provenance.get("slide_fingerprint") == slide.fingerprint


def _fits(prediction: Prediction, slide: Slide) -> bool:
    return is_same_size(prediction.mpp, slide.mpp)


class Stored(NamedTuple):
    """What is known of a prediction in the cache folder."""

    changed_ns: tuple[int, ...]  # when something of it last did that is listed
    fingerprint: str  # of its slide
    prediction: Prediction | None = None  # once its slide was looked at


def look(fingerprint: str, known: Mapping[Path, Stored]) -> dict[Path, Stored]:
    """Look what lies in the cache folder, and open what of a slide is new or has changed since it was known.

    Each takes some 50 ms to open, which a slide that is looked at again need not wait for.
    """
    import zarr

    from napari_stem.foreign import read_json
    from napari_stem.results import PROVENANCE_KEY, Prediction

    found = {}
    for path in CACHES["predictions"].folder.glob("*.zarr"):
        try:
            each, changed_ns = known.get(path), _changed_ns(path)
            if each is None or each.changed_ns != changed_ns:
                provenance: dict[str, Any] = read_json(
                    str(zarr.open_array(path / "uns" / PROVENANCE_KEY / "json", mode="r")[()])
                )
                each = Stored(changed_ns, str(provenance.get("slide_fingerprint")))
            if each.fingerprint == fingerprint and each.prediction is None:
                each = each._replace(prediction=Prediction.open(path))
            found[path] = each
        except (StemError, OSError, LookupError, ValueError, TypeError, RuntimeError):
            continue  # damaged, or being written: not to be offered
    return found


def _changed_ns(path: Path) -> tuple[int, ...]:
    """When a prediction was made or its regions named, and when last a spot was done, in ns since the epoch."""
    # the folder of chunks: one that is written takes the place of another in it
    dated = path / "zarr.json", path / "obs" / "done" / "c"
    return tuple(each.stat().st_mtime_ns for each in dated if each.exists())


def open_prediction(path: Path) -> Prediction:
    """Open a prediction, and read what is known of its genes.

    PredictionError where there is none, or it is damaged or empty.
    """
    from napari_stem.results import Prediction

    prediction = Prediction.open(path)
    if not len(prediction.spots):
        msg = f"{path} holds no spots; run it again."
        raise PredictionError(msg)
    _ = prediction.gene_accuracy  # kept, so that the window need not read it
    return prediction
