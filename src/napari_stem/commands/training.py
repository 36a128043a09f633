"""``train``, ``import her2st`` and ``evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_stem.commands.outputs import require_writable
from napari_stem.commands.terminal import Interrupted, progress_bars, tell
from napari_stem.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path


def run_train(folder: Path, out: Path, *, overwrite: bool, **options: Any) -> dict[str, Any]:
    """Train a model.

    Parameters
    ----------
    folder, out
        Data set, and model folder to write.
    overwrite
        Whether a model that is there may be replaced.
    options
        Fields of `napari_stem.training.fit.TrainingOptions`.

    Returns
    -------
    JSON-ready: ``out, name, n_genes, sections, metrics`` (per held-out section, then per predictor).

    Raises
    ------
    OutputError
        The folder cannot be written, holds something else, or a model without ``overwrite``.
    Interrupted
        By Ctrl-C; nothing is written.
    """
    require_writable(out / "config.json")
    _require_room(out, overwrite=overwrite)
    from napari_stem.spatial.dataset import Dataset

    dataset = Dataset(folder)
    from napari_stem.model.sampling import torch_device
    from napari_stem.training.fit import TrainingOptions, train

    options["device"] = torch_device(options["device"])
    try:
        with progress_bars() as bars:
            model = train(dataset, out, TrainingOptions(**options), bars)
    except KeyboardInterrupt:
        msg = "Interrupted: no model was written; what was embedded is kept and not done again."
        raise Interrupted(msg) from None
    return {
        "out": str(out),
        "name": model.name,
        "n_genes": len(model.genes),
        "sections": model.card["sections"],
        "metrics": model.card.get("metrics", {}),
    }


def run_import(source: Path, out: Path) -> dict[str, Any]:
    """Import HER2ST; returns JSON-ready ``out, sections``."""
    require_writable(out / "st")
    from napari_stem.spatial.her2st import import_her2st

    with progress_bars() as bars:
        sections = import_her2st(source, out, progress=bars)
    return {"out": str(out), "sections": sections}


def run_evaluate(prediction: Path, truth: Path) -> dict[str, Any]:
    """Compare a prediction with counts; says on stderr what it rests on. Returns the metrics."""
    from napari_stem.evaluation.comparison import compare, read_prediction, read_truth

    found = compare(read_prediction(prediction), read_truth(truth))
    figures = found.figures
    tell(
        f"{figures['n_spots']} spots matched by {found.matched_by}, of {found.n_predicted} predicted "
        f"and {found.n_measured} measured."
    )
    if found.genes_left_out:
        tell(
            f"{len(found.genes_left_out)} predicted genes were not measured and are left out: "
            f"{', '.join(found.genes_left_out[:5])}{' …' if len(found.genes_left_out) > 5 else ''}."
        )
    if figures["crps"] is None:
        tell("What needs the samples is left out; predict with --keep-draws to have it.")
    return figures


def _require_room(out: Path, *, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        msg = f"{out} is a file; name a folder for the model."
        raise OutputError(msg)
    if not any(out.iterdir()):
        return
    if not (out / "config.json").is_file():
        msg = f"{out} holds other things than a model; choose an empty or new folder."
        raise OutputError(msg)
    if not overwrite:
        msg = f"{out} holds a model already; choose another folder, or add --overwrite."
        raise OutputError(msg)
