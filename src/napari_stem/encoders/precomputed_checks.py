"""What must hold of embeddings from a file before they are used with a slide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.encoders.precomputed_places import encoder_of_folder
from napari_stem.errors import EncoderError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.encoders.precomputed_places import RawEmbeddings
    from napari_stem.geometry import Mpp, SizePx

SAME_MPP = 0.05  # relative difference up to which two pixel sizes are the same
_NOMINAL_MPP = 10.0  # um per px times objective power, as scanners are sold: 0.25 at 40x
EXAMPLES = 3
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


def canonical(encoder: str) -> str:
    """Name of an encoder as this program writes it, for one of another program: ``uni_v1`` is ``uni``."""
    name = encoder.strip().lower().replace("_", "-")
    return _ALIASES.get(name, name)


def encoder_of(raw: RawEmbeddings, stated: str | None) -> str:
    """Name of the encoder that made embeddings; EncoderError where nobody says, or file and user differ."""
    named = stated or raw.encoder or encoder_of_folder(raw.path)
    if named is None:
        raise EncoderError(
            f"{raw.path} does not say which encoder made its embeddings; say it with --encoder (such as uni)."
        )
    if (
        stated is not None
        and raw.encoder is not None
        and canonical(stated) != canonical(raw.encoder)
    ):
        raise EncoderError(
            f"{raw.path} was made by encoder '{canonical(raw.encoder)}', not by '{stated}'; "
            f"leave --encoder out."
        )
    return canonical(named)


def side_of(raw: RawEmbeddings, stated_px: float | None) -> float:
    """Side of a patch in level-0 px; EncoderError where nobody says, or file and user differ."""
    if stated_px is None and raw.side_px is None:
        raise EncoderError(
            f"{raw.path} does not say how large its patches are; say it with --patch-px, in pixels of level 0."
        )
    if stated_px and raw.side_px and abs(stated_px / raw.side_px - 1) > SAME_MPP:
        raise EncoderError(
            f"The patches of {raw.path} are {raw.side_px:g} px wide, not {stated_px:g}; leave --patch-px out."
        )
    return float(raw.side_px or stated_px or 0)


def require_same_slide(raw: RawEmbeddings, size: SizePx, mpp: Mpp) -> None:
    """Check extent and pixel size of level 0, where the file states them; EncoderError if they differ."""
    own = (size.width_px, size.height_px)
    if raw.size_px is not None and raw.size_px != own:
        raise EncoderError(
            f"{raw.path} is of a slide of {raw.size_px[0]:g} x {raw.size_px[1]:g} px, this one has {own[0]} x "
            f"{own[1]} px; give the embeddings of this slide."
        )
    if raw.mpp_um is not None and abs(raw.mpp_um / mpp.x_um - 1) > SAME_MPP:
        raise EncoderError(
            f"{raw.path} was made at {raw.mpp_um:g} um/px and the slide is taken to have {mpp.x_um:g}; state "
            f"the right one with --mpp, or embed the slide again."
        )


def require_sound(
    path: Path,
    features: NDArray[np.float32],
    xy_px: NDArray[np.float64],
    side_px: float,
    size: SizePx,
) -> None:
    """Refuse what would give wrong maps in silence; ``xy_px`` are (n, 2) centres. Raises EncoderError."""
    if not features.size:
        raise EncoderError(f"{path} holds no embeddings; make it again.")
    bad = np.flatnonzero(~(np.isfinite(features).all(axis=1) & np.isfinite(xy_px).all(axis=1)))
    if len(bad):
        raise EncoderError(
            f"{len(bad)} of {len(features)} embeddings of {path} hold values that are no numbers (rows "
            f"{_listed(bad)}); make them again."
        )
    _, first, counts = np.unique(np.round(xy_px), axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        places = "; ".join(f"{x:.0f}, {y:.0f}" for x, y in xy_px[first[counts > 1]][:EXAMPLES])
        raise EncoderError(
            f"{int((counts > 1).sum())} places of {path} occur more than once (centres at {places} px); keep "
            f"one embedding of each."
        )
    outside = ~on_slide(xy_px, size, side_px / 2)
    if outside.any():
        raise EncoderError(
            f"{int(outside.sum())} of {len(xy_px)} patches of {path} lie off the {size.width_px} x "
            f"{size.height_px} px slide; give the embeddings of this slide, with level-0 coordinates."
        )


def on_slide(xy_px: NDArray[np.float64], size: SizePx, margin_px: float = 0.0) -> NDArray[np.bool_]:
    """Which of n places, (n, 2), lie on the slide or at most a margin beside it."""
    far_px = np.array([size.width_px, size.height_px]) + margin_px
    return np.asarray(((xy_px >= -margin_px) & (xy_px <= far_px)).all(axis=1))


def remarks(raw: RawEmbeddings, mpp: Mpp, n_beyond: int) -> tuple[str, ...]:
    """Say what is left out, and what looks wrong but need not be: an objective power unlike the pixel size."""
    said = []
    if n_beyond:  # tiles of the last row and column may reach beyond the slide
        said.append(
            f"{n_beyond} of {len(raw.features)} patches of {raw.path.name} have their centre off the slide and "
            f"are left out."
        )
    if raw.magnification is None or raw.mpp_um is not None:
        return tuple(said)
    nominal = _NOMINAL_MPP / raw.magnification
    if 0.5 < nominal / mpp.x_um < 2:
        return tuple(said)
    return (
        *said,
        f"{raw.path.name} takes the slide for {raw.magnification:g}x (about {nominal:g} um/px), and it is "
        f"taken to have {mpp.x_um:g} um/px here: one of them is wrong.",
    )


def _listed(rows: NDArray[np.int64]) -> str:
    return ", ".join(map(str, rows[:EXAMPLES].tolist())) + (" ..." if len(rows) > EXAMPLES else "")
