"""Embeddings that somebody else made, as files hold them: HDF5, Zarr, AnnData, NumPy and torch.

Layouts, by what is in the file: CLAM and TRIDENT (``features``, ``coords`` with ``patch_size_level0``, or
``patch_size`` and ``downsample``), LazySlide (the store that it keeps of a slide; or AnnData of
``wsi.fetch.features_anndata``: top-left corners, ``uns["tile_spec"]``), other AnnData (``obsm["spatial"]`` are
centres), slide2vec (``.pt`` or ``.npz``, ``.meta.json`` beside, ``.coordinates.npz``). Nothing in a file is
run: torch files are read weights-only, NumPy files without pickle.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.encoders.catalogue import canonical
from napari_stem.errors import DatasetError, EncoderError, StemError
from napari_stem.foreign import (
    dense,
    opened_hdf5,
    read_json,
    read_npz,
    read_tensors,
    require_own_zarr,
)
from napari_stem.io import DAMAGE
from napari_stem.spatial.lattice import stated_diameter_px
from napari_stem.spatial.lazyslide import TABLES, LazySlideStore
from napari_stem.spatial.table_files import places_px, read_as_stored
from napari_stem.texts import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

_HDF5 = (".h5", ".hdf5")
SUFFIXES = (*_HDF5, ".zarr", ".h5ad", ".pt", ".npz")
_FEATURES = ("features", "feats", "embeddings", "tile_embeddings")
_COORDS = ("coords", "coordinates")
_SIDES = ("patch_size_level0", "tile_size_lv0")
_ENCODERS = ("encoder_name", "encoder", "patch_encoder", "model_name")


@dataclass(frozen=True, kw_only=True)
class RawEmbeddings:
    """What a file says, not yet compared with a slide.

    What it does not say is None.
    """

    path: Path  # the file
    features: NDArray[Any]  # (n, W), as stored
    # (n, 2), level-0 px: top-left corners, or the centres where ``centred``
    xy_px: NDArray[np.float64] | None
    centred: bool = False
    side_px: float | None = None  # side of a patch in level-0 px
    # pixel size, objective power and (width, height) of level 0 that it was made with
    mpp_um: float | None = None
    magnification: float | None = None
    size_px: tuple[float, float] | None = None
    # what made them
    encoder: str | None = None
    version: str | None = None


def read_raw(
    path: Path, coordinates: Path | None = None, encoder: str | None = None
) -> RawEmbeddings:
    """Read a file of embeddings: ``.h5``, ``.zarr``, ``.h5ad``, ``.pt``, ``.npz``, part of a LazySlide store.

    ``coordinates`` say where the patches lie, if the file does not: ``.h5`` (TRIDENT's and CLAM's
    ``patches``), ``.npz`` or ``.npy`` (slide2vec); None: what lies beside a slide2vec file. ``encoder`` says
    whose embeddings are wanted, where a LazySlide store has several.

    EncoderError: it is missing, damaged, or holds no embeddings, or nothing says where the patches lie.
    """
    with _named(path):
        stored = _read_store(path, encoder)
        if stored is not None:
            return stored
        found = _read_file(path)
    if coordinates is None and found.xy_px is None:
        coordinates = _beside(path)
    if coordinates is not None:
        xy_px, about = _read_coordinates(coordinates)
        new = {fact: it for fact, it in about.items() if getattr(found, fact) is None}
        found = replace(found, xy_px=xy_px, **new)
    if found.xy_px is None:
        raise EncoderError(
            f"{path} holds embeddings, but not where their patches lie; give the file with the coordinates "
            f"(--coordinates, .h5, .npz or .npy)."
        )
    if len(found.xy_px) != len(found.features):
        raise EncoderError(
            f"{path} has {len(found.features)} embeddings and {len(found.xy_px)} places; they belong to "
            f"different runs."
        )
    return found


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what a damaged file raises into one sentence."""
    try:
        yield
    except StemError:
        raise
    except DAMAGE as error:
        raise EncoderError(
            f"{path} cannot be read as embeddings ({reason_of(error)}); make it again."
        ) from error


