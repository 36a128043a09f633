"""Domains on disk, beside their prediction (an AnnData file without genes), and the process that finds them.

Some steps of an analysis hold Python's lock for seconds, so a thread would freeze the window, and none can be
asked to stop: a process of its own can be ended at any moment. Domains are stored as soon as they are found,
and again with all that is learned about them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.cells import harmless_table
from napari_stem.errors import PredictionError
from napari_stem.foreign import read_h5ad, read_json
from napari_stem.io import DAMAGE, write_h5ad, written_whole
from napari_stem.own_process import run_module
from napari_stem.spatial_analysis.autocorrelation import (
    morans_i,
    predicted_means,
    require_spots,
)
from napari_stem.spatial_analysis.domains import (
    Domains,
    Relations,
    Stability,
    find_domains,
    relate,
    stability_over,
)
from napari_stem.texts import own_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    import anndata
    from numpy.typing import NDArray

    from napari_stem.progress import Poll, Progress
    from napari_stem.results import Prediction

COLUMN, SUPPORT = "domain", "domain_support"
KEY = "napari_stem_domains"
RELATIONS = "domain_relations"


def sidecar_path(prediction: Prediction) -> Path:
    """Where the domains of a prediction lie: beside it, so that they are found again with it."""
    return prediction.path.with_name(f"{prediction.path.stem}.domains.h5ad")


def write_domains(domains: Domains, path: Path) -> None:
    """Write, whole or not at all, over what is there.

    OutputError: the file cannot be written.
    """
    import anndata
    import pandas as pd

    table = anndata.AnnData(obs=pd.DataFrame(index=pd.Index(domains.spots, dtype=object)))
    annotate(table, domains)
    with written_whole(path, overwrite=True) as fresh:
        write_h5ad(table, fresh)


def annotate(table: anndata.AnnData, domains: Domains) -> None:
    """Add domains to a table of the same prediction.

    Sets ``obs["domain"]`` (missing where a spot has none), ``obs["domain_support"]`` (share of samples that
    agree, where samples were kept), ``uns["napari_stem_domains"]`` (JSON: names, markers, resolution, stability
    over draws) and ``uns["domain_relations"]`` (arrays of `Relations`).
    """
    import pandas as pd

    # users may call two domains the same
    categories = own_names(domains.names, ())
    labelled = pd.Series(
        pd.Categorical.from_codes(domains.labels, categories), index=list(domains.spots)
    )
    table.obs[COLUMN] = pd.Categorical(labelled.reindex(table.obs_names), categories)
    about = None if domains.stability is None else dict(vars(domains.stability))
    if about is not None:
        support = pd.Series(about.pop("support"), index=list(domains.spots))
        table.obs[SUPPORT] = support.reindex(table.obs_names).to_numpy()
    table.uns[KEY] = json.dumps(
        {
            "of": "predicted expression",
            "names": domains.names,
            "markers": domains.markers,
            "resolution": domains.resolution,
            "stability": about,
        }
    )
    if domains.relations is not None:
        table.uns[RELATIONS] = dict(vars(domains.relations))


def export_domains(domains: Domains, prediction: Prediction, path: Path) -> None:
    """Save domains for other programs.

    A ``.csv`` has spot, position (x, y) in level-0 px, domain, its support. Any other is AnnData (``.h5ad``):
    the finished spots of the prediction with ``obs["domain"]``, as `annotate` sets it.

    OutputError: the file cannot be written. PredictionError: the prediction is damaged.
    """
    import pandas as pd

    with written_whole(path, overwrite=True) as fresh:
        if path.suffix == ".csv":
            spots = prediction.spots.take(np.flatnonzero(prediction.done))
            names = [domains.names[label] for label in domains.labels]
            columns: dict[str, Any] = {"x_px": spots.x_px, "y_px": spots.y_px, COLUMN: names}
            if domains.stability is not None:
                columns[SUPPORT] = domains.stability.support
            listed = pd.DataFrame(columns, index=pd.Index(spots.names, name="spot"))
            harmless_table(listed).to_csv(fresh)
            return
        table = prediction.to_anndata()
        table = table[np.asarray(table.obs["done"], dtype=bool)].copy()
        annotate(table, domains)
        table.strings_to_categoricals()
        write_h5ad(table, fresh)


def read_domains(prediction: Prediction) -> Domains | None:
    """Read the domains stored beside a prediction; None where there are none of the spots that are done by now.

    PredictionError: the file is damaged.
    """
    path = sidecar_path(prediction)
    if not path.is_file():
        return None
    domains = _read(path)
    done = np.flatnonzero(prediction.done)
    same = domains.spots == tuple(prediction.spots.names[i] for i in done)
    return domains if same else None


def _read(path: Path) -> Domains:
    try:
        table = read_h5ad(path)
        about = read_json(str(table.uns[KEY]))
        stability, relations = about["stability"], table.uns.get(RELATIONS)
        if stability is not None:
            stability["support"] = table.obs[SUPPORT].to_numpy().tolist()
        return Domains(
            spots=tuple(str(name) for name in table.obs_names),
            labels=table.obs[COLUMN].cat.codes.to_numpy().astype(np.int64),
            names=tuple(about["names"]),
            markers=tuple(tuple(genes) for genes in about["markers"]),
            resolution=float(about["resolution"]),
            relations=None if relations is None else Relations(**relations),
            stability=stability and Stability(**{k: tuple(v) for k, v in stability.items()}),
        )
    except DAMAGE as error:
        raise PredictionError(
            f"{path} is damaged or holds no domains ({error}); remove it and find them again."
        ) from error


MOST_DRAWS = 8
MOST_BYTES = 1_000_000_000  # of draws held at a time
FOUND = "Domains found"  # what is told when they can be shown


def domains(path: str, resolution: str, tell: Progress) -> None:
    """Find domains, then how they lie to each other, then how stable they are; each is stored at once.

    StemError: the prediction is damaged or too small, or its folder cannot be written to.
    """
    from napari_stem.results import Prediction

    tell("Reading the prediction", 0, 4)
    prediction = Prediction.open(Path(path))
    spots = prediction.spots.take(np.flatnonzero(prediction.done))
    require_spots(len(spots))
    means = predicted_means(prediction)
    tell("Looking for domains", 1, 4)
    told = ~prediction.gene_accuracy["by_chance"].to_numpy()
    found = find_domains(means, spots.names, prediction.genes, float(resolution), told)
    write_domains(found, sidecar_path(prediction))
    tell(FOUND, 2, 4)
    found = replace(found, relations=relate(spots, found.labels))
    write_domains(found, sidecar_path(prediction))
    if prediction.n_kept_draws > 2:
        tell("Reading samples", 3, 4)
        draws = independent_draws(prediction, MOST_DRAWS)

        def progress(done: int, n: int) -> None:
            tell(f"Domains of sample {done + 1} of {n}", 3 * n + done, 4 * n)

        stability = stability_over(draws, found.labels, found.resolution, progress)
        write_domains(replace(found, stability=stability), sidecar_path(prediction))


def independent_draws(prediction: Prediction, most: int) -> NDArray[np.float16]:
    """Read single draws that do not depend on each other: every second one, as the others mirror them.

    (n_done, genes, draws) float16; fewer than ``most`` where they would not fit in memory.

    PredictionError: no draws were kept, or the prediction is damaged.
    """
    done = np.flatnonzero(prediction.done)
    n_fitting = MOST_BYTES // max(1, 2 * len(done) * len(prediction.genes))
    n_draws = min(most, (prediction.n_kept_draws + 1) // 2, max(2, n_fitting))
    return prediction.draws(done, which=slice(0, 2 * n_draws, 2))


def morans(path: str, out: str, tell: Progress) -> None:
    """Moran's I of all genes, as CSV.

    StemError: the prediction is damaged or too small.
    """
    from napari_stem.results import Prediction

    tell("Computing Moran's I", 0, 0)
    morans_i(Prediction.open(Path(path)), progress=tell).to_csv(out)


BROKE = "The spatial analysis broke down, perhaps for want of memory; napari's log says more."


def run_in_subprocess(arguments: Sequence[str], poll: Poll, progress: Progress) -> None:
    """Run ``domains PREDICTION RESOLUTION`` or ``morans PREDICTION OUT.csv``, as `run_module` does."""
    run_module(__name__, arguments, poll, progress, BROKE)
