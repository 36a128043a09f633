"""Stem's own objective (Zhu et al., ICLR 2025): the denoiser is told the embedding and generates the values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import DatasetError
from napari_stem.model.head import EmbeddingHead
from napari_stem.training.batches import TrainingData
from napari_stem.training.linear import domain_limit
from napari_stem.training.recipe import Prepared
from napari_stem.training.sections import groups_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.training.options import TrainingOptions
    from napari_stem.training.sections import SectionArrays

# Encoders whose features have no common scale: statistics of stain beside those of a network. The published
# ones (UNI, CONCH) are told as they are.
UNSCALED_ENCODERS = frozenset({"bundled"})


def prepare_published(sections: Sequence[SectionArrays], options: TrainingOptions) -> Prepared:
    """Take embeddings and values as published; spots without a single count are left out, as there.

    Raises
    ------
    DatasetError
        No spot has a count of any gene of the panel.
    """
    values = np.concatenate([s.values for s in sections])
    counted = values.any(axis=1)
    if not counted.any():
        raise DatasetError(
            f"No spot of {', '.join(s.id for s in sections)} has a count of any gene of the panel."
        )
    head = _head(sections, options.encoder)
    seen: NDArray[np.float32] | NDArray[np.float16]
    if options.augments:
        seen = np.concatenate([s.turned for s in sections if s.turned is not None])
    else:
        seen = np.concatenate([s.embedding for s in sections])
    data = TrainingData(values[counted], seen[counted], head.condition)
    return Prepared(head, data, seen.shape[-1])


def _head(sections: Sequence[SectionArrays], encoder: str) -> EmbeddingHead:
    """Standardise the embedding where its features have no common scale, else tell it as it is."""
    embedding = np.concatenate([s.embedding for s in sections]).astype(np.float64)
    if not UNSCALED_ENCODERS & set(encoder.split("+")):
        return EmbeddingHead.as_is(embedding.shape[1])
    limit = domain_limit(embedding, np.concatenate(groups_of(sections)))
    return EmbeddingHead(
        embedding.mean(0).astype(np.float32),
        np.maximum(embedding.std(0), 1e-6).astype(np.float32),
        np.array(limit, np.float32),
    )
