"""Layers of files that are opened beside a slide: predictions, regions, measured counts.

Each says in its metadata which ``file`` it is of and of which ``kind``, so that the dock can take it over;
``mpp`` is what its places were turned into um with, None where it lies in level-0 px; ``has_slide`` says that
the file holds its slide too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from napari_stem.geometry import Mpp, Region, Spots
from napari_stem.layers.placement import (
    AXES,
    METADATA_KEY,
    PIXELS,
    UM,
    LayerData,
    SpotGrid,
    one_ring,
    slide_placement,
)
from napari_stem.layers.values import MapField, colour_limits, map_title
from napari_stem.spatial.region_files import ClassedRegion, Colour, class_colour

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import anndata
    import pandas as pd
    from numpy.typing import NDArray

    from napari_stem.results import Prediction

OUTLINE = 1 / 120  # width of outlines, of the longer side of all regions
OPACITY = 0.7
# columns of the features of a layer of regions
NUMBER, NAME, CLASS, CLICKED = "number", "name", "classification", "clicked"
NEW = -1  # number of a region that has just been drawn
BLANK: dict[str, Any] = {NUMBER: NEW, NAME: "", CLASS: "", CLICKED: False}
LABEL = {"string": "{name}", "size": 12, "color": "#101010", "anchor": "upper_left"}


def prediction_layers(prediction: Prediction, file: Path) -> list[LayerData]:
    """Overview of the slide, and above it the most reliable gene: its map, and hidden its uncertainty.

    ``file`` is what the user opened; StemError where the prediction is damaged, or holds no spots.
    """
    from napari_stem.exporting.selection import most_reliable_genes

    provenance = prediction.provenance
    mpp = prediction.mpp
    (gene,) = most_reliable_genes(prediction, 1)
    grid = SpotGrid.of(prediction.spots, mpp)
    about = _about(file, "prediction", mpp) | {
        "prediction": str(prediction.path),
        "slide_name": str(provenance.get("slide", "")),
        "slide_fingerprint": str(provenance.get("slide_fingerprint", "")),
    }
    below = f"Overview of {about['slide_name'] or file.stem}"
    layers = [_picture(*prediction.overview(), mpp, below, about)]
    colormaps: dict[MapField, str] = {"sd": "magma", "mean": "viridis"}  # the topmost last
    for field, colormap in colormaps.items():
        values = prediction.values(gene, field)
        title = map_title(gene, field, prediction.unit)
        layer = _map(grid, values, title, about | {"field": field, "gene": gene})
        layer[1].update(colormap=colormap, visible=field == "mean")
        layers.append(layer)
    return layers


def region_layer(regions: Sequence[Region], file: Path, mpp: Mpp | None) -> LayerData:
    """Outlines of regions with their names and classes; in level-0 px, which ``mpp`` scales to um."""
    outlines, rows, colours = region_rows(regions)
    low, high = np.vstack(outlines).min(0), np.vstack(outlines).max(0)
    options = {
        "name": f"Regions of {file.stem}",
        "shape_type": "polygon",
        "face_color": "transparent",
        "edge_color": [[c / 255 for c in class_colour(name, colours)] for name in rows[CLASS]],
        "edge_width": float((high - low).max()) * OUTLINE,
        "features": rows,
        # what is drawn from now on is a region of its own
        "feature_defaults": {column: BLANK[column] for column in rows},
        "text": LABEL,
        "opacity": 1.0,
        "scale": (1, 1) if mpp is None else (mpp.y_um, mpp.x_um),
        "units": PIXELS if mpp is None else UM,
        "axis_labels": AXES,
        "metadata": {METADATA_KEY: _about(file, "regions", mpp) | {"colours": colours}},
    }
    return outlines, options, "shapes"


def region_rows(
    regions: Sequence[Region], n_before: int = 0
) -> tuple[list[NDArray[np.float64]], pd.DataFrame, dict[str, Colour]]:
    """Parts of regions as shapes: their outlines, what a layer's features say of each, colours of classes.

    Outlines are (n, 2) each, (y, x) in level-0 px from the slide's corner; regions are numbered from
    ``n_before`` + 1 on.
    """
    import pandas as pd

    outlines: list[NDArray[np.float64]] = []
    rows: list[dict[str, Any]] = []
    colours: dict[str, Colour] = {}
    for number, region in enumerate(regions, n_before + 1):
        classed = region if isinstance(region, ClassedRegion) else ClassedRegion(region.polygon)
        colours[classed.classification] = classed.colour
        row = {NUMBER: number, NAME: region.name, CLASS: classed.classification}
        parts = [each for each in shapely.get_parts(region.polygon) if each.geom_type == "Polygon"]
        outlines += [one_ring(part)[:, ::-1] for part in parts]
        rows += [row] * len(parts)
    return outlines, pd.DataFrame(rows), colours


def measured_layers(counts: anndata.AnnData, file: Path, mpp: Mpp | None) -> list[LayerData]:
    """Total counts of every measured spot, above the table's own picture of the slide if it has one."""
    about, one = _about(file, "measured", mpp), mpp or Mpp.square(1)
    layers = []
    library: dict[str, Any] = next(iter(counts.uns.get("spatial", {}).values()), {})
    scales, images = library.get("scalefactors", {}), library.get("images", {})
    if "hires" in images and "tissue_hires_scalef" in scales:
        pixels = np.asarray(images["hires"])
        if pixels.dtype.kind == "f":
            pixels = np.round(255 * pixels).astype(np.uint8)
        scale = 1 / float(scales["tissue_hires_scalef"])
        layers.append(_picture(pixels, scale, one, f"Overview of {file.stem}", about))
    grid = SpotGrid.of(_spots(counts, scales, one), one)
    total = np.asarray(counts.X.sum(axis=1), dtype=np.float32).ravel()
    title = f"{file.stem}, measured, counts per spot"
    layers.append(_map(grid, total, title, about | {"field": "measured"}))
    if mpp is None:
        for _, options, _ in layers:
            options["units"] = PIXELS
    return layers


