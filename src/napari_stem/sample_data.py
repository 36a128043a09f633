"""The packaged sample slide. Imports no viewer."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_stem.layers.placement import LayerData

SAMPLE_NAME = "HER2ST breast cancer section C5"


def sample_path() -> Path:
    """File of the packaged section (Andersson et al. 2021, CC BY 4.0), in a data set in HEST layout."""
    return Path(str(files("napari_stem"))) / "data" / "her2st-C5" / "wsis" / "C5.jpg"


def her2st_c5() -> list[LayerData]:
    """Layer of section C5, on which the packaged model was never trained."""
    from napari_stem.layers.placement import slide_layer
    from napari_stem.slide import open_slide

    data, options, kind = slide_layer(open_slide(sample_path(), early=True))
    return [(data, options | {"name": SAMPLE_NAME}, kind)]
