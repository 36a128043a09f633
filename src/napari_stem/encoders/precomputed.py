"""Embeddings from files in place of an encoder: compared with the slide, matched to spots by coordinates."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.encoders.catalogue import canonical
from napari_stem.encoders.embed import rounded
from napari_stem.encoders.precomputed_files import SUFFIXES, RawEmbeddings, read_raw
from napari_stem.errors import EncoderError
from napari_stem.settings import Stated
from napari_stem.texts import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.geometry import Mpp, SizePx, Spots

TOLERANCE = 0.1  # of a patch's side: how far its centre may lie from the spot that it stands for
SAME_MPP = 0.05  # relative difference up to which two pixel sizes are the same
_NOMINAL_MPP = 10.0  # um per px times objective power, as scanners are sold: 0.25 at 40x
_EXAMPLES = 3
_HALF_MAX = float(np.finfo(np.float16).max)
_ENOUGH = 0.5  # share of a section's spots that must have a patch
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, kw_only=True)
class PatchEmbeddings:
    """Embeddings of patches of one slide, checked against it; embeds spots by looking them up."""

    path: Path  # the file
    features: NDArray[np.float32]  # (n, W) float32, finite
    xy_px: NDArray[np.float64]  # (n, 2) centres of the patches, level-0 px
    field_of_view_um: float  # side of a patch
    mpp: Mpp  # of the slide
    # what made them; the version is None where the file does not say
    encoder: str
    version: str | None
    tolerance_um: float  # how far a patch's centre may lie from its spot
    remarks: tuple[str, ...] = ()  # what a user should hear, one sentence each

    @property
    def width(self) -> int:
        """Length of one embedding, W."""
        return int(self.features.shape[1])

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What a prediction made from them records, JSON-ready."""
        digest = hashlib.sha256(self.features.tobytes())
        digest.update(self.xy_px.tobytes())
        return {
            "embeddings": "from file",
            "embeddings_sha256": digest.hexdigest(),
            "embeddings_patch_um": self.field_of_view_um,
            "embeddings_tolerance_um": self.tolerance_um,
        }

    def spots(self) -> Spots:
        """Return the patches themselves as spots, named by their centres; the pitch is that of neighbours."""
        from napari_stem.spatial.lattice import nearest_distance_px, spots_at

        pitch_px = nearest_distance_px(self.xy_px) or self.field_of_view_um / self.mpp.x_um
        return spots_at(
            self.xy_px,
            [f"x{x}y{y}" for x, y in np.round(self.xy_px).astype(int).tolist()],
            self.mpp,
            pitch_um=float(pitch_px * self.mpp.x_um),
            diameter_um=self.field_of_view_um,
        )

    def match(self, spots: Spots) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the nearest patch of each spot: (n,) index, and (n,) distance in um.

        The index is -1 where none is within the tolerance.
        """
        from scipy.spatial import cKDTree

        scale_um = (self.mpp.x_um, self.mpp.y_um)
        tree = cKDTree(self.xy_px * scale_um)
        distance_um, index = tree.query(np.column_stack([spots.x_px, spots.y_px]) * scale_um)
        found = np.where(distance_um <= self.tolerance_um, index, -1).astype(np.int64)
        return found, np.asarray(distance_um, np.float64)

    def embed(self, spots: Spots, step: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Look n spots up, (n, width) float32; ``step`` is told n at once.

        EncoderError: a spot has no patch within the tolerance; it says how many, and which.
        """
        index, distance_um = self.match(spots)
        if (index < 0).any():
            raise EncoderError(self.unmatched_text(spots, index, distance_um))
        if step is not None:
            step(len(spots))
        return self.features[index]

    def unmatched_text(
        self, spots: Spots, index: NDArray[np.int64], distance_um: NDArray[np.float64]
    ) -> str:
        """Say how many spots have no patch, and name some; ``index``, ``distance_um`` as of `match`."""
        lost = np.flatnonzero(index < 0)
        some = _listed([f"{spots.names[i]} (nearest {distance_um[i]:.0f} um away)" for i in lost])
        return (
            f"{len(lost)} of {len(spots)} spots have no patch in {self.path.name} within "
            f"{self.tolerance_um:.1f} um: {some}; embed patches centred on them, or allow more with "
            f"--tolerance."
        )


