"""What the scanners' TIFF dialects say: pixel size, objective, label and macro images.

Sources of the formats: https://openslide.org/formats/ (Aperio, Hamamatsu, Leica, Philips, Ventana);
OME-TIFF 6 (https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/); Akoya QPTIFF File Format 1.0.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from napari_stem.slide.level_pixels import READ_ERRORS
from napari_stem.slide.pixel_size import (
    RESOLUTION_TAG,
    UM_PER_INCH,
    UM_PER_UNIT,
    MppSource,
    plausible_mpp,
    source_of,
)
from napari_stem.slide.tiff_vendors import leica_macros, n_channels, n_leica_regions

if TYPE_CHECKING:
    from collections.abc import Callable

    import tifffile

    Sources = tuple[MppSource, ...]

UM_PER_RESOLUTION_UNIT = {2: UM_PER_INCH, 3: 1e4}  # TIFF tag 296: inch, centimetre
VENDORS = {
    "aperio": "is_svs",
    "hamamatsu": "is_ndpi",
    "leica": "is_scn",
    "philips": "is_philips",
    "ventana": "is_bif",
    "akoya": "is_qpi",
}
XMP_TAG, NDPI_OBJECTIVE_TAG, ICC_TAG = 700, 65421, 34675
FLUORESCENT = frozenset({"Fluor", "EmissionWavelength", "ExcitationWavelength"})  # of OME channels
ASSOCIATED = ("label", "macro", "thumbnail")


def vendor_of(tiff: tifffile.TiffFile) -> str:
    """Name the scanner's maker, or ``generic``."""
    return next((v for v, flag in VENDORS.items() if getattr(tiff, flag)), "generic")


def mpp_sources(tiff: tifffile.TiffFile, series: Any, vendor: str) -> Sources:
    """List what the file says of its pixel size, the most trusted first."""
    ways: dict[str, Callable[[tifffile.TiffFile, Any], Sources]] = {
        "aperio": _aperio,
        "hamamatsu": _hamamatsu,
        "leica": _leica,
        "philips": _philips,
        "ventana": _ventana,
        "akoya": _akoya,
    }
    found: list[MppSource] = []
    for way in filter(None, (ways.get(vendor), _ome, _imagej, _tagged)):
        try:
            found += way(tiff, series)
        except READ_ERRORS:  # absent or nonsense: then another source must do
            continue
    if vendor == "hamamatsu":  # its own source is the resolution tag
        found = [each for each in found if each.source != RESOLUTION_TAG]
    return tuple(found)


def objective_power(tiff: tifffile.TiffFile, series: Any, vendor: str) -> float | None:
    """Magnification of the objective, where the scanner says it."""
    try:
        if vendor == "aperio":
            value = aperio_description(series).get("AppMag")
        elif vendor == "hamamatsu":
            value = series.keyframe.tags.valueof(NDPI_OBJECTIVE_TAG)
        elif vendor == "ventana":
            value = _attribute(_ventana_xml(tiff), "Magnification")
        elif vendor == "leica":
            value = _inside(tiff.pages.first.description, "objective")
        elif vendor == "akoya":
            value = _inside(tiff.pages.first.description, "Magnification")
        else:
            value = None
        power = None if value is None else float(value)
    except READ_ERRORS:
        return None
    return power if power is not None and 0 < power <= 200 else None


def aperio_description(series: Any) -> dict[str, Any]:
    """Read the ``key = value`` pairs of an SVS description; empty where they are damaged."""
    import tifffile

    try:
        return dict(tifffile.tifffile.svs_description_metadata(series.keyframe.description))
    except READ_ERRORS:
        return {}


def associated_series(tiff: tifffile.TiffFile, baseline: Any) -> dict[str, Any]:
    """Find the label, macro and thumbnail images by the names that the series have."""
    found: dict[str, Any] = {}
    names = _ome_names(tiff)
    macros = leica_macros(tiff) if tiff.is_scn else frozenset()
    for number, series in enumerate(tiff.series):
        if series is baseline or series.dtype != "uint8" or not set(series.axes) <= set("YXS"):
            continue
        own = "macro" if number in macros else series.name
        name = f"{own} {names.get(number, '')}".lower()
        for kind in ASSOCIATED:
            if kind in name:
                found.setdefault(kind, series)
    return found


def fluorescence_channels(tiff: tifffile.TiffFile, series: Any) -> int:
    """Count the channels of a fluorescence scan; 0 for a brightfield one.

    Three or four 8-bit channels would pass for red, green and blue, each kept apart.
    """
    if n := n_channels(series, vendor_of(tiff)):
        return n
    if not tiff.is_ome or "C" not in series.axes:
        return 0
    try:
        number = next(n for n, each in enumerate(tiff.series) if each is series)
        channels = _ome_images(tiff)[number]["Pixels"]["Channel"]
    except (*READ_ERRORS, StopIteration):
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
    if tiff.is_scn and (n := n_leica_regions(tiff)) > 1:
        return f"{n} scanned regions, which must be put side by side"
    if tiff.is_bif:
        xml = _ventana_xml(tiff)
        overlaps = re.findall(r'\bOverlap[XY]\s*=\s*"(-?[\d.]+)"', xml)
        if any(float(overlap) != 0 for overlap in overlaps):
            return "overlapping tiles, which must be stitched"
        if (n := len(re.findall(r'\bAOIScanned\s*=\s*"1"', xml))) > 1:
            return f"{n} scanned areas, which must be put side by side"
    return ""


