"""``convert``: a published checkpoint and what it does not say -> a model folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_stem.commands.terminal import tell
from napari_stem.outputs import require_model_room

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.model.bundle import Model
    from napari_stem.model.published import Checkpoint, Which

PUBLISHED_PATCH_UM = 112.0  # 224 px at 0.5 um per pixel, the usual 20x slide


@dataclass(frozen=True, kw_only=True)
class ConvertRequest:
    """What ``convert`` was asked for; see the command's options."""

    checkpoint: Path
    genes: Path
    encoder: str
    out: Path
    patch_um: tuple[float, ...] | None = None
    pitch_um: float | None = None
    tissue: str | None = None
    species: str | None = None
    name: str | None = None
    weights: Which = "ema"
    heads: int | None = None
    overwrite: bool = False


def run_convert(request: ConvertRequest) -> dict[str, Any]:
    """Convert a checkpoint; says on stderr what was assumed and what was left out.

    Returns
    -------
    JSON-ready: ``out, name, n_genes, weights, dropped, encoder, condition_width, fields_of_view_um,
    pitch_um, unit, calibrated, domain, denoiser``.

    Raises
    ------
    StemError
        Checkpoint, gene list, encoder and folder do not fit together.
    """
    from napari_stem.encoders.registry import encoder_width
    from napari_stem.spatial.panel_files import read_panel

    require_model_room(request.out, overwrite=request.overwrite)
    sides_um = request.patch_um or (PUBLISHED_PATCH_UM,)
    genes = read_panel(request.genes)
    width = encoder_width(request.encoder, len(sides_um))
    from napari_stem.model.published import (
        Provided,
        model_of,
        read_checkpoint,
        require_genes,
        require_width,
    )

    checkpoint = read_checkpoint(request.checkpoint, which=request.weights, heads=request.heads)
    require_genes(checkpoint, genes, str(request.genes))
    require_width(checkpoint, request.encoder, width, len(sides_um))
    model = model_of(
        checkpoint,
        Provided(
            name=request.name or request.out.name,
            genes=genes,
            encoder=request.encoder,
            encoder_version=None,
            fields_of_view_um=sides_um,
            pitch_um=request.pitch_um or sides_um[0],
            tissue=request.tissue,
            species=request.species,
        ),
    )
    model.save(request.out)
    for line in _assumed(request, checkpoint, model):
        tell(line)
    return _told(request, checkpoint, model)


def _assumed(request: ConvertRequest, checkpoint: Checkpoint, model: Model) -> list[str]:
    """Say what the user should know of the conversion, one or two sentences a line."""
    dropped = {
        "opt": "the optimiser's state",
        "model": "the last weights",
        "ema": "the averaged ones",
    }
    lines = []
    if checkpoint.dropped:
        what = ", ".join(dropped.get(part, f"'{part}'") for part in checkpoint.dropped)
        lines.append(f"Left out of {request.checkpoint.name}: {what}.")
    if request.patch_um is None:
        lines.append(
            f"Assumed: patches of {PUBLISHED_PATCH_UM:g} um (224 px at 0.5 um per pixel). Published Stem "
            "crops 224 px whatever the pixel size; if it was another one in training, say --patch-um."
        )
    if request.pitch_um is None:
        lines.append(
            f"Assumed: spots {model.pitch_um:g} um apart, a patch's side; --pitch changes it."
        )
    if request.heads is None:
        heads = checkpoint.denoiser.heads
        lines.append(f"Assumed: {heads} attention heads, as published at this width; see --heads.")
    return lines


def _told(request: ConvertRequest, checkpoint: Checkpoint, model: Model) -> dict[str, Any]:
    return {
        "out": str(request.out),
        "name": model.name,
        "n_genes": len(model.genes),
        "weights": checkpoint.taken,
        "dropped": list(checkpoint.dropped),
        "encoder": model.encoder_name,
        "condition_width": checkpoint.denoiser.condition_width,
        "fields_of_view_um": list(model.config.fields_of_view_um or ()),
        "pitch_um": model.pitch_um,
        "unit": model.unit,
        "calibrated": model.config.calibrated,
        "domain": "known" if model.head.knows_domain else "unknown",
        "denoiser": checkpoint.denoiser.to_dict(),
    }
