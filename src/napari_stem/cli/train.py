"""``train``: a model on measured sections, in one process or several."""

from __future__ import annotations

import os
import signal
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from napari_stem.cli.app import Device, OverwriteModel, app, encoder_names, refuse_if
from napari_stem.cli.tables import say_figures
from napari_stem.cli.terminal import (
    MANNER,
    Interrupted,
    Manner,
    answer,
    progress_bars,
    say,
    speak,
    speaking,
    tell,
)
from napari_stem.errors import StemError, require_extra
from napari_stem.io import require_model_room
from napari_stem.settings import Stated
from napari_stem.texts import count
from napari_stem.training.options import DEFAULT_STEPS, TrainingOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.queues import SimpleQueue

    from napari_stem.spatial.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class TrainCommandOptions:
    """Every option of ``train``: those of `TrainingOptions`, and the command's own."""

    out: Annotated[Path, Option(help="Model folder to write.", show_default=False)]
    encoder: Annotated[
        str | None,
        Option(
            help="See 'encoders'; default: bundled, or what the embeddings' files say.",
            autocompletion=encoder_names,
        ),
    ] = None
    asked: Annotated[
        TrainingOptions, {"tolerance_um": "--tolerance", "coordinates": None, "encoder": None}
    ]
    processes: Annotated[
        int, Option(min=1, help="Processes on this machine; several machines: see above.")
    ] = 1
    device: Device = "auto"
    overwrite: OverwriteModel = False

    def require_consistent(self) -> None:
        """Refuse options that exclude each other."""
        asked = self.asked
        refuse_if(
            asked.minutes is not None and asked.steps is not None,
            "choose one of --minutes and --steps.",
        )
        refuse_if(
            asked.embeddings is None and asked.stated is not None,
            "--patch-px and --tolerance belong to --embeddings.",
        )
        refuse_if(asked.resume and self.overwrite, "choose one of --resume and --overwrite.")

    def training(self) -> TrainingOptions:
        """Say what is asked of the training itself."""
        stated = replace(self.asked.stated or Stated(), encoder=self.encoder)
        encoder = self.encoder or TrainingOptions.encoder
        return replace(self.asked, encoder=encoder, stated=stated)


@app.command()
def train(
    dataset: Annotated[Path, Argument(help="Folder in HEST layout.", show_default=False)],
    options: TrainCommandOptions,
) -> None:
    """Train a model on measured sections.

    It is reported on the sections held out. On several machines: accelerate launch -m napari_stem train
    ... (or torchrun) on each.
    """
    options.require_consistent()
    result = _run(dataset, options)
    if result is not None:  # the first of several processes
        answer(result, partial(_say, options.out))


def _say(out: Path, result: dict[str, Any]) -> None:
    for section, columns in result["metrics"].items():
        say_figures(columns, f"Held-out section {section}", result["unit"])
    trained_on = ", ".join(result["sections"])
    say(
        f"Model '{result['name']}', {count(result['n_genes'], 'gene')}, trained on {trained_on}: {out}"
    )


