"""A prediction as SpatialData: image pyramid, spots as circles, regions, and the table that annotates them.

Coordinate systems: ``global`` is micrometres from the slide's top-left corner, ``px`` its level-0 pixels.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.exporting.drawing import require_same_slide
from napari_stem.exporting.options import DEFAULT_OPTIONS, ExportOptions
from napari_stem.exporting.table import selected_anndata
from napari_stem.io import written_whole

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.exporting.selection import Selection

IMAGE, SPOTS, REGIONS, TABLE = "slide", "spots", "regions", "predicted_expression"
UM, PX = "global", "px"
IMAGE_MAX_PX = 16_384
CHUNK_PX = 1024


def write_spatialdata(
    selection: Selection, path: Path, options: ExportOptions = DEFAULT_OPTIONS
) -> None:
    """Write a SpatialData Zarr, whole or not at all; a slide's image without holding it in memory.

    Elements: image ``slide``, shapes ``spots`` (circles of the spots' diameter, in um) and ``regions``, table
    ``predicted_expression`` (as `selected_anndata`, annotating the spots).

    OutputError: the place is taken or cannot be written. PredictionError: the slide is another than was
    predicted.
    """
    from concurrent.futures import ThreadPoolExecutor

    import dask
    from dask.callbacks import Callback

    if options.slide is not None:
        require_same_slide(selection, options.slide)

    def tell(
        _key: object, _result: object, _dask: object, state: dict[str, Any], _id: object
    ) -> None:
        n_done = len(state["finished"])
        n_all = sum(len(state[part]) for part in ("ready", "waiting", "running")) + n_done
        options.progress("Copying the image", n_done, max(n_done, n_all))

    with warnings.catch_warnings():  # news of zarr, xarray and dask about their own insides
        warnings.simplefilter("ignore")
        import spatialdata

        whole = spatialdata.SpatialData(
            images={IMAGE: _image(selection, options)},
            shapes=_shapes(selection),
            tables={TABLE: _table(selection)},
        )
        with (
            written_whole(path, overwrite=options.overwrite) as fresh,
            # a pool of our own, which ends before what was begun is removed: dask's own would write on
            ThreadPoolExecutor(os.cpu_count()) as pool,
            dask.config.set(scheduler="threads", pool=pool),  # nor a cluster's: slides stay here
            Callback(posttask=tell),
        ):
            whole.write(fresh, update_sdata_path=False)


def _image(selection: Selection, options: ExportOptions) -> Any:
    """Pyramid of the slide's own levels, or the overview; lazy."""
    import dask.array as da
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Scale, set_transformation
    from xarray import Dataset, DataTree

    if options.slide is None:
        pixels, downsample = selection.prediction.overview()
        levels = [(da.from_array(pixels), downsample)]
    else:
        every, most_px = options.slide.levels, options.image_max_px or IMAGE_MAX_PX
        small = [v for v in every if max(v.size.height_px, v.size.width_px) <= most_px]
        levels = [(v.pixels, v.downsample) for v in small or every[-1:]]
    scales, (_, step_px) = {}, levels[0]
    for number, (pixels, downsample) in enumerate(levels):
        lazy = pixels.rechunk((CHUNK_PX, CHUNK_PX, 3))
        element = Image2DModel.parse(lazy, dims=("y", "x", "c"), c_coords=["r", "g", "b"])
        step = downsample / step_px  # coordinates are pixels of the finest image
        along = {axis: (np.arange(element.sizes[axis]) + 0.5) * step for axis in "yx"}
        scales[f"scale{number}"] = Dataset({"image": element.assign_coords(along)})
    tree = DataTree.from_dict(scales)
    mpp = selection.mpp
    where = {
        UM: Scale([step_px * mpp.x_um, step_px * mpp.y_um], axes=("x", "y")),
        PX: Scale([step_px, step_px], axes=("x", "y")),
    }
    set_transformation(tree, where, set_all=True)
    Image2DModel().validate(tree)
    return tree


def _shapes(selection: Selection) -> dict[str, Any]:
    """Spots as circles, and outlines of regions where there are any; in um."""
    import geopandas
    import shapely
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity, Scale

    spots, mpp, regions = selection.spots, selection.mpp, selection.regions
    radius_um = np.full(len(spots), spots.diameter_um / 2)
    frames = {
        SPOTS: geopandas.GeoDataFrame(
            {"radius": radius_um}, geometry=shapely.points(spots.xy_um), index=list(spots.names)
        )
    }
    if regions:
        outlines = [region.polygon for region in regions]
        frames[REGIONS] = geopandas.GeoDataFrame(
            {"name": [region.name for region in regions]},
            geometry=shapely.transform(outlines, lambda xy: xy * (mpp.x_um, mpp.y_um)),
        )
    where = {UM: Identity(), PX: Scale([1 / mpp.x_um, 1 / mpp.y_um], axes=("x", "y"))}
    return {
        name: ShapesModel.parse(frame, transformations=dict(where))
        for name, frame in frames.items()
    }


def _table(selection: Selection) -> Any:
    import pandas as pd
    from spatialdata.models import TableModel

    table = selected_anndata(selection)
    if "region" in table.obs:  # the name by which SpatialData's tables say what they annotate
        table.obs = table.obs.rename(columns={"region": "in_region"})
    table.obs["region"] = pd.Categorical([SPOTS] * table.n_obs)
    table.obs["spot"] = list(selection.spots.names)
    return TableModel.parse(table, region=SPOTS, region_key="region", instance_key="spot")
