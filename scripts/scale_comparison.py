"""How often the check of the pixel size by the nuclei warns: right sizes, wrong ones, part by part.

    python scripts/scale_comparison.py SLIDE [SLIDE ...] [--mpp 0.69]

Every slide is looked at as a whole and in squares of it that hold tissue, as it is and reduced, each
stated as it is and wrong by known factors. Prints the width of the nuclei at the true size and, for
each factor, how many were warned of. The limits were chosen on these very slides; therefore the last
lines tell what limits around the other slides' widths (their geometric mean, times and by 1.5) would
have said of each slide.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from napari_stem.geometry import Mpp, SizePx
from napari_stem.slide import open_slide
from napari_stem.slide.scale_check import MEASURABLE_UM, check_scale

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FACTORS = (0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)
REDUCTIONS = (1.0, 1.41, 2.0)
SIDE_PX = 1100  # of a square, before it is reduced
MOST_SQUARES = 6
STAINED, LEAST_STAINED = 200, 0.3  # red below this is stained; a square needs this share
AROUND = 1.5


def pictures(rgb: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Give the whole slide, and squares with tissue."""
    yield "whole", rgb
    found = 0
    for top in range(0, rgb.shape[0] - SIDE_PX + 1, SIDE_PX):
        for left in range(0, rgb.shape[1] - SIDE_PX + 1, SIDE_PX):
            square = rgb[top : top + SIDE_PX, left : left + SIDE_PX]
            if (square[..., 0] < STAINED).mean() >= LEAST_STAINED and found < MOST_SQUARES:
                found += 1
                yield f"{left}, {top}", square


def reduced(rgb: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Average pixels, as a coarser scan would."""
    if factor == 1:
        return rgb
    size = (round(rgb.shape[1] / factor), round(rgb.shape[0] / factor))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BOX))


def look(rgb: NDArray[np.uint8], mpp_um: float) -> dict[float, tuple[float | None, bool]]:
    """Width and whether there is a warning, by factor."""
    told = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        Image.fromarray(rgb).save(path, compress_level=1)
        slide = open_slide(path, Mpp.square(mpp_um))
        for factor in FACTORS:
            found = check_scale(slide, Mpp.square(mpp_um * factor))
            told[factor] = (found.width_um, found.warning is not None)
        slide.close()
    return told


def main() -> None:
    """Read the command line and go through the slides."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slides", nargs="+", type=Path)
    parser.add_argument("--mpp", type=float, help="um per pixel, where the files do not say")
    asked = parser.parse_args()
    widths: dict[str, list[dict[float, float | None]]] = {}
    warned: Counter[float] = Counter()
    measured: Counter[float] = Counter()
    for path in asked.slides:
        slide = open_slide(path)
        if slide.mpp is None and asked.mpp is not None:
            slide.mpp = Mpp.square(asked.mpp)
        mpp_um, size = slide.require_mpp().x_um, slide.size
        rgb = slide.read_region(0, 0, 0, SizePx(size.height_px, size.width_px))
        slide.close()
        for name, picture in pictures(rgb):
            for reduction in REDUCTIONS:
                true_um = mpp_um * reduction
                if true_um > MEASURABLE_UM[1]:
                    continue
                told = look(reduced(picture, reduction), true_um)
                for factor, (width, is_warned) in told.items():
                    measured[factor] += width is not None
                    warned[factor] += is_warned
                widths.setdefault(path.stem, []).append({f: w for f, (w, _) in told.items()})
                row = " ".join(
                    f"{'  -' if w is None else f'{w:5.1f}'}{'!' if bad else ' '}"
                    for w, bad in told.values()
                )
                print(f"{path.stem[:12]:12} {name:12} {true_um:5.2f} um/px  {row}", flush=True)
    for factor in FACTORS:
        print(f"stated x{factor:g}: {warned[factor]} of {measured[factor]} measured are warned of")
    _leave_one_out(widths)


def _leave_one_out(widths: dict[str, list[dict[float, float | None]]]) -> None:
    for name, own in widths.items():
        others = [w[1.0] for n, rows in widths.items() if n != name for w in rows if w[1.0]]
        middle = float(np.exp(np.log(others).mean()))
        told = []
        for factor in FACTORS:
            seen = [w[factor] for w in own if w[factor] is not None]
            odd = sum(not middle / AROUND <= width <= middle * AROUND for width in seen)
            told.append(f"x{factor:g}: {odd} of {len(seen)}")
        low, high = middle / AROUND, middle * AROUND
        print(f"without {name}: limits {low:.1f} to {high:.1f} um; warned of it {', '.join(told)}")


if __name__ == "__main__":
    main()
