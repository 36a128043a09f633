"""Embeddings of a data set, a file for each section."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_stem.encoders.precomputed import SAME_MPP, Stated, read_embeddings
from napari_stem.encoders.precomputed_files import SUFFIXES
from napari_stem.errors import EncoderError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.encoders.precomputed import PatchEmbeddings
    from napari_stem.geometry import Mpp, SizePx, Spots

_log = logging.getLogger(__name__)
_ENOUGH = 0.5  # share of a section's spots that must have a patch


class EmbeddingFolder:
    """Embeddings of a data set's sections, one file each, named like the section.

    Parameters
    ----------
    folder
        Holds ``ID.h5`` (or another ending) for every section.
    stated
        What the files do not say.

    Attributes
    ----------
    n_left_out
        Measured spots without a patch, by section.

    Raises
    ------
    EncoderError
        There is no such folder.
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
        if self._first is None:  # the features are large, and not needed again
            self._first = replace(patches, features=patches.features[:1])
        first = self._first
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
