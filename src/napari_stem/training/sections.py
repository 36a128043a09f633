"""Measured sections as arrays: what training and evaluation work on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.encoders.embed import Embedder
from napari_stem.encoders.precomputed import EmbeddingFolder
from napari_stem.errors import DatasetError
from napari_stem.progress import Progress, silent
from napari_stem.slide import open_slide
from napari_stem.spatial.dataset import stated_patients
from napari_stem.spatial.normalise import in_unit, is_of_counts
from napari_stem.texts import count
from napari_stem.training.options import STRIPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.encoders.base import Encoder
    from napari_stem.geometry import Spots
    from napari_stem.spatial.dataset import Dataset, Section


@dataclass(frozen=True)
class SectionArrays:
    """One measured section."""

    id: str  # name of the section
    spots: Spots  # its n spots
    embedding: NDArray[np.float32]  # (n, width) float32
    values: NDArray[np.float32]  # (n, genes) float32, normalised
    metadata: dict[str, Any]  # what the data set says of it
    # (n, 8, width) float16, embeddings of each patch turned as one can turn a square; ``[:, 0]`` is
    # ``embedding``. None where training shall not see them.
    turned: NDArray[np.float16] | None = None
    # (n,) counts of all genes measured; None where nobody knows
    library_sizes: NDArray[np.float64] | None = None
    n_fields: int = 1  # equal parts of the embedding, one after the other, each of a field of view

    def part(self, chosen: NDArray[np.bool_]) -> SectionArrays:
        """Take some of its spots; ``chosen`` is (n,)."""
        return replace(
            self,
            spots=self.spots.take(chosen),
            embedding=self.embedding[chosen],
            values=self.values[chosen],
            turned=None if self.turned is None else self.turned[chosen],
            library_sizes=None if self.library_sizes is None else self.library_sizes[chosen],
        )

    def of_genes(self, columns: NDArray[np.int64]) -> SectionArrays:
        """Take some of its genes."""
        return replace(self, values=self.values[:, columns])


def load_sections(
    dataset: Dataset,
    ids: Sequence[str],
    genes: Sequence[str],
    normalisation: str,
    encoder: Encoder | EmbeddingFolder,
    progress: Progress = silent,
    *,
    turned: bool = False,
) -> list[SectionArrays]:
    """Read sections, embedded and normalised, all with the same genes.

    A folder of embeddings leaves out spots that have no patch in it. With ``turned`` the 8 transforms of each
    patch are embedded too, for augmentation.
    """
    loaded = []
    for section_id in ids:
        section = dataset.section(section_id)
        values = section_values(section, genes, normalisation)
        spots, sizes = section.spots(), section.library_sizes
        turns, n_fields = None, 1
        text = f"Looking at section {section_id}" + (" in 8 turns" if turned else "")

        def step(n_done: int, text: str = text, n_spots: int = len(spots)) -> None:
            progress(text, n_done, n_spots)

        with open_slide(section.slide_path, section.mpp) as slide:
            if isinstance(encoder, EmbeddingFolder):
                if turned:
                    raise DatasetError(
                        f"{encoder.folder} holds no embeddings of turned patches; train with --no-augment."
                    )
                embedding, kept = encoder.embed(section_id, spots, slide.size, slide.require_mpp())
                spots, values, sizes = spots.take(kept), values[kept], sizes[kept]
            elif turned:
                turns = Embedder(slide, encoder).embed_turned(spots, step)
                embedding = turns[:, 0].astype(np.float32)
            else:
                embedding = Embedder(slide, encoder).embed(spots, step)
        # the parts of joined encoders are not equal
        if not isinstance(encoder, EmbeddingFolder) and "+" not in encoder.name:
            n_fields = len(encoder.patch.fields_of_view_um)
        loaded.append(
            SectionArrays(
                section_id, spots, embedding, values, section.metadata, turns, sizes, n_fields
            )
        )
    return loaded


def depths_of(sections: Sequence[SectionArrays], normalisation: str) -> NDArray[np.float64] | None:
    """(n,) library sizes of all spots; None where they are not known, or the unit knows no depth."""
    sizes = [s.library_sizes for s in sections if s.library_sizes is not None]
    is_known = len(sizes) == len(sections) and is_of_counts(normalisation)
    return np.concatenate(sizes) if is_known else None


def section_values(
    section: Section, genes: Sequence[str], normalisation: str
) -> NDArray[np.float32]:
    """(n, genes) measured values; of a large section's counts only these genes are ever in memory."""
    return in_unit(section.counts_of(genes), normalisation, lambda: section.library_sizes)


def patients_of(sections: Sequence[SectionArrays]) -> list[str] | None:
    """Return whose each section is; None where the data set does not say it of one or more."""
    return stated_patients(section.metadata for section in sections)


def groups_of(sections: Sequence[SectionArrays]) -> list[NDArray[np.int64]]:
    """Group of each spot, for what must be predicted by others: never the spot's own group.

    Groups are patients, or the sections where there is one patient or not all are known. A single section is
    cut into four vertical strips, so that neighbours do not answer for each other.

    DatasetError: the single section has too few spots to be cut.
    """
    if len(sections) > 1:
        whose = patients_of(sections) or []
        names = whose if len(set(whose)) > 1 else [s.id for s in sections]
        numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
        return [
            np.full(len(s.spots), numbers[n], np.int64)
            for s, n in zip(sections, names, strict=True)
        ]
    (only,) = sections
    if len(only.spots) < 2 * STRIPS:
        raise DatasetError(
            f"Section {only.id} has {count(len(only.spots), 'spot')}: too few to train on."
        )
    edges = np.quantile(only.spots.x_px, np.linspace(0, 1, STRIPS + 1)[1:-1])
    return [np.searchsorted(edges, only.spots.x_px).astype(np.int64)]
