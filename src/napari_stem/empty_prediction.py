"""What a prediction is on disk before anything is predicted: an empty table and how it will be filled."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import anndata
    from numpy.typing import NDArray

    from napari_stem.geometry import Spots
    from napari_stem.model.bundle import Model
    from napari_stem.settings import SamplingSettings
    from napari_stem.slide.base import Slide


def provenance_of(
    slide: Slide, spots: Spots, model: Model, settings: SamplingSettings, *, keep_draws: bool
) -> dict[str, Any]:
    """Say how a prediction is made: whatever its values depend on, JSON-ready."""
    mpp = slide.require_mpp()
    return {
        "predicted": True,
        "notice": "Predicted from an H&E image, not measured. For research use only.",
        "version": __version__,
        **model.provenance(),
        "seed": settings.seed,
        "steps": settings.n_steps,
        "sampler": settings.sampler,
        "draws": settings.n_draws,
        "draws_kept": keep_draws,
        "slide": slide.path.name,
        "slide_fingerprint": slide.fingerprint,
        "mpp": [mpp.y_um, mpp.x_um],
        "pitch_um": spots.pitch_um,
        "spot_diameter_um": spots.diameter_um,
    }


MAX_DRAWS_BYTES = 2_000_000_000  # as they are in memory; about half of it on disk


def may_keep_draws(n_spots: int, n_genes: int, n_draws: int) -> bool:
    """Whether all draws of a run are small enough to be kept, where nobody has asked for it."""
    return n_spots * n_genes * n_draws * np.dtype(np.float16).itemsize <= MAX_DRAWS_BYTES


def empty_table(spots: Spots, genes: Sequence[str], n_kept_draws: int) -> anndata.AnnData:
    """Table of a prediction of which nothing is done: all NaN; its parts are those of `Prediction`."""
    import anndata
    import pandas as pd

    shape = (len(spots), len(genes))
    obs = pd.DataFrame(
        {
            "array_row": spots.array_row,
            "array_col": spots.array_col,
            "done": np.zeros(len(spots), bool),
            "ood": np.zeros(len(spots), bool),
            "ood_distance": np.full(len(spots), np.nan, np.float32),
        },
        index=list(spots.names),
    )
    obsm: dict[str, NDArray[Any]] = {"spatial": np.column_stack([spots.x_px, spots.y_px])}
    if n_kept_draws:
        obsm["draws"] = np.full((*shape, n_kept_draws), np.nan, np.float16)
    return anndata.AnnData(
        X=np.full(shape, np.nan, np.float32),
        obs=obs,
        var=pd.DataFrame(index=list(genes)),
        obsm=obsm,
        layers={name: np.full(shape, np.nan, np.float32) for name in ("sd", "q05", "q95")},
    )


def write_zarr(table: anndata.AnnData, path: Path, chunks: tuple[int, int]) -> None:
    """Write Zarr 3, each chunk a file of its own, so that a block can be added without touching others."""
    import anndata

    with warnings.catch_warnings():
        # zarr says that consolidated metadata is not in its specification yet; anndata reads without it too.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        with anndata.settings.override(zarr_write_format=3, auto_shard_zarr_v3=False):
            table.write_zarr(path, chunks=chunks)


def stored_provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance as ``uns`` holds it: whole as JSON, and what AnnData can hold as it is, for people to see."""
    return {"json": json.dumps(provenance)} | {
        k: v for k, v in provenance.items() if isinstance(v, (str, int, float, bool))
    }
