"""OME-Zarr 0.4 and 0.5, and images of SpatialData: folders, zip files and URLs, through zarr.

Specifications: https://ngff.openmicroscopy.org/0.4/ and /0.5/; bioformats2raw layout 3. URLs take
fsspec and what it needs for the protocol (the extra ``remote``: aiohttp, s3fs).
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide.array_slide import READ_ERRORS, LevelPixels
from napari_stem.slide.colour import AS_STORED
from napari_stem.slide.completing import watched
from napari_stem.slide.location import Unchanged
from napari_stem.slide.native import Facts, Native, refuse_absurd
from napari_stem.slide.pixel_size import UM_PER_UNIT, source_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.slide.location import Location
    from napari_stem.slide.pixel_size import MppSource

NAME = "ome-zarr"
METADATA = ("zarr.json", ".zattrs", ".zgroup")
MICRONS = frozenset({"micron", "microns", "micrometer", "micrometers", "um"})
MAX_IMAGES = 64
MAX_HASHED_CHUNKS = 16
TALLEST_NATIVE_PX = 4096


def why_not(location: Location) -> str | None:
    """Tell why this reader cannot open the place; None if it can try."""
    if location.url is not None:
        return None
    path = location.path
    if location.is_folder:
        if any((path / name).is_file() for name in METADATA):
            return None
        return "a folder without Zarr metadata"
    if location.head(4) != b"PK\x03\x04":
        return "not a Zarr folder or zip file"
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()[:1000]}
    except READ_ERRORS:
        return "a damaged zip file"
    return None if names & set(METADATA) else "a zip file without Zarr metadata"


def open_native(location: Location) -> Native:
    """Open for reading.

    Raises
    ------
    SlideError
        Not reachable, no OME-Zarr image in it, or none that is 8-bit RGB or grey.
    """
    store: Any = None
    try:
        store, root = _opened(location)
        name, group = _largest_image(location, root)
        native = _native(location, name, group)
    except (*READ_ERRORS, ImportError) as error:
        _close(store)
        raise SlideError(_unreadable(location, error)) from error
    except BaseException:
        _close(store)
        raise
    return Native(facts=native.facts, sources=native.sources, close=partial(_close, store))


def _unreadable(location: Location, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    if location.url is None:
        return f"{location.name} cannot be read as OME-Zarr ({reason}); copy or export it again."
    if isinstance(error, ImportError):
        return f"{location.url} takes a package for such URLs: pip install 'napari-stem[remote]'."
    return f"{location.url} cannot be read as OME-Zarr ({reason}); check the URL and the network."


def _close(store: Any) -> None:
    if store is not None:
        store.close()


def _opened(location: Location) -> tuple[Any, Any]:
    """Open the store and its root group."""
    import zarr
    from zarr.storage import FsspecStore, LocalStore, ZipStore

    if location.url is not None:
        store: Any = FsspecStore.from_url(location.url, read_only=True)
    elif location.is_folder:
        store = LocalStore(location.path, read_only=True)
    else:
        store = ZipStore(location.path, read_only=True, mode="r")
    try:
        return store, zarr.open_group(store, mode="r", path=_root_in(location))
    except BaseException:
        store.close()
        raise


def _root_in(location: Location) -> str:
    """Name the group within a zip file: archives often hold one folder, ``x.zarr/``."""
    if location.url is not None or location.is_folder:
        return ""
    with zipfile.ZipFile(location.path) as archive:
        found = [n for n in archive.namelist() if n.rpartition("/")[2] in METADATA]
    return min((n.rpartition("/")[0] for n in found), key=len)


def _multiscale(group: Any) -> dict[str, Any] | None:
    """Read the first multiscale of a group (0.5 under ``ome``, 0.4 at the top), None without."""
    attributes = dict(group.attrs)
    ome = attributes.get("ome", attributes)
    found = ome.get("multiscales") if isinstance(ome, dict) else None
    return found[0] if found else None


def _largest_image(location: Location, root: Any) -> tuple[str, Any]:
    """Find the image: the root itself, or the largest 8-bit one beneath it.

    Raises
    ------
    SlideError
        There is none.
    """
    if _multiscale(root) is not None:
        return "", root
    places = _places(root)
    usable: list[tuple[int, str, Any]] = []
    reasons = []
    for place in places[:MAX_IMAGES]:
        try:
            group = root[place]
            multiscale = _multiscale(group)
            if multiscale is None:
                continue
            finest = _axes_of(place, multiscale, _arrays(group, multiscale)[0])
            usable.append((finest.size.height_px * finest.size.width_px, place, group))
        except SlideError as error:
            reasons.append(error)
        except KeyError:
            continue
    if usable:
        _, place, group = max(usable, key=lambda each: each[0])
        return place, group
    if reasons:
        raise reasons[0]
    msg = f"{location.name} is Zarr, but holds no OME-Zarr image; name an image within it."
    raise SlideError(msg)


def _places(root: Any) -> list[str]:
    """Paths beneath the root where images may lie: SpatialData's and bioformats2raw's."""
    places = []
    if "OME" in root and "series" in root["OME"].attrs:
        places += [str(each) for each in root["OME"].attrs["series"]]
    if "images" in root:
        places += [f"images/{name}" for name in root["images"].group_keys()]
    if not places:
        places = list(root.group_keys())
    return list(dict.fromkeys(places))


def _arrays(group: Any, multiscale: dict[str, Any]) -> list[Any]:
    return [group[dataset["path"]] for dataset in multiscale["datasets"]]


class _Axes:
    """Where y, x and the channels are in an array, and that nothing else is.

    Raises
    ------
    SlideError
        The array is no 8-bit RGB or grey image.
    """

    def __init__(self, name: str, names: list[str], shape: tuple[int, ...], dtype: Any) -> None:
        told = dict(zip(names, shape, strict=True))
        if np.dtype(dtype) != np.uint8:
            msg = f"{name} stores {np.dtype(dtype)} pixels, not 8-bit RGB; export it as 8-bit RGB."
            raise SlideError(msg)
        deep = {a: n for a, n in told.items() if a not in {"y", "x", "c"} and n != 1}
        if deep or not {"y", "x"} <= set(told) or told.get("c", 1) not in {1, 3, 4}:
            sizes = ", ".join(f"{a} {n}" for a, n in told.items())
            msg = (
                f"{name} is not one RGB image (its axes are {sizes}); export the brightfield "
                f"plane as 8-bit RGB."
            )
            raise SlideError(msg)
        self.names = names
        self.size = SizePx(told["y"], told["x"])

    def window(self, array: Any, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Read a window as (height, width, 3)."""
        where: dict[str, Any] = {"y": rows, "x": columns, "c": slice(3)}
        pixels = np.asarray(array[tuple(where.get(axis, 0) for axis in self.names)])
        kept = [axis for axis in self.names if axis in where]
        if "c" not in kept:
            pixels, kept = pixels[..., np.newaxis], [*kept, "c"]
        pixels = np.transpose(pixels, [kept.index(axis) for axis in "yxc"])
        if pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        return np.ascontiguousarray(pixels, dtype=np.uint8)


