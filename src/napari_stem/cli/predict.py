"""``predict``: one slide is the work of `PredictionJob`, many that of a cohort's workers."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from napari_stem.cli.app import FAILED, SlidesArgument, app, listed
from napari_stem.cli.predict_options import ENDINGS, PredictOptions
from napari_stem.cli.tables import say_list
from napari_stem.cli.terminal import (
    MANNER,
    Interrupted,
    ProgressBars,
    answer,
    progress_bars,
    say,
    tell,
)
from napari_stem.errors import OutputError
from napari_stem.io import (
    only_writer,
    require_free,
    require_replaceable,
    require_writable,
    write_h5ad,
    written_whole,
)
from napari_stem.progress import poll_of, stop_on_signals
from napari_stem.texts import NOTICE, count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.cohort.orders import Order
    from napari_stem.cohort.outcomes import Outcome
    from napari_stem.model.bundle import Model
    from napari_stem.prediction_blocks import PredictionProgress
    from napari_stem.prediction_job import PredictionJob
    from napari_stem.results import Prediction

COLUMNS = {
    "slide": "slide",
    "status": "status",
    "n_done": "spots done",
    "n_spots": "of",
    "n_unlike_training": "unlike training",
    "seconds": "s of work",
    "error": "why not",
}
MOST_ROWS = 50  # of the table of slides that is printed; the file has all


@app.command()
def predict(slides: SlidesArgument, options: PredictOptions) -> None:
    """Predict gene expression with uncertainty on a slide, or on many.

    Many: name them, a pattern, a folder, or a manifest (.csv) with columns slide, mpp, regions, model, species,
    tissue_type, out.
    """
    options.require_consistent()
    from napari_stem.cohort.orders import are_several, orders_of, stem_of

    if are_several(slides) or options.wants_cluster:
        options.require_for_several()
        orders = orders_of(slides, options.out, options.order(slides[0], options.out))
        _predict_cohort(options.named(orders), options)
        return
    slide, out = slides[0], options.out
    MANNER.keep_slides_private(slide)
    is_folder = not out.suffix or (out.is_dir() and out.suffix.lower() not in ENDINGS)
    (named,) = options.named([options.order(slide, out / f"{stem_of(slide)}.zarr")])
    out = named.out if is_folder else out
    wanted = listed(options.genes)
    work = out  # the Zarr folder that grows
    if out.suffix.lower() != ".zarr" or wanted:
        work = out.with_name(out.name + ".partial.zarr")
    order = replace(named, out=work)
    _require_place(out, work, resume=options.resume)
    answer(_predicted(order, out, wanted, options), _say)


def _predicted(
    order: Order, out: Path, wanted: tuple[str, ...], options: PredictOptions
) -> dict[str, Any]:
    with (
        ThreadPoolExecutor(1) as pool,
        progress_bars() as bars,
        order.open(early=True) as opened,
    ):
        # what is no slide, or of no known size, has failed: before torch is loaded and levels are made
        opened.require_mpp()
        from napari_stem.encoders.precomputed import read_embeddings
        from napari_stem.model import load_model
        from napari_stem.model.serving import require_fit
        from napari_stem.slide.scale_check import known_check

        loaded = load_model(order.model)
        missing = _missing_genes(wanted, loaded, allowed=options.allow_missing_genes)
        embedder = None
        if options.embeddings is not None:
            size, mpp, encoder = opened.size, opened.require_mpp(), loaded.encoder_name
            embedder = read_embeddings(
                options.embeddings, size, mpp, options.stated, wanted=encoder
            )
            for note in require_fit(embedder, loaded):  # on what does not quite fit
                tell(note)
        # levels keep one core busy; the other looks at the slide meanwhile
        levels = pool.submit(opened.complete, bars)
        job = order.job(opened, loaded, tell, embedder)
        domain_warning = job.domain_warning()
        loaded.prepare(job.settings)
        levels.result()
        if domain_warning is not None:
            tell(domain_warning)
            if not (options.yes or options.resume or bars.ask("Predict all the same?")):
                raise Interrupted("Nothing was predicted.")
        prediction = run_job(job, order.out, bars, "with --resume added", resume=options.resume)
        scale_warning = known_check(opened).warning
    if order.out != out:
        from napari_stem.exporting.selection import Selection
        from napari_stem.exporting.table import write_anndata

        known = tuple(gene for gene in wanted if gene not in missing)
        write_anndata(Selection.of(prediction, known), out, genes=wanted if missing else ())
        shutil.rmtree(order.out)
    return {
        "out": str(out),
        "n_spots": len(prediction.spots),
        "n_genes": len(wanted or loaded.genes),
        "n_unlike_training": int(prediction.ood.sum()) if loaded.head.knows_domain else None,
        "unit": prediction.unit,
        "calibrated": loaded.config.calibrated,
        "domain": prediction.provenance["domain"],
        "model": loaded.name,
        "slide": order.alias or str(order.slide),
        "genes_not_predicted": list(missing),
        "embeddings": None
        if options.embeddings is None
        else order.unnamed(str(options.embeddings)),
        "scale_warning": scale_warning,
        "domain_warning": domain_warning,
    }


def _say(result: dict[str, Any]) -> None:
    say(
        f"{count(result['n_spots'], 'spot')}, {count(result['n_genes'], 'gene')} ({result['unit']}): "
        f"{result['out']}. {NOTICE}"
    )
    if result["n_unlike_training"]:
        say(
            f"Unlike the model's training data (obs 'ood'): {count(result['n_unlike_training'], 'spot')}."
        )


def run_job(
    job: PredictionJob,
    path: Path,
    bars: ProgressBars,
    how_to_resume: str,
    *,
    title: str = "Predicting spots",
    resume: bool = False,
) -> Prediction:
    """Predict, with a bar that names the device.

    Interrupted by Ctrl-C, which says what is kept, and to run the same command ``how_to_resume``.
    """
    from napari_stem.device import device_title

    title += f" ({device_title(job.settings.device)})"

    def show(step: PredictionProgress) -> None:
        bars.show(title, step.work_done, step.n_spots, step.seconds_left)

    with stop_on_signals() as stop:
        prediction = job.run(path, resume=resume, poll=poll_of(stop), watch=show)
    n_done, n_spots = int(prediction.done.sum()), len(prediction.spots)
    if n_done == 0 and n_spots:
        raise Interrupted("Interrupted before any spot was finished; nothing was written.")
    if n_done < n_spots:
        raise Interrupted(
            f"Interrupted: {n_done:,} of {count(n_spots, 'spot')} finished and kept in {prediction.path}. "
            f"To go on, run the same command {how_to_resume}."
        )
    return prediction


def _require_place(out: Path, work: Path, *, resume: bool) -> None:
    """Fail before the work where its result could not be written after it."""
    if out.suffix.lower() not in ENDINGS:
        raise OutputError(
            f"{out.name} has an ending that is not .zarr or .h5ad; choose one of these, or a folder."
        )
    require_writable(out)
    if work != out:
        require_free(out)
    if work.exists() and not resume:
        raise OutputError(
            f"{work} exists already; add --resume to go on with it, or remove it first."
        )


def _missing_genes(wanted: tuple[str, ...], model: Model, *, allowed: bool) -> tuple[str, ...]:
    """Refuse unknown genes; gives those that may be missing, and are, which is told."""
    from napari_stem.model.genes import missing_of, offered

    if not allowed:
        model.require_genes(wanted)
        return ()
    missing = missing_of(wanted, model.genes, model.name)
    if len(missing) == len(wanted):  # of nothing there is no prediction
        model.require_genes(wanted)
    for gene in missing:
        alike = offered(gene, model.genes)
        hint = f" (it knows {', '.join(alike)})" if alike else ""
        tell(f"Model '{model.name}' does not predict '{gene}'{hint}: its column holds no numbers.")
    return missing


def _predict_cohort(orders: Sequence[Order], options: PredictOptions) -> None:
    """Predict slides on workers; ends with 1 where one of them failed.

    Interrupted by Ctrl-C: finished blocks are kept.
    """
    from napari_stem.cohort.outcomes import Outcome, Summary, cohort_table, rows_of
    from napari_stem.cohort.run import require_places, run_cohort, workers

    MANNER.keep_slides_private(*(order.slide for order in orders))
    MANNER.keep_slides_private(*(order.regions for order in orders if order.regions is not None))
    require_places(orders, options.out, resume=options.resume)
    if options.cohort_table is not None:
        require_writable(options.cohort_table)
        require_replaceable(options.cohort_table, overwrite=options.resume)
    outcomes = [Outcome(order) for order in orders]
    summary = Summary(options.out, outcomes)
    if options.resume:
        summary.recall()
    with (
        tempfile.TemporaryDirectory(prefix="napari-stem-", ignore_cleanup_errors=True) as folder,
        stop_on_signals() as stop,
        only_writer(options.out / "cohort"),
        workers(options.scheduler, options.workers, options.sampling.device, folder) as client,
    ):
        if find_spec("bokeh") or options.scheduler:
            tell(f"Dashboard of the cluster: {client.dashboard_link}")
        with progress_bars() as bars:

            def watch(seconds_left: float | None) -> None:
                _show_cohort(bars, outcomes, seconds_left)
                summary.write_if_due()

            try:
                run_cohort(outcomes, client, poll=poll_of(stop), watch=watch)
            finally:
                path = summary.write()
        rows = rows_of(outcomes)
        found = Counter(row["status"] for row in rows)
        n = {status: found[status] for status in ("done", "failed", "unfinished")}
        answer({"summary": str(path), **n, "slides": rows}, _say_cohort)
        if options.cohort_table is not None and not stop.is_set():
            table = cohort_table(outcomes, client)
            table.strings_to_categoricals()
            with written_whole(options.cohort_table, overwrite=options.resume) as fresh:
                write_h5ad(table, fresh)
    if n["unfinished"]:
        raise Interrupted(
            f"Interrupted: {n['done']} of {count(len(orders), 'slide')} finished, and blocks of others kept. "
            f"To go on, run the same command with --resume added."
        )
    if n["failed"]:
        raise typer.Exit(FAILED)


def _show_cohort(
    bars: ProgressBars, outcomes: Sequence[Outcome], seconds_left: float | None
) -> None:
    under_way = [each for each in outcomes if each.status == "running" and each.n_spots]
    n_done, n_spots = sum(each.n_done for each in outcomes), sum(each.n_spots for each in outcomes)
    parts = [f"{each.order.name} {each.share:.0%}" for each in under_way[:4]]
    detail = "; ".join([f"{n_done:,} of {count(n_spots, 'spot')} seen so far", *parts])
    ended = sum(each.share for each in outcomes)
    bars.show("Predicting slides", ended, len(outcomes), seconds_left, detail)


def _say_cohort(result: dict[str, Any]) -> None:
    slides = count(len(result["slides"]), "slide")
    first = sorted(result["slides"], key=lambda row: row["status"] == "done")[:MOST_ROWS]
    say_list(first, COLUMNS, slides)
    say(f"{result['done']} of {slides} done; {result['summary']} says of each. {NOTICE}")
