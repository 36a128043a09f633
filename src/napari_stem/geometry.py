"""Units, spots and regions: the only place where um become px and px become um.

Level-0 pixels (``_px``) have their origin at the outer corner of the top-left pixel, as OpenSlide's do;
x runs right, y runs down. Micrometres (``_um``) are level-0 pixels times the slide's mpp.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import shapely

from napari_stem.errors import RegionError, SettingsError, SpotError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Mpp:
    """Micrometres per pixel at level 0, one per axis (um / px)."""

    y_um: float
    x_um: float

    def __post_init__(self) -> None:
        """Refuse sizes that no microscope has, by a SettingsError; NumPy's numbers become Python's."""
        for name, value in vars(self).items():
            object.__setattr__(self, name, float(value))
            if not (np.isfinite(value) and 0.01 <= value <= 100):
                raise SettingsError(
                    f"A pixel size of {value} um/px is not plausible; it must lie between 0.01 and 100."
                )

    @classmethod
    def square(cls, mpp_um: float) -> Mpp:
        """Pixels as high as wide."""
        return cls(y_um=mpp_um, x_um=mpp_um)


@dataclass(frozen=True)
class SizePx:
    """Extent in pixels of the level that the name around it says (level 0 if none)."""

    height_px: int
    width_px: int


@dataclass(frozen=True)
class Region:
    """An area of a slide, in level-0 pixels: a shapely Polygon or MultiPolygon with (x, y) vertices."""

    polygon: shapely.Polygon | shapely.MultiPolygon
    name: str = "region"  # a label: no value depends on it, and a resumed run may change it

    @classmethod
    def from_vertices_um(cls, yx_um: ArrayLike, mpp: Mpp, name: str = "region") -> Region:
        """Region from polygon vertices in um.

        ``yx_um`` are (n, 2) float, rows (y, x), from the slide's corner; ``mpp`` is the slide's pixel size,
        ``name`` what users read.

        RegionError: fewer than three vertices, or no area.
        """
        yx = np.asarray(yx_um, dtype=float)
        if yx.ndim != 2 or yx.shape[0] < 3 or yx.shape[1] != 2:
            raise RegionError(f"Region '{name}' needs at least three corners; draw it again.")
        xy_px = np.column_stack([yx[:, 1] / mpp.x_um, yx[:, 0] / mpp.y_um])
        polygon = shapely.make_valid(shapely.Polygon(xy_px))
        # a collection may hold a MultiPolygon
        nested = shapely.get_parts(shapely.get_parts(polygon))
        parts = [part for part in nested if part.geom_type == "Polygon"]
        # a crossing outline leaves stray lines behind
        if polygon.geom_type == "GeometryCollection":
            polygon = shapely.union_all(parts)
        if polygon.area == 0:
            raise RegionError(f"Region '{name}' has no area; draw it again.")
        return cls(polygon, name)

    def area_mm2(self, mpp: Mpp) -> float:
        """Area in mm2."""
        return float(self.polygon.area * mpp.x_um * mpp.y_um * 1e-6)


@dataclass(frozen=True, repr=False)
class Spots:
    """Sites of prediction."""

    # x_px, y_px: (n,) float64, centres in level-0 px
    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    # array_row, array_col: (n,) int64, position on the lattice (pitch apart), as Visium's array coordinates
    array_row: NDArray[np.int64]
    array_col: NDArray[np.int64]
    pitch_um: float  # distance between neighbouring spots
    diameter_um: float  # extent of one spot as measured or drawn
    names: tuple[str, ...]  # unique names, ``obs_names`` of every table made from these spots
    mpp: Mpp | None = None  # pixel size of their slide; None where nobody draws for them

    def __post_init__(self) -> None:
        """Check that the columns belong together."""
        columns = self.x_px, self.y_px, self.array_row, self.array_col, self.names
        lengths = {len(column) for column in columns}
        if len(lengths) != 1:
            raise SpotError(f"The columns of a spot list differ in length: {sorted(lengths)}.")
        if not (np.isfinite(self.x_px).all() and np.isfinite(self.y_px).all()):
            raise SpotError("A spot list holds positions that are not numbers; remove those rows.")
        if len(set(self.names)) != len(self.names):
            raise SpotError("Spot names repeat; every spot needs a name of its own.")

    def __repr__(self) -> str:
        """Say how many there are, not where all of them lie."""
        return f"Spots({len(self)} of {self.diameter_um:g} um, {self.pitch_um:g} um apart)"

    def __len__(self) -> int:
        """Count of spots."""
        return len(self.names)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Spots:
        """Return the chosen spots, in the order of ``index``."""
        chosen = np.arange(len(self))[index]
        return replace(
            self,
            x_px=self.x_px[chosen],
            y_px=self.y_px[chosen],
            array_row=self.array_row[chosen],
            array_col=self.array_col[chosen],
            names=tuple(self.names[i] for i in chosen),
        )

    @property
    def xy_um(self) -> NDArray[np.float64]:
        """(n, 2) centres in um from the slide's corner.

        SpotError: the pixel size is not known.
        """
        if self.mpp is None:
            raise SpotError("The spots have no pixel size (mpp); give that of their slide.")
        return np.stack([self.x_px * self.mpp.x_um, self.y_px * self.mpp.y_um], axis=1)


@dataclass(frozen=True)
class PatchSpec:
    """The square patches round a spot that an encoder looks at."""

    fields_of_view_um: tuple[float, ...]  # sides in um of the concentric patches round a spot
    side_px: int  # side in px to which each is resampled
    # per field of view: its patches lie on a square lattice of this pitch, fixed to the slide's corner, and a
    # spot has the nearest, so that neighbours share it; 0 centres it at the spot. Empty: all are centred at the
    # spot. Where steps are given, the encoder sees each patch alone.
    steps_um: tuple[float, ...] = ()


def lattice(size: SizePx, mpp: Mpp, pitch_um: float) -> Spots:
    """Square lattice of spots over a whole slide, anchored to the slide's corner.

    The anchor never depends on a region, so that a spot keeps its place, and with it its numbers, however
    it is asked for. Spot (row, col) has its centre at ((col + 0.5) * pitch, (row + 0.5) * pitch) um.

    Size and ``mpp`` are of level 0; the pitch is the distance between spots, and their diameter.

    SpotError: the pitch is not positive or larger than the slide.
    """
    if not pitch_um > 0:
        raise SpotError(f"A pitch of {pitch_um} um is not possible; choose one above zero.")
    n_rows = int(np.floor(size.height_px * mpp.y_um / pitch_um + 0.5))
    n_cols = int(np.floor(size.width_px * mpp.x_um / pitch_um + 0.5))
    if n_rows == 0 or n_cols == 0:
        raise SpotError(
            f"A pitch of {pitch_um:g} um is wider than the slide; choose a smaller one."
        )
    row, col = (a.ravel() for a in np.mgrid[:n_rows, :n_cols])
    return Spots(
        x_px=(col + 0.5) * pitch_um / mpp.x_um,
        y_px=(row + 0.5) * pitch_um / mpp.y_um,
        array_row=row.astype(np.int64),
        array_col=col.astype(np.int64),
        pitch_um=float(pitch_um),
        diameter_um=float(pitch_um),
        names=tuple(f"r{r}c{c}" for r, c in zip(row, col, strict=True)),
        mpp=mpp,
    )


def shared_tissue(pitch_um: float, field_of_view_um: float) -> str:
    """Say that neighbouring spots are predicted from the same tissue; empty where they are not.

    The field of view is the side of the widest patch that is looked at round each.
    """
    if pitch_um >= field_of_view_um:
        return ""
    return (
        f"Neighbouring spots share tissue: {field_of_view_um:g} µm round each are looked at, "
        f"{pitch_um:g} µm apart."
    )


def inside(spots: Spots, regions: Sequence[Region]) -> NDArray[np.bool_]:
    """Which spots have their centre in any of the regions: (n,) bool."""
    area = shapely.union_all([r.polygon for r in regions])
    shapely.prepare(area)
    return np.asarray(shapely.contains_xy(area, spots.x_px, spots.y_px), dtype=bool)


def region_names(spots: Spots, regions: Sequence[Region]) -> list[str]:
    """Names of the regions that hold each spot's centre, joined by "; "; empty outside of all."""
    names: list[list[str]] = [[] for _ in range(len(spots))]
    for region in regions:
        for row in np.flatnonzero(inside(spots, [region])):
            names[row].append(region.name.replace("; ", ", "))  # one region, not two
    return ["; ".join(dict.fromkeys(held)) for held in names]


def regions_named(joined: str) -> list[str]:
    """Take apart what `region_names` joined for a spot; one empty name outside of all."""
    return joined.split("; ")


def why_empty(spots: Spots, *, is_lattice: bool) -> str:
    """Say why regions hold none of the spots, and what helps."""
    if not is_lattice:
        return (
            "none of the spots that were given lies there; draw other regions, or give other spots."
        )
    return (
        f"off the slide, or smaller than the pitch of {spots.pitch_um:g} um; draw larger regions, or choose a "
        f"smaller pitch."
    )


def spots_in_regions(spots: Spots, regions: Sequence[Region], *, is_lattice: bool = True) -> Spots:
    """Spots, of a lattice or others, whose centre lies in any of the regions.

    RegionError: no spot lies inside.
    """
    chosen = inside(spots, regions)
    if not chosen.any():
        names = ", ".join(r.name for r in regions)
        raise RegionError(f"No spot lies inside {names}: {why_empty(spots, is_lattice=is_lattice)}")
    return spots.take(chosen)
