"""Measured sections as arrays, on real counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_stem.spatial.dataset import Dataset
from napari_stem.spatial.normalise import NORMALISATIONS, normalised
from napari_stem.training.sections import section_values

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("unit", NORMALISATIONS)
def test_values_are_those_of_the_whole_table_which_is_not_read(
    small_dataset: Path, unit: str
) -> None:
    section, table = (Dataset(small_dataset).section("C2") for _ in range(2))
    genes = table.counts.var_names[::-40]  # in another order
    expected = normalised(table.counts, genes, unit)
    np.testing.assert_array_equal(section_values(section, genes, unit), expected)
    assert expected.any()
    assert "counts" not in vars(section)
