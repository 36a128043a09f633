"""Real slides, and other forms of them written from their own pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_stem.slide import open_slide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_stem.slide import Slide

SLIDES = Path(__file__).parents[2] / "data" / "slides"


@pytest.fixture(scope="session")
def slides() -> Path:
    return SLIDES


@pytest.fixture(scope="session")
def svs_path() -> Path:
    return SLIDES / "CMU-1-Small-Region.svs"


@pytest.fixture(scope="session")
def jpeg_path() -> Path:
    return SLIDES / "C5-crop.jpg"


@pytest.fixture(scope="session")
def pixels(svs_path: Path) -> NDArray[np.uint8]:
    """Level 0 of the SVS, decoded by tifffile at once: (2967, 2220, 3)."""
    return np.asarray(tifffile.imread(svs_path, series=0))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for this test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NAPARI_STEM_CACHE", str(folder))
    return folder


@pytest.fixture
def opened() -> Iterator[Callable[..., Slide]]:
    """``open_slide`` that closes at the end of the test."""
    slides = []

    def opening(*args: object, **kwargs: object) -> Slide:
        slides.append(open_slide(*args, **kwargs))
        return slides[-1]

    yield opening
    for slide in slides:
        slide.close()
