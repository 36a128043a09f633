"""One prediction as two layers: the expression of a gene or a score, and its uncertainty.

Each is made when it is first looked at; both are handed on to the next prediction of the slide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_stem.layers import GeneValues, SpotGrid, map_title
from napari_stem.widgets.genes.map_turns import DEVIATION, EXPRESSION
from napari_stem.widgets.genes.scalar_map import ScalarMap

if TYPE_CHECKING:
    from napari.layers import Image
    from numpy import float32
    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp
    from napari_stem.layers import ColourRange, Field, SpotShape
    from napari_stem.results import Prediction
    from napari_stem.widgets.genes.map_turns import LayerTurns

FIELDS: tuple[Field, ...] = ("mean", "sd")
RANKS = {"mean": EXPRESSION, "sd": DEVIATION}
EXPRESSION_COLORMAP = "viridis"


def uncertainty_colormap(colormap: str) -> str:
    """Colours of the uncertainty, which must not be mistaken for those of the expression."""
    return "viridis" if colormap in {"magma", "inferno"} else "magma"


class MapLayers(QObject):
    """Keeps the two layers of a prediction, and swaps what they show."""

    limits_edited = Signal(float, float)  # the user moved the contrast limits of the expression

    def __init__(
        self,
        turns: LayerTurns,
        prediction: Prediction,
        mpp: Mpp,
        opacity: float,
        older: MapLayers | None = None,
    ) -> None:
        super().__init__()
        self.prediction = prediction
        self.values = GeneValues(prediction)
        self.gene = prediction.genes[0]
        self._turns, self._mpp = turns, mpp
        self._grids: dict[str, SpotGrid] = {}
        self.grid = self.shaped("square")
        self._shown: str = "none"
        self._edited_sd: tuple[float, float] | None = None
        self._is_old: dict[str, bool] = {}  # the layer shows another gene than the chosen one
        self._range: ColourRange | None = None
        self._of_all: tuple[float, float] | None = None
        self._opacity, self._colormap = opacity, EXPRESSION_COLORMAP
        self._maps: dict[str, ScalarMap] = older.hand_over() if older is not None else {}
        for field, one in self._maps.items():
            one.serve(prediction)
            self._listen(field, one)

    def shaped(self, shape: SpotShape) -> SpotGrid:
        """Grid of the spots as squares or circles."""
        if shape not in self._grids:
            self._grids[shape] = SpotGrid.of(self.prediction.spots, self._mpp, shape)
        return self._grids[shape]

    def select(self) -> None:
        """Make the layer on show the selected one, so that napari's controls are about it."""
        if self._shown != "none":
            self._turns.select(self._map(self._shown).layer)

    def show_gene(
        self, gene: str, colours: ColourRange, of_all: tuple[float, float] | None = None
    ) -> None:
        """Swap to another gene; the layer that is hidden follows when it is shown.

        Parameters
        ----------
        gene
            Its name.
        colours
            How the limits of the colours are chosen.
        of_all
            Limits of all genes, where they are the same for all and known.
        """
        if colours != self._range:
            self._edited_sd = None
        self.gene, self._range, self._of_all = gene, colours, of_all
        self._is_old = dict.fromkeys(FIELDS, True)
        self._renew()

    def show_score(self, values: NDArray[float32], title: str, limits: tuple[float, float]) -> None:
        """Show values that are not a gene's in the layer of the expression."""
        self._is_old = dict.fromkeys(FIELDS, True)
        self._map("mean").show(self.grid, values, title, limits)
        self._is_old["mean"] = False

    def show_field(self, shown: str) -> None:
        """Show ``mean``, ``sd`` or, with ``none``, neither; brings back what the user has removed."""
        self._shown = shown
        for field, one in self._maps.items():
            if field != shown:
                one.hide()
        if shown != "none" and not self._map(shown).is_shown():
            self._is_old[shown] = True
        self._renew()

    def hide(self) -> None:
        """Hide both layers for another slide's or arrangement's sake."""
        self.show_field("none")

    def set_shape(self, shape: SpotShape) -> None:
        """Draw spots as squares or circles; takes effect with what is shown next."""
        self.grid = self.shaped(shape)

    def set_colormap(self, colormap: str) -> None:
        """Choose the colours of the expression; those of the uncertainty follow."""
        self._colormap = colormap
        for field, one in self._maps.items():
            one.set_colormap(self._colormap_of(field))

    def set_opacity(self, opacity: float) -> None:
        """How strongly the maps cover the slide, 0 to 1."""
        self._opacity = opacity
        for one in self._maps.values():
            one.layer.opacity = opacity

    def hand_over(self) -> dict[str, ScalarMap]:
        """Give the layers to the next prediction; these are of no use afterwards."""
        maps, self._maps = self._maps, {}
        for one in maps.values():
            one.limits_edited.disconnect()
            one.hide()
        return maps

    def layer(self, field: Field) -> Image:
        """Return the layer of one field."""
        return self._map(field).layer

    def spot_at(self, position: Any) -> int | None:
        """Index of the finished spot at a world position, or None."""
        placement = self.grid.placement
        row, col = (
            (at - start) / step
            for at, start, step in zip(
                position[-2:], placement.translate_um, placement.scale_um, strict=True
            )
        )
        spot = self.grid.spot_under(row, col)
        return spot if spot is not None and self.prediction.done[spot] else None

    def _map(self, field: str) -> ScalarMap:
        """Return a map, made where there is none yet."""
        if field not in self._maps:
            one = ScalarMap(
                self._turns,
                self.prediction,
                field,
                self.grid,
                rank=RANKS[field],
                colormap=self._colormap_of(field),
                opacity=self._opacity,
            )
            self._maps[field] = one
            self._listen(field, one)
        return self._maps[field]

    def _listen(self, field: str, one: ScalarMap) -> None:
        one.limits_edited.connect(self.limits_edited if field == "mean" else self._keep_sd)

    def _colormap_of(self, field: str) -> str:
        return self._colormap if field == "mean" else uncertainty_colormap(self._colormap)

    def _renew(self) -> None:
        """Bring the layer on show up to date; what is hidden waits."""
        for field in FIELDS:
            if self._range is None or not self._is_old.get(field) or field != self._shown:
                continue
            values = self.values.values(self.gene, field)
            limits = self._limits(field, values, self._range)
            title = map_title(self.gene, field, self.prediction.unit)
            self._map(field).show(self.grid, values, title, limits, gene=self.gene)
            self._is_old[field] = False

    def _limits(
        self, field: Field, values: NDArray[float32], colours: ColourRange
    ) -> tuple[float, float]:
        if field == "mean":
            return colours.limits(values, self._of_all)
        if self._edited_sd is not None:
            return self._edited_sd
        return colours.for_another_unit().limits(values)

    def _keep_sd(self, low: float, high: float) -> None:
        self._edited_sd = (low, high)
