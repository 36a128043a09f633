"""Whenever it is killed: what was whole stays whole, and going on ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_stem.spatial.dataset import Dataset

pytestmark = pytest.mark.slow

KILLED = Path(__file__).with_name("killed.py")
SVS = Path(__file__).parents[1] / "data" / "slides" / "CMU-1-Small-Region.svs"


def kills(job: str, folder: Path, source: Path, n: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", KILLED, job, folder / "out", source, str(n)],
        env=os.environ | {"NAPARI_STEM_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    for at, n_writes, *right in json.loads(ended.stdout):
        assert right == [True] * 4, f"killed at write {at} of {n_writes}: {right}\n{ended.stderr}"


def test_a_killed_prediction(tmp_path: Path) -> None:
    kills("predict", tmp_path, SVS, 2)


def test_a_killed_training(small_dataset: Path, tmp_path: Path) -> None:
    genes = Dataset(small_dataset).section("C2").counts.var_names[:5]
    (small_dataset.parent / "genes.txt").write_text("\n".join(genes))
    kills("train", tmp_path, small_dataset, 1)


def test_a_killed_export(c5_prediction: Path, tmp_path: Path) -> None:
    kills("export", tmp_path, c5_prediction, 2)
