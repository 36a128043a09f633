"""The benchmarks of the map run with the code as it is; how long they take is for asv to say."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

MAPS = Path(__file__).parents[2] / "benchmarks" / "maps.py"


@pytest.mark.parametrize("name", ["GeneChange", "LongList"])
def test_benchmarks_of_maps_run(qapp, name):
    benchmark = runpy.run_path(str(MAPS))[name]()
    params = (12,) if hasattr(benchmark, "params") else ()
    benchmark.setup(*params)
    timed = [part for part in dir(benchmark) if part.startswith("time_")]
    assert timed
    for part in timed:
        getattr(benchmark, part)(*params)
    if hasattr(benchmark, "teardown"):
        benchmark.teardown(*params)
