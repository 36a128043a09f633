"""Files dropped onto the dock: told apart by their content, and opened in an order that makes sense."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import QObject

from napari_stem.errors import StemError
from napari_stem.widgets.session import FORMAT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari_stem.widgets.slide_control import SlideControl
    from napari_stem.widgets.worker import Jobs

Kind = Literal["slide", "model", "session", "regions", "prediction", "exported", "measured"]
# what lies on a slide waits for the slides that were dropped with it
ON_SLIDES: tuple[Kind, ...] = ("regions", "prediction", "measured")
PROVENANCE = ("uns", "napari_stem")
HEAD_BYTES = 400


class DropError(StemError):
    """Something was dropped that cannot be opened."""


def kind_of(path: Path) -> Kind:
    """Say how a file or folder is to be opened; what is nothing else may be a slide.

    Raises
    ------
    DropError
        It is not there, or is a table that cannot be read.
    """
    if path.is_dir():
        return _kind_of_folder(path)
    if not path.exists():
        raise DropError(f"There is no file {path}; check the path.")
    suffix = path.suffix.lower()
    if suffix == ".h5ad":
        return _kind_of_table(path)
    if suffix == ".geojson":
        return "regions"
    if suffix == ".json":
        return "session" if _is_session(path) else "regions"
    return "slide"


def _kind_of_folder(path: Path) -> Kind:
    from napari_stem.spatial.lazyslide import SHAPES, LazySlideStore
    from napari_stem.spatial.visium import is_visium

    if (path / "config.json").is_file():
        return "model"
    if path.joinpath(*PROVENANCE).is_dir():
        return "prediction"
    if LazySlideStore.at(path, SHAPES) is not None:
        return "regions"
    return "measured" if is_visium(path) or is_visium(path / "outs") else "slide"


def _kind_of_table(path: Path) -> Kind:
    """Tell a prediction, which names its model, from measured counts."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return "exported" if "/".join(PROVENANCE) in file else "measured"
    except OSError as error:
        raise DropError(f"{path} cannot be read as a table ({error}); save it again.") from error


def _is_session(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES).decode("utf-8", "ignore")
    except OSError:
        return False
    return json.dumps(FORMAT) in head


class Dropped(QObject):
    """Opens what was dropped: slides first, then what lies on them.

    Parameters
    ----------
    jobs, slides
        Where files are looked into, and what tells when a slide has come.
    openers
        By kind, what opens a path.
    """

    def __init__(
        self,
        jobs: Jobs,
        slides: SlideControl,
        openers: Mapping[Kind, Callable[[Path], None]],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._jobs, self._openers = jobs, openers
        self._waiting: list[tuple[Kind, Path]] = []
        self._n_slides = 0  # on their way
        slides.opened.connect(lambda _: self._came())
        slides.not_opened.connect(self._came)

    def open(self, paths: Sequence[Path]) -> None:
        """Open files and folders, whatever of ours they are."""
        self._jobs.start(_kinds, tuple(paths), done=self._sort)

    def _sort(self, found: tuple[list[tuple[Kind, Path]], list[str]]) -> None:
        kinds, unusable = found
        for sentence in unusable:
            self._jobs.failed.emit(sentence)
        self._n_slides += sum(kind == "slide" for kind, _ in kinds)
        # in this order, as measured counts are laid beside a prediction
        self._waiting += sorted(
            ((kind, path) for kind, path in kinds if kind in ON_SLIDES),
            key=lambda each: ON_SLIDES.index(each[0]),
        )
        for kind, path in kinds:
            if kind not in ON_SLIDES:
                self._openers[kind](path)
        if not self._n_slides:
            self._open_waiting()

    def _came(self) -> None:
        if self._n_slides:
            self._n_slides -= 1
            if not self._n_slides:
                self._open_waiting()

    def _open_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for kind, path in waiting:
            self._openers[kind](path)


def _kinds(paths: tuple[Path, ...]) -> tuple[list[tuple[Kind, Path]], list[str]]:
    kinds: list[tuple[Kind, Path]] = []
    unusable: list[str] = []
    for path in paths:
        try:
            kinds.append((kind_of(path), path))
        except StemError as error:
            unusable.append(str(error))
    return kinds, unusable
