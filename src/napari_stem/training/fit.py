"""Train a model on a data set: panel, head, denoiser, calibration, card.

Everything is chosen by leaving out one training section at a time; held-out sections are read before the
work, as one that cannot be used is best told of then, and predicted once, at the end, to be reported.
"""

from __future__ import annotations

import logging
import shutil
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.device import torch_device
from napari_stem.encoders.precomputed import EmbeddingFolder
from napari_stem.encoders.registry import load_encoder
from napari_stem.errors import DatasetError
from napari_stem.io import CHECKPOINTS, only_writer, require_model_room
from napari_stem.metrics import all_metrics
from napari_stem.model.bundle import Model, load_folder
from napari_stem.model.card import LIMITS
from napari_stem.model.config import ModelConfig
from napari_stem.model.head import Head
from napari_stem.progress import Progress, shown, silent
from napari_stem.settings import SamplingSettings
from napari_stem.spatial.dataset import MPP_KEY, Dataset
from napari_stem.spatial.gene_sets import latin_name
from napari_stem.spatial.panels import Panel, detected, hmhvg, parse_panel
from napari_stem.texts import count, few
from napari_stem.training.checkpoints import Checkpoints, Logs, data_hash
from napari_stem.training.denoiser_fit import TrainingRun
from napari_stem.training.mean import N_DRAWS, round_ridge
from napari_stem.training.options import TrainingOptions
from napari_stem.training.recipe import fit_recipe
from napari_stem.training.reliability import PREDICTABLE, only_told
from napari_stem.training.sections import SectionArrays, depths_of, load_sections, patients_of
from napari_stem.training.team import Team

if TYPE_CHECKING:
    from collections.abc import Sequence

    import anndata
    from numpy.typing import NDArray

    from napari_stem.encoders.base import Encoder

__all__ = ["TrainingOptions", "fit_sections", "train"]

_log = logging.getLogger(__name__)
_LOGS = "logs"
N_REPORTED = 200  # genes that metrics are of


def train(
    dataset: Dataset | str | Path,
    out: str | Path,
    options: TrainingOptions | None = None,
    progress: bool | Progress = True,
    *,
    overwrite: bool = False,
) -> Model:
    """Train a model on measured sections and write its folder.

    Where a launcher (``accelerate launch``, ``torchrun``) started several processes, all call this and train
    together; the first writes.

    Parameters
    ----------
    dataset
        Sections in HEST layout (``napari-stem import`` makes it), or their folder.
    out
        Model folder to write; ``checkpoints`` and ``logs`` lie in it.
    options
        What to train, and which sections to hold out.
    progress
        True: a bar. A function is told (what, done, in all). False: nothing.
    overwrite
        Whether a model, or an unfinished training, that is there may be replaced.

    Returns
    -------
    The model as written; its ``card["metrics"]`` says how it does on the held-out sections, of the genes
    that all of these measured.

    Raises
    ------
    DatasetError
        There is no data set, no section is left to train on, or a held-out one does not exist, cannot be
        used, or measured no gene of the panel.
    OutputError
        The folder cannot be written, holds something else, or a model without ``overwrite``.
    ModelError
        The folder cannot be written, or the checkpoints to resume from are of another training.
    TrainingStopped
        By Ctrl-C or SIGTERM while a denoiser trains: its checkpoint is kept.
    """
    options, out = options or TrainingOptions(), Path(out)
    team = Team.gathered(torch_device(options.device))
    options = replace(options, device=team.device)
    team.share(lambda: require_model_room(out, overwrite=overwrite, resume=options.resume))
    if isinstance(dataset, (str, Path)):
        dataset = Dataset(Path(dataset))
    with (
        only_writer(out) if team.is_first else nullcontext(),
        shown(progress if team.is_first else False) as tell,
    ):
        return _train(dataset, out, options, team, tell)


