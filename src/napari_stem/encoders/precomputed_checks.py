"""What must hold of embeddings from a file before they are used with a slide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import EncoderError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.encoders.precomputed_places import RawEmbeddings
    from napari_stem.geometry import Mpp, SizePx

SAME_MPP = 0.05  # relative difference up to which two pixel sizes are the same
_NOMINAL_MPP = 10.0  # um per px times objective power, as scanners are sold: 0.25 at 40x
EXAMPLES = 3
# What TRIDENT and slide2vec call encoders that have another name here.
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
}


def canonical(encoder: str) -> str:
    """Name of an encoder as this program writes it, for one of another program: ``uni_v1`` is ``uni``."""
    name = encoder.strip().lower().replace("_", "-")
    return _ALIASES.get(name, name)


def encoder_of(raw: RawEmbeddings, stated: str | None) -> str:
    """Name of the encoder that made embeddings; EncoderError where nobody says, or file and user differ."""
    if stated is None and raw.encoder is None:
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
    return canonical(stated or raw.encoder or "")


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
    path: Path, features: NDArray[np.float32], xy_px: NDArray[np.float64], size: SizePx
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
    outside = ((xy_px < 0) | (xy_px > (size.width_px, size.height_px))).any(axis=1)
    if outside.any():
        raise EncoderError(
            f"{int(outside.sum())} of {len(xy_px)} patches of {path} lie off the {size.width_px} x "
            f"{size.height_px} px slide; give the embeddings of this slide, with level-0 coordinates."
        )


def remarks(raw: RawEmbeddings, mpp: Mpp) -> tuple[str, ...]:
    """Say what looks wrong but need not be: an objective power that does not go with the pixel size."""
    if raw.magnification is None or raw.mpp_um is not None:
        return ()
    nominal = _NOMINAL_MPP / raw.magnification
    if 0.5 < nominal / mpp.x_um < 2:
        return ()
    return (
        f"{raw.path.name} takes the slide for {raw.magnification:g}x (about {nominal:g} um/px), and it is "
        f"taken to have {mpp.x_um:g} um/px here: one of them is wrong.",
    )


def _listed(rows: NDArray[np.int64]) -> str:
    return ", ".join(map(str, rows[:EXAMPLES].tolist())) + (" ..." if len(rows) > EXAMPLES else "")
