"""Measured sections of a benchmark: read and embedded once, then cut to each fold's panel."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import DatasetError
from napari_stem.slide.source import fingerprint
from napari_stem.spatial.normalise import columns_of, normalised
from napari_stem.spatial.panels import parse_panel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import anndata
    from numpy.typing import NDArray

    from napari_stem.encoders.base import Encoder
    from napari_stem.evaluation.protocols.base import Fold
    from napari_stem.spatial.dataset import Dataset, Section
    from napari_stem.training.sections import SectionArrays


class MeasuredSections:
    """The sections of one data set in one unit, with one encoder's embeddings.

    Parameters
    ----------
    dataset, encoder
        What to read, and what looks at it.
    normalisation
        Unit of all values.
    turned
        Whether embeddings of the turned and mirrored patches are needed too (published Stem).
    progress
        Told (what, done, in all).
    """

    def __init__(
        self,
        dataset: Dataset,
        encoder: Encoder,
        normalisation: str,
        progress: Callable[[str, int, int], None],
        *,
        turned: bool = False,
    ) -> None:
        self.dataset = dataset
        self.normalisation = normalisation
        self.section = cache(dataset.section)  # counts of each are read once
        self._encoder, self._progress, self._turned = encoder, progress, turned
        self._arrays: dict[str, SectionArrays] = {}

    def truth(self, section_id: str, panel: Sequence[str]) -> NDArray[np.float32]:
        """(spots, genes) measured values."""
        return normalised(self.section(section_id).counts, panel, self.normalisation)

    def arrays(self, section_id: str, panel: Sequence[str]) -> SectionArrays:
        """Embedding and values of one section; it is embedded when first asked for."""
        from napari_stem.training.sections import load_sections

        if section_id not in self._arrays:
            (self._arrays[section_id],) = load_sections(
                self.dataset,
                [section_id],
                panel,
                self.normalisation,
                self._encoder,
                self._progress,
                turned=self._turned,
            )
        return replace(self._arrays[section_id], values=self.truth(section_id, panel))

    def blind(self, section_id: str, panel: Sequence[str]) -> SectionArrays:
        """Return the same with all values NaN: what a predictor is asked for."""
        known = self.arrays(section_id, panel)
        return replace(known, values=np.full_like(known.values, np.nan))

    def panel(self, fold: Fold, genes: str) -> tuple[str, ...]:
        """Choose a panel on a fold's training sections, among the genes that its test sections have.

        Which genes were measured is no secret of the test sections; their counts are.
        """
        counts = [self.section(s).counts for s in fold.train]
        measured = [set(self.section(s).counts.var_names) for s in fold.test]
        return parse_panel(genes)([_only(table, measured) for table in counts])

    def require(self, fold: Fold, panel: Sequence[str]) -> None:
        """Check that a given panel was measured in every section of a fold.

        Raises
        ------
        DatasetError
            A gene was not.
        """
        for section_id in (*fold.train, *fold.test):
            measured = self.section(section_id).counts.var_names
            columns_of(panel, measured, f"in section {section_id}")


def _only(counts: anndata.AnnData, measured: Sequence[set[str]]) -> anndata.AnnData:
    common = set(counts.var_names).intersection(*measured)
    return counts if len(common) == counts.n_vars else counts[:, sorted(common)].copy()


def dataset_fingerprint(dataset: Dataset, sections: Sequence[str]) -> str:
    """Digest of the sections' counts, slides and metadata: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for section_id in sections:
        section = dataset.section(section_id)
        stated = json.dumps(section.metadata, sort_keys=True)
        for part in (section_id, stated, _print_of(section.table_path), _slide_print(section)):
            digest.update(f"{len(part)}:{part};".encode())
    return digest.hexdigest()


def _slide_print(section: Section) -> str:
    slide = section.slide_path
    return _print_of(slide) if slide.is_file() else slide.name


def _print_of(path: Path) -> str:
    try:
        return fingerprint(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror or error}).") from error
