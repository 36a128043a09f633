"""Features of tiles out of a LazySlide store, each at the place of its tile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.encoders.precomputed_checks import canonical
from napari_stem.encoders.precomputed_places import RawEmbeddings, matrix, number
from napari_stem.errors import EncoderError
from napari_stem.spatial.lazyslide import TABLES, LazySlideStore

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray


def read_store(path: Path, encoder: str | None) -> RawEmbeddings | None:
    """Read features of a LazySlide store.

    Parameters
    ----------
    path
        The store, or one table of features in it (``SLIDE.zarr/tables/uni_tiles``).
    encoder
        Whose features are wanted where the store has several.

    Returns
    -------
    None where the path is no store's.

    Raises
    ------
    EncoderError
        It has none, or several and nothing says which, or they belong to no square tiles.
    StoreError
        Its outlines cannot be read.
    """
    store = LazySlideStore.at(path, TABLES)
    if store is None:
        return None
    sets = {name: tiles for name in store.names(TABLES) if (tiles := _tiles_of(store, name))}
    name = store.part or _chosen(store, sets, encoder)
    if name not in sets:
        raise EncoderError(
            f"{path} holds no features of tiles; give one of {_listed(store, sets)}."
        )
    return _read(store, name, sets[name])


def _read(store: LazySlideStore, name: str, tiles: str) -> RawEmbeddings:
    import anndata

    table = anndata.read_zarr(store.path / TABLES / name)
    outlines = store.outlines(tiles)
    if "tile_id" in outlines and "tile_id" in table.obs:
        outlines = outlines.set_index("tile_id").loc[table.obs["tile_id"]]
    corners = outlines.bounds.to_numpy()  # left, top, right, bottom
    features = table.X.toarray() if hasattr(table.X, "toarray") else np.asarray(table.X)
    slide, shape = store.slide, store.slide.get("shape")
    return RawEmbeddings(
        path=store.path / TABLES / name,
        features=matrix(features),
        xy_px=(corners[:, :2] + corners[:, 2:]) / 2,
        centred=True,
        side_px=_side_px(store, tiles, corners),
        mpp_um=number(slide.get("mpp")),
        magnification=number(slide.get("magnification")),
        size_px=None if shape is None else (float(shape[1]), float(shape[0])),
        encoder=_encoder_of(name, tiles),
    )


def _side_px(store: LazySlideStore, tiles: str, corners: NDArray[np.float64]) -> float:
    sides = corners[:, 2:] - corners[:, :2]
    if not len(sides) or np.ptp(sides) > 1:
        raise EncoderError(
            f"The tiles '{tiles}' of {store.path} are not squares of one size; tile the slide in squares."
        )
    return float(sides.mean())


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
