"""OME-Zarr 0.4 and 0.5, and images of SpatialData: folders, zip files and URLs, through zarr.

Specifications: https://ngff.openmicroscopy.org/0.4/ and /0.5/; bioformats2raw layout 3. URLs take
fsspec and what it needs for the protocol (the extra ``remote``: aiohttp, s3fs).
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import SlideError
from napari_stem.geometry import SizePx
from napari_stem.slide.level import AS_STORED, READ_ERRORS, WHITE, Level, over_white
from napari_stem.slide.pixel_size import UM_PER_UNIT, MppSource, source_of
from napari_stem.slide.stored import StoredSlide
from napari_stem.texts import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.slide.location import Location


METADATA = ("zarr.json", ".zattrs", ".zgroup")
ARRAYS = ("zarr.json", ".zarray")  # what says that a folder is an array
MAX_IMAGES = 64
MICRONS = frozenset({"micron", "microns", "micrometer", "micrometers", "um"})
MAX_HASHED_CHUNKS = 16
LARGEST_CHUNK_PX = 4096
OUR_TABLE = "tables/predicted_expression/uns/napari_stem"  # as `export.spatial_data` writes it


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


def read_header(location: Location) -> StoredSlide:
    """Open for reading.

    SlideError: not reachable, no OME-Zarr image in it, or none that is 8-bit RGB or grey.
    """
    import zarr

    try:
        with ExitStack() as on_failure:
            store = _store(location)
            on_failure.callback(store.close)
            root = zarr.open_group(store, mode="r", path=_root_in(location))
            image = _largest_image(location, root)
            stored = _stored_slide(location, root, *image, store.close)
            on_failure.pop_all()
            return stored
    except (*READ_ERRORS, ImportError) as error:
        raise SlideError(_unreadable(location, error)) from error


def _unreadable(location: Location, error: Exception) -> str:
    if location.url is None:
        return f"{location.name} cannot be read as OME-Zarr ({reason_of(error)}); copy or export it again."
    if isinstance(error, ImportError):
        return f"{location.url} takes a package for such URLs: pip install 'napari-stem[remote]'."
    return f"{location.url} cannot be read as OME-Zarr ({reason_of(error)}); check the URL and the network."


@cache
def _register_codecs() -> None:
    """Let Zarr 2 read JPEG, JPEG 2000 and JPEG XL, without which slides are too large."""
    from imagecodecs.numcodecs import register_codecs

    register_codecs(verbose=False)


def _store(location: Location) -> Any:
    from zarr.storage import FsspecStore, LocalStore, ZipStore

    _register_codecs()
    if location.url is not None:
        return FsspecStore.from_url(location.url, read_only=True)
    if location.is_folder:
        return LocalStore(location.path, read_only=True)
    return ZipStore(location.path, read_only=True, mode="r")


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


def _largest_image(location: Location, root: Any) -> tuple[str, Any, dict[str, Any]]:
    """Find the image, its group and its multiscale: the root itself, or the largest 8-bit one beneath it.

    SlideError where there is none.
    """
    if (multiscale := _multiscale(root)) is not None:
        return "", root, multiscale
    usable: list[tuple[int, str, Any, dict[str, Any]]] = []
    reasons = []
    for place in _places(root)[:MAX_IMAGES]:
        try:
            group = root[place]
            multiscale = _multiscale(group)
            if multiscale is None:
                continue
            array = _arrays(group, multiscale)[0]
            finest = _level(place, _axis_names(multiscale), array)
            n_px = finest.size.height_px * finest.size.width_px
            usable.append((n_px, place, group, multiscale))
        except SlideError as error:
            reasons.append(error)
        except KeyError:
            continue
    if usable:
        return max(usable, key=lambda each: each[0])[1:]
    if reasons:
        raise reasons[0]
    raise SlideError(
        f"{location.name} is Zarr, but holds no OME-Zarr image; name an image within it."
    )


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


def _stored_slide(
    location: Location,
    root: Any,
    place: str,
    group: Any,
    multiscale: dict[str, Any],
    close: Callable[[], None],
) -> StoredSlide:
    name = f"{location.name}/{place}" if place else location.name
    arrays = _arrays(group, multiscale)
    names = _axis_names(multiscale)
    levels = tuple(_level(name, names, each) for each in arrays)
    properties: dict[str, Any] = {
        "format": "ome-zarr",
        "zarr_format": int(group.metadata.zarr_format),
        "native_levels": len(arrays),
        "colour": AS_STORED,
    }
    if place:
        properties["image"] = place
    is_ours = place.startswith("images/") and OUR_TABLE in root
    return StoredSlide(
        location.path,
        levels,
        _fingerprint(multiscale, arrays),
        properties=properties,
        mpp_sources=_mpp_sources(multiscale, names, is_global_um=is_ours),
        files=[_metadata_file(location.path, each) for each in arrays]
        if location.is_folder
        else (),
        on_close=close,
    )


def _metadata_file(slide: Path, array: Any) -> Path:
    """Name the file without which a level of a folder is not there, and zarr gives one colour everywhere."""
    folder = slide / str(array.path)
    return next(folder / n for n in ARRAYS if (folder / n).is_file())


def _axis_names(multiscale: dict[str, Any]) -> list[str]:
    """Names of an image's axes, in the order of its arrays'."""
    axes = multiscale.get("axes") or list("tczyx")  # 0.3 and before
    return [axis if isinstance(axis, str) else str(axis["name"]) for axis in axes]


def _level(name: str, names: list[str], array: Any) -> Level:
    """Offer an array with axes of such names as a level of an image, which must be 8-bit RGB or grey."""
    extents = dict(zip(names, array.shape, strict=True))
    if array.dtype != np.uint8:
        raise SlideError(
            f"{name} stores {array.dtype} pixels, not 8-bit RGB; export it as 8-bit RGB."
        )
    deep = {a: n for a, n in extents.items() if a not in {"y", "x", "c"} and n != 1}
    if deep or not {"y", "x"} <= set(extents) or extents.get("c", 1) not in {1, 3, 4}:
        sizes = ", ".join(f"{a} {n}" for a, n in extents.items())
        raise SlideError(
            f"{name} is not one RGB image (its axes are {sizes}); export the brightfield "
            f"plane as 8-bit RGB."
        )

    glass = _white_where_not_stored(array)

    def samples(of: Any, rows: slice, columns: slice, channels: slice) -> NDArray[np.uint8]:
        where: dict[str, Any] = {"y": rows, "x": columns, "c": channels}
        pixels = np.asarray(of[tuple(where.get(axis, 0) for axis in names)])
        kept = [axis for axis in names if axis in where]
        if "c" not in kept:
            pixels, kept = pixels[..., np.newaxis], [*kept, "c"]
        return np.transpose(pixels, [kept.index(axis) for axis in "yxc"])

    def read(rows: slice, columns: slice) -> NDArray[np.uint8]:
        pixels = samples(glass, rows, columns, slice(3))
        if pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        # alpha: what it hides is white, and where it is not stored all is hidden
        if extents.get("c") == 4:
            return over_white(pixels, samples(array, rows, columns, slice(3, 4)))
        return np.ascontiguousarray(pixels, dtype=np.uint8)

    chunk = (min(int(array.chunks[names.index(axis)]), LARGEST_CHUNK_PX) for axis in "yx")
    return Level(read, SizePx(extents["y"], extents["x"]), SizePx(*chunk), name)


def _white_where_not_stored(array: Any) -> Any:
    """Give the same array, white as glass where no chunk is stored, instead of zarr's usual black.

    A fill value that somebody chose, one other than 0, stays.
    """
    import zarr

    if array.fill_value:
        return array
    metadata = array.metadata.to_dict() | {"fill_value": WHITE}
    return zarr.Array(zarr.AsyncArray(metadata, array.store_path, array.config))


def _fingerprint(multiscale: dict[str, Any], arrays: list[Any]) -> str:
    """Digest of the metadata, the shapes and a sample of the coarsest level, which is made from all others."""
    text = json.dumps([multiscale, [list(a.shape) for a in arrays]], sort_keys=True, default=str)
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    coarsest = arrays[-1]
    for number in np.unique(np.linspace(0, coarsest.nchunks - 1, MAX_HASHED_CHUNKS).astype(int)):
        place = np.unravel_index(number, coarsest.cdata_shape)
        corner = tuple(
            slice(int(at) * n, (int(at) + 1) * n)
            for at, n in zip(place, coarsest.chunks, strict=True)
        )
        digest.update(coarsest[corner].tobytes())
    return digest.hexdigest()


def _mpp_sources(
    multiscale: dict[str, Any], names: list[str], *, is_global_um: bool = False
) -> tuple[MppSource, ...]:
    """Scale of the finest dataset times that of the multiscale, in the axes' unit; 1 says nothing.

    ``is_global_um``: the space that SpatialData calls global is known to be in um.
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