def _read_store(path: Path, encoder: str | None) -> RawEmbeddings | None:
    """Read features of a LazySlide store, or a table of them in it; None where the path is neither."""
    store = LazySlideStore.at(path, TABLES)
    if store is None:
        return None
    sets = {name: tiles for name in store.names(TABLES) if (tiles := _tiles_of(store, name))}
    name = store.part or _chosen(store, sets, encoder)
    if name not in sets:
        places = _listed(store, sets)
        raise EncoderError(f"{path} holds no features of tiles; give one of {places}.")
    tiles = sets[name]
    table = read_as_stored(store.path / TABLES / name)
    outlines = store.outlines(tiles)
    if "tile_id" in outlines and "tile_id" in table.obs:
        outlines = outlines.set_index("tile_id").loc[table.obs["tile_id"]]
    corners = outlines.bounds.to_numpy()  # left, top, right, bottom
    sides = corners[:, 2:] - corners[:, :2]
    if not len(sides) or np.ptp(sides) > 1:
        raise EncoderError(
            f"The tiles '{tiles}' of {store.path} are not squares of one size; tile the slide in squares."
        )
    about = {"patch_size_level0": sides.mean(), "encoder": name.removesuffix(f"_{tiles}")}
    return RawEmbeddings(
        path=store.path / TABLES / name,
        features=_matrix(dense(table.X)),
        xy_px=(corners[:, :2] + corners[:, 2:]) / 2,
        centred=True,
        **_facts(about | _about_slide(store.attributes["slide_properties"])),
    )


def _tiles_of(store: LazySlideStore, name: str) -> str:
    """Tiles that a table has a row for; empty where it is of something else."""
    import zarr

    about: dict[str, Any] = dict(zarr.open_group(store.path / TABLES / name, mode="r").attrs)
    region = about.get("region")
    is_tiles = isinstance(region, str) and region in store.attributes.get("tile_spec", {})
    return str(region) if is_tiles else ""


def _chosen(store: LazySlideStore, sets: dict[str, str], encoder: str | None) -> str:
    """Choose the features of an encoder, by which and by its tiles LazySlide names them, or the only ones."""
    if not sets:
        raise EncoderError(
            f"{store.path} holds no features of tiles; extract them with LazySlide first."
        )
    own = {name: canonical(name.removesuffix(f"_{tiles}")) for name, tiles in sets.items()}
    possible = [name for name in sets if own[name] == canonical(encoder or "")] or list(sets)
    if len(possible) > 1:
        raise EncoderError(
            f"{store.path} holds several sets of features; give one of {_listed(store, possible)}."
        )
    return possible[0]


def _listed(store: LazySlideStore, sets: Iterable[str]) -> str:
    return ", ".join(str(store.path / TABLES / name) for name in sets) or "none"


def _read_file(path: Path) -> RawEmbeddings:
    """Read a file by its ending, and by what is in it."""
    if path.suffix not in SUFFIXES:
        raise EncoderError(
            f"{path.name} has an ending that embeddings do not have; give one of {', '.join(SUFFIXES)}."
        )
    if not path.exists():
        raise EncoderError(f"There is no file of embeddings {path}; check the path.")
    if path.suffix in _HDF5:
        with opened_hdf5(path) as file:
            return _from_group(path, file)
    if path.suffix == ".zarr":
        import zarr

        require_own_zarr(path)
        group = zarr.open_group(path, mode="r")
        if not ("X" in group and "obs" in group):
            return _from_group(path, group)
    if path.suffix in (".h5ad", ".zarr"):
        return _read_anndata(path)
    held = read_npz(path) if path.suffix == ".npz" else _read_torch(path)
    return _from_arrays(path, held, held | _meta(path))  # where slide2vec says more


