"""Run predictors through a protocol: every (fold, predictor, seed) once, kept as soon as it is done."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem import __version__
from napari_stem.errors import DatasetError, OutputError, StemError
from napari_stem.evaluation.baselines import NAMES, Predictor, Task, predictors
from napari_stem.evaluation.runs import (
    RUNS,
    ForecastSummary,
    Run,
    aggregates,
    load_run,
    protocol_figures,
    run_path,
    runs_of_fold,
    save_run,
    write_results,
)
from napari_stem.metrics import all_metrics
from napari_stem.slide.stored import fingerprint
from napari_stem.spatial.normalise import columns_of, normalisation, normalised
from napari_stem.spatial.panels import parse_panel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import anndata
    from numpy.typing import NDArray

    from napari_stem.encoders.base import Encoder
    from napari_stem.evaluation.options import BenchmarkOptions
    from napari_stem.evaluation.protocols import Fold, Protocol
    from napari_stem.progress import Progress
    from napari_stem.spatial.dataset import Dataset
    from napari_stem.training.sections import SectionArrays

# What a predictor can die of without taking the others with it: torch raises RuntimeError,
# numpy and scikit-learn ValueError and ArithmeticError.
_LOSABLE = (StemError, RuntimeError, ValueError, ArithmeticError, LookupError, MemoryError)


@dataclass(frozen=True)
class Job:
    """One run to be done."""

    fold: Fold
    predictor: Predictor
    seed: int | None

    @property
    def label(self) -> str:
        """As progress and messages name it."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.fold.name}: {self.predictor.name}{seed}"


