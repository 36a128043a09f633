"""Where a slide's pixel size may be learnt from, and which of these sources are to be believed.

Order of trust, highest first: what the caller states; the metadata of a data set in HEST layout;
the user's remembered answer; what the scanner wrote (vendor tags, OME, DICOM, CZI, OME-Zarr);
the TIFF or JPEG resolution tags, which editors and converters write without thinking. Exactly 1 um,
which is what writers put in who know nothing, comes after all others that are not the user's.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_stem.caches import CACHES, entries, shrink
from napari_stem.errors import OutputError, SlideError
from napari_stem.foreign import read_json
from napari_stem.geometry import Mpp
from napari_stem.io import write_file
from napari_stem.texts import read_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

UM_PER_INCH = 25_400.0
PLAUSIBLE_UM = (0.05, 20.0)  # from a 200x oil objective to a flatbed scanner
# Resolutions that image editors, screens, printers and flatbed drivers write: never a measurement.
HABITUAL_DPI = (72, 96, 98, 100, 120, 144, 150, 200, 240, 300, 360, 400, 600, 1200, 2400, 4800)
PLACEHOLDER = Mpp.square(1.0)
SIDECAR_KEY = "pixel_size_um_estimated"
STATED, DATA_SET, REMEMBERED = "stated by you", "metadata of the data set", "your earlier answer"
BY_USER = frozenset({STATED, REMEMBERED})
RESOLUTION_TAG = "resolution tag"
AGREEMENT = 1.02  # two sources within this factor say the same
UM_PER_UNIT = {
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "cm": 1e4, "centimeter": 1e4, "centimetre": 1e4,
    "m": 1e6, "meter": 1e6, "metre": 1e6,
    "in": UM_PER_INCH, "inch": UM_PER_INCH, "Å": 1e-4, "angstrom": 1e-4, "pm": 1e-6,
}  # fmt: skip
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MppSource:
    """One statement of the pixel size: who says so, in a user's words, and what."""

    source: str
    mpp: Mpp

    def as_json(self) -> dict[str, Any]:
        """``{"source": ..., "mpp_um": [y, x]}``."""
        return {"source": self.source, "mpp_um": [self.mpp.y_um, self.mpp.x_um]}


def source_of(name: str, y_um: Any, x_um: Any, unit_um: float = 1.0) -> tuple[MppSource, ...]:
    """Turn what a file says into a source, named by who says so; empty where it is no pixel size.

    Of a resolution tag, that of a screen or a printer is none.

    ``y_um`` and ``x_um`` are numbers or their text (a decimal comma is understood), times ``unit_um``
    micrometres.
    """
    try:
        y, x = (float(str(value).strip().replace(",", ".")) * unit_um for value in (y_um, x_um))
        # 0.01 to 100 is Mpp's own limit; a scanner that says 0 or 50 means "unknown"
        if not all(PLAUSIBLE_UM[0] <= value <= PLAUSIBLE_UM[1] for value in (y, x)):
            return ()
        dots_per_inch = (UM_PER_INCH / y, UM_PER_INCH / x)
        if name == RESOLUTION_TAG and any(map(_is_habitual, dots_per_inch)):
            return ()
        return (MppSource(name, Mpp(y_um=y, x_um=x)),)
    except ValueError:
        return ()


def _is_habitual(dots_per_inch: float) -> bool:
    return any(abs(dots_per_inch - usual) < 0.5 for usual in HABITUAL_DPI)


def conflict(sources: Sequence[MppSource]) -> str | None:
    """Say in a sentence that sources disagree with the first, which is the one used; or None."""
    if not sources:
        return None
    used, *others = sources
    odd = [other for other in others if _apart(used.mpp, other.mpp) > AGREEMENT]
    if not odd:
        return None
    said = "; ".join(f"{each.source}: {_told(each.mpp)}" for each in (used, *odd))
    factor = max(_apart(used.mpp, other.mpp) for other in odd)
    return (
        f"The sources of the pixel size disagree by a factor of {factor:.2g} ({said}); "
        f"{used.source} is used, state the right one with --mpp or in the Slide panel."
    )


