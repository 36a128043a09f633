"""What the scanners' TIFF dialects say: pixel size, objective, label and macro images.

Sources of the formats: https://openslide.org/formats/ (Aperio, Hamamatsu, Leica, Philips, Ventana);
OME-TIFF 6 (https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/); Akoya QPTIFF File Format 1.0.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree as ET

import numpy as np

from napari_stem.geometry import SizePx
from napari_stem.slide.level import READ_ERRORS, Level
from napari_stem.slide.pixel_size import (
    RESOLUTION_TAG,
    UM_PER_INCH,
    UM_PER_UNIT,
    MppSource,
    source_of,
)
from napari_stem.slide.tiff_tiles import jpeg_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import tifffile
    from numpy.typing import NDArray

    # of a file and the series of its slide; what it does not say raises one of READ_ERRORS
    Read = Callable[[tifffile.TiffFile, Any], Any]

UM_PER_RESOLUTION_UNIT = {2: UM_PER_INCH, 3: 1e4}  # TIFF tag 296: inch, centimetre
XMP_TAG, NDPI_OBJECTIVE_TAG, ICC_TAG = 700, 65421, 34675
FLUORESCENT = frozenset({"Fluor", "EmissionWavelength", "ExcitationWavelength"})  # of OME channels
BY_CHANNEL = frozenset({"akoya", "leica"})  # store each channel of a fluorescence scan as a page
ASSOCIATED = ("label", "macro", "thumbnail")
PHILIPS_KINDS = {"LABELIMAGE": "label", "MACROIMAGE": "macro"}
LARGEST_PX = 2**26  # of a label or macro image


def vendor_of(tiff: tifffile.TiffFile) -> str:
    """Name the scanner's maker, or ``generic``."""
    return next((v for v, told in VENDORS.items() if getattr(tiff, told.flag)), "generic")


def mpp_sources(tiff: tifffile.TiffFile, series: Any, vendor: str) -> tuple[MppSource, ...]:
    """List what the file says of its pixel size, the most trusted first."""
    ways: dict[str, Read] = (
        {VENDORS[vendor].source: VENDORS[vendor].mpp} if vendor in VENDORS else {}
    )
    ways |= {"OME PhysicalSize": _ome, "ImageJ unit": _imagej}
    if vendor != "hamamatsu":  # whose own source it is
        ways[RESOLUTION_TAG] = _resolution
    found: list[MppSource] = []
    for name, way in ways.items():
        try:
            found += source_of(name, *way(tiff, series))
        except READ_ERRORS:  # absent or nonsense: then another source must do
            continue
    return tuple(found)


def objective_power(tiff: tifffile.TiffFile, series: Any, vendor: str) -> float | None:
    """Magnification of the objective, where the scanner says it."""
    try:
        power = float(VENDORS[vendor].power(tiff, series))
    except READ_ERRORS:
        return None
    return power if 0 < power <= 200 else None


def _aperio(series: Any) -> dict[str, Any]:
    """Read the ``key = value`` pairs of an SVS description."""
    import tifffile

    return dict(tifffile.tifffile.svs_description_metadata(series.keyframe.description))


def associated_series(tiff: tifffile.TiffFile, baseline: Any) -> dict[str, Any]:
    """Find the label, macro and thumbnail images by the names that the series have."""
    found: dict[str, Any] = {}
    shows_glass = _leica_views(tiff) if tiff.is_scn else []
    for number, series in enumerate(tiff.series):
        if series is baseline or series.dtype != "uint8" or not set(series.axes) <= set("YXS"):
            continue
        name = "macro" if any(shows_glass[number : number + 1]) else series.name.lower()
        for kind in ASSOCIATED:
            if kind in name:
                found.setdefault(kind, series)
    return found


