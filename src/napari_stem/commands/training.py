"""``train`` and ``evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_stem.commands.terminal import Interrupted, progress_bars, tell
from napari_stem.outputs import require_model_room

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.commands.terminal import ProgressBars
    from napari_stem.model.bundle import Model
    from napari_stem.spatial.dataset import Dataset
    from napari_stem.training.options import TrainingOptions


def run_train(
    folder: Path, out: Path, *, overwrite: bool, processes: int = 1, **options: Any
) -> dict[str, Any] | None:
    """Train a model.

    Parameters
    ----------
    folder, out
        Data set, and model folder to write.
    overwrite
        Whether a model that is there may be replaced.
    processes
        How many to train with on this machine; what a launcher started already counts instead.
    options
        Fields of `napari_stem.training.options.TrainingOptions`.

    Returns
    -------
    JSON-ready: ``out, name, n_genes, unit, sections, metrics`` (per held-out section, then per predictor).
    None in all but the first of several processes.

    Raises
    ------
    OutputError
        The folder cannot be written, holds something else, or a model without ``overwrite``.
    Interrupted
        By Ctrl-C; says whether there is a checkpoint to go on from.
    """
    from napari_stem.training.team import Team, is_launched

    if processes > 1 and not is_launched():
        from napari_stem.commands.processes import run_together

        return run_together(processes, run_train, folder, out, overwrite=overwrite, **options)
    from napari_stem.model.sampling import torch_device

    options["device"] = torch_device(options["device"])
    team = Team.gathered(options["device"])
    resume = options.get("resume", False)  # told before anything of the data set is
    team.share(lambda: require_model_room(out, overwrite=overwrite, resume=resume))
    from napari_stem.spatial.dataset import Dataset
    from napari_stem.training.options import TrainingOptions

    dataset = Dataset(folder)
    if not team.is_first:
        _train(dataset, out, options, overwrite=overwrite)
        return None
    _say_cost(dataset, TrainingOptions(**options), team.size)
    with progress_bars() as bars:
        model = _train(dataset, out, options, bars, overwrite=overwrite)
    return {
        "out": str(out),
        "name": model.name,
        "n_genes": len(model.genes),
        "unit": model.unit,
        "sections": model.card["sections"],
        "metrics": model.card.get("metrics", {}),
    }


def _train(
    dataset: Dataset,
    out: Path,
    options: dict[str, Any],
    progress: ProgressBars | bool = False,
    *,
    overwrite: bool,
) -> Model:
    from napari_stem.training.fit import TrainingOptions, train
    from napari_stem.training.stopping import TrainingStopped

    try:
        return train(dataset, out, TrainingOptions(**options), progress, overwrite=overwrite)
    except TrainingStopped as stopped:
        msg = f"Interrupted. {stopped}; the same command with --resume goes on from there."
        raise Interrupted(msg) from None
    except KeyboardInterrupt:
        msg = "Interrupted: no model was written; what was embedded is kept and not done again."
        raise Interrupted(msg) from None


def _say_cost(dataset: Dataset, options: TrainingOptions, n_processes: int) -> None:
    """Say on stderr what nobody would guess before the work begins."""
    from napari_stem.training.options import DEFAULT_STEPS

    if n_processes > 1:
        tell(f"{n_processes} processes train together.")
    if options.objective == "published" and options.chooses_steps:
        n_left = len(set(dataset.sections) - set(options.hold_out))
        steps = DEFAULT_STEPS[options.objective, options.size]
        tell(
            f"Neither --steps nor --minutes is given: how long to train is chosen on left-out sections, by "
            f"{options.n_fits(n_left)} trainings of up to {steps:,} steps each; with --steps there is one."
        )


def run_evaluate(prediction: Path, truth: Path, *, allow_partial: bool = False) -> dict[str, Any]:
    """Compare a prediction with counts; says on stderr what it rests on. Returns metrics and unit."""
    from napari_stem.evaluation.comparison import evaluate, is_too_few

    figures = evaluate(prediction, truth, allow_partial=allow_partial)
    tell(
        f"{figures['n_spots']} spots matched by {figures['matched_by']}, of {figures['n_predicted']} predicted "
        f"and {figures['n_truth']} measured."
    )
    if is_too_few(figures["n_matched"], figures["n_predicted"], figures["n_truth"]):
        tell("These are less than half of either table: the figures say little of the section.")
    if left_out := figures["genes_left_out"]:
        tell(
            f"{len(left_out)} predicted genes were not measured and are left out: "
            f"{', '.join(left_out[:5])}{' …' if len(left_out) > 5 else ''}."
        )
    if figures["crps"] is None:
        tell("What needs the samples is left out; predict with --keep-draws to have it.")
    return figures
