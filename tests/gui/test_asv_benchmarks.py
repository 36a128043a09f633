"""The benchmarks of the map and of scale run with the code as it is; how long they take is for asv to say."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from napari_stem.settings import cache_dir

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize(
    ("file", "name", "params"),
    [
        ("maps", "GeneChange", (12,)),
        ("maps", "LongList", ()),
        ("scaling", "Sampling", (30, 2)),
        ("scaling", "Spots", (2,)),
    ],
)
def test_benchmarks_run(qapp, monkeypatch, file, name, params):
    monkeypatch.setenv("NAPARI_STEM_CACHE", str(cache_dir()))  # what a benchmark sets is put back
    benchmark = runpy.run_path(str(BENCHMARKS / f"{file}.py"))[name]()
    benchmark.setup(*params)
    timed = [part for part in dir(benchmark) if part.startswith("time_")]
    assert timed
    for part in timed:
        getattr(benchmark, part)(*params)
    if hasattr(benchmark, "teardown"):
        benchmark.teardown(*params)
