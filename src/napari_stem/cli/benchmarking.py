"""``benchmark``: options, and which protocol takes which."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from napari_stem.cli.app import app
from napari_stem.cli.options import Device, Json, encoder_names, listed
from napari_stem.commands.terminal import NOTICE, say, say_json

ProtocolName = Literal["published", "loso", "hest-bench", "hmhvg200-5split", "msi"]
_COMMA = "separated by commas"
_PREDICTORS = "ours, published, ridge, hest-ridge, hest-ridge-centred, knn"


@app.command()
def benchmark(
    protocol: Annotated[
        ProtocolName, typer.Argument(help="One of those above.", show_default=False)
    ],
    dataset: Annotated[
        Path,
        typer.Argument(help="Folder in HEST layout; msi: of predictions.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.", show_default=False)],
    predictors: Annotated[
        str | None,
        typer.Option(help=f"Of {_PREDICTORS}, {_COMMA}; default: the protocol's."),
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="See 'encoders'.", autocompletion=encoder_names)
    ] = "bundled",
    genes: Annotated[
        str | None, typer.Option(help="Panel, as in 'train'; default: the protocol's.")
    ] = None,
    normalisation: Annotated[
        Literal["log2_counts", "log1p_counts", "log1p_cp10k"] | None,
        typer.Option(help="Unit of the values; default: the protocol's."),
    ] = None,
    sections: Annotated[str | None, typer.Option(help=f"Use these only, {_COMMA}.")] = None,
    hold_out: Annotated[str | None, typer.Option(help="published: the section to test on.")] = None,
    seeds: Annotated[str, typer.Option(help=f"One run each, {_COMMA}.")] = "0",
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Limit for training one diffusion model.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps at the most.")] = None,
    size: Annotated[
        Literal["small", "full"], typer.Option(help="Size of published Stem's network.")
    ] = "small",
    published_steps: Annotated[
        int,
        typer.Option(min=1, max=1000, help="Sampling steps of published Stem; the paper: 1000."),
    ] = 50,
    show_genes: Annotated[
        str | None, typer.Option(help=f"Draw maps of these, {_COMMA}; default: the most reliable.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="msi: CSV with columns slide, patient, msi (1 or 0).")
    ] = None,
    device: Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where results are.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure predictors side by side by a fixed protocol.

    After a stop, the same command goes on.

    \b
    published        one section held out
    loso             each section in turn
    hest-bench       HEST's folds, 50 genes
    hmhvg200-5split  five random 80/10/10 divisions
    msi              AUROC of MSI status from predictions
    """  # noqa: D301 - click's mark for lines that stay as they are
    if minutes is not None and steps is not None:
        raise typer.BadParameter("choose one of --minutes and --steps.")
    if (protocol == "msi") != (labels is not None):
        raise typer.BadParameter("--labels belongs to msi, which needs it.")
    if hold_out is not None and protocol != "published":
        raise typer.BadParameter("--hold-out belongs to published.")
    from napari_stem.commands.benchmarking import run_benchmark, run_msi

    if labels is not None:
        results = run_msi(dataset, labels, out, seeds=_numbers(seeds), overwrite=overwrite)
    else:
        results = run_benchmark(
            protocol,
            dataset,
            out,
            overwrite=overwrite,
            show_genes=listed(show_genes),
            predictors=listed(predictors),
            encoder=encoder,
            genes=genes,
            normalisation=normalisation,
            sections=listed(sections),
            hold_out=hold_out,
            seeds=_numbers(seeds),
            minutes=minutes,
            steps=steps,
            size=size,
            published_steps=published_steps,
            device=device,
        )
    if as_json:
        say_json(results)
    elif labels is not None:
        _say_msi(results, out)
    else:
        _say_results(results, out)


def _say_results(results: dict[str, Any], out: Path) -> None:
    from napari_stem.commands.tables import say_aggregates

    identity = results["identity"]
    n_sections = len({(run["fold"], run["section"]) for run in results["runs"]})
    title = (
        f"{identity['protocol']}: {n_sections} test sections, {results['unit']}, encoder "
        f"{identity['encoder']}; mean [least, largest] over sections and seeds"
    )
    say_aggregates(results["aggregates"], title)
    for predictor, own in results["own"].items():
        shown = {k: v for k, v in own.items() if k != "folds"}
        text = ", ".join(
            f"{k} {'undefined' if v is None else f'{v:.4f}'}" for k, v in shown.items()
        )
        say(f"{predictor}, mean over folds as the protocol has it: {text}")
    say(
        f"All runs: {out / 'results.json'}, {out / 'results.csv'}; {len(results['figures'])} figures."
    )
    say(NOTICE)


def _say_msi(results: dict[str, Any], out: Path) -> None:
    say(
        f"AUROC {results['auroc']:.3f} [{results['auroc_min']:.3f}, {results['auroc_max']:.3f}], mean and "
        f"range over {len(results['folds'])} folds; standard error {results['standard_error']:.3f}."
    )
    say(
        f"{results['n_slides']} slides ({results['n_unstable']} unstable) of {results['n_patients']} "
        f"patients, {results['n_genes']} genes. All folds: {out / 'results.json'}"
    )
    say(NOTICE)


def _numbers(words: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(word) for word in listed(words))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0:
        raise typer.BadParameter("--seeds must be whole numbers from 0, separated by commas.")
    return seeds
