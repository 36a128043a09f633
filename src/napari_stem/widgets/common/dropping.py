"""Files dropped onto the dock: told apart by their content, and opened in an order that makes sense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QApplication, QWidget

from napari_stem import file_kinds
from napari_stem.cohort.orders import Order, is_slide_folder, slides_in
from napari_stem.errors import StemError
from napari_stem.geometry import Mpp
from napari_stem.spatial.lazyslide import SHAPES, LazySlideStore
from napari_stem.spatial.visium import is_visium
from napari_stem.widgets.session import FORMAT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.slide.slide_panel import SlidePanel

Kind = Literal[file_kinds.Kind, "model", "session", "slides"]
# what lies on a slide waits for the slides that were dropped with it
ON_SLIDES: tuple[Kind, ...] = ("regions", "prediction", "exported", "measured")
HEAD_BYTES = 400


def kind_of_drop(path: Path) -> Kind:
    """Say how a file or folder is to be opened; what is nothing else may be a slide.

    StemError where it is not there, or is a table that cannot be read.
    """
    if not path.exists():
        raise StemError(f"There is no file {path}; check the path.")
    if (kind := kind_of_ours(path)) is not None or path.is_dir():
        return kind or "slide"
    suffix = path.suffix.lower()
    if suffix == ".h5ad":
        import h5py

        if not h5py.is_hdf5(path):
            raise StemError(f"{path} cannot be read as a table; save it again.")
        return "measured"  # spots may lack places and go by their names
    others: dict[str, Kind] = {".json": "regions", ".csv": "slides"}
    return others.get(suffix, "slide")


def kind_of_ours(path: Path) -> Kind | None:
    """Say what of ours a file or folder is by its content; None where it may be a slide, or anything."""
    if (path / "config.json").is_file():
        return "model"
    if path.suffix.lower() == ".json" and _is_session(path):
        return "session"
    kind = file_kinds.kind_of(path)
    if not path.is_dir():
        return kind
    if kind is None and LazySlideStore.at(path, SHAPES) is not None:
        return "regions"
    if is_visium(path) or is_visium(path / "outs"):
        return "measured"
    is_many = kind is None and not is_slide_folder(path) and slides_in(path)
    return "slides" if is_many else kind


def _is_session(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES).decode("utf-8", "ignore")
    except OSError:
        return False
    return json.dumps(FORMAT) in head


def dropped_paths(event: Any) -> list[Path]:
    """Files and folders of this machine that are dragged or dropped."""
    return [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]


class Dropped(QObject):
    """Opens what was dropped: slides first, then what lies on them, which ``openers`` open by its kind."""

    def __init__(
        self,
        jobs: Jobs,
        slides: SlidePanel,
        openers: Mapping[Kind, Callable[[Path], None]],
    ) -> None:
        super().__init__(slides)
        self._jobs, self._slides, self._openers = jobs, slides, openers
        self._waiting: list[tuple[Kind, Path]] = []
        self._n_slides = 0  # on their way
        self.brings_prediction = False  # what is being opened: it is soon on its slide

    def watch(self, window: QWidget) -> None:
        """Open files of ours that fall on a window of napari's too, which would ask for a reader."""
        for widget in window.findChildren(QWidget):
            if widget.acceptDrops():
                widget.installEventFilter(self)  # once, however often

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take files that are all ours, unless a key asks napari for a choice."""
        if event.type() != QEvent.Type.Drop or self._jobs.is_closed:
            return False
        n_urls, paths = len(event.mimeData().urls()), dropped_paths(event)
        is_plain = QApplication.keyboardModifiers() == Qt.KeyboardModifier.NoModifier
        if not is_plain or not paths or len(paths) < n_urls or None in map(kind_of_ours, paths):
            return False
        self.open(paths)
        event.acceptProposedAction()
        return True

    def open(self, paths: Sequence[Path]) -> None:
        """Open files and folders, whatever of ours they are."""
        self._jobs.start_each(lambda path: (kind_of_drop(path), path), list(paths), done=self._sort)

    def open_result(self, order: Order) -> None:
        """Open a slide of a cohort and its prediction."""
        self._waiting.append(("prediction", order.out))
        self._open_slide(order.slide, None if order.mpp is None else Mpp(order.mpp, order.mpp))

    def _open_slide(self, path: Path, mpp: Mpp | None = None) -> None:
        self._n_slides += 1
        self._slides.open(path, mpp=mpp, then=self._came)

    def _sort(self, kinds: list[tuple[Kind, Path]]) -> None:
        # in this order, as measured counts are laid beside a prediction
        self._waiting += [each for kind in ON_SLIDES for each in kinds if each[0] == kind]
        for kind, path in kinds:
            if kind == "slide":
                self._open_slide(path)
            elif kind not in ON_SLIDES:
                self._openers[kind](path)
        self._open_waiting()

    def _came(self, _: Slide | None) -> None:
        self._n_slides -= 1
        self._open_waiting()

    def _open_waiting(self) -> None:
        if self._n_slides:
            return
        waiting, self._waiting = self._waiting, []
        self.brings_prediction = any(kind in {"prediction", "exported"} for kind, _ in waiting)
        for kind, path in waiting:
            self._openers[kind](path)
