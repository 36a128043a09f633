"""``convert``: a published checkpoint and what it does not say -> a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from napari_stem.cli.app import ModelName, OverwriteModel, app, encoder_names
from napari_stem.cli.terminal import answer, tell
from napari_stem.io import only_writer, require_model_room
from napari_stem.texts import count

if TYPE_CHECKING:
    from napari_stem.model.bundle import Model
    from napari_stem.model.published import Checkpoint

PUBLISHED_PATCH_UM = 112.0  # 224 px at 0.5 um per pixel, the usual 20x slide


@app.command()
def convert(
    context: typer.Context,
    checkpoint: Annotated[
        Path,
        Argument(help="Published Stem's .pt, or safetensors.", show_default=False),
    ],
    genes: Annotated[
        Path,
        Option(help="Genes in the order of training, one a line.", show_default=False),
    ],
    encoder: Annotated[
        str,
        Option(
            help="Encoder of its training, such as uni+conch.",
            show_default=False,
            autocompletion=encoder_names,
        ),
    ],
    out: Annotated[Path, Option(help="Model folder to write.", show_default=False)],
    patch_um: Annotated[
        str | None,
        Option(help="Side of its training's patches in um; several: 150,300,600."),
    ] = None,
    pitch: Annotated[
        float | None, Option(min=1, help="Distance between spots in um; default: the patch.")
    ] = None,
    tissue: Annotated[str | None, Option(help="Tissue of its training.")] = None,
    species: Annotated[str | None, Option(help="Species of its training.")] = None,
    name: ModelName = None,
    weights: Annotated[
        Literal["ema", "model"], Option(help="Averaged weights (as published), or the last.")
    ] = "ema",
    heads: Annotated[
        int | None, Option(min=1, help="Attention heads; default: one per 64 of width.")
    ] = None,
    overwrite: OverwriteModel = False,
) -> None:
    """Turn a checkpoint of published Stem into a model that predicts."""
    sides_um = (PUBLISHED_PATCH_UM,) if patch_um is None else _sides_um(patch_um)
    context.with_resource(only_writer(out))
    require_model_room(out, overwrite=overwrite)
    from napari_stem.encoders.registry import encoder_width
    from napari_stem.spatial.panels import read_panel

    panel = read_panel(genes)
    width = encoder_width(encoder, len(sides_um))
    from napari_stem.model.published import (
        model_of,
        read_checkpoint,
        require_genes,
        require_width,
    )

    read = read_checkpoint(checkpoint, which=weights, heads=heads)
    require_genes(read, panel, str(genes))
    require_width(read, encoder, width, len(sides_um))
    model = model_of(
        read,
        name=name or out.absolute().name,
        genes=panel,
        encoder=encoder,
        fields_of_view_um=sides_um,
        pitch_um=pitch or sides_um[0],
        tissue=tissue,
        species=species,
    )
    model.save(out)
    _tell_left_out(read, checkpoint.name)
    _tell_assumed(read, model, {"patch": patch_um, "pitch": pitch, "heads": heads})
    answer(
        _to_dict(out, read, model),
        f"Model '{model.name}', {count(len(model.genes), 'gene')} ({model.unit}), from '{read.taken}' "
        f"in {checkpoint.name}: {out}. Its intervals are not calibrated.",
    )


def _sides_um(words: str) -> tuple[float, ...]:
    try:
        sides = tuple(float(word) for word in words.split(","))
    except ValueError:
        sides = ()
    if not sides or not all(0 < side < 1e5 for side in sides):
        raise typer.BadParameter(
            f"'{words}' is no side of a patch in um; write 112, or 150,300,600 for several."
        )
    return sides


def _tell_left_out(read: Checkpoint, name: str) -> None:
    dropped = {
        "opt": "the optimiser's state",
        "model": "the last weights",
        "ema": "the averaged ones",
    }
    if read.dropped:
        what = ", ".join(dropped.get(part, f"'{part}'") for part in read.dropped)
        tell(f"Left out of {name}: {what}.")


def _tell_assumed(read: Checkpoint, model: Model, stated: dict[str, object]) -> None:
    assumed = {
        "patch": f"patches of {PUBLISHED_PATCH_UM:g} um (224 px at 0.5 um per pixel). Published Stem crops "
        "224 px whatever the pixel size; if it was another one in training, say --patch-um.",
        "pitch": f"spots {model.pitch_um:g} um apart, a patch's side; --pitch changes it.",
        "heads": f"{read.denoiser.heads} attention heads, as published at this width; see --heads.",
    }
    for what, text in assumed.items():
        if stated[what] is None:
            tell(f"Assumed: {text}")


def _to_dict(out: Path, read: Checkpoint, model: Model) -> dict[str, Any]:
    return {
        "out": str(out),
        "name": model.name,
        "n_genes": len(model.genes),
        "weights": read.taken,
        "dropped": list(read.dropped),
        "encoder": model.encoder_name,
        "condition_width": read.denoiser.condition_width,
        "fields_of_view_um": list(model.config.fields_of_view_um or ()),
        "pitch_um": model.pitch_um,
        "unit": model.unit,
        "calibrated": model.config.calibrated,
        "domain": "known" if model.head.knows_domain else "unknown",
        "denoiser": read.denoiser.to_dict(),
    }
