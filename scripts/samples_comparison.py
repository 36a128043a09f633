"""Whether samples tell what the mean does not: Moran's I, and where domains are right, against measured counts.

    napari-stem predict DATASET/wsis/C5.jpg --spots DATASET/st/C5.h5ad --patient same --keep-draws --out C5.zarr
    python scripts/samples_comparison.py DATASET C5 C5.zarr

DATASET in HEST layout; a section that the model was not trained on. Over the genes that vary in both: the
average I of measured log2(count + 1), of the predicted mean and of samples; their correlation with that of the
measured ones; how often the 90% interval of the samples holds it. By resolution: how alike domains of the mean
and of measured counts are, and which share of spots lies in the right one where more, and where fewer, of the
samples agree on it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import adjusted_rand_score

from napari_stem.results import Prediction
from napari_stem.spatial.dataset import Dataset
from napari_stem.spatial_analysis import morans_i, neighbour_graph
from napari_stem.spatial_analysis.autocorrelation import morans_of
from napari_stem.spatial_analysis.domains import agrees, leiden, stability_over

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

RESOLUTIONS = (0.3, 0.5, 1.0)


def of_morans_i(prediction: Prediction, genes: Sequence[str], measured: Array) -> Iterator[str]:
    """Lines about Moran's I; ``measured`` (n, genes)."""
    found = morans_i(prediction, genes)
    found["measured"] = morans_of(measured, neighbour_graph(prediction.spots))
    found = found.dropna(subset=["measured", "I", "I_of_mean"])
    of_samples, of_mean = (
        np.corrcoef(found["measured"], found[each])[0, 1] for each in ("I", "I_of_mean")
    )
    averages = found[["measured", "I", "I_of_mean"]].mean()
    is_held = found["measured"].between(found["I_q05"], found["I_q95"])
    yield f"{len(found)} genes, {len(measured)} spots, {found['n_samples'].iloc[0]} samples"
    yield "average I: measured {:.3f}, of samples {:.3f}, of the mean {:.3f}".format(*averages)
    yield f"correlation with measured: of samples {of_samples:.2f}, of the mean {of_mean:.2f}"
    yield f"held by the 90% interval: {is_held.mean():.3f}"


def of_domains(prediction: Prediction, genes: Sequence[str], measured: Array) -> Iterator[str]:
    """Rows of a table about domains; every second sample, as they mirror one another."""
    everywhere = slice(0, len(measured))
    mean = prediction.rows(np.arange(len(measured)), genes=genes)
    draws = prediction.draws(everywhere, genes, slice(0, None, 2))
    yield "| resolution | domains | adjusted Rand index | right above the median support | below |"
    yield "| --- | --- | --- | --- | --- |"
    for resolution in RESOLUTIONS:
        labels, wanted = leiden(mean, resolution), leiden(measured, resolution)
        support = np.array(stability_over(draws, labels, resolution).support)
        is_right, is_above = agrees(labels, wanted), support > np.median(support)
        yield (
            f"| {resolution:g} | {labels.max() + 1}, measured {wanted.max() + 1} "
            f"| {adjusted_rand_score(labels, wanted):.2f} "
            f"| {is_right[is_above].mean():.2f} | {is_right[~is_above].mean():.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("section")
    parser.add_argument("prediction", type=Path)
    args = parser.parse_args()
    prediction = Prediction.open(args.prediction)
    counts = Dataset(args.dataset).section(args.section).counts
    genes = [gene for gene in prediction.genes if gene in counts.var_names]
    table = counts[list(prediction.spots.names), genes].X
    dense = table.toarray() if hasattr(table, "toarray") else table
    measured = np.log2(1 + dense).astype(np.float32)
    for lines in (of_morans_i, of_domains):
        print(*lines(prediction, genes, measured), sep="\n", flush=True)


if __name__ == "__main__":
    main()
