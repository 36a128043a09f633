"""The steps of each analysis, from a stored prediction to what is stored beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.errors import StemError

if TYPE_CHECKING:
    from collections.abc import Callable

    Tell = Callable[[str, int, int], None]

MOST_DRAWS = 8
FOUND = "Domains found"  # what is told when they can be shown


def domains(path: str, resolution: str, tell: Tell) -> None:
    """Find domains, then how they lie to each other, then how stable they are; each is stored at once.

    Raises
    ------
    StemError
        The prediction is damaged or too small, or its folder cannot be written to.
    """
    from napari_stem.geometry import Mpp
    from napari_stem.results import Prediction
    from napari_stem.spatial_analysis.domains import find_domains, stability_over
    from napari_stem.spatial_analysis.reading import (
        independent_draws,
        n_kept_draws,
        predicted_means,
    )
    from napari_stem.spatial_analysis.relations import relate
    from napari_stem.spatial_analysis.store import sidecar_path, write_domains

    tell("Reading the prediction", 0, 4)
    prediction = Prediction.open(Path(path))
    spots = prediction.spots.take(np.flatnonzero(prediction.done))
    if not len(spots):
        raise StemError("The prediction has no finished spot yet; wait for it, or resume it.")
    means = predicted_means(prediction)
    tell("Looking for domains", 1, 4)
    found = find_domains(means, spots.names, prediction.genes, float(resolution))
    write_domains(found, sidecar_path(prediction))
    tell(FOUND, 2, 4)
    mpp = Mpp(*(float(um) for um in prediction.provenance["mpp"]))
    found = replace(found, relations=relate(spots, found.labels, mpp))
    write_domains(found, sidecar_path(prediction))
    if n_kept_draws(prediction) > 2:
        tell("Reading samples", 3, 4)
        draws = independent_draws(prediction, MOST_DRAWS)

        def told(done: int, n: int) -> None:
            tell(f"Domains of sample {done + 1} of {n}", 3 * n + done, 4 * n)

        stability = stability_over(draws, found.labels, found.resolution, told)
        write_domains(replace(found, stability=stability), sidecar_path(prediction))


def morans(path: str, out: str, tell: Tell) -> None:
    """Moran's I of all genes, as CSV.

    Raises
    ------
    StemError
        The prediction is damaged or too small.
    """
    from napari_stem.results import Prediction
    from napari_stem.spatial_analysis import morans_i

    tell("Computing Moran's I", 0, 0)
    table = morans_i(Prediction.open(Path(path)))
    if table is not None:
        table.to_csv(out)