def _ome_names(tiff: tifffile.TiffFile) -> dict[int, str]:
    if not tiff.is_ome:
        return {}
    try:
        return {n: str(image.get("Name", "")) for n, image in enumerate(_ome_images(tiff))}
    except READ_ERRORS:
        return {}


def _ome_images(tiff: tifffile.TiffFile) -> list[dict[str, Any]]:
    import tifffile

    images = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
    return images if isinstance(images, list) else [images]


def _aperio(_tiff: tifffile.TiffFile, series: Any) -> Sources:
    mpp = aperio_description(series)["MPP"]
    return source_of("Aperio MPP", mpp, mpp)


def _hamamatsu(_tiff: tifffile.TiffFile, series: Any) -> Sources:
    y_um, x_um = _resolution_um(series)
    return source_of("Hamamatsu resolution", y_um, x_um)


def _leica(tiff: tifffile.TiffFile, series: Any) -> Sources:
    """Nanometres of the image's view over its pixels."""
    height_px, width_px = series.keyframe.imagelength, series.keyframe.imagewidth
    for image in ET.fromstring(tiff.pages.first.description).iter():  # noqa: S314 (expat >= 2.4.1)
        if not image.tag.endswith("}image"):
            continue
        parts = {part.tag.rpartition("}")[2]: part.attrib for part in image}
        pixels, view = parts.get("pixels"), parts.get("view")
        if pixels is None or view is None:
            continue
        if (int(pixels["sizeY"]), int(pixels["sizeX"])) == (height_px, width_px):
            y_nm, x_nm = int(view["sizeY"]) / height_px, int(view["sizeX"]) / width_px
            return source_of("Leica SCN", y_nm, x_nm, 1e-3)
    return ()


def _philips(tiff: tifffile.TiffFile, _series: Any) -> Sources:
    """Read the spacing of the finest representation: millimetres, rows first, each in quotes."""
    spacings = re.findall(
        r'Name="DICOM_PIXEL_SPACING"[^>]*>\s*(?:"|&quot;)([^"&]+)(?:"|&quot;)\s+'
        r'(?:"|&quot;)([^"&]+)',
        str(tiff.philips_metadata),
    )
    y_mm, x_mm = min(spacings, key=lambda pair: float(pair[0]))
    return source_of("Philips pixel spacing", y_mm, x_mm, 1e3)


def _ventana(tiff: tifffile.TiffFile, _series: Any) -> Sources:
    resolution = _attribute(_ventana_xml(tiff), "ScanRes")
    return source_of("Ventana ScanRes", resolution, resolution)


def _ventana_xml(tiff: tifffile.TiffFile) -> str:
    texts = []
    for page in tiff.pages:
        value = page.keyframe.tags.valueof(XMP_TAG) if hasattr(page, "tags") else None
        if value is not None:
            texts.append(bytes(value).decode("utf-8", "replace"))
    return "\n".join(texts)


def _akoya(tiff: tifffile.TiffFile, _series: Any) -> Sources:
    value = _inside(tiff.pages.first.description, "PixelSizeMicrons")
    return source_of("QPTIFF scan profile", value, value)


def _attribute(xml: str, name: str) -> str | None:
    found = re.search(rf'\b{name}\s*=\s*"([^"]+)"', xml)
    return found.group(1) if found else None


def _inside(xml: str, element: str) -> str | None:
    found = re.search(rf"<{element}\b[^>]*>\s*([\d.,]+)", xml)
    return found.group(1) if found else None


def _ome(tiff: tifffile.TiffFile, series: Any) -> Sources:
    """Read ``PhysicalSizeX`` and ``Y`` of the OME image that the series is; um by default."""
    if not tiff.is_ome:
        return ()
    number = next(n for n, each in enumerate(tiff.series) if each is series)
    pixels = _ome_images(tiff)[number]["Pixels"]
    y_um, x_um = (
        float(pixels[f"PhysicalSize{axis}"])
        * UM_PER_UNIT[pixels.get(f"PhysicalSize{axis}Unit", "µm")]
        for axis in "YX"
    )
    return source_of("OME PhysicalSize", y_um, x_um)


def _imagej(tiff: tifffile.TiffFile, series: Any) -> Sources:
    """ImageJ keeps pixels per unit in the tags, and the unit in its description."""
    if not tiff.is_imagej:
        return ()
    unit = str(tiff.imagej_metadata["unit"]).replace("\\u00B5", "µ")
    y, x = (1 / value for value in _per_unit(series))
    return source_of("ImageJ unit", y, x, UM_PER_UNIT[unit])


def _tagged(_tiff: tifffile.TiffFile, series: Any) -> Sources:
    """Take the pixel size from the resolution tags, where they say a unit and are believable."""
    mpp = plausible_mpp(*_resolution_um(series))
    return () if mpp is None else (MppSource(RESOLUTION_TAG, mpp),)


def _resolution_um(series: Any) -> tuple[float, float]:
    unit_um = UM_PER_RESOLUTION_UNIT[int(series.keyframe.tags.valueof("ResolutionUnit", 2))]
    y, x = (unit_um / value for value in _per_unit(series))
    return y, x


def _per_unit(series: Any) -> tuple[float, float]:
    tags = series.keyframe.tags
    (n, d), (m, e) = tags.valueof("YResolution"), tags.valueof("XResolution")
    return n / d, m / e
