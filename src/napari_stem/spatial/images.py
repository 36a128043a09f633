"""What a section's image says of itself, from its header alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_stem.errors import DatasetError, SlideError

if TYPE_CHECKING:
    from pathlib import Path

IMAGE_ENDINGS = (
    ".tif", ".tiff", ".btf", ".svs", ".ndpi", ".jpg", ".jpeg", ".png", ".qptiff", ".mrxs", ".czi",
)  # fmt: skip


@dataclass(frozen=True)
class ImageFacts:
    """Extent and, if the file states it, pixel size at level 0.

    Attributes
    ----------
    size_px
        Width and height.
    mpp_um
        um per px (mean of both axes), or None.
    doubtful
        Whether that comes from a resolution tag, which editors write without thinking.
    """

    size_px: tuple[int, int]
    mpp_um: float | None
    doubtful: bool


def image_facts(path: Path) -> ImageFacts:
    """Read an image's header.

    Raises
    ------
    DatasetError
        The image is missing, damaged or of a kind that cannot be read.
    """
    from napari_stem.slide.opening import describe

    try:
        facts = describe(path)
    except SlideError as error:
        raise DatasetError(f"{path} cannot be read as an image: {error}") from error
    return ImageFacts((facts["width_px"], facts["height_px"]), *_own_mpp_um(facts))


def _own_mpp_um(facts: dict[str, Any]) -> tuple[float | None, bool]:
    """Take what the file itself says: not the data set's metadata, nor what a user once answered."""
    from napari_stem.slide.pixel_size import DATA_SET, REMEMBERED, RESOLUTION_TAG, STATED

    for each in facts["mpp_sources"]:
        if each["source"] not in (STATED, DATA_SET, REMEMBERED):
            return float(sum(each["mpp_um"]) / 2), each["source"] == RESOLUTION_TAG
    return None, False
