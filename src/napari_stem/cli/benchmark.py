"""``benchmark``: predictors side by side through one protocol, and the MSI protocol."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from napari_stem.cli.app import Device, app, listed, refuse_if
from napari_stem.cli.tables import say_aggregates
from napari_stem.cli.terminal import Interrupted, ProgressBars, answer, progress_bars, say, tell
from napari_stem.errors import OutputError, StemError
from napari_stem.evaluation.options import BenchmarkOptions
from napari_stem.io import only_writer
from napari_stem.progress import stop_on_signals
from napari_stem.texts import NOTICE, count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.evaluation.benchmark import Benchmark

ProtocolName = Literal["published", "loso", "hest-bench", "hmhvg200-5split", "msi"]


@dataclass(frozen=True, kw_only=True)
class BenchmarkCommandOptions:
    """Every option of ``benchmark``: those of `BenchmarkOptions`, and the command's own."""

    out: Annotated[Path, Option(help="Folder for the results.", show_default=False)]
    asked: Annotated[BenchmarkOptions, {"seeds": None}]
    seeds: Annotated[str, Option(help="One run each, separated by commas.")] = "0"
    show_genes: Annotated[
        str | None,
        Option(help="Draw maps of these, separated by commas; default: the most reliable."),
    ] = None
    labels: Annotated[
        Path | None, Option(help="msi: CSV with columns slide, patient, msi (1 or 0).")
    ] = None
    device: Device = "auto"
    overwrite: Annotated[bool, Option(help="Begin anew where results are.")] = False

    def require_consistent(self, protocol: str) -> None:
        """Refuse options that exclude each other, or belong to other protocols."""
        refuse_if(
            self.asked.minutes is not None and self.asked.steps is not None,
            "choose one of --minutes and --steps.",
        )
        refuse_if(
            (protocol == "msi") != (self.labels is not None),
            "--labels belongs to msi, which needs it.",
        )
        refuse_if(
            self.asked.hold_out is not None and protocol != "published",
            "--hold-out belongs to published.",
        )

    def benchmark(self) -> BenchmarkOptions:
        """Say what is asked of the protocol itself."""
        from napari_stem.device import torch_device

        return replace(self.asked, seeds=_numbers(self.seeds), device=torch_device(self.device))


@app.command()
def benchmark(
    protocol: Annotated[ProtocolName, Argument(help="One of those above.", show_default=False)],
    dataset: Annotated[
        Path,
        Argument(help="Folder in HEST layout; msi: of predictions.", show_default=False),
    ],
    options: BenchmarkCommandOptions,
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
    options.require_consistent(protocol)
    from napari_stem.evaluation.runs import require_results_folder

    require_results_folder(options.out)
    if options.labels is None:
        answer(_run(protocol, dataset, options), partial(_say_results, options.out))
    else:
        answer(_run_msi(dataset, options.labels, options), partial(_say_msi, options.out))


def _say_results(out: Path, results: dict[str, Any]) -> None:
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
        f"All runs: {out / 'results.json'}, {out / 'results.csv'}; {count(len(results['figures']), 'figure')}."
    )
    say(NOTICE)


