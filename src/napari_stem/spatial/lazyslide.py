"""Stores that LazySlide (wsidata) keeps of a slide: outlines of tissue and tiles, and features of tiles.

A store is a SpatialData Zarr. Its outlines are tables of polygons in level-0 px (``shapes/NAME``), its features
AnnData without coordinates (``tables/NAME``), each row naming its tile. A path may name one of them, as
``SLIDE.zarr/shapes/annotations``, or the store, where there is but one to choose.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import StemError, require_extra
from napari_stem.foreign import require_own_zarr
from napari_stem.io import DAMAGE
from napari_stem.texts import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import geopandas

SHAPES, TABLES = "shapes", "tables"
TISSUE = "tissues"  # the outlines that LazySlide finds by itself


class StoreError(StemError):
    """A LazySlide store lacks what is asked of it, or cannot be read."""


@dataclass(frozen=True)
class LazySlideStore:
    """One store, and perhaps the part of it that a path names.

    ``part`` is the name of the outlines or features in it; empty where the path names the store alone.
    ``attributes`` are those of the store: ``slide_properties`` (``shape``, which is height and width, ``mpp``,
    ``magnification``), and by name of the tiles ``tile_spec``.
    """

    path: Path
    part: str
    attributes: Mapping[str, Any]

    @classmethod
    def at(cls, path: Path, kind: str) -> LazySlideStore | None:
        """Find the store that a path names, or whose part it names; None where it is no store's.

        ``kind``, `SHAPES` or `TABLES`, says which parts count.
        """
        import zarr

        folder, part = (path.parents[1], path.name) if path.parent.name == kind else (path, "")
        if not folder.is_dir():
            return None
        try:
            attributes = dict(zarr.open_group(folder, mode="r").attrs)
        except DAMAGE:
            return None
        if "slide_properties" not in attributes:
            return None
        try:
            require_own_zarr(folder)
        except (OSError, ValueError) as error:
            raise StoreError(f"{folder} is not read: {error}.") from error
        return cls(folder, part, attributes)

    def names(self, kind: str) -> list[str]:
        """Parts of a kind that it has, sorted."""
        return sorted(each.name for each in (self.path / kind).glob("*") if each.is_dir())

    def outlines(self, name: str) -> geopandas.GeoDataFrame:
        """Read outlines, in level-0 px.

        StoreError: they are not there, damaged or scaled, or geopandas is not installed.
        """
        folder = self.path / SHAPES / name
        for package in ("geopandas", "pyarrow"):
            require_extra(package, "spatialdata", "A store of LazySlide", StoreError)
        import geopandas
        import zarr

        try:
            placed = dict(zarr.open_group(folder, mode="r").attrs)["coordinateTransformations"]
            found = geopandas.read_parquet(folder / "shapes.parquet")
        except DAMAGE as error:
            raise StoreError(
                f"{folder} cannot be read as outlines ({quoted(error, 150)}); write the store "
                f"again."
            ) from error
        if any(each["type"] != "identity" for each in placed):
            raise StoreError(
                f"{folder} is scaled or moved, not in pixels of the slide's finest level; write it in these."
            )
        return found

    def areas(self) -> list[dict[str, Any]]:
        """Features of GeoJSON, with the names and classes of annotations: those named, else the tissue.

        StoreError as of `outlines`; or there are none such.
        """
        names = [n for n in self.names(SHAPES) if n not in self.attributes.get("tile_spec", {})]
        name = self.part or (TISSUE if TISSUE in names or len(names) != 1 else names[0])
        if name not in self.names(SHAPES):
            paths = ", ".join(str(self.path / SHAPES / each) for each in names)
            raise StoreError(
                f"{self.path} has no outlines '{name}'; "
                + (f"give one of {paths}." if names else "find the tissue with LazySlide first.")
            )

        def plain(value: Any) -> Any:
            return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else None

        areas = [*self.outlines(name).iterfeatures(na="drop", drop_id=True)]
        found: list[dict[str, Any]] = json.loads(json.dumps(areas, default=plain))
        for feature in found:
            feature["properties"] = _properties(feature["properties"])
        return found


def _properties(known: dict[str, Any]) -> dict[str, Any]:
    """QuPath's properties as they were before LazySlide laid them flat (``classification_name``)."""
    nested = {
        key.removeprefix("classification_"): known.pop(key)
        for key in list(known)
        if key.startswith("classification_")
    }
    return {**({"classification": nested} if nested else {}), **known}
