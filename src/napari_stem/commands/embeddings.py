"""``predict --embeddings``: a file in place of the encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.commands.terminal import tell

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.encoders.precomputed import PrecomputedEmbedder, Stated
    from napari_stem.model.bundle import Model
    from napari_stem.slide.base import Slide


def embedder_from(path: Path, stated: Stated, slide: Slide, model: Model) -> PrecomputedEmbedder:
    """Read embeddings for a slide and a model; says on stderr what does not quite fit.

    Raises
    ------
    EncoderError
        They are of another slide, encoder or width, or damaged.
    """
    from napari_stem.model.serving import embedder_for

    embedder, notes = embedder_for(path, stated, slide.size, slide.require_mpp(), model)
    for note in notes:
        tell(note)
    return embedder
