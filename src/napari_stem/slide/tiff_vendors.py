"""What some scanners' TIFFs hold beside plain pages: Leica collections, images within Philips XML, channels.

Sources: https://openslide.org/formats/leica/ and /philips/; Akoya QPTIFF File Format 1.0.
"""

from __future__ import annotations

import base64
import binascii
from functools import partial
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np

from napari_stem.geometry import SizePx
from napari_stem.slide.level_pixels import READ_ERRORS, LevelPixels
from napari_stem.slide.tiff_tiles import jpeg_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import tifffile
    from numpy.typing import NDArray

PHILIPS_KINDS = {"LABELIMAGE": "label", "MACROIMAGE": "macro"}
LARGEST_PX = 2**26  # of a label or macro image
BY_CHANNEL = frozenset({"akoya", "leica"})  # store each channel of a fluorescence scan as a page


def n_channels(series: Any, vendor: str) -> int:
    """Count the fluorescence channels of a scan; 0 for a brightfield one.

    Plain TIFFs may keep red, green and blue apart, these scanners do not.
    """
    sizes = dict(zip(series.axes, series.shape, strict=True))
    grey = sizes.get("S", 1) < 3
    return int(sizes.get("C", 1)) if vendor in BY_CHANNEL and grey else 0


def leica_macros(tiff: tifffile.TiffFile) -> frozenset[int]:
    """Places, among the series, of the pictures of the whole glass: their view is the collection's."""
    return frozenset(n for n, is_macro in enumerate(_leica_views(tiff)) if is_macro)


def n_leica_regions(tiff: tifffile.TiffFile) -> int:
    """Count the regions that were scanned; several lie side by side on the glass."""
    return sum(not is_macro for is_macro in _leica_views(tiff))


def _leica_views(tiff: tifffile.TiffFile) -> Iterator[bool]:
    """Tell for each image, in the order of the series, whether it shows the whole glass."""
    root = ET.fromstring(tiff.pages.first.description)  # noqa: S314 (expat >= 2.4.1)
    for collection in _named(root, "collection"):
        whole = _extent(collection)
        for image in _named(collection, "image"):
            view = next(_named(image, "view"), None)
            if next(_named(image, "pixels"), None) is None:
                continue
            yield view is not None and _offset(view) == (0, 0) and _extent(view) == whole


def _named(parent: ET.Element, name: str) -> Iterator[ET.Element]:
    return (child for child in parent if child.tag.rpartition("}")[2] == name)


def _extent(element: ET.Element) -> tuple[int, int]:
    return int(element.attrib["sizeX"]), int(element.attrib["sizeY"])


def _offset(element: ET.Element) -> tuple[int, int]:
    return int(element.attrib.get("offsetX", 0)), int(element.attrib.get("offsetY", 0))


def philips_images(tiff: tifffile.TiffFile, name: str) -> dict[str, LevelPixels]:
    """Label and macro images that a Philips slide keeps as JPEG within its XML.

    Parameters
    ----------
    tiff
        The open file.
    name
        What messages call it.

    Returns
    -------
    Pixels by ``label`` and ``macro``; what is damaged is left out.
    """
    try:
        root = ET.fromstring(str(tiff.philips_metadata))  # noqa: S314 (expat >= 2.4.1)
    except ET.ParseError:
        return {}
    found: dict[str, LevelPixels] = {}
    for scanned in root.iter("DataObject"):
        told = {each.attrib.get("Name", ""): each.text or "" for each in scanned}
        kind = PHILIPS_KINDS.get(told.get("PIM_DP_IMAGE_TYPE", "").strip())
        if kind is None or kind in found:
            continue
        try:
            data = base64.b64decode(told.get("PIM_DP_IMAGE_DATA", ""))
        except binascii.Error:
            continue
        size = jpeg_size(data)
        if size is None or not 0 < size[0] * size[1] <= LARGEST_PX:
            continue
        extent = SizePx(*size)
        label = f"the {kind} image of {name}"
        found[kind] = LevelPixels(partial(_jpeg, data), extent, extent, label)
    return found


def _jpeg(data: bytes, rows: slice, columns: slice) -> NDArray[np.uint8]:
    import imagecodecs

    try:
        pixels = np.asarray(imagecodecs.jpeg8_decode(data, outcolorspace="RGB"))
    except READ_ERRORS as error:
        raise ValueError(str(error)) from error
    return pixels[rows, columns]
