"""The check that is made for a GPU runs on a processor too, and says what is kept and what not."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

SCRIPT = Path(__file__).parents[3] / "scripts" / "gpu_check.py"


def test_a_layer_keeps_its_bounds_and_what_fails_is_said(capsys) -> None:
    script = runpy.run_path(str(SCRIPT))
    check = script["check_of"]("cpu", is_quick=True)
    found = list(script["findings"](check, "memory"))
    assert [script["verdict"](one) for one in found] == ["ok"] * 5 + [""]
    assert found[3].value == 4  # of 16 rows, in a memory for 4
    assert 0 < found[1].value < 0.03  # bf16 did compute otherwise
    over = found[1]._replace(value=0.04)
    assert script["verdict"](over) == "MISSED"
    check.network = nn.Identity()
    failed, _took = script["findings"](check, "memory")
    assert script["verdict"](failed) == "FAILED"
    assert "Identity" in failed.value
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["speed", "training", "draws", "prediction", "encoder"])
def test_every_other_layer_runs(layer: str, tmp_path: Path, new_cache, monkeypatch) -> None:
    monkeypatch.setenv("NAPARI_STEM_CACHE", str(new_cache(tmp_path / "cache")))
    script = runpy.run_path(str(SCRIPT))
    smallest = {"train_seconds": 0.1, "n_spots": 3, "published_steps": 4}
    check = replace(script["check_of"]("cpu", is_quick=True), **smallest)
    found = list(script["findings"](check, layer))
    assert len(found) > 2
    assert "FAILED" not in [script["verdict"](one) for one in found], found
