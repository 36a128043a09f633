"""Compare the search for tissue with LazySlide's ``find_tissues`` on slides of your own.

    python scripts/tissue_comparison.py SLIDE [SLIDE ...] [--mpp 0.69] [--picture comparison.png]

Prints, for each slide, how well both agree (intersection over union), the area and number of the
pieces that each finds and how long it takes, file opened and first picture read. LazySlide is no
dependency: ``pip install lazyslide`` into an environment of its own, with this package.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import StemError
from napari_stem.geometry import Mpp
from napari_stem.slide import open_slide
from napari_stem.slide.tissue import TissueView, find_tissue

if TYPE_CHECKING:
    import shapely

    from napari_stem.slide import Slide

MIN_AREA_MM2 = 0.05
TIMED_RUNS = 3
PICTURE_PX = 700
OURS, THEIRS = "orange", "deepskyblue"


@dataclass(frozen=True)
class Found:
    """Tissue in level-0 px, and the least time it took."""

    area: shapely.Geometry
    milliseconds: float


def ours(slide: Slide) -> Found:
    """Thumbnail to outlines, as the dock and ``predict`` do it."""
    import shapely

    best = np.inf
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        # timed too: from the second run on `find_tissue` has a look of its own from the first
        TissueView.of_slide(slide)
        regions = find_tissue(slide).regions
        best = min(best, 1e3 * (time.perf_counter() - start))
    return Found(shapely.union_all([region.polygon for region in regions]), best)


def theirs(path: Path, **options: Any) -> Found:
    """LazySlide at its defaults, but for ``options``; pieces below the same area are left out."""
    import shapely

    try:
        import lazyslide
        from wsidata import open_wsi
    except ImportError as error:
        sys.exit(f"LazySlide cannot be imported ({error}); install it: pip install lazyslide")
    best = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wsi = open_wsi(str(path), store=None)
        for _ in range(TIMED_RUNS):
            start = time.perf_counter()
            lazyslide.pp.find_tissues(wsi, **options)
            best = min(best, 1e3 * (time.perf_counter() - start))
    shapes = wsi.shapes["tissues"].geometry if "tissues" in wsi.shapes else ()
    return Found(shapely.union_all([shapely.make_valid(shape) for shape in shapes]), best)


def without_small(area: shapely.Geometry, least_px: float) -> shapely.Geometry:
    """Leave out the pieces that both would leave out at the same setting."""
    import shapely

    return shapely.union_all([p for p in shapely.get_parts(area) if p.area >= least_px])


def agreement(one: shapely.Geometry, other: shapely.Geometry) -> float:
    """Intersection over union."""
    union = one.union(other).area
    return float(one.intersection(other).area / union) if union else 1.0


def draw(axes: Any, slide: Slide, areas: dict[str, shapely.Geometry]) -> None:
    """Show the outlines on the slide."""
    import shapely

    sides = [max(level.size.height_px, level.size.width_px) for level in slide.levels]
    index = int(np.argmin(np.abs(np.array(sides) - PICTURE_PX)))
    level = slide.levels[index]
    axes.imshow(slide.read_region(0, 0, index, level.size))
    for colour, area in areas.items():
        for part in shapely.get_parts(area):
            for ring in (part.exterior, *part.interiors):
                x, y = np.asarray(ring.coords).T[:2] / level.downsample
                axes.plot(x, y, color=colour, linewidth=0.8)
    axes.set_title(slide.path.name, fontsize=8)
    axes.set_axis_off()


def compare(path: Path, mpp_um: float | None, axes: Any) -> None:
    """Print one slide's line and draw its picture."""
    slide = open_slide(path, None if mpp_um is None else Mpp.square(mpp_um))
    mpp = slide.require_mpp()
    mm2 = mpp.y_um * mpp.x_um / 1e6
    first, second = ours(slide), theirs(path)
    entropy = theirs(path, method="entropy")
    areas = [without_small(f.area, MIN_AREA_MM2 / mm2) for f in (first, second, entropy)]
    print(f"{path.name}: {slide.size.width_px} x {slide.size.height_px} px, {mpp.x_um:.3g} um/px")
    names = ("napari-stem", "LazySlide", "LazySlide entropy")
    for name, found, area in zip(names, (first, second, entropy), areas, strict=True):
        n_pieces = sum(part.area > 0 for part in _parts(area))
        print(
            f"    {name:18} {area.area * mm2:8.2f} mm2 {n_pieces:4} pieces {found.milliseconds:7.0f} ms"
            f"   IoU with ours {agreement(areas[0], area):.3f}"
        )
    draw(axes, slide, {OURS: areas[0], THEIRS: areas[1]})
    slide.close()


def _parts(area: shapely.Geometry) -> Any:
    import shapely

    return shapely.get_parts(area)


def main() -> None:
    """Read the command line and go through the slides."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slides", nargs="+", type=Path)
    parser.add_argument("--mpp", type=float, help="um per pixel, where the files do not say")
    parser.add_argument("--picture", type=Path, default=Path("tissue_comparison.png"))
    asked = parser.parse_args()
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        1, len(asked.slides), squeeze=False, figsize=(4 * len(asked.slides), 4)
    )
    for path, place in zip(asked.slides, axes[0], strict=True):
        try:
            compare(path, asked.mpp, place)
        except StemError as error:
            print(f"{path.name}: {error}")
    figure.suptitle(f"{OURS}: napari-stem, {THEIRS}: LazySlide", fontsize=9)
    figure.tight_layout()
    figure.savefig(asked.picture, dpi=150)
    print(f"Picture: {asked.picture}")


if __name__ == "__main__":
    main()
