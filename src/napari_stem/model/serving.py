"""Whether a model can serve a slide (species, tissue, pixel size), and what embeds it: encoder or files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.device import torch_device
from napari_stem.encoders.base import same_features
from napari_stem.encoders.catalogue import canonical
from napari_stem.encoders.embed import Embedder
from napari_stem.encoders.precomputed import SAME_MPP
from napari_stem.encoders.registry import fields_of_view_of, load_encoder
from napari_stem.errors import EncoderError, ModelError
from napari_stem.spatial.gene_sets import latin_name

if TYPE_CHECKING:
    from napari_stem.encoders.base import Encoder
    from napari_stem.encoders.precomputed import PatchEmbeddings
    from napari_stem.geometry import Mpp, PatchSpec
    from napari_stem.model.bundle import Model
    from napari_stem.model.config import ModelConfig
    from napari_stem.slide import Slide

MOST_UPSAMPLING = 2.0
_OTHER_PATCHES = 1.5  # factor between two patch sides from which on they show different things


def require_species(config: ModelConfig, species: str | None) -> None:
    """Refuse tissue of another species (``human``, ``Homo sapiens``) than a model's, by a ModelError.

    What nobody says is not compared.
    """
    trained = config.card.get("species")
    if species and trained and latin_name(species) != latin_name(trained):
        raise ModelError(
            f"Model '{config.name}' was trained on {trained}, and the slide is of {species}: genes and tissue "
            f"differ; use a model of that species."
        )


def tissue_warning(config: ModelConfig, tissue: str | None) -> str | None:
    """Say so where a model was trained on other tissue than the slide's, or does not say on which."""
    trained = config.card.get("tissue")
    if not tissue or (trained and trained.strip().lower() == tissue.strip().lower()):
        return None
    if not trained:
        return f"Model '{config.name}' does not say on which tissue it was trained; this slide is of {tissue}."
    return (
        f"Model '{config.name}' was trained on {trained}, and this slide is of {tissue}: the maps may be wrong "
        f"in ways that the stated uncertainty does not cover."
    )


def require_resolution(config: ModelConfig, patch: PatchSpec, mpp: Mpp) -> None:
    """Refuse a slide so coarse that a model's encoder would see pixels that are not there.

    ModelError: the smallest field of view would be upsampled more than twofold, or so much more than in
    training (card ``mpp_um``).
    """
    field_um = min(patch.fields_of_view_um)
    finest_um = max(field_um / patch.side_px, float(config.card.get("mpp_um") or 0.0))
    own_um = max(mpp.x_um, mpp.y_um)
    if own_um > MOST_UPSAMPLING * finest_um:
        raise ModelError(
            f"The slide has {own_um:g} um/px, and model '{config.name}' looks at patches of {field_um:g} um at "
            f"{finest_um:.2g} um/px: they would be upsampled {own_um / finest_um:.1f} times; scan it finer, or "
            f"check the pixel size."
        )


def embedder_of(
    slide: Slide, model: Model, device: str, encoder: Encoder | None = None
) -> Embedder:
    """Look at a slide with the encoder that a model needs, which is loaded unless it is given.

    EncoderError, ModelError: the encoder is not ready or another one, or the slide too coarse for it.
    """
    encoder = encoder or encoder_of(model, torch_device(device))
    require_resolution(model.config, encoder.patch, slide.require_mpp())
    return Embedder(slide, encoder)


def encoder_of(model: Model, device: str) -> Encoder:
    """Load the encoder that a model needs, looking at the patches that it was trained with.

    EncoderError: it is not ready, or its numbers are other ones than in training.
    """
    try:
        encoder = load_encoder(model.encoder_name, device, model.config.fields_of_view_um)
    except EncoderError as error:
        if model.card.get("embeddings") is None:
            raise
        raise EncoderError(
            f"{error} Model '{model.name}' was trained on embeddings from files: give those of this slide with "
            f"--embeddings."
        ) from error
    wanted = model.config.encoder_version
    if wanted is not None and not same_features(encoder.version, wanted):
        raise EncoderError(
            f"Model '{model.name}' was trained with version {wanted} of encoder '{encoder.name}', this is "
            f"version {encoder.version}; train the model again."
        )
    if encoder.width != len(model.head.centre):  # embeddings from files may bear any name
        raise EncoderError(
            f"Model '{model.name}' was trained on embeddings of {len(model.head.centre)} numbers, and encoder "
            f"'{encoder.name}' gives {encoder.width}: give those of this slide with --embeddings."
        )
    return encoder


def require_fit(patches: PatchEmbeddings, model: Model) -> list[str]:
    """Check embeddings from a file against what a model was trained on.

    Returns
    -------
    What a user should hear of them, one sentence each.

    Raises
    ------
    EncoderError
        Another encoder or version, width, or patches of quite another size.
    """
    encoder, width = model.encoder_name, len(model.head.centre)
    if patches.encoder != canonical(encoder):
        raise EncoderError(
            f"Model '{model.name}' takes embeddings of encoder '{encoder}', and those of {patches.path} are of "
            f"'{patches.encoder}'; embed the slide with '{encoder}'."
        )
    if patches.width != width:
        raise EncoderError(
            f"Model '{model.name}' takes embeddings {width} wide, and those of {patches.path} are "
            f"{patches.width} wide; another pooling, or another number of fields of view?"
        )
    trained = model.config.encoder_version
    if patches.version and trained and not same_features(patches.version, trained):
        raise EncoderError(
            f"Model '{model.name}' was trained on version {trained} of encoder '{encoder}', and "
            f"{patches.path} is of version {patches.version}; embed the slide again."
        )
    fields_um = model.config.fields_of_view_um or fields_of_view_of(encoder)
    if not fields_um:
        return [
            *patches.remarks,
            f"Model '{model.name}' does not say how large its patches were; nothing was checked.",
        ]
    sides = " and ".join(f"{side:g}" for side in fields_um)
    if len(fields_um) > 1:  # which cannot be compared by one side
        return [
            *patches.remarks,
            f"Model '{model.name}' looks at {len(fields_um)} patches per spot ({sides} um): the embeddings of "
            f"{patches.path.name} must hold all of them, in this order.",
        ]
    ratio = patches.field_of_view_um / fields_um[0]
    text = (
        f"the patches of {patches.path.name} are {patches.field_of_view_um:.0f} um wide, model '{model.name}' "
        f"was trained on {sides} um"
    )
    if not 1 / _OTHER_PATCHES < ratio < _OTHER_PATCHES:
        raise EncoderError(f"They do not show the same: {text}; embed patches of that size.")
    return [*patches.remarks, *([f"Note: {text}."] if abs(ratio - 1) > SAME_MPP else [])]
