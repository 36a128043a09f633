"""How ``predict`` does many slides, and what it says of them."""

from __future__ import annotations

import tempfile
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import typer

from napari_stem.cli.app import FAILED
from napari_stem.cli.tables import say_list
from napari_stem.cli.terminal import MANNER, Interrupted, answer, progress_bars, say, tell
from napari_stem.cohort.outcomes import cohort_table, rows_of, write_summary
from napari_stem.cohort.run import require_places, run_cohort, workers
from napari_stem.io import require_replaceable, require_writable, write_h5ad, written_whole
from napari_stem.progress import stop_on_signals
from napari_stem.texts import NOTICE, count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.cli.predict_options import PredictOptions
    from napari_stem.cli.terminal import ProgressBars
    from napari_stem.cohort.orders import Order
    from napari_stem.cohort.outcomes import Outcome

COLUMNS = {
    "slide": "slide",
    "status": "status",
    "n_done": "spots done",
    "n_spots": "of",
    "n_unlike_training": "unlike training",
    "seconds": "s of work",
    "error": "why not",
}
MOST_ROWS = 50  # of the table that is printed; the file has all


def predict_cohort(orders: Sequence[Order], options: PredictOptions) -> None:
    """Predict slides on workers; ends with 1 where one of them failed.

    Interrupted by Ctrl-C: finished blocks are kept.
    """
    MANNER.keep_slides_private(*(order.slide for order in orders))
    MANNER.keep_slides_private(*(order.regions for order in orders if order.regions is not None))
    require_places(orders, options.out, resume=options.resume)
    if options.cohort_table is not None:
        require_writable(options.cohort_table)
        require_replaceable(options.cohort_table, overwrite=options.resume)
    with (
        tempfile.TemporaryDirectory(prefix="napari-stem-", ignore_cleanup_errors=True) as folder,
        stop_on_signals() as stop,
        workers(options.scheduler, options.workers, options.device, folder) as client,
    ):
        if find_spec("bokeh") or options.scheduler:
            tell(f"Dashboard of the cluster: {client.dashboard_link}")
        with progress_bars() as bars:
            watch = partial(_show, bars)
            outcomes = run_cohort(orders, client, stop=stop.is_set, watch=watch)
        summary = write_summary(options.out, outcomes)
        n = _report(outcomes, str(summary))
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


def _show(bars: ProgressBars, outcomes: Sequence[Outcome], seconds_left: float | None) -> None:
    under_way = [each for each in outcomes if each.status == "running" and each.n_spots]
    n_done, n_spots = (
        sum(getattr(each, name) for each in outcomes) for name in ("n_done", "n_spots")
    )
    parts = [f"{each.name} {each.share:.0%}" for each in under_way[:4]]
    detail = "; ".join([f"{n_done:,} of {count(n_spots, 'spot')} seen so far", *parts])
    ended = sum(each.share for each in outcomes)
    bars.show("Predicting slides", ended, len(outcomes), seconds_left, detail)


def _report(outcomes: Sequence[Outcome], summary: str) -> dict[str, int]:
    """Say what has become of each slide; gives how many are done, failed and unfinished."""
    rows = rows_of(outcomes)
    n = {
        status: sum(row["status"] == status for row in rows)
        for status in ("done", "failed", "unfinished")
    }
    result: dict[str, Any] = {"summary": summary, **n, "slides": rows}
    answer(result, _say)
    return n


def _say(result: dict[str, Any]) -> None:
    slides = count(len(result["slides"]), "slide")
    first = sorted(result["slides"], key=lambda row: row["status"] == "done")[:MOST_ROWS]
    say_list(first, COLUMNS, slides)
    say(f"{result['done']} of {slides} done; {result['summary']} says of each. {NOTICE}")
