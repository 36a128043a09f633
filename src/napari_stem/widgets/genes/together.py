"""Several genes of one slide at once: mixed in one picture, or side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_stem.widgets.genes.genes_panel import BESIDE, MIX
from napari_stem.widgets.genes.mixed_layers import MixedLayers
from napari_stem.widgets.genes.side_by_side import SideBySide

if TYPE_CHECKING:
    from napari_stem.layers import Field
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.genes.genes_panel import Wish
    from napari_stem.widgets.genes.map_layers import MapLayers
    from napari_stem.widgets.genes.map_turns import LayerTurns


class Together(QObject):
    """Has at most one mixture or one set of views on screen."""

    left = Signal()  # the user did something that ends the views side by side

    def __init__(self, turns: LayerTurns, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._turns = turns
        self.mixed: MixedLayers | None = None  # on screen
        self.beside: SideBySide | None = None
        self._kept_mixed: MixedLayers | None = None  # hidden, to be shown again
        self._kept_beside: SideBySide | None = None
        self._of: MapLayers | None = None

    def show(
        self,
        slide: Slide,
        maps: MapLayers,
        wish: Wish,
        of_all: tuple[float, float] | None,
        opacity: float,
    ) -> None:
        """Show what is wished for, or end it where single maps are.

        Parameters
        ----------
        slide, maps
            The active slide and the layers of its prediction.
        wish
            What the panel asks for.
        of_all
            Colour limits of all genes, where they are known.
        opacity
            0 to 1.
        """
        is_wanted = bool(wish.genes) and wish.field != "none"
        if self._of is not maps or not is_wanted or wish.arrangement != self.arrangement():
            self.end()
        if not is_wanted or wish.arrangement not in {MIX, BESIDE}:
            return
        self._of = maps
        if wish.arrangement == MIX:
            self.mixed = self._mixture(maps, opacity)
            self.mixed.show(wish.genes, wish.colours, of_all)
            return
        self.beside = self._views(slide, maps, opacity)
        self.beside.show(wish.genes, _field(wish), wish.colours, of_all, wish.colormap)

    def arrangement(self) -> str:
        """Return what is on screen: ``mix``, ``beside`` or nothing."""
        if self.mixed is not None:
            return MIX
        return BESIDE if self.beside is not None else ""

    def set_opacity(self, opacity: float) -> None:
        """How strongly maps cover the slide, 0 to 1."""
        for shown in (self.mixed, self.beside):
            if shown is not None:
                shown.set_opacity(opacity)

    def end(self) -> None:
        """Go back to single maps."""
        for shown in (self.mixed, self.beside):
            if shown is not None:
                shown.hide()
        self.mixed = self.beside = self._of = None

    def close(self) -> None:
        """Let go of the viewer."""
        self.end()
        if self._kept_beside is not None:
            self._kept_beside.close()

    def _mixture(self, maps: MapLayers, opacity: float) -> MixedLayers:
        if self._kept_mixed is None:
            self._kept_mixed = MixedLayers(self._turns, maps, opacity)
        self._kept_mixed.serve(maps)
        self._kept_mixed.set_opacity(opacity)
        return self._kept_mixed

    def _views(self, slide: Slide, maps: MapLayers, opacity: float) -> SideBySide:
        if self._kept_beside is None:
            self._kept_beside = SideBySide(self._turns, slide, maps, opacity)
            self._kept_beside.left.connect(self.left)
        self._kept_beside.serve(slide, maps)
        self._kept_beside.set_opacity(opacity)
        return self._kept_beside


def _field(wish: Wish) -> Field:
    return "sd" if wish.field == "sd" else "mean"
