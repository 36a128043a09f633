"""Predicted gene expression maps with uncertainty from H&E whole-slide images.

The public names, which ``__init__.pyi`` lists, load on first use, so that ``import napari_stem`` costs nothing.
"""

from __future__ import annotations

import lazy_loader

from napari_stem.triton_import import make_triton_safe

make_triton_safe()

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
