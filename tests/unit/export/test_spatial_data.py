"""SpatialData: elements where they belong, in um and in px."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_stem.errors import PredictionError
from napari_stem.exporting.options import ExportOptions
from napari_stem.exporting.selection import Selection
from napari_stem.exporting.spatial_data import (
    IMAGE,
    PX,
    REGIONS,
    SPOTS,
    TABLE,
    UM,
    write_spatialdata,
)
from napari_stem.slide import open_slide

if TYPE_CHECKING:
    from napari_stem.results import Prediction
    from napari_stem.slide import Slide

DATA = Path(__file__).parents[2] / "data"
# what spatialdata, zarr, xarray and dask say of each other is theirs
pytestmark = pytest.mark.filterwarnings("ignore")


def written(selection: Selection, path: Path, **options):
    import spatialdata

    write_spatialdata(selection, path, ExportOptions(**options))
    return spatialdata.read_zarr(path)


@pytest.fixture(scope="module")
def whole(prediction: Prediction, slide: Slide, regions, tmp_path_factory):
    """The finest level is left out: it would take most of the time and 200 MB."""
    selection = Selection.of(prediction, ("SCD", "GNAS"), regions)
    path = tmp_path_factory.mktemp("spatialdata") / "p.zarr"
    return written(selection, path, slide=slide, image_max_px=5000)


def test_the_pyramid_is_the_slides_own(whole, slide: Slide) -> None:
    import spatialdata

    levels = [whole[IMAGE][name]["image"] for name in whole[IMAGE].children]
    sizes = [(level.sizes["y"], level.sizes["x"]) for level in levels]
    assert sizes == [(v.size.height_px, v.size.width_px) for v in slide.levels[1:]]
    window = np.s_[2000:2100, 2500:2600]
    expected = slide.levels[1].pixels[window].compute()
    np.testing.assert_array_equal(levels[0].data[:, *window].compute().transpose(1, 2, 0), expected)
    extent = spatialdata.get_extent(whole[IMAGE], coordinate_system=UM)
    assert extent["x"] == pytest.approx((0, slide.size.width_px * slide.mpp.x_um), abs=2)
    assert extent["y"] == pytest.approx((0, slide.size.height_px * slide.mpp.y_um), abs=2)


def test_circles_lie_on_their_pixels(whole, prediction: Prediction, slide: Slide) -> None:
    import spatialdata
    from spatialdata.transformations import get_transformation_between_coordinate_systems

    spots = prediction.spots
    in_px = spatialdata.transform(whole[SPOTS], to_coordinate_system=PX)
    assert list(in_px.index) == list(spots.names)
    np.testing.assert_allclose(in_px.geometry.x, spots.x_px, rtol=1e-9)
    np.testing.assert_allclose(in_px.geometry.y, spots.y_px, rtol=1e-9)
    np.testing.assert_allclose(in_px["radius"], spots.diameter_um / 2 / slide.mpp.x_um)
    to_image = get_transformation_between_coordinate_systems(
        whole, whole[SPOTS], whole[IMAGE], intermediate_coordinate_systems=UM
    )
    x_um, y_um = whole[SPOTS].geometry.x.iloc[3], whole[SPOTS].geometry.y.iloc[3]
    matrix = to_image.to_affine_matrix(input_axes=("x", "y"), output_axes=("x", "y"))
    np.testing.assert_allclose(
        matrix @ (x_um, y_um, 1), (spots.x_px[3] / 2, spots.y_px[3] / 2, 1), rtol=1e-9
    )


def test_a_box_in_um_holds_what_lies_in_it(whole, prediction: Prediction, slide: Slide) -> None:
    import spatialdata

    x_um, y_um = (
        prediction.spots.x_px * slide.mpp.x_um,
        prediction.spots.y_px * slide.mpp.y_um,
    )
    low = np.array([x_um[0] - 1, y_um[0] - 1])
    high = low + 202
    inside = (x_um > low[0]) & (x_um < high[0]) & (y_um > low[1]) & (y_um < high[1])
    part = spatialdata.bounding_box_query(
        whole,
        axes=("x", "y"),
        min_coordinate=low,
        max_coordinate=high,
        target_coordinate_system=UM,
    )
    assert inside.sum() == 4
    found = [
        name for name in part[TABLE].obs_names if name in np.array(prediction.spots.names)[inside]
    ]
    assert len(found) == 4
    np.testing.assert_array_equal(
        part[TABLE][found, "SCD"].X.ravel(), prediction.values("SCD")[inside]
    )
    cut = part[IMAGE]["scale0"]["image"]
    assert cut.sizes["x"] == pytest.approx(202 / slide.mpp.x_um / 2, abs=2)


def test_the_table_annotates_the_circles(whole, prediction: Prediction, regions) -> None:
    import spatialdata

    element, table = spatialdata.match_element_to_table(whole, SPOTS, TABLE)
    assert list(element[SPOTS].index) == list(table.obs["spot"]) == list(prediction.spots.names)
    np.testing.assert_array_equal(table[:, "GNAS"].X.ravel(), prediction.values("GNAS"))
    assert set(table.layers) == {"sd", "q05", "q95"}
    assert set(table.obs["in_region"]) <= {regions[0].name, ""}
    assert list(whole[REGIONS]["name"]) == [region.name for region in regions]
    area_um2 = whole[REGIONS].geometry.area.iloc[0]
    assert area_um2 * 1e-6 == pytest.approx(regions[0].area_mm2(Selection.of(prediction).mpp))


def test_without_the_slide_its_overview_serves(half_done: Prediction, tmp_path: Path) -> None:
    import spatialdata

    found = written(Selection.of(half_done, ("SCD",)), tmp_path / "p.zarr")
    assert len(found[SPOTS]) == 10
    assert max(found[IMAGE].shape) <= 1024
    extent = spatialdata.get_extent(found[IMAGE], coordinate_system=PX)
    assert extent["x"] == pytest.approx((0, 9272), abs=16)


def test_the_image_is_no_larger_than_asked(prediction, slide: Slide, tmp_path: Path) -> None:
    import spatialdata

    selection = Selection.of(prediction, ("SCD",))
    found = written(selection, tmp_path / "p.zarr", slide=slide, image_max_px=2500)
    finest = found[IMAGE]["scale0"]["image"]
    assert max(finest.shape) == slide.levels[2].size.height_px
    extent = spatialdata.get_extent(found[IMAGE], coordinate_system=PX)
    assert extent["y"] == pytest.approx((0, slide.size.height_px), abs=4)
    np.testing.assert_array_equal(
        finest.data[:, 1000:1020, 1200:1220].compute().transpose(1, 2, 0),
        slide.levels[2].pixels[1000:1020, 1200:1220].compute(),
    )


def test_the_slide_is_copied_here_where_there_is_a_dask_client(
    prediction: Prediction, slide: Slide, tmp_path: Path
) -> None:
    from distributed import Client

    with Client(n_workers=1, processes=False, dashboard_address=None):
        found = written(
            Selection.of(prediction, ("SCD",)), tmp_path / "p.zarr", slide=slide, image_max_px=2500
        )
    assert found[IMAGE]["scale0"]["image"].shape[1:] == (2476, 2318)


def test_another_slide_is_refused(prediction: Prediction, tmp_path: Path) -> None:
    from napari_stem.geometry import Mpp

    other = open_slide(DATA / "slides" / "C5-thumbnail.jpg", Mpp.square(5.5))
    with pytest.raises(PredictionError, match=r"not the slide that was predicted \(C5\.jpg\)"):
        write_spatialdata(Selection.of(prediction), tmp_path / "p.zarr", ExportOptions(slide=other))
    other.close()
    assert list(tmp_path.iterdir()) == []


def test_breaking_off_leaves_nothing(prediction, slide: Slide, tmp_path: Path) -> None:
    def stop(_text: str, done: int, _total: int) -> None:
        if done > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_spatialdata(
            Selection.of(prediction),
            tmp_path / "p.zarr",
            ExportOptions(slide=slide, image_max_px=3000, progress=stop),
        )
    assert list(tmp_path.iterdir()) == []
