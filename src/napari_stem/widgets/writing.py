"""Writers that the manifest names: regions as GeoJSON, predictions in the forms that one layer stands for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari import current_viewer
from napari.layers import Image, Layer, Shapes

from napari_stem.errors import OutputError, RegionError
from napari_stem.exporting.kinds import KINDS, export
from napari_stem.geometry import Mpp
from napari_stem.layers.from_files import BLANK
from napari_stem.layers.placement import METADATA_KEY, slide_placement
from napari_stem.spatial import region_files
from napari_stem.spatial.region_files import ClassedRegion, class_colour
from napari_stem.widgets.regions.region_shapes import number_shapes, read_shapes
from napari_stem.widgets.slide.slide_layers import is_in_pixels, ours, slide_of, slides_among

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.viewer import Viewer


def write_regions(path: str, layers: Sequence[tuple[Any, dict[str, Any], str]]) -> list[str]:
    """Write all shapes among some layers as regions that QuPath opens, in level-0 px; return what was written.

    ``layers`` are (data, options, kind) of each; images are passed over. StemError where no shape encloses an
    area, it is not known where it lies on the slide, or the place cannot be written.
    """
    shapes = [Layer.create(*each) for each in layers if each[2] == "shapes"]
    regions = [region for layer in shapes for region in regions_of_layer(layer, current_viewer())]
    if not regions:
        raise RegionError("No shape encloses an area; draw polygons, rectangles or ellipses.")
    region_files.write_regions(regions, Path(path))
    return [path]


def write_prediction(path: str, layers: Sequence[tuple[Any, dict[str, Any], str]]) -> list[str]:
    """Write the prediction that the topmost map among some layers is of, as `write_regions` does regions.

    ``.h5ad`` holds all genes; ``.csv`` and ``.geojson``, for spreadsheets and QuPath, that of the map.
    StemError where none is a predicted map, or as `exporting.kinds.export`.
    """
    told = (options["metadata"].get(METADATA_KEY, {}) for _, options, _ in layers)
    maps = [about for about in told if "prediction" in about]
    if not maps:
        raise OutputError(
            f"{Path(path).name} can hold a predicted map only; select one of Stem's maps, or choose another "
            f"ending for an image."
        )
    about, suffix = maps[-1], Path(path).suffix.lower()
    kind = next(kind for kind, each in KINDS.items() if suffix in each.suffixes)
    genes = (about["gene"],) if "gene" in about and kind != "h5ad" else ()
    export(about["prediction"], kind, path, genes=genes, overwrite=True, progress=False)
    return [path]


def regions_of_layer(layer: Shapes, viewer: Viewer | None) -> list[ClassedRegion]:
    """Regions of a shapes layer in level-0 px of the slide under it; lines and points are passed over.

    The layer is ours or anybody's, with names and classes where its features have these columns; the slide may
    be in the viewer. RegionError where it is not known on which slide the shapes lie.
    """
    ground = _ground(layer, viewer)
    table = layer.features.reset_index(drop=True)
    for column, blank in BLANK.items():
        if column not in table:
            table[column] = pd.Series([blank] * layer.nshapes, dtype=type(blank))
    placed = ("affine", "metadata", "scale", "translate", "rotate", "shear", "units")
    options = {name: getattr(layer, name) for name in ("shape_type", *placed)}
    layer = Layer.create(layer.data, {**options, "features": table}, "shapes")
    number_shapes(layer)
    colours = ours(layer).get("colours", {})
    drawn = read_shapes(layer, ground, lambda name: class_colour(name, colours))
    return [each.region for each in drawn]


def _ground(layer: Shapes, viewer: Viewer | None) -> Image:
    """Layer of the slide under some shapes, or one placed like it."""
    about = ours(layer)
    for each in reversed(slides_among(viewer.layers) if viewer else []):
        slide = slide_of(each)
        is_owner = slide is not None and slide.fingerprint == about.get("regions_of")
        if slide is not None and (is_owner or ("mpp" not in about and each.visible)):
            return each
    if "mpp" in about:
        placement = slide_placement(about["mpp"] or Mpp.square(1))
        return Image(np.zeros((2, 2)), **placement.as_layer_options())
    if not is_in_pixels(layer):
        raise RegionError(
            f"“{layer.name}” is in {layer.units[-1]}; open its slide too, so that the shapes can be written "
            f"in its pixels."
        )
    return Image(np.zeros((2, 2)))