def _from_group(path: Path, group: Any) -> RawEmbeddings:
    """Arrays with attributes: CLAM, TRIDENT, and whatever is alike."""
    about = dict(group.attrs)
    for name in (*_FEATURES, *_COORDS):
        about |= dict(group[name].attrs) if name in group else {}
    return _from_arrays(path, group, about)


def _from_arrays(path: Path, held: Any, about: Mapping[str, Any]) -> RawEmbeddings:
    """Arrays by name, and what is said of them."""
    name, coords = _first(_FEATURES, held), _first(_COORDS, held)
    if name is None:
        raise EncoderError(
            f"{path} has no array 'features' (it has {', '.join(sorted(held)) or 'none'}); write the "
            f"embeddings there, (n, width)."
        )
    xy_px = None if coords is None else _pairs(held[coords])
    features = _matrix(np.asarray(held[name]))
    return RawEmbeddings(path=path, features=features, xy_px=xy_px, **_facts(about))


def _read_anndata(path: Path) -> RawEmbeddings:
    try:
        table = read_as_stored(path)
    except DatasetError as error:
        raise EncoderError(str(error)) from error
    if "spatial" not in table.obsm:
        raise EncoderError(
            f'{path} has no obsm["spatial"], so its patches have no place; LazySlide writes it with '
            f"wsi.fetch.features_anndata."
        )
    xy_px = places_px(table.obsm["spatial"], str(path))
    spec = table.uns.get("tile_spec")
    if spec is None:
        about = {"patch_size_level0": stated_diameter_px(table.uns), **table.uns}
    else:
        side_px = int(spec["width"] * spec.get("base_downsample", 1.0))  # as LazySlide cuts
        slide = _about_slide(table.uns.get("slide_properties", {}))
        about = {**table.uns, **slide, "patch_size_level0": side_px}
    features, centred = _matrix(dense(table.X)), spec is None
    return RawEmbeddings(
        path=path, features=features, xy_px=xy_px, centred=centred, **_facts(about)
    )


