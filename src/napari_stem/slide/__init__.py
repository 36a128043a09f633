"""Slides: opening, reading at any level, tissue and patches."""

from __future__ import annotations

from napari_stem.slide.base import Slide
from napari_stem.slide.level import Level
from napari_stem.slide.opening import describe, open_slide

__all__ = ["Level", "Slide", "describe", "open_slide"]
