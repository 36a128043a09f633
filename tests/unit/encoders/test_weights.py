"""Numbers of the published encoders on real tissue, where their weights are on this machine.

`NAPARI_STEM_RECORD=1 pytest tests/unit/encoders/test_weights.py` writes the vectors anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from napari_stem.encoders.catalogue import CATALOGUE
from napari_stem.encoders.registry import list_encoders, load_encoder

VECTORS = Path(__file__).parents[2] / "data" / "encoder" / "published"
READY = [row["name"] for row in list_encoders() if row["ready"] and not row["packaged"]]
N_VALUES = (
    64  # of each embedding are kept: enough to see a change, too few to stand for the weights
)


@pytest.mark.weights
@pytest.mark.slow
def test_published_encoders_give_the_recorded_numbers(tissue) -> None:
    if not READY:
        pytest.skip(f"none of {len(CATALOGUE)} published encoders is on this machine")
    unrecorded = []
    for name in READY:
        encoder = load_encoder(name, precision="float32")
        embedding = encoder.encode(tissue[:1])[0][:N_VALUES]
        path = VECTORS / f"{name}.npy"
        if os.environ.get("NAPARI_STEM_RECORD") == "1":
            path.parent.mkdir(exist_ok=True)
            np.save(path, embedding)
        if path.exists():
            np.testing.assert_allclose(embedding, np.load(path), rtol=1e-2, atol=1e-2, err_msg=name)
        else:
            unrecorded.append(name)
    if unrecorded:
        pytest.skip(f"no numbers were recorded for {', '.join(unrecorded)}")