def _train(
    dataset: Dataset, out: Path, options: TrainingOptions, team: Team, tell: Progress
) -> Model:
    ids = dataset.not_held_out(options.hold_out, "train")
    counts = [dataset.section(i).counts for i in ids]
    words = options.genes.split("+")
    named = "+".join(word for word in words if word != PREDICTABLE)
    panel, absent = _panel(named, counts) if named else ((), ())
    chosen = panel
    if PREDICTABLE in words:
        panel = tuple(sorted({*chosen, *detected(counts)}))
    # which genes were measured is no secret of the held-out sections; told before anything is embedded
    _measured_by_all(np.arange(len(panel)), panel, dataset, options.hold_out)
    if options.embeddings is None:
        encoder: Encoder | EmbeddingFolder = load_encoder(options.encoder, options.device)
    else:
        encoder = EmbeddingFolder(options.embeddings, options.stated)
    load = partial(
        load_sections,
        dataset,
        normalisation=options.normalisation,
        encoder=encoder,
        progress=tell,
    )
    with team.first_here():  # it fills the cache, from which the others read
        sections = load(ids, genes=panel, turned=options.augments)
    if PREDICTABLE in words:
        sections, panel = only_told(sections, panel, chosen, options.normalisation)
    if isinstance(encoder, EmbeddingFolder):
        options = replace(options, encoder=encoder.described.encoder)
    reported = _reported(panel, counts) if PREDICTABLE in words else np.arange(len(panel))
    genes, untested = _measured_by_all(reported, panel, dataset, options.hold_out)
    if untested and team.is_first:
        _log.warning(
            f"Not measured in every held-out section, and left out of the figures: "
            f"{count(len(untested), 'gene')}, {few(untested)}."
        )
    # Read before the hours of training, and by all processes: a section that cannot be used would end them
    # without a model; now all of them end.
    held_out: list[SectionArrays] = []
    team.share(lambda: held_out.extend(load(options.hold_out, genes=[panel[i] for i in genes])))
    model = fit_sections(
        sections,
        panel,
        options,
        name=options.name or out.absolute().name,
        encoder_version=encoder.version,
        progress=tell,
        folder=out,
        team=team,
    )
    lacking = {"genes_not_measured": absent, "genes_not_reported": untested}
    facts: dict[str, Any] = {key: list(genes) for key, genes in lacking.items() if genes}
    if isinstance(encoder, EmbeddingFolder):
        model.config = replace(
            model.config, fields_of_view_um=(encoder.described.field_of_view_um,)
        )
        notes = [*model.card.get("notes", ()), encoder.note()]
        facts |= {"embeddings": "from file", "notes": notes}
    if held_out and team.is_first:
        facts["metrics"] = _measured(model, sections, held_out, genes, options)
    model.card.update(facts)
    if not team.is_first:
        return model
    model.save(out)
    if not options.keep_checkpoints:
        shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    return load_folder(out)


def fit_sections(
    sections: Sequence[SectionArrays],
    panel: Sequence[str],
    options: TrainingOptions,
    *,
    name: str,
    encoder_version: str | None,
    progress: Progress | None = None,
    folder: Path | None = None,
    team: Team | None = None,
) -> Model:
    """Train a model on sections in memory; all that is chosen or calibrated is, inside them.

    Parameters
    ----------
    sections
        Embedded, ``values`` those of the panel in ``options.normalisation``; with their ``turned`` embeddings
        where training augments (the published objective does, unless told otherwise).
    panel
        Names of the genes, the columns of every section's ``values``.
    options
        How to train; what concerns finding and holding out sections is only written into the card.
    name
        Of the model.
    encoder_version
        Of the encoder that made the embeddings; None where it is not known.
    progress
        Told (what, done, in all); may raise to cancel.
    folder
        Where ``checkpoints`` and ``logs`` go; None keeps none. `train` removes the former at the end.
    team
        The processes that train together; None is this one alone.

    Returns
    -------
    The model, on ``options.device``, not yet saved.

    Raises
    ------
    DatasetError
        Too few spots, or no ``turned`` embeddings where they are needed.
    """
    lacking = [s.id for s in sections if s.turned is None]
    if options.augments and lacking:
        raise DatasetError(
            f"Section {lacking[0]} comes without embeddings of its turned patches; load it with turned=True, "
            f"or train with augment=False."
        )
    options = replace(options, device=torch_device(options.device))
    team = team or Team(options.device)
    own = folder if team.is_first else None
    run = TrainingRun(
        team,
        Checkpoints(own and own / CHECKPOINTS, options.checkpoint_minutes),
        Logs(own and own / _LOGS, options.log),
        progress or silent,
    )
    about = {**options.fingerprint_options(), "panel": len(panel)}
    if own is not None:
        about["data"] = data_hash(sections, panel)
    team.share(lambda: run.checkpoints.begin(about, resume=options.resume))
    config = _config(sections, panel, options, name, encoder_version)
    return fit_recipe(sections, config, options, run)