def _apart(one: Mpp, other: Mpp) -> float:
    ratios = (one.y_um / other.y_um, one.x_um / other.x_um)
    return max(max(r, 1 / r) for r in ratios)


def _told(mpp: Mpp) -> str:
    if math.isclose(mpp.y_um, mpp.x_um, rel_tol=1e-4):
        return f"{mpp.x_um:.4g} um"
    return f"{mpp.x_um:.4g} x {mpp.y_um:.4g} um"


def all_sources(
    path: Path, fingerprint: str, of_file: Sequence[MppSource], stated: Mpp | None
) -> tuple[MppSource, ...]:
    """List every statement of a slide's pixel size, the most trusted first; raises as `sidecar_mpp`."""
    above = (
        (STATED, stated),
        (DATA_SET, sidecar_mpp(path)),
        (REMEMBERED, remembered(fingerprint)),
    )
    found = [*(MppSource(n, mpp) for n, mpp in above if mpp is not None), *of_file]
    return tuple(sorted(found, key=lambda s: s.mpp == PLACEHOLDER and s.source not in BY_USER))


def sidecar_mpp(slide_path: Path) -> Mpp | None:
    """Pixel size from the metadata of a data set in HEST layout, None where they state none.

    ``DATASET/wsis/ID.*`` is described by ``DATASET/metadata/ID.json``, whose ``pixel_size_um_estimated``
    holds um per pixel, or NaN. SlideError where the file is there, but does not hold a usable number.
    """
    if slide_path.parent.name != "wsis":
        return None
    sidecar = slide_path.parent.parent / "metadata" / f"{slide_path.stem}.json"
    if not sidecar.is_file():
        return None
    try:
        # HEST-1k's files write NaN for what is not known
        value = read_json(read_text(sidecar), parse_constant=lambda _: None).get(SIDECAR_KEY)
        return None if value is None else Mpp.square(float(value))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SlideError(
            f"{sidecar} should state the pixel size of {slide_path.name} as '{SIDECAR_KEY}', but "
            f"cannot be used ({error}); mend it, or move it away and state the pixel size yourself."
        ) from error


def remember(fingerprint: str, mpp: Mpp | None) -> None:
    """Keep a user's answer for the slide with this content; None forgets it."""
    keep_answers(fingerprint, mpp_um=None if mpp is None else [mpp.y_um, mpp.x_um])


def remembered(fingerprint: str) -> Mpp | None:
    """Give the user's earlier answer for the slide with this content, None where there is none."""
    told = answers_of(fingerprint).get("mpp_um")
    if told is None:
        return None
    try:
        y_um, x_um = (float(value) for value in told)
        return Mpp(y_um=y_um, x_um=x_um)
    except (ValueError, TypeError) as error:
        logger.warning("The remembered pixel size of %s is not used: %s", fingerprint, error)
        return None


_writing = threading.Lock()


def answers_of(fingerprint: str) -> dict[str, Any]:
    """Give all answers for the slide with this content, by what they answer; empty where there are none."""
    try:
        told = read_json(_file(fingerprint).read_text(encoding="utf-8"))
        return dict(told)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        logger.warning("What was said of slide %s is not used: %s", fingerprint, error)
        return {}


def keep_answers(fingerprint: str, **answers: Any) -> None:
    """Keep JSON-ready answers beside those that are there; None forgets one.

    Renamed into place: safe against another process and a kill. A cache folder that cannot be
    written loses the answers with a warning, no more.
    """
    with _writing:
        told = answers_of(fingerprint) | answers
        told = {key: value for key, value in told.items() if value is not None}
        file = _file(fingerprint)
        try:
            if not told:
                file.unlink(missing_ok=True)
                return
            write_file(file, json.dumps(told))
            shrink(entries(["answers"]), CACHES["answers"].limit_bytes, keep=[file])
        except (OSError, OutputError) as error:
            logger.warning("What was said of a slide cannot be remembered: %s", error)


def _file(fingerprint: str) -> Path:
    return CACHES["answers"].folder / f"{fingerprint}.json"