def _axes_of(name: str, multiscale: dict[str, Any], array: Any) -> _Axes:
    axes = multiscale.get("axes") or list("tczyx")  # 0.3 and before
    names = [axis if isinstance(axis, str) else str(axis["name"]) for axis in axes]
    return _Axes(name, names, tuple(array.shape), array.dtype)


def _native(location: Location, place: str, group: Any) -> Native:
    multiscale = _multiscale(group)
    if multiscale is None:
        msg = "it has no multiscale metadata"
        raise ValueError(msg)
    name = f"{location.name}/{place}" if place else location.name
    arrays = _arrays(group, multiscale)
    axes = [_axes_of(name, multiscale, array) for array in arrays]
    sizes = tuple(each.size for each in axes)
    refuse_absurd(name, sizes)
    check = _watch(location, group)
    sources = tuple(
        LevelPixels(
            watched(partial(each.window, array), check), each.size, _chunks(each, array), name
        )
        for each, array in zip(axes, arrays, strict=True)
    )
    told: dict[str, Any] = {
        "format": "ome-zarr",
        "zarr_format": int(group.metadata.zarr_format),
        "native_levels": len(sizes),
        "colour": AS_STORED,
    }
    if place:
        told["image"] = place
    digest = _fingerprint(multiscale, arrays)
    found = _mpp_sources(multiscale, axes[0].names)
    return Native(facts=Facts(sizes[0], found, sizes, "generic", digest, told), sources=sources)


def _chunks(axes: _Axes, array: Any) -> SizePx:
    height_px, width_px = (
        min(int(array.chunks[axes.names.index(axis)]), TALLEST_NATIVE_PX) for axis in "yx"
    )
    return SizePx(height_px, width_px)


def _watch(location: Location, group: Any) -> Callable[[], None]:
    """Check before each reading that the metadata is still there: zarr gives black for lost chunks."""
    if location.url is not None:
        return lambda: None
    if not location.is_folder:
        return Unchanged(location.path).check
    folder: Path = location.path / str(group.path)
    return Unchanged(next(folder / n for n in METADATA if (folder / n).is_file())).check


def _fingerprint(multiscale: dict[str, Any], arrays: list[Any]) -> str:
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


def _mpp_sources(multiscale: dict[str, Any], names: list[str]) -> tuple[MppSource, ...]:
    """Scale of the finest dataset times that of the multiscale, in the axes' unit."""
    y, x = names.index("y"), names.index("x")
    try:
        own = _scale(multiscale["datasets"][0].get("coordinateTransformations"), len(names))
        common = _scale(multiscale.get("coordinateTransformations"), len(names))
    except READ_ERRORS:
        return ()
    found: list[MppSource] = []
    axes = multiscale.get("axes") or []
    units = [axis.get("unit") if isinstance(axis, dict) else None for axis in axes]
    if units and units[y] in UM_PER_UNIT and units[x] in UM_PER_UNIT:
        found += source_of(
            "OME-Zarr scale",
            own[y] * common[y] * UM_PER_UNIT[str(units[y])],
            own[x] * common[x] * UM_PER_UNIT[str(units[x])],
        )
    for each in multiscale.get("coordinateTransformations") or []:
        space = each.get("output", {}) if isinstance(each, dict) else {}
        target = str(space.get("name", "")).lower() if isinstance(space, dict) else ""
        if target in MICRONS and each.get("type") == "scale":  # SpatialData's way
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