def _panel(spec: str, counts: Sequence[anndata.AnnData]) -> tuple[Panel, Panel]:
    """Genes chosen, and those that were named and of which there is no count."""
    choice = parse_panel(spec)(counts)
    choice.warn()
    lacking = [genes for part in (choice.left_out, choice.never_seen) for genes in part.values()]
    return choice.genes, tuple(dict.fromkeys(gene for genes in lacking for gene in genes))


def _reported(panel: Sequence[str], counts: Sequence[anndata.AnnData]) -> NDArray[np.int64]:
    """Columns of the genes that metrics are of: of a wide panel the 200 that published Stem would choose."""
    if len(panel) <= N_REPORTED:
        return np.arange(len(panel))
    return np.flatnonzero(np.isin(panel, hmhvg(counts, N_REPORTED)))


def _measured_by_all(
    columns: NDArray[np.int64], panel: Sequence[str], dataset: Dataset, held_out: Sequence[str]
) -> tuple[NDArray[np.int64], Panel]:
    """Take the columns of genes that every held-out section measured, and name the others' genes.

    DatasetError: no such column.
    """
    measured = set(panel).intersection(*(dataset.section(i).genes for i in held_out))
    kept = np.array([i for i in columns if panel[i] in measured], np.int64)
    if not len(kept):
        which = " and ".join(f"section {i}" for i in held_out)
        raise DatasetError(
            f"No gene of the panel is measured in {which}, held out; choose another panel, or hold out another "
            f"section."
        )
    return kept, tuple(panel[i] for i in columns if panel[i] not in measured)


def _measured(
    model: Model,
    sections: Sequence[SectionArrays],
    held_out: Sequence[SectionArrays],
    genes: NDArray[np.int64],
    options: TrainingOptions,
) -> dict[str, dict[str, Any]]:
    """Evaluate the held-out sections for the card, as if of the training patient: the model, and ridge."""
    settings = SamplingSettings(n_draws=N_DRAWS, n_steps=16, device=options.device, patient="same")
    metrics: dict[str, dict[str, Any]] = {}
    for s in held_out:
        draws = model.sample(s.embedding, s.spots, settings)
        mean = model.mean(s.embedding, draws, settings)[:, genes]
        metrics[s.id] = {"napari-stem": all_metrics(s.values, mean, draws[:, genes])}
    if isinstance(model.head, Head):
        rival = round_ridge([s.of_genes(genes) for s in sections], options.normalisation)
        for s in held_out:
            metrics[s.id]["ridge"] = all_metrics(s.values, *rival(s.embedding, 0))
    return metrics


def _config(
    sections: Sequence[SectionArrays],
    panel: Sequence[str],
    options: TrainingOptions,
    name: str,
    encoder_version: str | None,
) -> ModelConfig:
    about = sections[0].metadata
    stated = [s.metadata.get("species") for s in sections]
    species = {latin_name(str(each)) for each in stated if each}
    depths = depths_of(sections, options.normalisation) if options.objective == "edm" else None
    card = {
        "tissue": about.get("tissue"),
        "species": species.pop() if len(species) == 1 else None,  # a model of several serves each
        "source": about.get("study_link"),
        "licence": about.get("license", "unknown"),
        "attribution": about.get("citation"),
        "sections": [s.id for s in sections],
        "patients": sorted(set(patients_of(sections) or ())),
        "mpp_um": max((s.metadata.get(MPP_KEY) or 0.0 for s in sections), default=0.0) or None,
        "held_out": list(options.hold_out),
        "seed": options.seed,
        "genes_chosen_by": options.genes,
        "limits": list(LIMITS),
    }
    return ModelConfig(
        name=name,
        genes=tuple(panel),
        normalisation=options.normalisation,
        encoder=options.encoder,
        encoder_version=encoder_version,
        pitch_um=sections[0].spots.pitch_um,
        depth=None if depths is None else float(np.median(depths)),
        objective=options.objective,
        denoiser={},
        card=card,
    )
