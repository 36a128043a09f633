"""From slides and predictions to what a viewer draws: arrays, where they lie, names and colours.

Imports no viewer.
"""

from __future__ import annotations

from napari_stem.layers.colours import (
    ColourRange,
    Field,
    colour_limits,
    map_title,
    score_title,
)
from napari_stem.layers.gene_values import GeneScore, GeneValues, mean_z_score
from napari_stem.layers.placement import (
    AXES,
    METADATA_KEY,
    UM,
    LayerData,
    SpotGrid,
    SpotShape,
    one_ring,
    outline,
    slide_layer,
    slide_placement,
)

__all__ = [
    "AXES",
    "METADATA_KEY",
    "UM",
    "ColourRange",
    "Field",
    "GeneScore",
    "GeneValues",
    "LayerData",
    "SpotGrid",
    "SpotShape",
    "colour_limits",
    "map_title",
    "mean_z_score",
    "one_ring",
    "outline",
    "score_title",
    "slide_layer",
    "slide_placement",
]
