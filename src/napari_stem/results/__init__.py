"""A prediction on disk: at every moment a valid AnnData Zarr, filled block by block."""

from __future__ import annotations

from napari_stem.results.empty import LIBRARY, PROVENANCE_KEY
from napari_stem.results.prediction import Prediction
from napari_stem.results.stored import FIELDS, Field

__all__ = ["FIELDS", "LIBRARY", "PROVENANCE_KEY", "Field", "Prediction"]