def _spots(counts: anndata.AnnData, scales: dict[str, Any], mpp: Mpp) -> Spots:
    from napari_stem.spatial.lattice import nearest_distance_px

    xy_px = np.asarray(counts.obsm["spatial"], dtype=np.float64)
    diameter_px = float(scales.get("spot_diameter_fullres", nearest_distance_px(xy_px) or 1))
    nowhere = np.arange(len(xy_px))  # off any lattice
    return Spots(
        x_px=xy_px[:, 0],
        y_px=xy_px[:, 1],
        array_row=nowhere,
        array_col=nowhere,
        pitch_um=diameter_px * mpp.x_um,
        diameter_um=diameter_px * mpp.x_um,
        names=tuple(map(str, nowhere)),
    )


def _about(file: Path, kind: str, mpp: Mpp | None) -> dict[str, Any]:
    return {"file": str(file), "kind": kind, "mpp": mpp}


def _picture(
    pixels: NDArray[np.uint8], downsample: float, mpp: Mpp, name: str, about: dict[str, Any]
) -> LayerData:
    placement = slide_placement(Mpp(y_um=mpp.y_um * downsample, x_um=mpp.x_um * downsample))
    options = {"name": name, "rgb": True, "metadata": {METADATA_KEY: about | {"overview": True}}}
    return pixels, options | placement.as_layer_options(), "image"


def _map(
    grid: SpotGrid, values: NDArray[np.float32], name: str, about: dict[str, Any]
) -> LayerData:
    options = {
        "name": name,
        "contrast_limits": colour_limits(values),
        "interpolation2d": "nearest",
        "interpolation3d": "nearest",
        "opacity": OPACITY,
        "metadata": {METADATA_KEY: about},
    }
    return grid.raster(values), options | grid.placement.as_layer_options(), "image"
