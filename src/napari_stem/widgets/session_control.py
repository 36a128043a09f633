"""Saving a session, and bringing one back: slides one after another, then what lay on them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_stem.errors import StemError
from napari_stem.geometry import Mpp
from napari_stem.widgets.session import Session, SlideEntry, read_session, write_session

if TYPE_CHECKING:
    from napari_stem.geometry import Region
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.genes.genes_panel import GenesPanel
    from napari_stem.widgets.model.prediction_control import PredictionControl
    from napari_stem.widgets.regions.region_panel import RegionControl
    from napari_stem.widgets.session_view import SessionView
    from napari_stem.widgets.slide.slide_control import SlideControl
    from napari_stem.widgets.views.measured_control import MeasuredControl


class SessionControl(QObject):
    """Writes down what is open, and opens it again."""

    told = Signal(str)  # news for the user
    restored = Signal()

    def __init__(
        self,
        jobs: Jobs,
        slides: SlideControl,
        regions: RegionControl,
        predictions: PredictionControl,
        genes: GenesPanel,
        measured: MeasuredControl,
        view: SessionView,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._jobs = jobs
        self._measured, self._view = measured, view
        self._slides, self._regions = slides, regions
        self._predictions, self._genes = predictions, genes
        self._stated: set[str] = set()  # slides whose pixel size the user stated
        self._gene_of: dict[str, str] = {}  # by the slide's fingerprint
        self._session: Session | None = None
        self._waiting: list[SlideEntry] = []
        slides.resized.connect(lambda slide: self._stated.add(slide.fingerprint))
        slides.opened.connect(self._on_opened)
        slides.not_opened.connect(self._on_not_opened)
        genes.gene_chosen.connect(self._note_gene)

    def _note_gene(self, gene: str) -> None:
        if self._slides.slide is not None and gene:
            self._gene_of[self._slides.slide.fingerprint] = gene

    def save(self, path: str) -> None:
        """Write the session to a file."""
        file = Path(path) if Path(path).suffix else Path(path).with_suffix(".json")
        self._jobs.start(
            write_session, self.session(), file, done=lambda _: self.told.emit(f"Saved {file}")
        )

    def session(self) -> Session:
        """Say what is open."""
        active = self._slides.slide
        return Session(
            slides=tuple(self._entry(slide) for slide in self._slides.slides()),
            active=active.fingerprint if active else "",
            view=self._view.told(),
        )

    def load(self, path: str) -> None:
        """Open what a session file names, beside what is open already."""
        self._jobs.start(read_session, Path(path), done=self.restore)

    def restore(self, session: Session) -> None:
        """Open a session's slides one after another."""
        self._session, self._waiting = session, list(session.slides)
        self._open_next()

    def _entry(self, slide: Slide) -> SlideEntry:
        from napari_stem.spatial.region_files import as_geojson

        layer = self._slides.layer_of(slide)
        regions: list[Region] = []
        if layer is not None and slide.mpp is not None:
            regions = [d.region for d in self._regions.layers.drawn(slide, layer)]
        mpp = slide.mpp if slide.fingerprint in self._stated else None
        measured = self._measured.path_of(slide)
        return SlideEntry(
            path=str(slide.path.resolve()),
            fingerprint=slide.fingerprint,
            name=layer.name if layer is not None else "",
            mpp_um=None if mpp is None else (mpp.y_um, mpp.x_um),
            regions=as_geojson(regions),
            predictions=tuple(str(p) for p in self._predictions.paths(slide)),
            gene=self._gene_of.get(slide.fingerprint, ""),
            measured=str(measured.resolve()) if measured else "",
        )

    def _open_next(self) -> None:
        if not self._waiting:
            self._look_again()
            return
        entry = self._waiting[0]
        already = [s for s in self._slides.slides() if s.fingerprint == entry.fingerprint]
        if already:
            self._slides.activate(already[0])
            self._on_opened(already[0])
            return
        mpp = None if entry.mpp_um is None else Mpp(y_um=entry.mpp_um[0], x_um=entry.mpp_um[1])
        self._slides.open(entry.path, entry.name or None, mpp)

    def _on_not_opened(self) -> None:
        if self._waiting:  # the reason was told; the others can still be opened
            self._waiting.pop(0)
            self._open_next()

    def _on_opened(self, slide: Slide) -> None:
        if not self._waiting:
            return
        entry = self._waiting[0]
        is_same = slide.fingerprint == entry.fingerprint
        if not is_same and slide.path.resolve() != Path(entry.path).resolve():
            return  # the user opened another one meanwhile
        self._waiting.pop(0)
        if not is_same:
            self._jobs.failed.emit(
                f"{slide.path.name} has changed since the session was saved: its regions, predictions and "
                f"measured data are left out."
            )
            self._open_next()
            return
        if entry.mpp_um is not None:
            self._stated.add(slide.fingerprint)
        self._put_regions(slide, entry)
        self._jobs.start(
            _open_predictions,
            [Path(path) for path in entry.predictions],
            done=partial(self._put_predictions, slide, entry),
            failed=self._open_next,
        )

    def _put_regions(self, slide: Slide, entry: SlideEntry) -> None:
        from napari_stem.spatial.region_files import regions_of

        layer = self._slides.layer_of(slide)
        if not entry.regions.get("features") or layer is None:
            return
        try:
            self._regions.add(slide, regions_of(entry.regions, "The session file"))
        except StemError as error:  # a file edited by hand
            self._jobs.failed.emit(str(error))

    def _put_predictions(
        self, slide: Slide, entry: SlideEntry, opened: tuple[list[Any], list[str]]
    ) -> None:
        predictions, missing = opened
        for sentence in missing:
            self._jobs.failed.emit(sentence)
        for prediction, reliability in predictions:
            self._predictions.begin(slide, prediction, reliability)
        if predictions and entry.gene and not self._genes.choose(entry.gene):
            self._jobs.failed.emit(f"{entry.gene} is not in the predictions that were found.")
        if entry.measured and self._measured.path_of(slide) is None:
            self._measured.load_for(slide, entry.measured)
        self._open_next()

    def _look_again(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        active = [s for s in self._slides.slides() if s.fingerprint == session.active]
        if active:
            self._slides.activate(active[0])
        if active:
            self._view.restore(session.view)
        self.restored.emit()


def _open_predictions(paths: list[Path]) -> tuple[list[Any], list[str]]:
    from napari_stem.widgets.model.prediction_control import open_prediction

    opened, missing = [], []
    for path in paths:
        try:
            opened.append(open_prediction(path))
        except StemError as error:
            missing.append(str(error))
    return opened, missing