def read_embeddings(
    path: Path,
    size: SizePx,
    mpp: Mpp,
    stated: Stated | None = None,
    *,
    wanted: str | None = None,
) -> PatchEmbeddings:
    """Read a file of embeddings (`napari_stem.encoders.precomputed_files`) and check it against its slide.

    ``size`` and ``mpp`` are of the slide's level 0, ``stated`` is what the file does not say, and ``wanted``
    the encoder whose embeddings are taken where a LazySlide store has those of several.

    EncoderError: it cannot be read; encoder or patch size is unknown; it is of another slide or pixel size;
    values are no numbers; a place occurs twice.
    """
    stated = stated or Stated()
    raw = read_raw(path, stated.coordinates, stated.encoder or wanted)
    encoder = _encoder_of(raw, stated.encoder)
    side_px = _side_of(raw, stated.patch_px)
    _require_same_slide(raw, size, mpp)
    places = np.zeros((0, 2)) if raw.xy_px is None else raw.xy_px
    xy_px = places if raw.centred else places + side_px / 2
    features = raw.features.astype(np.float32)
    _require_sound(path, features, xy_px, side_px, size)
    kept = _on_slide(xy_px, size)
    features = features[kept]
    side_um = side_px * mpp.x_um
    return PatchEmbeddings(
        path=path,
        features=rounded(features) if np.abs(features).max() <= _HALF_MAX else features,
        xy_px=xy_px[kept],
        field_of_view_um=side_um,
        mpp=mpp,
        encoder=encoder,
        version=raw.version,
        tolerance_um=stated.tolerance_um or TOLERANCE * side_um,
        remarks=_remarks(raw, mpp, int((~kept).sum())),
    )


def _encoder_of(raw: RawEmbeddings, stated: str | None) -> str:
    """Name of the encoder that made embeddings; EncoderError where nobody says, or file and user differ."""
    before, _, of_folder = raw.path.parent.name.partition("features_")  # as TRIDENT names it
    named = stated or raw.encoder or ("" if before else of_folder)
    if not named:
        raise EncoderError(
            f"{raw.path} does not say which encoder made its embeddings; say it with --encoder (such as uni)."
        )
    if stated and raw.encoder and canonical(stated) != canonical(raw.encoder):
        raise EncoderError(
            f"{raw.path} was made by encoder '{canonical(raw.encoder)}', not by '{stated}'; "
            f"leave --encoder out."
        )
    return canonical(named)


def _side_of(raw: RawEmbeddings, stated_px: float | None) -> float:
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


def _require_same_slide(raw: RawEmbeddings, size: SizePx, mpp: Mpp) -> None:
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


