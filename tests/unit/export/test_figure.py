"""Figures: at the scale that they state, in the colours that the legend says."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import matplotlib as mpl
import numpy as np
import pytest
import shapely
from PIL import Image

from napari_stem.errors import OutputError, PredictionError
from napari_stem.exporting.drawing import MAP_OPACITY, Limits, Look, SeenMap, window_of
from napari_stem.exporting.figure import INTERVAL, drawn, round_scale, write_figure
from napari_stem.exporting.options import ExportOptions
from napari_stem.exporting.selection import NOTICES, Selection
from napari_stem.geometry import Region
from napari_stem.spatial.region_files import ClassedRegion, class_colour
from napari_stem.texts import NOTICE

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.results import Prediction
    from napari_stem.slide import Slide

MM_PER_INCH = 25.4


def maps_of(figure: Any) -> list[Any]:
    """Axes of maps, without the legends'."""
    return [axes for axes in figure.axes if axes.images]


def texts(figure: Any) -> str:
    found = [t.get_text() for t in figure.texts]
    for axes in (*figure.axes, *(legend for each in figure.axes for legend in each.child_axes)):
        found += [
            axes.get_title(loc="left"),
            axes.get_ylabel(),
            *(t.get_text() for t in axes.texts),
        ]
    return "\n".join(found)


@pytest.mark.parametrize("um_per_mm", [None, 12.5, 40.0])
def test_the_stated_scale_is_true(prediction: Prediction, slide: Slide, um_per_mm) -> None:
    figure = drawn(
        Selection.of(prediction, ("SCD",)), ExportOptions(slide=slide, um_per_mm=um_per_mm)
    )
    stated = 1000 / float(texts(figure).split(":1 when printed")[0].split()[-1])
    assert um_per_mm in (None, stated)
    width_in, height_in = figure.get_size_inches()
    for axes in maps_of(figure):
        box = axes.get_position()
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert (right - left) / (box.width * width_in * MM_PER_INCH) == pytest.approx(stated)
        assert (bottom - top) / (box.height * height_in * MM_PER_INCH) == pytest.approx(stated)


def test_the_bar_is_as_long_as_it_says(prediction: Prediction) -> None:
    figure = drawn(Selection.of(prediction, ("SCD",)))
    figure.canvas.draw()
    for axes in maps_of(figure):
        (bar,) = [each.info for each in axes.artists]
        box = bar.window_extent.transformed(axes.transData.inverted())
        um_per_unit = {"um": 1, "mm": 1000}[bar.units]
        assert bar.value * um_per_unit == bar.length_px
        assert bar.length_px < box.width < 1.3 * bar.length_px
        assert np.ptp(axes.get_xlim()) / 9 < bar.length_px <= np.ptp(axes.get_xlim()) / 4


@pytest.mark.parametrize(("um_per_mm", "rounded"), [(8.0, 8), (8.1, 10), (41, 50), (0.3, 0.4)])
def test_scales_are_round(um_per_mm: float, rounded: float) -> None:
    assert round_scale(um_per_mm) == pytest.approx(rounded)


def test_every_spot_has_the_colour_of_its_value(prediction: Prediction, tmp_path: Path) -> None:
    """Read back from the pixels: tissue and colour mixed, at the place of the spot."""
    gene, limits = "SCD", Limits(0.0, 6.0, are_percentiles=False)
    selection = Selection.of(prediction, (gene,))
    figure = drawn(selection, ExportOptions(um_per_mm=10.0, look=Look(limits)))
    axes = maps_of(figure)[0]
    figure.savefig(tmp_path / "p.png", dpi=100)
    pixels = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).astype(float)
    axes.collections[0].set_visible(False)
    figure.savefig(tmp_path / "bare.png", dpi=100)
    bare = np.asarray(Image.open(tmp_path / "bare.png").convert("RGB")).astype(float)
    mpp, spots = selection.mpp, selection.spots
    at = axes.transData.transform(np.c_[spots.x_px * mpp.x_um, spots.y_px * mpp.y_um])
    rows, cols = (len(pixels) - at[:, 1]).astype(int), at[:, 0].astype(int)
    colour = mpl.colormaps["viridis"](prediction.values(gene) / 6)[:, :3] * 255
    expected = MAP_OPACITY * colour + (1 - MAP_OPACITY) * bare[rows, cols]
    far_from_bar = spots.y_px < spots.y_px.max()
    assert far_from_bar.sum() > 8
    np.testing.assert_allclose(pixels[rows, cols][far_from_bar], expected[far_from_bar], atol=3)