class Benchmark:
    """One protocol on one data set, with its results folder.

    Parameters
    ----------
    protocol, dataset, encoder, options
        What is asked for; ``encoder`` is that of the options, loaded.
    folder
        Of the results.
    progress
        Told of the work within a run; may raise to cancel.

    Raises
    ------
    StemError
        The protocol does not fit the data set, or a predictor is unknown.
    """

    def __init__(
        self,
        protocol: Protocol,
        dataset: Dataset,
        encoder: Encoder,
        options: BenchmarkOptions,
        folder: Path,
        progress: Progress,
    ) -> None:
        self.protocol, self.dataset, self.options = protocol, dataset, options
        self.encoder = encoder
        self.plan = protocol.plan(dataset, options.sections, options.hold_out)
        self.genes = options.genes or protocol.genes
        self.normalisation = options.normalisation or protocol.normalisation
        names = options.predictors or protocol.predictors
        self.predictors = predictors(names, options)
        self.folder = folder
        self.failures: list[dict[str, Any]] = []
        self._progress = progress
        # counts of each section are read once, and genes of each fold chosen once
        self.section, self.panel = cache(dataset.section), cache(self._panel)
        self._arrays: dict[str, SectionArrays] = {}

    @cached_property
    def jobs(self) -> list[Job]:
        """Everything asked for, fold by fold; predictors without a seed once."""
        return [
            Job(fold, predictor, seed)
            for fold in self.plan.folds
            for predictor in self.predictors
            for seed in (self.options.seeds if predictor.seeded else (None,))
        ]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What all runs of one folder share."""
        folds = self.plan.folds
        used = {s for f in folds for s in (*f.train, *f.validation, *f.test)}
        sections = [s for s in self.dataset.sections if s in used]
        return {
            "protocol": self.protocol.name,
            "dataset_fingerprint": dataset_fingerprint(self.dataset, sections),
            "sections": sections,
            "encoder": self.encoder.name,
            "encoder_version": self.encoder.version,
            "genes": self.genes if self.plan.panel is None or self.options.genes else "shipped",
            "normalisation": self.normalisation,
            "hold_out": self.options.hold_out,
        }

    def _panel(self, fold: Fold) -> tuple[str, ...]:
        """Genes of a fold: those asked for, else the protocol's, chosen on training sections.

        DatasetError: one was not measured in a section of the fold.
        """
        panel = self.plan.panel if self.options.genes is None else None
        if panel is None:
            # which genes were measured is no secret of the test sections; their counts are
            tested = [set(self.section(s).genes) for s in fold.test]
            counts = [_only(self.section(s).counts, tested) for s in fold.train]
            choice = parse_panel(self.genes)(counts)
            choice.warn()
            panel = choice.genes
        for section_id in (*fold.train, *fold.test):
            measured = self.section(section_id).genes
            columns_of(panel, measured, f"in section {section_id}")
        return panel

    def truth(self, section_id: str, panel: Sequence[str]) -> NDArray[np.float32]:
        """(spots, genes) measured values of one section."""
        return normalised(self.section(section_id).counts, panel, self.normalisation)

    def arrays(
        self, section_id: str, panel: Sequence[str], *, is_blind: bool = False
    ) -> SectionArrays:
        """Embedding, made when first asked for, and values of one section; ``is_blind``: all NaN."""
        from napari_stem.training.sections import load_sections

        if section_id not in self._arrays:
            (self._arrays[section_id],) = load_sections(
                self.dataset,
                [section_id],
                panel,
                self.normalisation,
                self.encoder,
                self._progress,
                turned=any(p.name == "published" for p in self.predictors),
            )
        values = self.truth(section_id, panel)
        values = np.full_like(values, np.nan) if is_blind else values
        return replace(self._arrays[section_id], values=values)

    def finished(self, job: Job) -> Run | None:
        """Return the job's run if it was done before.

        OutputError: it was done with other settings.
        """
        run = load_run(run_path(self.folder, job.fold.name, job.predictor.name, job.seed))
        if run is None:
            return None
        same = (run.settings, run.panel) == (job.predictor.settings, self.panel(job.fold))
        if not same or tuple(run.metrics) != job.fold.test:
            raise OutputError(
                f"{self.folder / RUNS} holds a run '{job.label}' made with other settings; use the "
                f"same ones, another folder, or --overwrite."
            )
        return run

    def run(self, job: Job) -> Run:
        """Fit and forecast one job, and keep it."""
        start = time.monotonic()
        panel, fold = self.panel(job.fold), job.fold
        task = Task(
            panel=panel,
            normalisation=self.normalisation,
            encoder=self.encoder.name,
            encoder_version=self.encoder.version,
            seed=job.seed or 0,
            progress=self._progress,
        )
        train = [self.arrays(s, panel) for s in fold.train]
        fitted = job.predictor.fit(train, task)
        metrics, forecasts, compared = {}, {}, {}
        for section_id in fold.test:
            truth = self.truth(section_id, panel)
            forecast = fitted(self.arrays(section_id, panel, is_blind=True))
            metrics[section_id] = all_metrics(
                truth, forecast.mean, forecast.draws, is_sampled=forecast.is_sampled
            )
            forecasts[section_id] = ForecastSummary.of(forecast, truth)
            compared[section_id] = (truth, np.asarray(forecast.mean))
        figures_of = self.protocol.figures
        run = Run(
            fold=fold.name,
            predictor=job.predictor.name,
            seed=job.seed,
            settings=job.predictor.settings,
            panel=panel,
            seconds=round(time.monotonic() - start, 2),
            metrics=metrics,
            protocol_figures={} if figures_of is None else figures_of(compared),
            forecasts=forecasts,
        )
        save_run(run, self.folder)
        return run

    def run_all(self, on_run: Callable[[int, int, float | None, str], None]) -> None:
        """Do what is not done yet; a predictor that fails is noted in ``failures`` and passed over.

        ``on_run`` is told (runs done, in all, seconds left or None, what comes next or "").
        """
        seconds: dict[str, list[float]] = {}
        for done, job in enumerate(self.jobs):
            on_run(done, len(self.jobs), seconds_left(self.jobs[done:], seconds), job.label)
            run = self.finished(job)
            if run is None:
                # what fails here fails for every predictor
                for section_id in (*job.fold.train, *job.fold.test):
                    self.arrays(section_id, self.panel(job.fold))
                try:
                    run = self.run(job)
                except OutputError:
                    raise
                except _LOSABLE as error:
                    reason = " ".join(str(error).split())[:300] or type(error).__name__
                    kind = "" if isinstance(error, StemError) else f"{type(error).__name__}: "
                    about = {"fold": job.fold.name, "predictor": job.predictor.name}
                    self.failures.append({**about, "seed": job.seed, "error": kind + reason})
                    continue
            seconds.setdefault(job.predictor.name, []).append(run.seconds)
        on_run(len(self.jobs), len(self.jobs), None, "")

    def stored_runs(self) -> list[Run]:
        """Every run in the folder that belongs to the benchmark's folds and panels, earlier calls' too."""
        runs = [
            run
            for fold in self.plan.folds
            for run in runs_of_fold(self.folder, fold.name)
            if run.panel == self.panel(fold) and tuple(run.metrics) == fold.test
        ]
        order = {fold.name: i for i, fold in enumerate(self.plan.folds)}
        return sorted(runs, key=lambda r: (order[r.fold], NAMES.index(r.predictor), r.seed or 0))

    def write(self) -> tuple[list[Run], dict[str, Any]]:
        """Write tables of all runs that are finished, earlier calls' too; gives these, and `results`."""
        runs = self.stored_runs()
        results = self.results(runs)
        write_results(self.folder, results, runs)
        return runs, results

    def results(self, runs: Sequence[Run]) -> dict[str, Any]:
        """Return everything found so far, JSON-ready.

        Returns
        -------
        dict
            ``identity`` (protocol, data set, encoder, panel asked for, unit), ``about``, ``notes``,
            ``unit``, ``predictors`` (what each is, unit it was fitted in, settings), ``folds`` (train,
            validation, test, panel), ``runs`` (fold, section, predictor, seed, and every metric of
            `napari_stem.metrics.all_metrics`), ``aggregates`` and ``own`` (the protocol's own figures), as
            `napari_stem.evaluation.runs` has them, ``failures``, ``complete``.
        """
        done = {(r.fold, r.predictor, r.seed) for r in runs}
        known = {p.name: p.about for p in self.predictors}
        unit = normalisation(self.normalisation).label
        return {
            "version": __version__,
            "identity": self.identity,
            "about": self.protocol.about,
            "notes": list(self.plan.notes),
            "unit": unit,
            "predictors": {
                r.predictor: {
                    "about": known.get(r.predictor, ""),
                    "fitted_in": unit,
                    "settings": r.settings,
                }
                for r in runs
            },
            "folds": [{**asdict(f), "panel": self.panel(f)} for f in self.plan.folds],
            "runs": [
                {
                    "fold": r.fold,
                    "section": section,
                    "predictor": r.predictor,
                    "seed": r.seed,
                    "seconds": r.seconds,
                    **figures,
                }
                for r in runs
                for section, figures in r.metrics.items()
            ],
            "aggregates": aggregates(runs),
            "own": protocol_figures(runs),
            "failures": list(self.failures),
            "complete": all((j.fold.name, j.predictor.name, j.seed) in done for j in self.jobs),
        }


def seconds_left(jobs: Sequence[Job], seconds: dict[str, list[float]]) -> float | None:
    """Estimate from runs of the same predictors; None before the first run of one of them."""
    total = 0.0
    for job in jobs:
        known = seconds.get(job.predictor.name)
        if not known:
            return None
        total += float(np.mean(known))
    return total


def _only(counts: anndata.AnnData, measured: Sequence[set[str]]) -> anndata.AnnData:
    common = set(counts.var_names).intersection(*measured)
    return counts if len(common) == counts.n_vars else counts[:, sorted(common)].copy()


def dataset_fingerprint(dataset: Dataset, sections: Sequence[str]) -> str:
    """Digest of the sections' counts, slides and metadata: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for section_id in sections:
        section = dataset.section(section_id)
        stated = json.dumps(section.metadata, sort_keys=True)
        for part in (section_id, stated, *map(_print_of, (section.table_path, section.slide_path))):
            digest.update(f"{len(part)}:{part};".encode())
    return digest.hexdigest()


def _print_of(path: Path) -> str:
    """Fingerprint of a file; of a folder, as OME-Zarr is, the name."""
    try:
        return path.name if path.is_dir() else fingerprint(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror or error}).") from error
