"""Whenever it is killed: what was whole stays whole, and going on ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from napari_stem.spatial.dataset import Dataset

pytestmark = pytest.mark.slow

KILLED = Path(__file__).with_name("killed.py")


@pytest.fixture(scope="module")
def ended(
    tiny_dataset: Path, small_model: Path, c5_prediction: Path, new_cache, tmp_path_factory
) -> dict[str, list[list[Any]]]:
    """What came of every job and kill, all of them in children of one process."""
    folder = tmp_path_factory.mktemp("kills")
    dataset = shutil.copytree(tiny_dataset, folder / "dataset")
    genes = Dataset(dataset).section("C2").counts.var_names[:5]
    (folder / "genes.txt").write_text("\n".join(genes))
    jobs = {
        "predict": [str(small_model), 4],
        "train": [str(dataset), 1],
        "export": [str(c5_prediction), 2],
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", KILLED, folder / "out", json.dumps(jobs)],
        env=os.environ | {"NAPARI_STEM_CACHE": str(new_cache(folder / "cache"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("job", ["predict", "train", "export"])
def test_a_killed_job_goes_on(job: str, ended: dict[str, list[list[Any]]]) -> None:
    assert ended[job]
    for at, n_writes, *right in ended[job]:
        assert right == [True] * 4, f"killed at write {at} of {n_writes}: {right}"