def fluorescence_channels(tiff: tifffile.TiffFile, series: Any) -> int:
    """Count the channels of a fluorescence scan; 0 for a brightfield one.

    Three or four 8-bit channels would pass for red, green and blue, each kept apart.
    """
    sizes = dict(zip(series.axes, series.shape, strict=True))
    # plain TIFFs may keep red, green and blue apart, these scanners do not
    if vendor_of(tiff) in BY_CHANNEL and sizes.get("S", 1) < 3:
        return int(sizes.get("C", 1))
    if "C" not in series.axes:
        return 0
    try:
        channels = _ome_images(tiff)[tiff.series.index(series)]["Pixels"]["Channel"]
    except READ_ERRORS:
        return 0
    told = channels if isinstance(channels, list) else [channels]
    emitting = [each for each in told if not FLUORESCENT.isdisjoint(each)]
    is_told = any(each.get("ContrastMethod") == "Fluorescence" for each in told)
    return len(told) if emitting or is_told else 0


def in_pieces(tiff: tifffile.TiffFile, series: Any) -> str:
    """Say what must be put together or chosen from, empty for a plain picture.

    One piece alone would be taken for the slide.
    """
    if tiff.is_ndpi and "Z" in series.axes:
        n_planes = series.shape[series.axes.index("Z")]
        return f"{n_planes} focal planes, of which one must be taken"
    if tiff.is_scn and (n := _leica_views(tiff).count(False)) > 1:
        return f"{n} scanned regions, which must be put side by side"
    if tiff.is_bif:
        xml = _ventana_xml(tiff)
        overlaps = re.findall(r'\bOverlap[XY]\s*=\s*"(-?[\d.]+)"', xml)
        if any(float(overlap) != 0 for overlap in overlaps):
            return "overlapping tiles, which must be stitched"
        if (n := len(re.findall(r'\bAOIScanned\s*=\s*"1"', xml))) > 1:
            return f"{n} scanned areas, which must be put side by side"
    return ""


def _ome_images(tiff: tifffile.TiffFile) -> list[dict[str, Any]]:
    import tifffile

    images = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
    return images if isinstance(images, list) else [images]


def _leica(tiff: tifffile.TiffFile, series: Any) -> tuple[float, float]:
    """Nanometres of the image's view over its pixels."""
    height_px, width_px = series.keyframe.imagelength, series.keyframe.imagewidth
    for pixels, view, _ in _leica_images(tiff):
        if view is not None and _leica_size(pixels) == (width_px, height_px):
            width_nm, height_nm = _leica_size(view)
            return height_nm / height_px * 1e-3, width_nm / width_px * 1e-3
    raise LookupError("no image of this size")


def _leica_views(tiff: tifffile.TiffFile) -> list[bool]:
    """Tell for each image, in the order of the series, whether it shows the whole glass."""
    return [
        view is not None
        and _leica_size(view) == _leica_size(glass)
        and not any(int(view.get(offset, 0)) for offset in ("offsetX", "offsetY"))
        for _, view, glass in _leica_images(tiff)
    ]


def _leica_images(
    tiff: tifffile.TiffFile,
) -> Iterator[tuple[ET.Element, ET.Element | None, ET.Element]]:
    """Yield what is said of each image's pixels, of its view, and of the glass."""
    root = ET.fromstring(tiff.pages.first.description)  # noqa: S314 (expat >= 2.4.1)
    for glass in root.findall("{*}collection"):
        for image in glass.findall("{*}image"):
            if (pixels := image.find("{*}pixels")) is not None:
                yield pixels, image.find("{*}view"), glass


def _leica_size(element: ET.Element) -> tuple[int, int]:
    """Width and height, in nm or px."""
    return int(element.attrib["sizeX"]), int(element.attrib["sizeY"])


def _philips(tiff: tifffile.TiffFile, _series: Any) -> tuple[float, float]:
    """Read the spacing of the finest representation: millimetres, rows first, each in quotes."""
    spacings = re.findall(
        r'Name="DICOM_PIXEL_SPACING"[^>]*>\s*(?:"|&quot;)([^"&]+)(?:"|&quot;)\s+'
        r'(?:"|&quot;)([^"&]+)',
        str(tiff.philips_metadata),
    )
    y_mm, x_mm = min(spacings, key=lambda pair: float(pair[0]))
    return float(y_mm) * 1e3, float(x_mm) * 1e3


def _ventana_xml(tiff: tifffile.TiffFile) -> str:
    texts = []
    for page in tiff.pages:
        value = page.keyframe.tags.valueof(XMP_TAG) if hasattr(page, "tags") else None
        if value is not None:
            texts.append(bytes(value).decode("utf-8", "replace"))
    return "\n".join(texts)


