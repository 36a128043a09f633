"""Whether Moran's I of samples is that of measured counts, and how far that of the mean is off.

    napari-stem predict DATASET/wsis/C5.jpg --spots DATASET/st/C5.h5ad --patient same --keep-draws --out C5.zarr
    python scripts/morans_comparison.py DATASET C5 C5.zarr

DATASET in HEST layout. Over the genes that vary in both: the average I of measured log2(count + 1), of the
predicted mean and of samples; their correlation with that of the measured ones; how often the 90% interval of
the samples holds it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from napari_stem.results import Prediction
from napari_stem.spatial.dataset import Dataset
from napari_stem.spatial_analysis import morans_i, neighbour_graph
from napari_stem.spatial_analysis.autocorrelation import morans_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("section")
    parser.add_argument("prediction", type=Path)
    args = parser.parse_args()
    prediction = Prediction.open(args.prediction)
    counts = Dataset(args.dataset).section(args.section).counts
    genes = [gene for gene in prediction.genes if gene in counts.var_names]
    measured = counts[list(prediction.spots.names), genes].X
    values = np.log2(1 + (measured.toarray() if hasattr(measured, "toarray") else measured))
    found = morans_i(prediction, genes)
    found["measured"] = morans_of(values.astype(np.float32), neighbour_graph(prediction.spots))
    found = found.dropna(subset=["measured", "I", "I_of_mean"])
    is_held = found["measured"].between(found["I_q05"], found["I_q95"])
    sys.stdout.write(
        f"{len(found)} genes, {len(prediction.spots)} spots, {found['n_samples'].iloc[0]} samples\n"
        f"average I: measured {found['measured'].mean():.3f}, of samples {found['I'].mean():.3f}, of the "
        f"mean {found['I_of_mean'].mean():.3f}\n"
        f"correlation with measured: of samples {np.corrcoef(found['measured'], found['I'])[0, 1]:.2f}, of the "
        f"mean {np.corrcoef(found['measured'], found['I_of_mean'])[0, 1]:.2f}\n"
        f"held by the 90% interval: {is_held.mean():.3f}\n"
    )


if __name__ == "__main__":
    main()