def test_a_gene_may_have_limits_of_its_own(prediction: Prediction) -> None:
    genes = prediction.genes[:2]
    look = Look(Limits(0.0, 9.0, are_percentiles=False), own_limits={("mean", genes[1]): [0.5, 2]})
    figure = drawn(Selection.of(prediction, genes), ExportOptions(look=look))
    first, _, second, _ = (axes.collections[0].get_clim() for axes in maps_of(figure))
    assert (first, second) == ((0.0, 9.0), (0.5, 2.0))


def test_it_says_what_it_is(unlike: Prediction) -> None:
    said = " ".join(
        texts(drawn(Selection.of(unlike, ("SCD", "GNAS")))).split()
    )  # lines as they fit
    for words in (
        "SCD: predicted mean",
        "GNAS: uncertainty (SD)",
        f"SCD predicted mean {unlike.unit}",
        "Neighbouring spots share tissue",
        NOTICE,
        "C5.jpg",
        "her2st-breast",
        f"3 of {len(unlike.spots)} spots shown are unlike the training data",
    ):
        assert words in said


def test_what_was_measured_is_not_said_to_be_predicted(unlike: Prediction, tmp_path: Path) -> None:
    selection, path = Selection.of(unlike, ("SCD",)), tmp_path / "f.svg"
    window = window_of(selection.spots)
    pixels = np.ones((2, 2, 4))
    for shown, notice in NOTICES.items():
        is_measured, is_predicted = shown == "measured", shown == "predicted"
        seen = SeenMap(f"SCD {shown}", pixels, window, shown=shown)
        write_figure(selection, path, ExportOptions(seen=seen, overwrite=True))
        told = path.read_text(encoding="utf-8")  # matplotlib notes what it draws as outlines
        assert f"<!-- {escape(notice)} -->" in told
        assert all(
            f"<!-- {escape(other)} -->" not in told for other in {*NOTICES.values()} - {notice}
        )
        assert ("hatched: " in told) == (not is_measured)
        assert ("model " in told) == (not is_measured)
        assert (f"SCD {shown} on {unlike.provenance['slide']}" in told) == (not is_predicted)


def test_what_it_says_ends_within_the_page(unlike: Prediction) -> None:
    unlike.provenance["slide"] = f"{'TCGA-A1-A0SB-01Z-00-DX1-' * 4}.svs"
    small = Region(shapely.box(4400, 3400, 5400, 5400), "upright")
    selection = Selection.of(unlike, ("SCD",), [small])
    figure = drawn(selection, panels=INTERVAL[:1])
    page, lowest = figure.bbox, min(axes.bbox.y0 for axes in figure.axes)
    for text in figure.texts:
        box = text.get_window_extent()
        assert page.x0 < box.x0 < box.x1 < page.x1
        assert page.y0 < box.y0 < box.y1 < page.y1
    assert max(text.get_window_extent().y1 for text in figure.texts[1:]) < lowest


@pytest.mark.parametrize("genes", [("SCD", "GNAS"), ("SCD", "GNAS", "HLA-A", "CD74")])
def test_words_along_a_colour_bar_stay_beside_their_map(prediction: Prediction, genes) -> None:
    flat = Region(shapely.box(4400, 3600, 6400, 4150), "flat")
    figure = drawn(Selection.of(prediction, genes, [flat]))
    figure.canvas.draw()
    words = {axes: axes.child_axes[0].yaxis.label.get_window_extent() for axes in maps_of(figure)}
    foot = max(text.get_window_extent().y1 for text in figure.texts[1:])
    for axes, box in words.items():
        assert box.y0 > foot
        assert box.x1 < figure.bbox.x1
        assert not [other for other in words if other is not axes and box.overlaps(other.bbox)]
        assert not [
            other for each, other in words.items() if each is not axes and box.overlaps(other)
        ]


def test_missing_spots_are_told(half_done: Prediction) -> None:
    figure = drawn(Selection.of(half_done, ("SCD",)))
    assert f"{len(half_done.spots) - 10} spots not predicted yet" in texts(figure)
    assert len(maps_of(figure)[0].collections[0].get_array()) == 10


def test_regions_crop_it(prediction: Prediction, slide: Slide) -> None:
    small = Region(shapely.box(4700, 3700, 5000, 3900), "small")
    figure = drawn(Selection.of(prediction, ("SCD",), [small]), ExportOptions(slide=slide))
    mpp, axes = slide.require_mpp(), maps_of(figure)[0]
    left, right = axes.get_xlim()
    assert left < 4700 * mpp.x_um < 5000 * mpp.x_um < right
    assert right - left < 0.75 * window_of(Selection.of(prediction).spots).width_um
    outlined = [c for c in axes.collections if hasattr(c, "get_segments")]
    (ring,) = outlined[0].get_segments()
    np.testing.assert_allclose(ring.max(0), (5000 * mpp.x_um, 3900 * mpp.y_um))