def _about_slide(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Give what LazySlide says of a slide the names that others use."""
    shape = properties.get("shape")
    height_px, width_px = (None, None) if shape is None else shape[:2]
    return {
        "level0_mpp": properties.get("mpp"),
        "level0_magnification": properties.get("magnification"),
        "level0_width": width_px,
        "level0_height": height_px,
    }


def _read_torch(path: Path) -> dict[str, Any]:
    content = read_tensors(path)
    held = content if isinstance(content, dict) else {"features": content}
    return {str(name): _array(value) for name, value in held.items()}


def _array(value: Any) -> Any:
    """NumPy's form of a tensor; bfloat16, which it lacks, as float32."""
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def _meta(path: Path) -> dict[str, Any]:
    """Read the ``.meta.json`` that slide2vec writes beside a file; empty where there is none."""
    beside_it = path.with_name(f"{path.stem}.meta.json")
    if not beside_it.is_file():
        return {}
    found: dict[str, Any] = read_json(beside_it.read_text(encoding="utf-8"))
    return found


def _beside(path: Path) -> Path | None:
    """Coordinates that slide2vec or TRIDENT wrote in the same run."""
    stated = _meta(path).get("coordinates_npz_path")
    name = f"{path.stem}.coordinates.npz"
    places = [
        path.with_name(name),
        path.parent.parent / "tiles" / name,
        path.parent.parent.parent / "tiles" / path.parent.name / name,  # of one class of tissue
        path.parent.parent / "patches" / f"{path.stem}_patches.h5",
        *([Path(stated)] if stated else []),  # from where slide2vec was run
    ]
    return next((place for place in places if place.is_file()), None)


def _read_coordinates(path: Path) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Where the patches lie, and what a file of coordinates says besides (`_facts`)."""
    if path.suffix not in (*_HDF5, ".npz", ".npy") or not path.is_file():
        raise EncoderError(
            f"There are no coordinates in {path}; give an existing .h5, .npz or .npy file."
        )
    with _named(path):
        if path.suffix in _HDF5:
            with opened_hdf5(path) as file:
                coords = file[_first(_COORDS, file) or "coords"]
                return _pairs(coords[:]), _facts({**file.attrs, **coords.attrs})
        columns = _columns(path)
        if {"x", "y"} <= columns.keys():
            xy = np.column_stack([columns["x"], columns["y"]])
        else:
            xy = columns[_first(_COORDS, columns) or "coords"]
        about = {key: columns[key][0] for key in _SIDES if key in columns}
        return _pairs(xy), _facts(about | _tiling(path))


def _columns(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of a NumPy file by name; a plain one counts as ``coords``."""
    held = read_npz(path)
    table = held.get("")
    if table is None:
        return held
    return {name: table[name] for name in table.dtype.names or ()} or {"coords": table}


def _tiling(path: Path) -> dict[str, Any]:
    """Read slide2vec's ``.coordinates.meta.json``: facts of slide and tiles."""
    content = _meta(path)
    slide = content.get("slide", {})
    about = {**content.get("tiling", {}), "level0_mpp": slide.get("base_spacing_um")}
    if slide.get("dimensions"):
        about |= dict(zip(("level0_width", "level0_height"), slide["dimensions"], strict=True))
    return about


def _facts(about: Mapping[str, Any]) -> dict[str, Any]:
    """Give what attributes say the names of `RawEmbeddings`; what they do not say is left out."""
    side_px = next((_number(about[key]) for key in _SIDES if key in about), None)
    if side_px is None:  # CLAM: px of a level
        patch_px, downsample = _number(about.get("patch_size")), _number(about.get("downsample"))
        side_px = patch_px * downsample if patch_px and downsample else None
    size_px = tuple(_number(about.get(f"level0_{side}")) for side in ("width", "height"))
    found = {
        "side_px": side_px,
        "mpp_um": _number(about.get("level0_mpp")),
        "magnification": _number(about.get("level0_magnification")),
        "size_px": None if None in size_px else size_px,
        "encoder": next((_text(about[key]) for key in _ENCODERS if key in about), None),
        "version": _text(about.get("encoder_version")),
    }
    return {fact: value for fact, value in found.items() if value is not None}


def _first(names: tuple[str, ...], held: Any) -> str | None:
    """Return the first of some names that is there."""
    return next((name for name in names if name in held), None)


_NOTHING = {"", "none", "nan", "null", "unknown", "n/a", "-1"}  # for what is not known


def _number(value: Any) -> float | None:
    """Read a positive number, None where there is none (TRIDENT writes -1 or the word None for unknown)."""
    text = _text(value)
    found = 0.0 if text is None else float(text)
    return found if np.isfinite(found) and found > 0 else None


def _text(value: Any) -> str | None:
    """Read a word or number as text, None where there is none (TRIDENT writes the word None)."""
    values = np.asarray(value).ravel()
    if not values.size or getattr(value, "shape", ()) is None:  # HDF5 has empty attributes too
        return None
    text = values[0].decode("utf-8", "replace") if isinstance(values[0], bytes) else str(values[0])
    return None if text.strip().lower() in _NOTHING else text.strip()


def _matrix(values: NDArray[Any]) -> NDArray[Any]:
    """(n, W), also where a batch of one is wrapped round it."""
    values = _unwrapped(values)
    if values.ndim == 1:
        raise ValueError("it holds one vector of the whole slide, not one for each patch")
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.number):
        raise ValueError(
            f"embeddings must be numbers, (n, width), not {values.dtype} {values.shape}"
        )
    return values


def _pairs(values: Any) -> NDArray[np.float64]:
    """(n, 2) float64, also where a batch of one is wrapped round it."""
    xy = _unwrapped(np.asarray(values, dtype=np.float64))
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise ValueError(f"coordinates must be x and y of each patch, (n, 2), not {xy.shape}")
    return xy


def _unwrapped(values: NDArray[Any]) -> NDArray[Any]:
    return values[0] if values.ndim == 3 and len(values) == 1 else values
