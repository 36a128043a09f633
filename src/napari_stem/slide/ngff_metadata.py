"""What the metadata of an OME-Zarr image say: axes, pixel size; and what tells it from others.

Specifications: https://ngff.openmicroscopy.org/0.4/ and /0.5/; SpatialData names its spaces.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide.colour import over_white
from napari_stem.slide.level_pixels import READ_ERRORS
from napari_stem.slide.pixel_size import UM_PER_UNIT, source_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_stem.slide.pixel_size import MppSource

MICRONS = frozenset({"micron", "microns", "micrometer", "micrometers", "um"})
MAX_HASHED_CHUNKS = 16
TALLEST_NATIVE_PX = 4096


class NgffLevel:
    """A level of an image, once it is known where in its array y, x and the channels are.

    Parameters
    ----------
    name
        What messages call the image.
    multiscale
        Its metadata.
    array
        Of the level.

    Raises
    ------
    SlideError
        The array is no 8-bit RGB or grey image.
    """

    def __init__(self, name: str, multiscale: dict[str, Any], array: Any) -> None:
        axes = multiscale.get("axes") or list("tczyx")  # 0.3 and before
        names = [axis if isinstance(axis, str) else str(axis["name"]) for axis in axes]
        told = dict(zip(names, array.shape, strict=True))
        if array.dtype != np.uint8:
            raise SlideError(
                f"{name} stores {array.dtype} pixels, not 8-bit RGB; export it as 8-bit RGB."
            )
        deep = {a: n for a, n in told.items() if a not in {"y", "x", "c"} and n != 1}
        if deep or not {"y", "x"} <= set(told) or told.get("c", 1) not in {1, 3, 4}:
            sizes = ", ".join(f"{a} {n}" for a, n in told.items())
            raise SlideError(
                f"{name} is not one RGB image (its axes are {sizes}); export the brightfield "
                f"plane as 8-bit RGB."
            )
        self.names = names
        self.size = SizePx(told["y"], told["x"])
        self.chunk = SizePx(
            *(min(int(array.chunks[names.index(axis)]), TALLEST_NATIVE_PX) for axis in "yx")
        )
        self._array = array

    def window(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Read a window as (height, width, 3); a fourth channel is alpha, and what it hides is white."""
        where: dict[str, Any] = {"y": rows, "x": columns, "c": slice(None)}
        pixels = np.asarray(self._array[tuple(where.get(axis, 0) for axis in self.names)])
        kept = [axis for axis in self.names if axis in where]
        if "c" not in kept:
            pixels, kept = pixels[..., np.newaxis], [*kept, "c"]
        pixels = np.transpose(pixels, [kept.index(axis) for axis in "yxc"])
        if pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        if pixels.shape[2] == 4:
            return over_white(pixels[..., :3], pixels[..., 3:])
        return np.ascontiguousarray(pixels, dtype=np.uint8)


def fingerprint_of(multiscale: dict[str, Any], arrays: list[Any]) -> str:
    """Digest of the metadata, the shapes and the pixels of the coarsest level, or a sample of them.

    The coarsest level is made from all others: it changes where they do, and costs one small read,
    near or far.
    """
    text = json.dumps([multiscale, [list(a.shape) for a in arrays]], sort_keys=True, default=str)
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    coarsest = arrays[-1]
    shape, chunks = np.array(coarsest.shape), np.array(coarsest.chunks)
    counts = -(-shape // chunks)
    n_chunks = int(np.prod(counts))
    for number in np.unique(np.linspace(0, n_chunks - 1, MAX_HASHED_CHUNKS).astype(int)):
        place = np.array(np.unravel_index(int(number), counts))
        corner = tuple(
            slice(int(p * c), int(min((p + 1) * c, n)))
            for p, c, n in zip(place, chunks, shape, strict=True)
        )
        digest.update(np.ascontiguousarray(coarsest[corner]).tobytes())
    return digest.hexdigest()


def mpp_sources_of(
    multiscale: dict[str, Any], names: list[str], *, is_global_um: bool = False
) -> tuple[MppSource, ...]:
    """Scale of the finest dataset times that of the multiscale, in the axes' unit; 1 says nothing.

    ``is_global_um`` where the space that SpatialData calls global is known to be in um.
    """
    microns = MICRONS | {"global"} if is_global_um else MICRONS
    y, x = names.index("y"), names.index("x")
    try:
        own = _scale(multiscale["datasets"][0].get("coordinateTransformations"), len(names))
        common = _scale(multiscale.get("coordinateTransformations"), len(names))
    except READ_ERRORS:
        return ()
    found: list[MppSource] = []
    axes = multiscale.get("axes") or []
    units = [axis.get("unit") if isinstance(axis, dict) else None for axis in axes]
    scale_y, scale_x = own[y] * common[y], own[x] * common[x]
    is_told = (scale_y, scale_x) != (1, 1)  # as without any scale
    if is_told and units and units[y] in UM_PER_UNIT and units[x] in UM_PER_UNIT:
        found += source_of(
            "OME-Zarr scale",
            scale_y * UM_PER_UNIT[str(units[y])],
            scale_x * UM_PER_UNIT[str(units[x])],
        )
    for each in multiscale.get("coordinateTransformations") or []:
        space = each.get("output", {}) if isinstance(each, dict) else {}
        target = str(space.get("name", "")).lower() if isinstance(space, dict) else ""
        if target in microns and each.get("type") == "scale":  # SpatialData's way
            scale = each["scale"]
            found += source_of(f"SpatialData '{target}' scale", scale[y], scale[x])
    return tuple(found)


def _scale(transformations: Any, n_axes: int) -> list[float]:
    """Multiply the scales of a list; those into a named space are SpatialData's, not OME-Zarr's."""
    scale = np.ones(n_axes)
    for each in transformations or []:
        if each.get("type") == "scale" and "output" not in each:
            scale *= np.asarray(each["scale"], dtype=float)
    return [float(value) for value in scale]
