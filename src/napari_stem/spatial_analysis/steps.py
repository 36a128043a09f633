"""What is analysed of a stored prediction, and in a process of its own, which can be ended at any moment.

Some steps hold Python's lock for seconds, so a thread would freeze the window, and none can be asked to stop.
Domains are stored beside the prediction as soon as they are found, and again with all
that is learned about them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import StemError
from napari_stem.own_process import run_module

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_stem.progress import Progress
    from napari_stem.results import Prediction

MOST_DRAWS = 8
MOST_BYTES = 1_000_000_000  # of draws held at a time
FOUND = "Domains found"  # what is told when they can be shown


def domains(path: str, resolution: str, tell: Progress) -> None:
    """Find domains, then how they lie to each other, then how stable they are; each is stored at once.

    StemError: the prediction is damaged or too small, or its folder cannot be written to.
    """
    from napari_stem.results import Prediction
    from napari_stem.spatial_analysis.autocorrelation import predicted_means
    from napari_stem.spatial_analysis.domains import find_domains, relate, stability_over
    from napari_stem.spatial_analysis.store import sidecar_path, write_domains

    tell("Reading the prediction", 0, 4)
    prediction = Prediction.open(Path(path))
    spots = prediction.spots.take(np.flatnonzero(prediction.done))
    if not len(spots):
        raise StemError("The prediction has no finished spot yet; wait for it, or resume it.")
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
    from napari_stem.spatial_analysis import morans_i

    tell("Computing Moran's I", 0, 0)
    morans_i(Prediction.open(Path(path)), progress=tell).to_csv(out)


BROKE = "The spatial analysis broke down, perhaps for want of memory; napari's log says more."


def run_in_subprocess(
    arguments: Sequence[str], is_stopped: Callable[[], bool], progress: Progress
) -> bool:
    """Run ``domains PREDICTION RESOLUTION`` or ``morans PREDICTION OUT.csv``; tells whether it was not stopped.

    StemError: what it raised, in its own words.
    """
    return run_module(__name__, arguments, is_stopped, progress, BROKE) is not None
