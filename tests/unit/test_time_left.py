"""Time left of a prediction, told on a clock of ours."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_stem import prediction_blocks

N_SPOTS, BLOCK = 800, 16


def ratios(monkeypatch, seconds_of_block) -> list[float]:
    """Estimate over truth after every block from a tenth of the work on, the last one left out."""
    n_blocks = N_SPOTS // BLOCK
    spent = [seconds_of_block(number, number / n_blocks) for number in range(n_blocks)]
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(prediction_blocks, "time", SimpleNamespace(monotonic=lambda: clock.now))
    prediction = SimpleNamespace(done=np.zeros(N_SPOTS, bool))
    timed, found = prediction_blocks.Clock(prediction), []
    timed.progress("embedding")
    for number, seconds in enumerate(spent):
        clock.now += seconds
        prediction.done[number * BLOCK : (number + 1) * BLOCK] = True
        left = timed.progress("sampling").seconds_left
        if n_blocks / 10 <= number + 1 < n_blocks:
            found.append(left / sum(spent[number + 1 :]))
    return found


def test_a_slow_beginning_and_uneven_blocks_are_within_half(monkeypatch):
    uneven = np.random.default_rng(0).uniform(1, 3, N_SPOTS // BLOCK)
    found = ratios(monkeypatch, lambda number, _: 30 if number == 0 else uneven[number])
    assert max(found) < 1.5
    assert min(found) > 1 / 1.5


@pytest.mark.parametrize(("before_s", "after_s"), [(1, 3), (3, 1)])
def test_another_pace_is_followed_soon(monkeypatch, before_s, after_s):
    found = ratios(monkeypatch, lambda _, share: before_s if share < 0.4 else after_s)
    later = found[-15:]  # from seven tenths of the work on
    assert max(later) < 1.5
    assert min(later) > 1 / 1.5