def _run(folder: Path, asked: TrainCommandOptions) -> dict[str, Any] | None:
    """Train a model on the data set in a folder; processes that a launcher has started count instead of ours.

    Gives, JSON-ready, ``out, name, n_genes, unit, sections, metrics`` (per held-out section, then per
    predictor); None in all but the first of several processes. OutputError where the folder cannot be written,
    holds something else, or a model without ``overwrite``; Interrupted by Ctrl-C, which says whether there is a
    checkpoint to go on from.
    """
    from napari_stem.training.team import Team, is_launched

    options = asked.training()
    if asked.processes > 1 and not is_launched():
        return run_together(asked.processes, partial(_run, folder, asked))
    from napari_stem.device import torch_device

    options = replace(options, device=torch_device(options.device))
    out, overwrite = asked.out, asked.overwrite
    team = Team.gathered(options.device)
    # told before anything of the data set is
    team.share(lambda: require_model_room(out, overwrite=overwrite, resume=options.resume))
    from napari_stem.spatial.dataset import Dataset
    from napari_stem.training import fit
    from napari_stem.training.denoiser_fit import TrainingStopped

    dataset = Dataset(folder)
    if team.is_first:
        _say_cost(dataset, options, team.size)
    try:
        with progress_bars() if team.is_first else nullcontext(False) as progress:
            model = fit.train(dataset, out, options, progress, overwrite=overwrite)
    except TrainingStopped as stopped:
        raise Interrupted(
            f"Interrupted. {stopped}; the same command with --resume goes on from there."
        ) from None
    except KeyboardInterrupt:
        raise Interrupted(
            "Interrupted: no model was written; what was embedded is kept and not done again."
        ) from None
    if not team.is_first:
        return None
    return {
        "out": str(out),
        "name": model.name,
        "n_genes": len(model.genes),
        "unit": model.unit,
        "sections": model.card["sections"],
        "metrics": model.card.get("metrics", {}),
    }


def _say_cost(dataset: Dataset, options: TrainingOptions, n_processes: int) -> None:
    """Say on stderr what nobody would guess before the work begins."""
    if n_processes > 1:
        tell(f"{n_processes} processes train together.")
    if options.objective == "published" and options.chooses_steps:
        n_left = len(set(dataset.sections) - set(options.hold_out))
        steps = DEFAULT_STEPS[options.objective, options.size]
        tell(
            f"Neither --steps nor --minutes is given: how long to train is chosen on left-out sections, by "
            f"{options.n_fits(n_left)} trainings of up to {steps:,} steps each; with --steps there is one."
        )


def run_together(n_processes: int, train: Callable[[], Any]) -> dict[str, Any]:
    """Have 2 or more processes of this machine train one model; the first one's outcome is the outcome.

    StemError as any of them raised it; Interrupted by Ctrl-C, which reaches them all.
    """
    from napari_stem.training.team import ACCELERATE

    require_extra(*ACCELERATE, StemError)
    from torch.distributed.elastic.utils.distributed import get_free_port
    from torch.multiprocessing import get_context
    from torch.multiprocessing.spawn import ProcessException, start_processes

    outcomes: SimpleQueue[Any] = get_context("spawn").SimpleQueue()
    port = get_free_port()  # type: ignore[no-untyped-call]
    arguments = (n_processes, port, outcomes, replace(MANNER), train)
    failed: Exception | None = None
    # Ctrl-C reaches every process of the terminal: this one waits for what the others make of it
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        start_processes(_work, arguments, n_processes, start_method="spawn")  # type: ignore[no-untyped-call]
    except ProcessException as error:
        failed = error
    finally:
        signal.signal(signal.SIGINT, before)
    while not outcomes.empty():
        outcome: dict[str, Any] | StemError | Interrupted = outcomes.get()
        if isinstance(outcome, (StemError, Interrupted)):
            raise outcome
        if failed is None:
            return outcome
    reason = str(failed).strip().splitlines()[-1]
    raise StemError(
        f"One of the {n_processes} processes was ended ({reason}); run the command again with --resume."
    )


def _work(
    rank: int,
    n_processes: int,
    port: int,
    outcomes: SimpleQueue[Any],
    manner: Manner,
    train: Callable[[], Any],
) -> None:
    """Be one of them: what a launcher says through the environment, then the same command."""
    warnings.simplefilter("ignore")
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(n_processes),
        "LOCAL_WORLD_SIZE": str(n_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with speaking():
            speak(manner.verbosity, manner.log_file if rank == 0 else None)
            outcome = train()
    except StemError as error:
        outcomes.put(error)
        raise SystemExit(1) from error
    except Interrupted as stopped:
        outcome = stopped
    if rank == 0:
        outcomes.put(outcome)
