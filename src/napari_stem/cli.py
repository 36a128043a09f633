"""The command ``napari-stem``: options and what they mean; the work is done in `napari_stem.commands`.

Nothing heavy is imported before a command runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from napari_stem.commands.terminal import NOTICE, Interrupted, say, say_json, tell
from napari_stem.errors import StemError
from napari_stem.settings import SamplerName, SamplingSettings

DEFAULT_MODEL = "her2st-breast"
DEFAULTS = SamplingSettings()
DONE, FAILED, INTERRUPTED = 0, 1, 130


class _Commands(TyperGroup):
    """Ends with one line and the right exit code, whatever a command raises."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except StemError as error:
            tell(str(error))
            raise typer.Exit(FAILED) from error
        except Interrupted as stopped:
            tell(str(stopped))
            raise typer.Exit(INTERRUPTED) from stopped
        except KeyboardInterrupt as stopped:
            tell("Interrupted.")
            raise typer.Exit(INTERRUPTED) from stopped


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=f"Predicted gene expression maps with uncertainty from H&E slides. {NOTICE}",
)
importing = typer.Typer(no_args_is_help=True, help="Turn published data into a data set folder.")
app.add_typer(importing, name="import")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
MppOption = Annotated[
    float | None,
    typer.Option(
        "--mpp", min=0.01, max=100, help="Micrometres per pixel, if the file does not say."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")]
SlideArgument = Annotated[Path, typer.Argument(help="SVS, TIFF, JPEG or PNG.", show_default=False)]
Seed = Annotated[int, typer.Option(help="Of everything random: the same seed, the same numbers.")]


@app.command()
def demo(
    headless: Annotated[bool, typer.Option("--headless", help="Open no window.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo-output"),
    as_json: Json = False,
) -> None:
    """Predict the packaged breast cancer section: in the viewer, or, without a display, to files."""
    from napari_stem.commands import demo as work
    from napari_stem.commands.tables import say_figures

    title = "Section C5, never seen by the model, at the spots that were measured"
    why_not = "it was not asked for" if headless or as_json else work.why_no_window()
    if why_not is None:
        from napari_stem.widgets.demo import show_demo

        say_figures(work.packaged_figures(), title)
        tell("Opening the viewer; close its window to end.")
        show_demo()
        return
    tell(f"No window is opened: {why_not}.")
    result = work.run_demo(out)
    if as_json:
        say_json(result)
        return
    say_figures({"predicted": result["metrics"]}, title)
    say(f"{result['n_spots']} spots, {result['n_genes']} genes. {NOTICE}")
    say(f"Map of {result['gene']}:  {result['png']}")
    say(f"All genes:  {result['h5ad']} (AnnData)")


@app.command()
def info(slide: SlideArgument, mpp: MppOption = None, as_json: Json = False) -> None:
    """Tell a slide's size, levels, pixel size and which readers can open it."""
    from napari_stem.commands.tables import say_slide
    from napari_stem.geometry import Mpp
    from napari_stem.slide.opening import describe

    facts = describe(slide, None if mpp is None else Mpp.square(mpp))
    if as_json:
        say_json(facts)
    else:
        say_slide(facts)


@app.command()
def predict(
    slide: SlideArgument,
    out: Annotated[Path, typer.Option(help="Result, .zarr or .h5ad.", show_default=False)],
    model: Annotated[
        str, typer.Option(help="Name (see 'models') or model folder.")
    ] = DEFAULT_MODEL,
    spots: Annotated[
        Path | None,
        typer.Option(
            help="Predict at these spots: .csv (x_px,y_px[,name]) or .h5ad (obsm spatial)."
        ),
    ] = None,
    regions: Annotated[
        Path | None, typer.Option(help="Predict inside these regions: GeoJSON in level-0 px.")
    ] = None,
    tissue: Annotated[bool, typer.Option("--tissue", help="Predict all tissue (default).")] = False,
    whole: Annotated[
        bool, typer.Option("--all", help="Predict the whole slide, glass too.")
    ] = False,
    pitch: Annotated[
        float | None,
        typer.Option(min=1, help="Distance between spots in um; default: the model's."),
    ] = None,
    draws: Annotated[int, typer.Option(min=2, help="Samples per spot.")] = DEFAULTS.n_draws,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = DEFAULTS.n_steps,
    sampler: Annotated[SamplerName, typer.Option(help="How samples are drawn.")] = DEFAULTS.sampler,
    seed: Seed = 0,
    device: Device = "auto",
    mpp: MppOption = None,
    genes: Annotated[
        str | None, typer.Option(help="Write only these genes, separated by commas.")
    ] = None,
    keep_draws: Annotated[bool, typer.Option("--keep-draws", help="Keep every sample.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it stopped.")] = False,
    as_json: Json = False,
) -> None:
    """Predict gene expression with uncertainty on a slide."""
    if sum((spots is not None, regions is not None, tissue, whole)) > 1:
        msg = "choose one of --spots, --regions, --tissue and --all."
        raise typer.BadParameter(msg)
    from napari_stem.commands.predicting import PredictRequest, run_predict

    settings = SamplingSettings(
        n_draws=draws, n_steps=steps, sampler=sampler, seed=seed, device=device
    )
    result = run_predict(
        PredictRequest(
            slide=slide,
            out=out,
            model=model,
            settings=settings,
            spots_file=spots,
            regions_file=regions,
            whole_slide=whole,
            pitch_um=pitch,
            mpp_um=mpp,
            genes=_listed(genes),
            keep_draws=keep_draws,
            resume=resume,
        )
    )
    if as_json:
        say_json(result)
        return
    say(
        f"{result['n_spots']} spots, {result['n_genes']} genes ({result['unit']}) "
        f"are in {result['out']}. {NOTICE}"
    )
    if result["n_unlike_training"]:
        say(
            f"{result['n_unlike_training']} spots look unlike the model's training data (obs 'ood')."
        )


@app.command()
def train(
    dataset: Annotated[Path, typer.Argument(help="Folder in HEST layout.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Model folder to write.", show_default=False)],
    hold_out: Annotated[
        str | None, typer.Option(help="Sections never trained on, separated by commas; reported.")
    ] = None,
    genes: Annotated[
        str, typer.Option(help="hmhvg:N, hvg:N or a file, one gene a line.")
    ] = "hmhvg:200",
    encoder: Annotated[str, typer.Option(help="See 'encoders'.")] = "bundled",
    objective: Annotated[Literal["edm", "published"], typer.Option(help="Kind of model.")] = "edm",
    normalisation: Annotated[
        Literal["log2_counts", "log1p_cp10k"], typer.Option(help="Unit of the values.")
    ] = "log2_counts",
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Limit for training.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps at the most.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    name: Annotated[str | None, typer.Option(help="Of the model; default: the folder's.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model.")] = False,
    as_json: Json = False,
) -> None:
    """Train a model on measured sections and report it on those held out."""
    if minutes is not None and steps is not None:
        msg = "choose one of --minutes and --steps."
        raise typer.BadParameter(msg)
    from napari_stem.commands.tables import say_figures
    from napari_stem.commands.training import run_train

    result = run_train(
        dataset,
        out,
        overwrite=overwrite,
        hold_out=_listed(hold_out),
        genes=genes,
        encoder=encoder,
        objective=objective,
        normalisation=normalisation,
        minutes=minutes,
        steps=steps,
        seed=seed,
        device=device,
        name=name,
    )
    if as_json:
        say_json(result)
        return
    for section, columns in result["metrics"].items():
        say_figures(columns, f"Held-out section {section}")
    trained_on = ", ".join(result["sections"])
    say(f"Model '{result['name']}', {result['n_genes']} genes, trained on {trained_on}: {out}")


@app.command()
def evaluate(
    prediction: Annotated[Path, typer.Argument(help="What 'predict' wrote.", show_default=False)],
    truth: Annotated[Path, typer.Option(help=".h5ad with raw counts.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Compare a prediction with measured counts of the same section."""
    from napari_stem.commands.tables import say_figures
    from napari_stem.commands.training import run_evaluate

    figures = run_evaluate(prediction, truth)
    if as_json:
        say_json(figures)
    else:
        say_figures({"predicted": figures}, f"{prediction.name} against {truth.name}")


@importing.command()
def her2st(
    source: Annotated[
        Path, typer.Argument(help="Zenodo record 4751624, unpacked.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Data set folder to write.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Import HER2-positive breast cancer sections (Andersson et al. 2021)."""
    from napari_stem.commands.training import run_import

    result = run_import(source, out)
    if as_json:
        say_json(result)
    else:
        say(f"{len(result['sections'])} sections are in {out}: {', '.join(result['sections'])}.")


@app.command()
def models(
    genes: Annotated[
        str | None, typer.Option(help="Print the genes of this model, one a line.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models that can be used."""
    from napari_stem.commands.listing import model_rows, panel_of, say_models

    if genes is not None:
        panel = panel_of(genes)
        say_json({"name": genes, "genes": panel}) if as_json else say("\n".join(panel))
    elif as_json:
        say_json(model_rows())
    else:
        say_models()


@app.command()
def encoders(as_json: Json = False) -> None:
    """List the image encoders that can be used, and why not."""
    from napari_stem.commands.listing import encoder_rows, say_encoders

    if as_json:
        say_json(encoder_rows())
    else:
        say_encoders()


def _listed(words: str | None) -> tuple[str, ...]:
    """Split at commas; each once, in the order given."""
    return tuple(dict.fromkeys(w.strip() for w in (words or "").split(",") if w.strip()))


def main() -> None:
    """Run the command line; ends the process with 0, 1, 2 or 130."""
    if not sys.warnoptions:  # third parties' warnings mean nothing to users; -W brings them back
        warnings.simplefilter("ignore")
    app(prog_name="napari-stem")
