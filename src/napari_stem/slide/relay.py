"""Jobs done in their order by a few threads, some of which have to wait for others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(eq=False)
class Gate:
    """Open when all jobs that belong to it are done."""

    left: int = 0

    def job(self, work: Callable[[], None], after: tuple[Gate, ...]) -> Job:
        """Make a job that belongs to it and waits for others."""
        self.left += 1
        return Job(work, self, after)


@dataclass(frozen=True)
class Job:
    """What is to be done, once some gates are open; counted by a gate of its own."""

    work: Callable[[], None]
    gate: Gate
    after: tuple[Gate, ...] = ()


class _Relay:
    """State that the threads share."""

    def __init__(self, jobs: Iterator[Job]) -> None:
        self._jobs = jobs
        self._taking = threading.Lock()
        self._changed = threading.Condition()
        self._broken = False

    def run(self) -> None:
        """Take jobs and do them until there are none, or one failed here or elsewhere."""
        try:
            while (job := self._next()) is not None:
                job.work()
                with self._changed:
                    job.gate.left -= 1
                    if not job.gate.left:
                        self._changed.notify_all()
        except BaseException:
            with self._changed:
                self._broken = True
                self._changed.notify_all()
            raise

    def _next(self) -> Job | None:
        with self._taking:
            job = None if self._broken else next(self._jobs, None)
        if job is None:
            return None
        with self._changed:
            self._changed.wait_for(lambda: self._broken or not any(g.left for g in job.after))
        return None if self._broken else job


def relay(jobs: Iterator[Job], max_workers: int) -> None:
    """Do jobs with this thread and some more; what is raised by one stops all and is raised here.

    Parameters
    ----------
    jobs
        Made one by one as they are taken, by whichever thread takes them. A job may wait for those
        before it only.
    max_workers
        How many threads, this one included.
    """
    course = _Relay(jobs)
    if max_workers < 2:
        course.run()
        return
    with ThreadPoolExecutor(max_workers - 1, thread_name_prefix="patches") as pool:
        running = [pool.submit(course.run) for _ in range(max_workers - 1)]
        course.run()
    for each in running:  # all have come to an end
        each.result()
