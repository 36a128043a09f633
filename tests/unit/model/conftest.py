"""A model with all that there can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_stem.model import load_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_stem.model.bundle import Model


@pytest.fixture(scope="session")
def corrected(with_correction: Callable[[Model], Model]) -> Model:
    """The packaged model with a correction that nobody trained."""
    return with_correction(load_model("her2st-breast"))
