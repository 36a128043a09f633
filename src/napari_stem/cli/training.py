"""``train`` and ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from napari_stem.cli.app import app
from napari_stem.cli.options import (
    Device,
    Json,
    PatchPx,
    Seed,
    ToleranceUm,
    encoder_names,
    listed,
)
from napari_stem.commands.terminal import say, say_json


@app.command()
def train(
    dataset: Annotated[Path, typer.Argument(help="Folder in HEST layout.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Model folder to write.", show_default=False)],
    hold_out: Annotated[
        str | None, typer.Option(help="Sections to test on, never trained on; separated by commas.")
    ] = None,
    genes: Annotated[
        str,
        typer.Option(
            help="hmhvg:N, hvg:N, set:NAME, a file, or several joined by + (see 'genes')."
        ),
    ] = "hmhvg:200",
    encoder: Annotated[
        str | None,
        typer.Option(
            help="See 'encoders'; default: bundled, or what the embeddings' files say.",
            autocompletion=encoder_names,
        ),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            help="Folder with embeddings made elsewhere, SECTION.h5 (.zarr, .h5ad, .pt, .npz)."
        ),
    ] = None,
    patch_px: PatchPx = None,
    tolerance: ToleranceUm = None,
    objective: Annotated[
        Literal["edm", "published"], typer.Option(help="What to train: ours, or published Stem's.")
    ] = "edm",
    size: Annotated[
        Literal["small", "full"],
        typer.Option(help="Size of the published network; full: 12 x 384."),
    ] = "small",
    normalisation: Annotated[
        Literal["log2_counts", "log1p_counts", "log1p_cp10k"],
        typer.Option(help="Unit of the values."),
    ] = "log2_counts",
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Train for this long at the most.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps at the most.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Spots per step, over all processes.")
    ] = None,
    augment: Annotated[
        bool | None,
        typer.Option(help="Train on 8 turns of each patch; default: published objective only."),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Calibrate the published objective too, on left-out sections."
        ),
    ] = False,
    ema: Annotated[
        float | None, typer.Option(min=0, max=0.999999, help="Decay of the averaged weights.")
    ] = None,
    precision: Annotated[
        Literal["auto", "float32", "bf16"], typer.Option(help="auto: bf16 where CUDA has it.")
    ] = "auto",
    compiled: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes on this machine; several machines: see above.")
    ] = 1,
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0, help="Minutes between two checkpoints.")
    ] = 10,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoints in the model folder.")
    ] = False,
    keep_checkpoints: Annotated[
        bool,
        typer.Option("--keep-checkpoints", help="Keep checkpoints when the model is finished."),
    ] = False,
    log: Annotated[
        Literal["csv", "tensorboard", "none"],
        typer.Option(help="Curves of the training, in the model folder's logs."),
    ] = "csv",
    seed: Seed = 0,
    device: Device = "auto",
    name: Annotated[
        str | None, typer.Option(help="Name of the model; default: the folder's.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model.")] = False,
    as_json: Json = False,
) -> None:
    """Train a model on measured sections.

    It is reported on the sections held out. On several machines: accelerate launch -m napari_stem train
    ... (or torchrun) on each.
    """
    if minutes is not None and steps is not None:
        msg = "choose one of --minutes and --steps."
        raise typer.BadParameter(msg)
    if embeddings is None and not (patch_px is None and tolerance is None):
        msg = "--patch-px and --tolerance belong to --embeddings."
        raise typer.BadParameter(msg)
    if resume and overwrite:
        msg = "choose one of --resume and --overwrite."
        raise typer.BadParameter(msg)
    from napari_stem.commands.training import run_train
    from napari_stem.encoders.precomputed import Stated

    result = run_train(
        dataset,
        out,
        overwrite=overwrite,
        processes=processes,
        hold_out=listed(hold_out),
        genes=genes,
        encoder=encoder or "bundled",
        embeddings=embeddings,
        stated=Stated(encoder=encoder, patch_px=patch_px, tolerance_um=tolerance),
        objective=objective,
        size=size,
        normalisation=normalisation,
        minutes=minutes,
        steps=steps,
        batch=batch,
        augment=augment,
        calibrate=calibrate,
        ema=ema,
        precision=precision,
        compile=compiled,
        checkpoint_minutes=checkpoint_minutes,
        resume=resume,
        keep_checkpoints=keep_checkpoints,
        log=log,
        seed=seed,
        device=device,
        name=name,
    )
    if result is None:  # not the first of several processes
        return
    if as_json:
        say_json(result)
    else:
        _say_trained(result, out)


def _say_trained(result: dict[str, Any], out: Path) -> None:
    from napari_stem.commands.tables import say_figures

    for section, columns in result["metrics"].items():
        say_figures(columns, f"Held-out section {section}", result["unit"])
    trained_on = ", ".join(result["sections"])
    say(f"Model '{result['name']}', {result['n_genes']} genes, trained on {trained_on}: {out}")


@app.command()
def evaluate(
    prediction: Annotated[Path, typer.Argument(help="What 'predict' wrote.", show_default=False)],
    truth: Annotated[Path, typer.Option(help=".h5ad with raw counts.", show_default=False)],
    allow_partial: Annotated[
        bool,
        typer.Option(
            "--allow-partial", help="Even if less than half of the spots match in place or name."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare a prediction with measured counts of the same section."""
    from napari_stem.commands.tables import say_figures
    from napari_stem.commands.training import run_evaluate

    figures = run_evaluate(prediction, truth, allow_partial=allow_partial)
    if as_json:
        say_json(figures)
    else:
        title = f"{prediction.name} against {truth.name}"
        say_figures({"predicted": figures}, title, figures["unit"])
