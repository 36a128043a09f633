"""Whether embeddings from a file are what a model was trained on, and a folder of them for a data set."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_stem.encoders.base import same_features
from napari_stem.encoders.precomputed import (
    SAME_MPP,
    PrecomputedEmbedder,
    Stated,
    read_embeddings,
)
from napari_stem.encoders.precomputed_files import SUFFIXES
from napari_stem.encoders.precomputed_places import canonical
from napari_stem.errors import EncoderError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.encoders.precomputed import PatchEmbeddings
    from napari_stem.geometry import Mpp, SizePx, Spots

_log = logging.getLogger(__name__)
_OTHER_PATCHES = 1.5  # factor between two patch sides from which on they show different things
_ENOUGH = 0.5  # share of a section's spots that must have a patch


def require_fit(
    patches: PatchEmbeddings,
    *,
    model_name: str,
    width: int,
    encoder: str,
    encoder_version: str | None,
    fields_of_view_um: tuple[float, ...] | None,
) -> list[str]:
    """Check embeddings against what a model was trained on.

    Parameters
    ----------
    patches
        From `read_embeddings`.
    model_name, width, encoder, encoder_version, fields_of_view_um
        Of the model; the fields of view are None where it takes the encoder's own.

    Returns
    -------
    What a user should hear, one sentence each.

    Raises
    ------
    EncoderError
        Another encoder or version, width, or patches of quite another size.
    """
    if patches.encoder != canonical(encoder):
        raise EncoderError(
            f"Model '{model_name}' takes embeddings of encoder '{encoder}', and those of {patches.path} are of "
            f"'{patches.encoder}'; embed the slide with '{encoder}'."
        )
    if patches.width != width:
        raise EncoderError(
            f"Model '{model_name}' takes embeddings {width} wide, and those of {patches.path} are "
            f"{patches.width} wide; another pooling, or another number of fields of view?"
        )
    if patches.version and encoder_version and not same_features(patches.version, encoder_version):
        raise EncoderError(
            f"Model '{model_name}' was trained on version {encoder_version} of encoder '{encoder}', and "
            f"{patches.path} is of version {patches.version}; embed the slide again."
        )
    wanted = fields_of_view_um or _own_fields_um(encoder)
    if not wanted:
        return [
            f"Model '{model_name}' does not say how large its patches were; nothing was checked."
        ]
    return _compared(patches, model_name, wanted)


def _compared(patches: PatchEmbeddings, model_name: str, fields_um: tuple[float, ...]) -> list[str]:
    """Compare a file's patch with the model's; a model of several fields cannot be compared by side."""
    sides = " and ".join(f"{side:g}" for side in fields_um)
    if len(fields_um) > 1:
        return [
            f"Model '{model_name}' looks at {len(fields_um)} patches per spot ({sides} um): the embeddings of "
            f"{patches.path.name} must hold all of them, in this order."
        ]
    ratio = patches.side_um / fields_um[0]
    text = f"the patches of {patches.path.name} are {patches.side_um:.0f} um wide, model '{model_name}' was "
    text += f"trained on {sides} um"
    if not 1 / _OTHER_PATCHES < ratio < _OTHER_PATCHES:
        raise EncoderError(f"They do not show the same: {text}; embed patches of that size.")
    return [f"Note: {text}."] if abs(ratio - 1) > SAME_MPP else []


def _own_fields_um(encoder: str) -> tuple[float, ...] | None:
    """Fields of view that a known encoder has by itself."""
    from napari_stem.encoders.bundled import BundledEncoder
    from napari_stem.encoders.catalogue import CATALOGUE

    if encoder == BundledEncoder.name:
        return BundledEncoder.patch.fields_of_view_um
    sides = {
        CATALOGUE[name].field_of_view_um
        for name in (part.partition("@")[0] for part in encoder.split("+"))
        if name in CATALOGUE
    }
    return tuple(sides) if len(sides) == 1 else None


class EmbeddingFolder:
    """Embeddings of a data set's sections, one file each, named like the section.

    Attributes
    ----------
    first
        What the first file that was read says: encoder, version, width and patch of all. None before.
    n_left_out
        Measured spots without a patch, by section.

    Parameters
    ----------
    folder
        Holds ``ID.h5`` (or another ending) for every section.
    stated
        What the files do not say.

    Raises
    ------
    EncoderError
        There is no such folder.
    """

    def __init__(self, folder: Path, stated: Stated | None = None) -> None:
        if not folder.is_dir():
            raise EncoderError(f"There is no folder of embeddings {folder}; check the path.")
        self.folder = folder
        self.first: PatchEmbeddings | None = None
        self.n_left_out: dict[str, int] = {}
        self._stated = stated or Stated()

    def embed(
        self, section_id: str, spots: Spots, size: SizePx, mpp: Mpp
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Look up the measured spots of one section; those without a patch are left out, and told.

        Parameters
        ----------
        section_id
            Which file.
        spots
            The section's n spots.
        size, mpp
            Of its slide, level 0.

        Returns
        -------
        (k, width) float32 and (n,) bool, which spots they belong to.

        Raises
        ------
        EncoderError
            The file is missing or unfit, differs from the others, or has patches for few of the spots.
        """
        patches = read_embeddings(self._file(section_id), size, mpp, self._stated)
        for remark in patches.remarks:
            _log.warning("%s", remark)
        self._require_alike(patches)
        embedder = PrecomputedEmbedder(patches)
        index, distance_um = embedder.match(spots)
        found = index >= 0
        if not found.all():
            text = f"Section {section_id}: {embedder.unmatched_text(spots, index, distance_um)}"
            if found.mean() < _ENOUGH:
                raise EncoderError(text)
            _log.warning("%s They are left out.", text)
            self.n_left_out[section_id] = int((~found).sum())
        return embedder.embed(spots.take(found)), found

    @property
    def described(self) -> PatchEmbeddings:
        """What the first file that was read says of all.

        Raises
        ------
        EncoderError
            None has been read.
        """
        if self.first is None:
            raise EncoderError(f"No embeddings of {self.folder} have been read.")
        return self.first

    @property
    def version(self) -> str | None:
        """Version of the encoder; None where the files do not say."""
        return self.described.version

    def note(self) -> str:
        """Say where embeddings came from, and which spots had none."""
        about = f", patches of {self.described.side_um:.0f} um"
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
        if self.first is None:  # the features are large, and not needed again
            self.first = replace(patches, features=patches.features[:1])
            return
        first = self.first
        differing = [
            name
            for name, same in (
                ("encoder", patches.encoder == first.encoder),
                ("version", patches.version == first.version),
                ("width", patches.width == first.width),
                ("patch size in um", abs(patches.side_um / first.side_um - 1) <= SAME_MPP),
            )
            if not same
        ]
        if differing:
            raise EncoderError(
                f"{patches.path} and {first.path.name} differ in {' and '.join(differing)}; embed all sections "
                f"alike."
            )
