"""Embeddings that somebody else made, as files hold them: HDF5, Zarr, AnnData, NumPy and torch.

Layouts, by what is in the file: CLAM and TRIDENT (``features``, ``coords`` with ``patch_size_level0``, or
``patch_size`` and ``downsample``), LazySlide (the store that it keeps of a slide; or AnnData of
``wsi.fetch.features_anndata``: top-left corners, ``uns["tile_spec"]``), other AnnData (``obsm["spatial"]`` are
centres), slide2vec (``.pt`` or ``.npz``, ``.meta.json`` beside, ``.coordinates.npz``). Nothing in a file is
run: torch files are read weights-only, NumPy files without pickle.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.encoders.precomputed_places import (
    COORDS,
    HDF5,
    RawEmbeddings,
    beside,
    canonical,
    described_by,
    first,
    matrix,
    meta,
    named,
    pairs,
    placed,
)
from napari_stem.errors import DatasetError, EncoderError
from napari_stem.foreign import dense, opened_hdf5, read_npz, require_own_zarr
from napari_stem.spatial.lattice import stated_diameter_px
from napari_stem.spatial.lazyslide import TABLES, LazySlideStore
from napari_stem.spatial.table_files import places_px, read_as_stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def _read_store(path: Path, encoder: str | None) -> RawEmbeddings | None:
    """Read features of a LazySlide store, or a table of them in it; None where the path is neither."""
    store = LazySlideStore.at(path, TABLES)
    if store is None:
        return None
    sets = {name: tiles for name in store.names(TABLES) if (tiles := _tiles_of(store, name))}
    name = store.part or _chosen(store, sets, encoder)
    if name not in sets:
        raise EncoderError(
            f"{path} holds no features of tiles; give one of {_listed(store, sets)}."
        )
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
    found = RawEmbeddings(
        path=store.path / TABLES / name,
        features=matrix(dense(table.X)),
        xy_px=(corners[:, :2] + corners[:, 2:]) / 2,
        centred=True,
        side_px=float(sides.mean()),
        encoder=_encoder_of(name, tiles),
    )
    return described_by(found, _about_slide(store.slide))


def _tiles_of(store: LazySlideStore, name: str) -> str:
    """Tiles that a table has a row for; empty where it is of something else."""
    import zarr

    about: dict[str, Any] = dict(zarr.open_group(store.path / TABLES / name, mode="r").attrs)
    region = about.get("region")
    is_tiles = isinstance(region, str) and region in store.attributes.get("tile_spec", {})
    return str(region) if is_tiles else ""


def _encoder_of(name: str, tiles: str) -> str:
    """LazySlide names features by encoder and tiles."""
    return name.removesuffix(f"_{tiles}")


def _chosen(store: LazySlideStore, sets: dict[str, str], encoder: str | None) -> str:
    if not sets:
        raise EncoderError(
            f"{store.path} holds no features of tiles; extract them with LazySlide first."
        )
    wanted = canonical(encoder or "")
    alike = [name for name, tiles in sets.items() if canonical(_encoder_of(name, tiles)) == wanted]
    possible = alike or list(sets)
    if len(possible) > 1:
        raise EncoderError(
            f"{store.path} holds several sets of features; give one of {_listed(store, possible)}."
        )
    return possible[0]


def _listed(store: LazySlideStore, sets: Iterable[str]) -> str:
    return ", ".join(str(store.path / TABLES / name) for name in sets) or "none"


SUFFIXES = (*HDF5, ".zarr", ".h5ad", ".pt", ".npz")
_FEATURES = ("features", "feats", "embeddings", "tile_embeddings")


def read_raw(
    path: Path, coordinates: Path | None = None, encoder: str | None = None
) -> RawEmbeddings:
    """Read a file of embeddings: ``.h5``, ``.zarr``, ``.h5ad``, ``.pt``, ``.npz``, part of a LazySlide store.

    ``coordinates`` say where the patches lie, if the file does not: ``.h5`` (TRIDENT's and CLAM's
    ``patches``), ``.npz`` or ``.npy`` (slide2vec); None: what lies beside a slide2vec file. ``encoder`` says
    whose embeddings are wanted, where a LazySlide store has several.

    EncoderError: it is missing, damaged, or holds no embeddings, or nothing says where the patches lie.
    """
    with named(path):
        found = _read_store(path, encoder)
    if found is not None:
        return found
    if path.suffix not in SUFFIXES:
        raise EncoderError(
            f"{path.name} has an ending that embeddings do not have; give one of {', '.join(SUFFIXES)}."
        )
    if not path.exists():
        raise EncoderError(f"There is no file of embeddings {path}; check the path.")
    with named(path):
        found = _READERS[path.suffix](path)
    if coordinates is None and found.xy_px is None:
        coordinates = beside(path)
    if coordinates is not None:
        found = placed(found, coordinates)
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


def _read_hdf5(path: Path) -> RawEmbeddings:
    with opened_hdf5(path) as file:
        return _from_group(path, file)


def _read_zarr(path: Path) -> RawEmbeddings:
    import zarr

    require_own_zarr(path)
    group = zarr.open_group(path, mode="r")
    return _read_anndata(path) if "X" in group and "obs" in group else _from_group(path, group)


def _from_group(path: Path, group: Any) -> RawEmbeddings:
    """Arrays with attributes: CLAM, TRIDENT, and whatever is alike."""
    about = dict(group.attrs)
    for name in (*_FEATURES, *COORDS):
        about |= dict(group[name].attrs) if name in group else {}
    return _from_arrays(path, group, about)


def _from_arrays(path: Path, held: Any, about: Mapping[str, Any]) -> RawEmbeddings:
    """Arrays by name, and what is said of them."""
    features, coords = first(_FEATURES, held), first(COORDS, held)
    if features is None:
        raise EncoderError(
            f"{path} has no array 'features' (it has {', '.join(sorted(held)) or 'none'}); write the "
            f"embeddings there, (n, width)."
        )
    xy_px = None if coords is None else pairs(held[coords])
    found = RawEmbeddings(path=path, features=matrix(np.asarray(held[features])), xy_px=xy_px)
    return described_by(found, about)


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
    found = RawEmbeddings(path=path, features=matrix(dense(table.X)), xy_px=xy_px)
    spec = table.uns.get("tile_spec")
    if spec is None:
        found = replace(found, centred=True, side_px=stated_diameter_px(table.uns))
        return described_by(found, table.uns)
    side_px = float(int(spec["width"] * spec.get("base_downsample", 1.0)))  # as LazySlide cuts
    about = {**table.uns, **_about_slide(table.uns.get("slide_properties", {}))}
    return described_by(replace(found, side_px=side_px), about)


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


def _read_torch(path: Path) -> RawEmbeddings:
    from napari_stem.encoders.tensor_files import read_tensors

    content = read_tensors(path)
    held = content if isinstance(content, dict) else {"features": content}
    return _from_run(path, {str(name): _array(value) for name, value in held.items()})


def _array(value: Any) -> Any:
    """NumPy's form of a tensor; bfloat16, which it lacks, as float32."""
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def _read_npz(path: Path) -> RawEmbeddings:
    return _from_run(path, read_npz(path))


def _from_run(path: Path, held: dict[str, Any]) -> RawEmbeddings:
    """Arrays and words by name; slide2vec says more in a ``.meta.json`` beside."""
    return _from_arrays(path, held, held | meta(path))


_READERS = {
    **dict.fromkeys(HDF5, _read_hdf5),
    ".zarr": _read_zarr,
    ".h5ad": _read_anndata,
    ".pt": _read_torch,
    ".npz": _read_npz,
}