def test_the_first_map_names_the_regions(prediction: Prediction) -> None:
    boxes = (4700, 3700, 5000, 3900), (5100, 3700, 5300, 4100)
    regions = [Region(shapely.box(*box), name) for box, name in zip(boxes, "AB", strict=True)]
    selection = Selection.of(prediction, ("SCD", "GNAS"), regions)
    first, *others = maps_of(drawn(selection))
    assert [text.get_text() for text in first.texts] == ["A", "B"]
    x_px, y_px = np.divide(first.texts[0].get_position(), (selection.mpp.x_um, selection.mpp.y_um))
    assert regions[0].polygon.contains(shapely.Point(x_px, y_px))
    assert not any(each.texts for each in others)


def test_regions_have_the_colours_of_their_classes(prediction: Prediction) -> None:
    square = shapely.box(4700, 3700, 5000, 3900)
    tumor = ClassedRegion(square, "nest", "Tumor", class_colour("Tumor"))
    regions = [Region(square, "plain"), tumor]
    figure = drawn(Selection.of(prediction, ("SCD",), regions))
    outlined = [c for c in maps_of(figure)[0].collections if hasattr(c, "get_segments")]
    plain, red = (tuple(each.get_colors()[0][:3]) for each in outlined[:2])
    assert red == tuple(np.array(class_colour("Tumor")) / 255) != plain


@pytest.fixture(scope="module")
def written(prediction: Prediction, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one figure in each format."""
    folder = tmp_path_factory.mktemp("figures")
    for name in ("p.png", "p.svg", "p.pdf"):
        write_figure(Selection.of(prediction, ("SCD",)), folder / name)
    return folder


def test_every_format(prediction: Prediction, written: Path, tmp_path: Path) -> None:
    with Image.open(written / "p.png") as image:
        assert min(image.size) > 800
        assert np.asarray(image).std() > 20
    assert ET.parse(written / "p.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own file
    assert (written / "p.pdf").read_bytes().startswith(b"%PDF")
    selection = Selection.of(prediction, ("SCD",))
    write_figure(selection, tmp_path / "named.dat", ExportOptions(file_format="svg"))
    assert (tmp_path / "named.dat").read_text().startswith("<?xml")


def test_the_same_figure_is_the_same_file(
    prediction: Prediction, written: Path, tmp_path: Path
) -> None:
    for name in ("p.png", "p.pdf"):
        write_figure(Selection.of(prediction, ("SCD",)), tmp_path / name)
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_what_cannot_be_drawn_is_said(prediction: Prediction, tmp_path: Path) -> None:
    one = Selection.of(prediction, ("SCD",))
    with pytest.raises(OutputError, match="choose at most 24"):
        write_figure(Selection.of(prediction), tmp_path / "p.png")
    with pytest.raises(OutputError, match="more um per mm"):
        write_figure(one, tmp_path / "p.png", ExportOptions(um_per_mm=0.1))
    with pytest.raises(OutputError, match=r"p\.bmp has an ending"):
        write_figure(one, tmp_path / "p.bmp")
    assert list(tmp_path.iterdir()) == []


def test_another_slide_is_refused(altered, slide: Slide) -> None:
    prediction = altered(slide_fingerprint="of another")
    with pytest.raises(PredictionError, match="not the slide that was predicted"):
        drawn(Selection.of(prediction, ("SCD",)), ExportOptions(slide=slide))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p2,p98", Limits(2, 98)),
        ("P0.5, p99.5", Limits(0.5, 99.5)),
        ("0,4.5", Limits(0, 4.5, are_percentiles=False)),
        ("-1,1", Limits(-1, 1, are_percentiles=False)),
    ],
)
def test_limits_as_people_write_them(text: str, expected: Limits) -> None:
    assert Limits.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "3", "p2,98", "4,4", "p98,p2", "p2,p101", "a,b", "nan,1", "0,inf", "1,2,3"]
)
def test_what_is_no_pair_of_limits(text: str) -> None:
    with pytest.raises(ValueError, match=r"limits|float"):
        Limits.parse(text)


def test_limits_of_values() -> None:
    values = np.arange(101, dtype=np.float32)
    assert Limits(2, 98).of(values) == (2, 98)
    assert Limits(0, 4.5, are_percentiles=False).of(values) == (0, 4.5)
    low, high = Limits().of(np.ones(5, np.float32))
    assert low < high