def _say_msi(out: Path, results: dict[str, Any]) -> None:
    say(
        f"AUROC {results['auroc']:.3f} [{results['auroc_min']:.3f}, {results['auroc_max']:.3f}], mean and "
        f"range over {count(len(results['folds']), 'fold')}; standard error {results['standard_error']:.3f}."
    )
    say(
        f"{count(results['n_slides'], 'slide')} ({results['n_unstable']} unstable) of "
        f"{count(results['n_patients'], 'patient')}, {count(results['n_genes'], 'gene')}. "
        f"All folds: {out / 'results.json'}"
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


class _Shown:
    """How many runs are done, with the time left, and the work at hand."""

    def __init__(self, bars: ProgressBars) -> None:
        self._bars = bars
        self._runs: tuple[int, int, float | None] = (0, 1, None)
        self._label = ""
        self.interrupt = threading.Event()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show the work within a run."""
        share = f"{what} {done / max(total, 1):.0%}" if what else ""
        text = ": ".join(word for word in (self._label, share) if word)
        self._show(text)

    def on_run(self, done: int, total: int, seconds_left: float | None, label: str) -> None:
        """Show how many runs are done, and what comes next."""
        self._runs, self._label = (done, total, seconds_left), label
        self._show(label)

    def _show(self, detail: str) -> None:
        if self.interrupt.is_set():
            raise KeyboardInterrupt
        self._bars.show("Runs", *self._runs, detail=detail)


def _run(protocol: str, folder: Path, options: BenchmarkCommandOptions) -> dict[str, Any]:
    """Run a protocol on the data set in a folder, or go on with it; gives the object of ``results.json``.

    StemError where something does not fit, or no predictor succeeded; Interrupted by Ctrl-C: finished runs are
    kept.
    """
    from napari_stem.encoders.registry import load_encoder
    from napari_stem.evaluation.benchmark import Benchmark
    from napari_stem.evaluation.protocols import PROTOCOLS
    from napari_stem.evaluation.runs import FIGURES, clear, require_same
    from napari_stem.spatial.dataset import Dataset

    asked, out, show_genes = options.benchmark(), options.out, listed(options.show_genes)
    with only_writer(out), progress_bars() as bars:
        shown = _Shown(bars)
        encoder = load_encoder(asked.encoder, asked.device)
        benchmark = Benchmark(PROTOCOLS[protocol], Dataset(folder), encoder, asked, out, shown)
        if not options.overwrite:
            require_same(out, benchmark.identity)
        _require_genes(benchmark, show_genes)
        if "published" in {p.name for p in benchmark.predictors} and not (
            asked.steps or asked.minutes
        ):
            tell(
                "Neither --steps nor --minutes is given: for published Stem the number of steps is chosen on "
                "left-out sections, which trains it anew for each of them, in every run."
            )
        if options.overwrite:
            clear(out)
        try:
            with stop_on_signals(at_once=True) as shown.interrupt:
                benchmark.write()
                benchmark.run_all(shown.on_run)
        except KeyboardInterrupt:
            runs, _ = benchmark.write()
            raise Interrupted(
                f"Interrupted: {len(runs)} of {len(benchmark.jobs)} runs are finished and kept in {out}; "
                f"the same command goes on from there."
            ) from None
        runs, results = benchmark.write()
    for failure in benchmark.failures:
        text = f"{failure['predictor']} failed on {failure['fold']}: {failure['error']}"
        tell(text, is_failure=True)
    if not runs:
        raise StemError(f"No predictor succeeded: {benchmark.failures[0]['error']}")
    for note in benchmark.plan.notes:
        tell(f"Note: {note}")
    from napari_stem.evaluation.figures import draw_figures

    try:
        results["figures"] = draw_figures(benchmark, runs, out / FIGURES, show_genes)
    except StemError as error:  # the numbers are safe
        tell(f"Figures are missing: {error}")
        results["figures"] = []
    return results


def _run_msi(folder: Path, labels: Path, options: BenchmarkCommandOptions) -> dict[str, Any]:
    """Run the MSI protocol on a folder of predictions; returns the object of ``results.json``."""
    from napari_stem.evaluation import msi
    from napari_stem.evaluation.runs import require_same, write_json

    seeds = _numbers(options.seeds)
    with progress_bars() as bars:
        cohort = msi.read_cohort(folder, labels, bars)
    identity = {
        "protocol": msi.NAME,
        "slides": list(cohort.obs_names),
        "n_genes": cohort.n_vars,
        "labels": labels.name,
    }
    if not options.overwrite:
        require_same(options.out, identity)
    results = {"identity": identity, "about": msi.ABOUT, **msi.auroc(cohort, seeds)}
    write_json(options.out, results)
    return results


def _require_genes(benchmark: Benchmark, show_genes: Sequence[str]) -> None:
    """Check that the genes to be shown are in the first fold's panel, before hours of work."""
    panel = benchmark.panel(benchmark.plan.folds[0])
    for gene in show_genes:
        if gene not in panel:
            raise OutputError(
                f"'{gene}' is not in the panel of {len(panel)} genes, so it cannot be shown; name "
                f"another, or choose the panel with --genes."
            )
