"""Where the patches of an embedding file lie, and what its attributes say of them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import EncoderError, StemError
from napari_stem.foreign import opened_hdf5, read_json, read_npz
from napari_stem.io import DAMAGE
from napari_stem.texts import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

HDF5 = (".h5", ".hdf5")
COORDS = ("coords", "coordinates")
_SIDES = ("patch_size_level0", "tile_size_lv0")
_ENCODERS = ("encoder_name", "encoder", "patch_encoder", "model_name")
# What TRIDENT, LazySlide and slide2vec call encoders that have another name here.
_ALIASES = {
    "uni-v1": "uni",
    "uni-v2": "uni2-h",
    "uni2": "uni2-h",
    "conch-v1": "conch",
    "conch-v15": "conch-v1.5",
    "conchv15": "conch-v1.5",
    "gigapath": "prov-gigapath",
    "hoptimus0": "h-optimus-0",
    "hoptimus1": "h-optimus-1",
    "midnight12k": "midnight",
    "midnight-12k": "midnight",
    "phikonv2": "phikon-v2",
    "lunit": "lunit-dino",
    "lunit-vits8": "lunit-dino",
    "lunit-dino-s8": "lunit-dino",
    **{f"kaiko-vit{size}": f"kaiko-{size}" for size in ("s16", "s8", "b16", "b8", "l14")},
}


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


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn what a damaged file raises into one sentence."""
    try:
        yield
    except StemError:
        raise
    except DAMAGE as error:
        raise EncoderError(
            f"{path} cannot be read as embeddings ({reason_of(error)}); make it again."
        ) from error


def meta(path: Path) -> dict[str, Any]:
    """Read the ``.meta.json`` that slide2vec writes beside a file; empty where there is none."""
    beside_it = path.with_name(f"{path.stem}.meta.json")
    if not beside_it.is_file():
        return {}
    found: dict[str, Any] = read_json(beside_it.read_text(encoding="utf-8"))
    return found


def beside(path: Path) -> Path | None:
    """Coordinates that slide2vec or TRIDENT wrote in the same run."""
    stated = meta(path).get("coordinates_npz_path")
    name = f"{path.stem}.coordinates.npz"
    places = [
        path.with_name(name),
        path.parent.parent / "tiles" / name,
        path.parent.parent.parent / "tiles" / path.parent.name / name,  # of one class of tissue
        path.parent.parent / "patches" / f"{path.stem}_patches.h5",
        *([Path(stated)] if stated else []),  # from where slide2vec was run
    ]
    return next((place for place in places if place.is_file()), None)


def canonical(encoder: str) -> str:
    """Name of an encoder as this program writes it, for one of another program: ``uni_v1`` is ``uni``."""
    name = encoder.strip().lower().replace("_", "-")
    return _ALIASES.get(name, name)


def encoder_of_folder(path: Path) -> str | None:
    """Read the encoder off the folder's name, as TRIDENT names it; None in other folders."""
    before, _, encoder = path.parent.name.partition("features_")
    return None if before else encoder or None


def placed(found: RawEmbeddings, path: Path) -> RawEmbeddings:
    """Add where the patches lie, from a file of coordinates."""
    if path.suffix not in (*HDF5, ".npz", ".npy") or not path.is_file():
        raise EncoderError(
            f"There are no coordinates in {path}; give an existing .h5, .npz or .npy file."
        )
    with named(path):
        if path.suffix in HDF5:
            with opened_hdf5(path) as file:
                coords = file[first(COORDS, file) or "coords"]
                about = {**dict(file.attrs), **dict(coords.attrs)}
                return described_by(replace(found, xy_px=pairs(coords[:])), about)
        columns = _columns(path)
        if {"x", "y"} <= columns.keys():
            xy = np.column_stack([columns["x"], columns["y"]])
        else:
            xy = columns[first(COORDS, columns) or "coords"]
        about = {key: columns[key][0] for key in _SIDES if key in columns}
        return described_by(replace(found, xy_px=pairs(xy)), about | _tiling(path))


def _columns(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of a NumPy file by name; a plain one counts as ``coords``."""
    held = read_npz(path)
    table = held.get("")
    if table is None:
        return held
    return {name: table[name] for name in table.dtype.names or ()} or {"coords": table}


def _tiling(path: Path) -> dict[str, Any]:
    """Read slide2vec's ``.coordinates.meta.json``: facts of slide and tiles."""
    content = meta(path)
    slide = content.get("slide", {})
    about = {**content.get("tiling", {}), "level0_mpp": slide.get("base_spacing_um")}
    if slide.get("dimensions"):
        about |= dict(zip(("level0_width", "level0_height"), slide["dimensions"], strict=True))
    return about


def described_by(found: RawEmbeddings, about: Mapping[str, Any]) -> RawEmbeddings:
    """Add what attributes say; what is known already stays."""
    side_px = next((number(about[key]) for key in _SIDES if key in about), None)
    if side_px is None:  # CLAM: px of a level
        patch_px, downsample = number(about.get("patch_size")), number(about.get("downsample"))
        side_px = patch_px * downsample if patch_px and downsample else None
    width_px, height_px = (number(about.get(f"level0_{side}")) for side in ("width", "height"))
    return replace(
        found,
        side_px=found.side_px or side_px,
        mpp_um=found.mpp_um or number(about.get("level0_mpp")),
        magnification=found.magnification or number(about.get("level0_magnification")),
        size_px=found.size_px or ((width_px, height_px) if width_px and height_px else None),
        encoder=found.encoder or next((_text(about[k]) for k in _ENCODERS if k in about), None),
        version=found.version or _text(about.get("encoder_version")),
    )


def first(names: tuple[str, ...], held: Any) -> str | None:
    """Return the first of some names that is there."""
    return next((name for name in names if name in held), None)


NOTHING = {"", "none", "nan", "null", "unknown", "n/a", "-1"}  # for what is not known


def number(value: Any) -> float | None:
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
    return None if text.strip().lower() in NOTHING else text.strip()


def matrix(values: NDArray[Any]) -> NDArray[Any]:
    """(n, W), also where a batch of one is wrapped round it."""
    values = _unwrapped(values)
    if values.ndim == 1:
        raise ValueError("it holds one vector of the whole slide, not one for each patch")
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.number):
        raise ValueError(
            f"embeddings must be numbers, (n, width), not {values.dtype} {values.shape}"
        )
    return values


def pairs(values: Any) -> NDArray[np.float64]:
    """(n, 2) float64, also where a batch of one is wrapped round it."""
    xy = _unwrapped(np.asarray(values, dtype=np.float64))
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise ValueError(f"coordinates must be x and y of each patch, (n, 2), not {xy.shape}")
    return xy


def _unwrapped(values: NDArray[Any]) -> NDArray[Any]:
    return values[0] if values.ndim == 3 and len(values) == 1 else values