def _require_sound(
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
            f"{_listed(bad.tolist())}); make them again."
        )
    _, first, counts = np.unique(np.round(xy_px), axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        places = "; ".join(f"{x:.0f}, {y:.0f}" for x, y in xy_px[first[counts > 1]][:_EXAMPLES])
        n_places = count(int((counts > 1).sum()), "place")
        raise EncoderError(
            f"{path} holds {n_places} more than once (centres at {places} px); keep one embedding of each."
        )
    outside = ~_on_slide(xy_px, size, side_px / 2)
    if outside.any():
        raise EncoderError(
            f"{int(outside.sum())} of {len(xy_px)} patches of {path} lie off the {size.width_px} x "
            f"{size.height_px} px slide; give the embeddings of this slide, with level-0 coordinates."
        )


def _on_slide(
    xy_px: NDArray[np.float64], size: SizePx, margin_px: float = 0.0
) -> NDArray[np.bool_]:
    """Which of n places, (n, 2), lie on the slide or at most a margin beside it."""
    far_px = np.array([size.width_px, size.height_px]) + margin_px
    return np.asarray(((xy_px >= -margin_px) & (xy_px <= far_px)).all(axis=1))


def _remarks(raw: RawEmbeddings, mpp: Mpp, n_beyond: int) -> tuple[str, ...]:
    """Say what is left out, and what looks wrong but need not be: an objective power unlike the pixel size."""
    said = []
    if n_beyond:  # tiles of the last row and column may reach beyond the slide
        said.append(
            f"{n_beyond} of {len(raw.features)} patches of {raw.path.name} have their centre off the slide and "
            f"are left out."
        )
    nominal = _NOMINAL_MPP / raw.magnification if raw.magnification else mpp.x_um
    if raw.mpp_um is None and not 0.5 < nominal / mpp.x_um < 2:
        said.append(
            f"{raw.path.name} takes the slide for {raw.magnification:g}x (about {nominal:g} um/px), and it is "
            f"taken to have {mpp.x_um:g} um/px here: one of them is wrong."
        )
    return tuple(said)


def _listed(said: Sequence[object]) -> str:
    """Name the first few."""
    more = " ..." if len(said) > _EXAMPLES else ""
    return ", ".join(map(str, said[:_EXAMPLES])) + more


class EmbeddingFolder:
    """Embeddings of a data set's sections, one file each, named like the section: ``ID.h5`` or another ending.

    ``stated`` is what the files do not say. ``n_left_out`` counts measured spots without a patch, by section.
    EncoderError: there is no such folder.
    """

    def __init__(self, folder: Path, stated: Stated | None = None) -> None:
        if not folder.is_dir():
            raise EncoderError(f"There is no folder of embeddings {folder}; check the path.")
        self.folder = folder
        self._first: PatchEmbeddings | None = None
        self.n_left_out: dict[str, int] = {}
        self._stated = stated or Stated()

    def embed(
        self, section_id: str, spots: Spots, size: SizePx, mpp: Mpp
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Look up the measured spots of one section; those without a patch are left out, and told.

        Returns (k, width) float32 and (n,) bool, which spots they belong to. EncoderError: the file is
        missing or unfit, differs from the others, or has patches for few of the spots.
        """
        patches = read_embeddings(self._file(section_id), size, mpp, self._stated)
        for remark in patches.remarks:
            _log.warning("%s", remark)
        self._require_alike(patches)
        index, distance_um = patches.match(spots)
        found = index >= 0
        if not found.all():
            text = f"Section {section_id}: {patches.unmatched_text(spots, index, distance_um)}"
            if found.mean() < _ENOUGH:
                raise EncoderError(text)
            _log.warning("%s They are left out.", text)
            self.n_left_out[section_id] = int((~found).sum())
        return patches.features[index[found]], found

    @property
    def described(self) -> PatchEmbeddings:
        """What the first file that was read says of all: encoder, version, width and patch."""
        if self._first is None:
            raise EncoderError(f"No embeddings of {self.folder} have been read.")
        return self._first

    @property
    def version(self) -> str | None:
        """Version of the encoder; None where the files do not say."""
        return self.described.version

    def note(self) -> str:
        """Say where embeddings came from, and which spots had none."""
        about = f", patches of {self.described.field_of_view_um:.0f} um"
        lost = "; ".join(
            f"{n} spots of {section} had no patch" for section, n in self.n_left_out.items()
        )
        return f"Trained on embeddings from file{about}" + (f"; {lost}" if lost else "")

    def _file(self, section_id: str) -> Path:
        found = [p for s in SUFFIXES if (p := self.folder / f"{section_id}{s}").exists()]
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            raise EncoderError(
                f"Section {section_id} needs one file of embeddings {section_id}.* ({', '.join(SUFFIXES)}) in "
                f"{self.folder}; found {names}."
            )
        return found[0]

    def _require_alike(self, patches: PatchEmbeddings) -> None:
        if self._first is None:  # the features are large, and not needed again
            self._first = replace(patches, features=patches.features[:1])
        first = self._first
        alike = {
            "encoder": patches.encoder == first.encoder,
            "version": patches.version == first.version,
            "width": patches.width == first.width,
            "patch size in um": abs(patches.field_of_view_um / first.field_of_view_um - 1)
            <= SAME_MPP,
        }
        differing = [name for name, is_same in alike.items() if not is_same]
        if differing:
            raise EncoderError(
                f"{patches.path} and {first.path.name} differ in {' and '.join(differing)}; embed all sections "
                f"alike."
            )
