"""Jobs in their order, some waiting for others, stopped by the first failure."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from napari_stem.slide.relay import Gate, Job, relay


@pytest.mark.parametrize("max_workers", [1, 2, 4])
def test_a_job_begins_when_its_gates_are_open(max_workers):
    done: list[tuple[int, int]] = []

    def jobs():
        before = Gate(0)
        for part in range(20):
            gate = Gate(5)
            for number in range(5):
                yield Job(partial(work, part, number), gate, (before,))
            before = gate

    def work(part, number):
        time.sleep(0.001 * (number % 2))
        done.append((part, number))

    relay(jobs(), max_workers)
    assert [part for part, _ in done] == sorted(part for part, _ in done)
    assert len(set(done)) == 100


def test_jobs_are_made_as_they_are_taken_and_shared():
    threads, ahead = set(), []
    both = threading.Barrier(2, timeout=30)

    def jobs():
        for number in range(2):
            ahead.append(number)
            yield Job(work, Gate(1))

    def work():
        threads.add(threading.current_thread().name)
        both.wait()  # comes to an end only if two are at it

    relay(jobs(), 2)
    assert len(threads) == 2
    assert ahead == [0, 1]


@pytest.mark.parametrize("in_helper", [True, False])
def test_what_is_raised_anywhere_stops_all_and_is_raised_here(in_helper):
    entered, both = [], threading.Barrier(2, timeout=30)

    def jobs():
        never = Gate(1000)
        for _ in range(2):
            yield Job(work, never)
        for _ in range(1000):
            yield Job(work, never, (never,))

    def work():
        name = threading.current_thread().name
        entered.append(name)
        both.wait()
        if name.startswith("patches") == in_helper:
            raise ValueError(in_helper)

    with pytest.raises(ValueError, match=str(in_helper)):
        relay(jobs(), 2)
    assert len(entered) == 2


def test_a_failure_while_a_job_is_made_is_raised():
    def jobs():
        yield Job(lambda: None, Gate(1))
        raise KeyError("plan")

    with pytest.raises(KeyError, match="plan"):
        relay(jobs(), 3)
