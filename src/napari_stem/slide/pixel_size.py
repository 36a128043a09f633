"""Where a slide's pixel size may be learnt from, and which of these sources are to be believed."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from napari_stem.errors import SlideError
from napari_stem.geometry import Mpp

if TYPE_CHECKING:
    from pathlib import Path

UM_PER_INCH = 25_400.0
PLAUSIBLE_UM = (0.05, 20.0)  # from a 200x oil objective to a flatbed scanner
# Resolutions that image editors, screens, printers and flatbed drivers write: never a measurement.
HABITUAL_DPI = (72, 96, 98, 100, 120, 144, 150, 200, 240, 300, 360, 400, 600, 1200, 2400, 4800)
SIDECAR_KEY = "pixel_size_um_estimated"


def plausible_mpp(y_um: float, x_um: float) -> Mpp | None:
    """Pixel size from a resolution tag, or None where it must be a screen's or a printer's.

    Parameters
    ----------
    y_um, x_um
        What the tag amounts to, um per pixel.
    """
    for value in (y_um, x_um):
        if not (math.isfinite(value) and PLAUSIBLE_UM[0] <= value <= PLAUSIBLE_UM[1]):
            return None
        if any(abs(UM_PER_INCH / value - dpi) < 0.5 for dpi in HABITUAL_DPI):
            return None
    return Mpp(y_um=y_um, x_um=x_um)


def sidecar_mpp(slide_path: Path) -> Mpp | None:
    """Pixel size from the metadata of a data set in HEST layout.

    ``DATASET/wsis/ID.*`` is described by ``DATASET/metadata/ID.json``, whose
    ``pixel_size_um_estimated`` holds um per pixel. None where there is no such file or entry.

    Raises
    ------
    SlideError
        The file is there, but does not hold a usable number.
    """
    if slide_path.parent.name != "wsis":
        return None
    sidecar = slide_path.parent.parent / "metadata" / f"{slide_path.stem}.json"
    if not sidecar.is_file():
        return None
    try:
        value = json.loads(sidecar.read_text(encoding="utf-8")).get(SIDECAR_KEY)
        return None if value is None else Mpp.square(float(value))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        msg = (
            f"{sidecar} should state the pixel size of {slide_path.name} as '{SIDECAR_KEY}', but "
            f"cannot be used ({error}); mend it, or move it away and state the pixel size yourself."
        )
        raise SlideError(msg) from error