def _attribute(xml: str, name: str) -> str | None:
    found = re.search(rf'\b{name}\s*=\s*"([^"]+)"', xml)
    return found.group(1) if found else None


def _inside(xml: str, element: str) -> str | None:
    found = re.search(rf"<{element}\b[^>]*>\s*([\d.,]+)", xml)
    return found.group(1) if found else None


def _ome(tiff: tifffile.TiffFile, series: Any) -> tuple[float, float]:
    """Read ``PhysicalSizeX`` and ``Y`` of the OME image that the series is; um by default."""
    pixels = _ome_images(tiff)[tiff.series.index(series)]["Pixels"]
    y_um, x_um = (
        float(pixels[f"PhysicalSize{axis}"])
        * UM_PER_UNIT[pixels.get(f"PhysicalSize{axis}Unit", "µm")]
        for axis in "YX"
    )
    return y_um, x_um


def _imagej(tiff: tifffile.TiffFile, series: Any) -> tuple[float, float]:
    """ImageJ keeps pixels per unit in the tags, and the unit in its description."""
    unit = str(tiff.imagej_metadata["unit"]).replace("\\u00B5", "µ")
    y, x = (1 / value * UM_PER_UNIT[unit] for value in _per_unit(series))
    return y, x


def _resolution(_tiff: tifffile.TiffFile, series: Any) -> tuple[float, float]:
    """Take the pixel size from the resolution tags, where they say a unit."""
    unit_um = UM_PER_RESOLUTION_UNIT[int(series.keyframe.tags.valueof("ResolutionUnit", 2))]
    y, x = (unit_um / value for value in _per_unit(series))
    return y, x


def _per_unit(series: Any) -> tuple[float, float]:
    tags = series.keyframe.tags
    (n, d), (m, e) = tags.valueof("YResolution"), tags.valueof("XResolution")
    return n / d, m / e


class Vendor(NamedTuple):
    """How the files of a scanner's maker are told, and where they say what."""

    flag: str  # of tifffile's
    source: str  # of the pixel size, in a user's words
    mpp: Read  # y and x, um
    power: Read


VENDORS = {
    "aperio": Vendor(
        "is_svs",
        "Aperio MPP",
        lambda _, series: [_aperio(series)["MPP"]] * 2,
        lambda _, series: _aperio(series)["AppMag"],
    ),
    "hamamatsu": Vendor(
        "is_ndpi",
        "Hamamatsu resolution",
        _resolution,
        lambda _, series: series.keyframe.tags.valueof(NDPI_OBJECTIVE_TAG),
    ),
    "leica": Vendor(
        "is_scn",
        "Leica SCN",
        _leica,
        lambda tiff, _: _inside(tiff.pages.first.description, "objective"),
    ),
    "philips": Vendor("is_philips", "Philips pixel spacing", _philips, lambda *_: None),
    "ventana": Vendor(
        "is_bif",
        "Ventana ScanRes",
        lambda tiff, _: [_attribute(_ventana_xml(tiff), "ScanRes")] * 2,
        lambda tiff, _: _attribute(_ventana_xml(tiff), "Magnification"),
    ),
    "akoya": Vendor(
        "is_qpi",
        "QPTIFF scan profile",
        lambda tiff, _: [_inside(tiff.pages.first.description, "PixelSizeMicrons")] * 2,
        lambda tiff, _: _inside(tiff.pages.first.description, "Magnification"),
    ),
}


def philips_images(tiff: tifffile.TiffFile, name: str) -> dict[str, Level]:
    """Label and macro images that a Philips slide of such a name keeps as JPEG within its XML.

    Returns pixels by ``label`` and ``macro``; what is damaged is left out.
    """
    try:
        root = ET.fromstring(str(tiff.philips_metadata))  # noqa: S314 (expat >= 2.4.1)
    except ET.ParseError:
        return {}
    found: dict[str, Level] = {}
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
        found[kind] = Level(partial(_jpeg, data), extent, extent, label)
    return found


def _jpeg(data: bytes, rows: slice, columns: slice) -> NDArray[np.uint8]:
    import imagecodecs

    return np.asarray(imagecodecs.jpeg8_decode(data, outcolorspace="RGB"))[rows, columns]
