"""Every slide's predictions, of this session and of earlier days: listed, and shown as is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
from napari.utils.notifications import show_info
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QHeaderView, QLabel, QWidget

from napari_stem.caches import CACHES, TOUCH_S, keep_bounded, touch
from napari_stem.errors import PredictionError, StemError
from napari_stem.widgets.common.parts import Note, stack
from napari_stem.widgets.common.table import IS_GREY, TIP, Column, Role, Table, TableView

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_stem.caches import Entry
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
MAX_ROWS_SHOWN = 5
OTHERS = "Grey: made with another pixel size than the slide has now ({}); not shown on it."


@dataclass(frozen=True)
class Listed:
    """What the list says of one prediction.

    Attributes
    ----------
    path
        Its folder.
    model, spots
        That made it, and how many there are, of how many where not all are predicted.
    made
        Seconds since the epoch at which it was begun.
    details
        For the tooltip.
    mpp
        Pixel size that it was made with.
    """

    path: Path
    model: str
    spots: str
    made: float
    details: str = ""
    mpp: Mpp | None = None

    def moment(self) -> str:
        """Say when it was made."""
        moment = datetime.fromtimestamp(self.made).astimezone()
        is_today = moment.date() == datetime.now().astimezone().date()
        return f"{moment:%H:%M}" if is_today else f"{moment:%d %b %Y}"


class PredictionsList(QWidget):
    """Lists the predictions of the active slide, newest first, and puts those that are chosen on the map."""

    shown = Signal(object)  # the slide whose maps are on screen now
    homeless = Signal(object)  # path of a prediction whose slide is not open
    put_away = Signal(object)  # a slide whose maps were made with another pixel size than its own

    def __init__(self, jobs: Jobs, maps: MapDisplay, slides: SlidePanel) -> None:
        super().__init__()
        self._jobs, self._maps, self._slides = jobs, maps, slides
        self._open: dict[Path, Prediction] = {}
        self._listed: dict[str, dict[Path, Listed]] = {}  # by the slide's fingerprint
        self._on_screen: dict[str, Path] = {}
        self.table = Table(COLUMNS)
        self.view = TableView(self.table)
        for column in (1, 2):
            self.view.header().setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.others = Note()
        title = QLabel("Predictions of this slide")
        stack(self, title, self.view, self.others).setContentsMargins(0, 6, 0, 0)
        self.view.clicked.connect(lambda index: self.choose(index.data(Role.UserRole)))
        self._list()
        slides.activated.connect(self._on_activated)
        slides.resized.connect(self._on_resized)
        # other processes remove nothing that was in use a moment ago, this one nothing that it opened
        timer = QTimer(self)
        timer.timeout.connect(self._touch)
        timer.start(TOUCH_S * 1000)

    def begin(self, slide: Slide, prediction: Prediction) -> None:
        """Show a prediction on its slide, which need not be the active one."""
        self._open[prediction.path] = prediction
        self._touch()
        self._jobs.start(keep_bounded, "predictions", list(self._open), done=self._forget)
        self._slides.owns(slide, prediction.path)
        self._slides.predicted_with(slide, prediction.mpp)
        self._on_screen[slide.fingerprint] = prediction.path
        with self._slides.kept_unless_active(slide):
            self._maps.begin(slide, prediction)
        self.refresh(slide)
        self.shown.emit(slide)

    def refresh(self, slide: Slide) -> None:
        """Say anew how far the predictions of a slide are."""
        listed = self._listed.setdefault(slide.fingerprint, {})
        for path, prediction in self._open.items():
            if prediction.provenance.get("slide_fingerprint") == slide.fingerprint:
                listed[path] = listed_of(prediction)
        self._list()

    def paths(self, slide: Slide) -> list[Path]:
        """Predictions of a slide that were shown in this session and fit it, the one on screen last."""
        own = [
            path
            for path, prediction in self._open.items()
            if prediction.provenance.get("slide_fingerprint") == slide.fingerprint
            and _fits(prediction, slide)
        ]
        on_screen = self._on_screen.get(slide.fingerprint)
        return sorted(own, key=lambda path: path == on_screen)

    def choose(self, path: Path) -> None:
        """Show a prediction of the active slide."""
        slide = self._slides.slide
        if slide is None or self._on_screen.get(slide.fingerprint) == path:
            return
        if path in self._open:
            self._take(self._open[path])
        else:
            self.open(path)

    def open(self, path: Path) -> None:
        """Show a prediction from disk on the open slide that it belongs to."""
        self._jobs.start(open_prediction, path, done=self._take)

    def _take(self, prediction: Prediction) -> None:
        wanted = prediction.provenance.get("slide_fingerprint")
        slides = [slide for slide in self._slides.slides() if slide.fingerprint == wanted]
        if not slides:
            self.homeless.emit(prediction.path)
            return
        slide = self._slides.slide if self._slides.slide in slides else slides[0]
        if slide is None or not _fits(prediction, slide):
            made, now = prediction.mpp, None if slide is None else slide.mpp
            self._jobs.failed.emit(
                f"{prediction.path.name} was made at {um_per_pixel(made)}, the slide is now at "
                f"{um_per_pixel(now)}: to see it, change the pixel size back; else predict again."
            )
            return
        self.begin(slide, prediction)

    def _on_resized(self, slide: Slide) -> None:
        """Take maps from the screen that were made with another pixel size; their files stay."""
        path = self._on_screen.get(slide.fingerprint)
        if path is not None and not _fits(self._open[path], slide):
            del self._on_screen[slide.fingerprint]
            self._maps.put_away(slide)
            self.put_away.emit(slide)
        self._list()

    def _on_activated(self, slide: Slide | None) -> None:
        self._list()
        if slide is not None:
            self._jobs.start(_stored, slide.fingerprint, done=partial(self._add, slide))

    def _add(self, slide: Slide, found: Sequence[Listed]) -> None:
        listed = self._listed.setdefault(slide.fingerprint, {})
        for each in found:
            listed.setdefault(each.path, each)
            self._slides.predicted_with(slide, each.mpp)
        self._list()

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
            for listed in self._listed.values():
                listed.pop(entry.path, None)
        self._list()
        latest = datetime.fromtimestamp(max(entry.used for entry in gone)).astimezone()
        many = f"{len(gone)} predictions were" if len(gone) > 1 else "1 prediction was"
        show_info(
            f"{many} removed to make room, last used on {latest:%d %b %Y} or before; 'napari-stem cache' "
            f"shows how much is kept, and which variable keeps more."
        )

    def _list(self) -> None:
        """List what there is, mark what is on screen, and grey what was made with another pixel size."""
        slide = self._slides.slide
        key, mpp = ("", None) if slide is None else (slide.fingerprint, slide.mpp)
        rows = sorted(self._listed.get(key, {}).values(), key=lambda each: -each.made)
        is_other = [not is_same_size(each.mpp, mpp) for each in rows]
        models, tips = [], []
        for each, differs in zip(rows, is_other, strict=True):
            made = um_per_pixel(each.mpp)
            models.append(f"{each.model} (at {made})" if differs else each.model)
            lost = f"; made at {made}, which the slide has no more" if differs else ""
            tips.append(each.details + lost)
        self.table.fill(
            pd.DataFrame(
                {
                    "model": models,
                    "spots": [each.spots for each in rows],
                    "made": [each.moment() for each in rows],
                    TIP: tips,
                    IS_GREY: is_other,
                },
                index=pd.Index([each.path for each in rows], dtype=object),
            )
        )
        self.view.choose(self._on_screen.get(key))
        self.others.setText(OTHERS.format(um_per_pixel(mpp)))
        self.others.setVisible(any(is_other))
        self.setVisible(bool(rows))
        self.view.fit(MAX_ROWS_SHOWN)


def listed_of(prediction: Prediction) -> Listed:
    """Say in a list what a prediction is."""
    provenance, n_done, n_spots = (
        prediction.provenance,
        int(prediction.done.sum()),
        len(prediction.spots),
    )
    details = (
        f"{len(prediction.genes):,} genes, {provenance.get('draws')} samples per spot, spots "
        f"{prediction.spots.pitch_um:g} µm apart. {provenance.get('shared_tissue', '')}"
    ).strip(". ")
    return Listed(
        prediction.path,
        str(provenance.get("model")),
        f"{n_done:,} of {n_spots:,}" if n_done < n_spots else f"{n_spots:,}",
        (prediction.path / "zarr.json").stat().st_mtime,
        details,
        prediction.mpp,
    )


def is_same_size(one: Mpp | None, other: Mpp | None) -> bool:
    """Whether two pixel sizes are known and the same."""
    if one is None or other is None:
        return False
    return all(abs(a / b - 1) < 1e-6 for a, b in ((one.y_um, other.y_um), (one.x_um, other.x_um)))


def um_per_pixel(mpp: Mpp | None) -> str:
    """Say a pixel size."""
    return "an unknown pixel size" if mpp is None else f"{mpp.x_um:.3g} µm per pixel"


def _fits(prediction: Prediction, slide: Slide) -> bool:
    return is_same_size(prediction.mpp, slide.mpp)


def _stored(fingerprint: str) -> list[Listed]:
    import zarr

    from napari_stem.foreign import read_json
    from napari_stem.results import PROVENANCE_KEY, Prediction

    found = []
    for path in sorted(CACHES["predictions"].folder.glob("*.zarr")):
        try:
            provenance: dict[str, Any] = read_json(
                str(zarr.open_array(path / "uns" / PROVENANCE_KEY / "json", mode="r")[()])
            )
            if provenance.get("slide_fingerprint") == fingerprint:
                found.append(listed_of(Prediction.open(path)))
        except (StemError, OSError, LookupError, ValueError, TypeError, RuntimeError):
            continue  # damaged, or being written: not to be offered
    return found


def open_prediction(path: Path) -> Prediction:
    """Open a prediction, and read what is known of its genes.

    Raises
    ------
    PredictionError
        There is none, it is damaged or empty.
    """
    from napari_stem.results import Prediction

    prediction = Prediction.open(path)
    if not len(prediction.spots):
        msg = f"{path} holds no spots; run it again."
        raise PredictionError(msg)
    _ = prediction.gene_accuracy  # kept, so that the window need not read it
    return prediction
