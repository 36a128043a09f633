"""One slide's prediction as it is shown: where its spots lie, and what the maps of its genes look like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_stem.layers import GeneValues, SpotGrid, map_title
from napari_stem.widgets.genes.map_layers import SpotMap
from napari_stem.widgets.state import uncertainty_colormap

if TYPE_CHECKING:
    from napari_stem.layers import ColourRange, Field, GeneScore, SpotShape
    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.genes.gene_facts import GeneFacts
    from napari_stem.widgets.state import DisplaySettings


@dataclass(eq=False)
class ActivePrediction:
    """A prediction that is shown while its slide is the active one.

    Attributes
    ----------
    slide, prediction
        Where and what.
    values, facts
        Its values by gene, and what is computed of them in the background.
    gene
        The chosen one.
    score
        Title and values of the score that was shown last, and of what it is.
    sd_limits
        Of the uncertainty as the user set them in napari, and which range of colours was chosen then.
    is_seen
        Whether its map has been on screen.
    is_away
        Whether its slide's pixel size was changed, so that it no longer lies where it should.
    """

    slide: Slide
    prediction: Prediction
    values: GeneValues
    facts: GeneFacts
    gene: str
    score: tuple[object, str, GeneScore] | None = None
    sd_limits: tuple[ColourRange, tuple[float, float]] | None = None
    is_seen: bool = False
    is_away: bool = False
    _grids: dict[str, SpotGrid] = field(default_factory=dict)

    def grid(self, shape: SpotShape = "square") -> SpotGrid:
        """Grid of the spots in this shape."""
        if shape not in self._grids:
            mpp = self.slide.require_mpp()
            self._grids[shape] = SpotGrid.of(self.prediction.spots, mpp, shape)
        return self._grids[shape]

    def spot_at(self, position: Any, shape: SpotShape = "square") -> int | None:
        """Index of the finished spot at a world position in um, or None."""
        grid = self.grid(shape)
        row, col = (
            (at - start) / step
            for at, start, step in zip(
                position[-2:], grid.placement.translate_um, grid.placement.scale_um, strict=True
            )
        )
        spot = grid.spot_under(row, col)
        return spot if spot is not None and self.prediction.done[spot] else None

    def state(self) -> tuple[str, int]:
        """Return which prediction it is, and how far it has grown."""
        return state_of(self.prediction)

    def gene_map(self, gene: str, field: Field, settings: DisplaySettings) -> SpotMap:
        """Map of the expression of a gene, or of its uncertainty, as the settings would have it."""
        values = self.values.values(gene, field)
        colours, colormap = settings.colours, settings.colormap
        if field != "mean":
            colours, colormap = colours.for_another_unit(), uncertainty_colormap(colormap)
        return SpotMap(
            self.grid(settings.shape),
            values,
            map_title(gene, field, self.prediction.unit),
            colours.limits(values, self.facts.limits_of_all),
            colormap,
            {
                "prediction": str(self.prediction.path),
                "gene": gene,
                "shared_tissue": str(self.prediction.provenance.get("shared_tissue", "")),
            },
        )


def state_of(prediction: Prediction) -> tuple[str, int]:
    """Return which prediction it is, and how far it has grown."""
    return str(prediction.path), int(prediction.done.sum())
