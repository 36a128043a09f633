"""Measured sections as arrays: what training and evaluation work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.encoders.embed import Embedder
from napari_stem.errors import DatasetError
from napari_stem.slide import open_slide
from napari_stem.spatial.normalise import normalised

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_stem.encoders.base import Encoder
    from napari_stem.geometry import Spots
    from napari_stem.spatial.dataset import Dataset

    Progress = Callable[[str, int, int], None]

_STRIPS = 4


@dataclass(frozen=True)
class SectionArrays:
    """One measured section.

    Attributes
    ----------
    id
        Name of the section.
    spots
        Its n spots.
    embedding
        (n, width) float32.
    values
        (n, genes) float32, normalised.
    metadata
        What the data set says of it.
    """

    id: str
    spots: Spots
    embedding: NDArray[np.float32]
    values: NDArray[np.float32]
    metadata: dict[str, Any]


def embed_section(
    dataset: Dataset, section_id: str, encoder: Encoder, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Embed the measured spots of one section: (n, width) float32."""
    section = dataset.section(section_id)
    slide = open_slide(section.slide_path, section.mpp)
    try:
        spots = section.spots()

        def step(n_done: int) -> None:
            if progress is not None:
                progress(f"Looking at section {section_id}", n_done, len(spots))

        return Embedder(slide, encoder).embed(spots, step)
    finally:
        slide.close()


def load_sections(
    dataset: Dataset,
    ids: Sequence[str],
    genes: Sequence[str],
    normalisation: str,
    encoder: Encoder,
    progress: Progress | None = None,
) -> list[SectionArrays]:
    """Read sections, embedded and normalised, all with the same genes."""
    loaded = []
    for section_id in ids:
        section = dataset.section(section_id)
        embedding = embed_section(dataset, section_id, encoder, progress)
        values = normalised(section.counts, genes, normalisation)
        loaded.append(
            SectionArrays(section_id, section.spots(), embedding, values, section.metadata)
        )
    return loaded


def groups_of(sections: Sequence[SectionArrays]) -> list[NDArray[np.int64]]:
    """Group of each spot, by section, for what must be predicted by others: never the spot's own group.

    A single section is cut into four vertical strips, so that neighbours do not answer for each other.

    Raises
    ------
    DatasetError
        The single section has too few spots to be cut.
    """
    if len(sections) > 1:
        return [np.full(len(s.spots), i, np.int64) for i, s in enumerate(sections)]
    (only,) = sections
    if len(only.spots) < 2 * _STRIPS:
        raise DatasetError(f"Section {only.id} has {len(only.spots)} spots: too few to train on.")
    edges = np.quantile(only.spots.x_px, np.linspace(0, 1, _STRIPS + 1)[1:-1])
    return [np.searchsorted(edges, only.spots.x_px).astype(np.int64)]
