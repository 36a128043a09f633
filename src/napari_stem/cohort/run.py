"""Predict a cohort's slides, accounting for each: by workers, block by block, or in turn in this process."""

from __future__ import annotations

import os
import queue
import time
import uuid
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from napari_stem.cohort import work
from napari_stem.cohort.outcomes import SCHEDULER_GONE, seconds_left
from napari_stem.device import may_have_gpu
from napari_stem.errors import OutputError, StemError
from napari_stem.io import require_writable
from napari_stem.progress import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from distributed import Client, Future

    from napari_stem.cohort.orders import Order
    from napari_stem.cohort.outcomes import Outcome
    from napari_stem.prediction_blocks import PredictionProgress
    from napari_stem.progress import Poll

AHEAD = 4  # tasks per thread that are handed out: a worker never waits, and the scheduler holds few
POLL_S = 0.3
MOST_LOSSES = 10  # of a task whose scheduler or worker went away
WORKER_BYTES = 2_000_000_000  # what a worker needs, with room: docs/scale.md
GPU = "GPU"  # the resource that dask's own examples and dask-cuda name so
ANSWERS_WITHIN_S, STARTED_WITHIN_S, ENDED_WITHIN_S = 20, 180, 30
# dask has workers give back memory at once; asking for the same pages again took 40% of their time
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": 2**25, "MALLOC_TRIM_THRESHOLD_": 2**28}  # bytes, of glibc


@dataclass
class _Task:
    """Something that a worker is to do for a slide; of no rows: to create its prediction."""

    outcome: Outcome
    rows: tuple[int, int] | None
    n_losses: int = 0


@dataclass
class _TaskQueue:
    """The tasks that a client's workers have in hand; accounts for each that ends."""

    client: Client
    resources: dict[str, float]
    poll: Poll
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    tasks: dict[Future, _Task] = field(default_factory=dict)
    ended: queue.SimpleQueue[Future] = field(default_factory=queue.SimpleQueue)

    def submit(self, task: _Task) -> None:
        order, options = task.outcome.order, {"pure": False, "resources": self.resources or None}
        if task.rows is None:
            future = self.client.submit(work.create, order, **options)
        else:
            future = self.client.submit(work.fill, order, self.name, *task.rows, **options)
        self.tasks[future] = task
        future.add_done_callback(self.ended.put)

    def take(self, future: Future) -> None:
        """Account for a task that has ended."""
        task = self.tasks.pop(future, None)
        if task is None or task.outcome.status == "failed":
            return
        at = task.outcome
        if future.status == "error":
            self.fail(at, future.exception())
            return
        told = None
        if future.status == "finished":
            with suppress(CancelledError):  # the connection breaks off just now
                told = future.result()
        if told is None:
            # the scheduler was restarted, or workers went away with what they had
            self.submit_again(task)
            return
        if task.rows is None:
            known, todo = told
            at.begin(known["n_done"])
            vars(at).update(known)
            for rows in todo:
                self.submit(_Task(at, rows))
        else:
            n_spots, n_unlike, seconds = told
            at.n_done += n_spots
            at.n_unlike += n_unlike
            at.seconds += seconds
        at.status = "done" if at.n_done == at.n_spots else "running"

    def fail(self, outcome: Outcome, error: BaseException) -> None:
        """Give a slide up, and what else was to be done for it; the others go on."""
        outcome.fail(error)
        others = [future for future, task in self.tasks.items() if task.outcome is outcome]
        self.client.cancel(others)
        for future in others:
            del self.tasks[future]

    def submit_again(self, task: _Task) -> None:
        """Hand a lost task out once more, unless the scheduler is gone."""
        task.n_losses += 1
        self.require_scheduler()
        if task.n_losses > MOST_LOSSES:
            raise StemError(SCHEDULER_GONE)
        self.submit(task)

    def require_scheduler(self) -> None:
        """Wait until a lost connection is there again; StemError where the scheduler is gone for good.

        Raises what `poll` does.
        """
        deadline = time.monotonic() + 60
        while self.client.status == "connecting" and time.monotonic() < deadline:
            self.poll()
            time.sleep(POLL_S)
        if self.client.status != "running":
            raise StemError(SCHEDULER_GONE)


def run_cohort(
    outcomes: Sequence[Outcome],
    client: Client,
    *,
    poll: Poll,
    watch: Callable[[float | None], None],
) -> None:
    """Predict slides, block by block, on the workers of a client.

    Predictions that are there are gone on with. The workers see the same files under the same paths.

    Parameters
    ----------
    outcomes
        One for each slide, which notes what becomes of it; one that fails leaves the others alone.
    poll
        Called again and again; where it raises `Stopped`, what is under way is called off, and finished
        blocks stay.
    watch
        Told the seconds left, after every task.

    Raises
    ------
    StemError
        The scheduler is gone for good.
    """
    waiting, began, n_threads = iter(outcomes), time.monotonic(), 1
    tasks = _TaskQueue(client, resources_of(client, outcomes[0].order.settings.device), poll)
    try:
        while True:
            poll()
            tasks.require_scheduler()
            with suppress(OSError):  # the connection breaks off just now
                n_threads = max(1, sum(client.nthreads().values()))
            while len(tasks.tasks) < AHEAD * n_threads and (each := next(waiting, None)):
                each.status = "running"
                tasks.submit(_Task(each, None))
            if not tasks.tasks:
                break
            try:
                tasks.take(tasks.ended.get(timeout=POLL_S))
            except queue.Empty:
                continue
            watch(seconds_left(outcomes, time.monotonic() - began))
    except Stopped:
        client.cancel(list(tasks.tasks))


def require_places(orders: Sequence[Order], folder: Path, *, resume: bool) -> None:
    """Fail before the work where its results could not be written, or are there and not to be resumed.

    OutputError: the folder cannot be written, or ``resume`` was not asked for and results are there.
    """
    require_writable(folder / "cohort.csv")
    taken = [] if resume else [order.out for order in orders if order.out.exists()]
    if taken:
        raise OutputError(
            f"{taken[0]} exists already, and so do {len(taken) - 1} others; add --resume to go on with them, "
            f"or choose another folder."
        )


def predict_in_turn(
    outcomes: Sequence[Outcome], poll: Poll, watch: Callable[[float | None], None]
) -> None:
    """Predict slides one after another, as the window does: the same results, without a cluster.

    Parameters are as of `run_cohort`; ``watch`` is told after every step.
    """
    began = time.monotonic()

    def report() -> None:
        watch(seconds_left(outcomes, time.monotonic() - began))

    try:
        for outcome in outcomes:
            poll()
            outcome.status = "running"
            report()
            try:
                _predict(outcome, poll, report)
            except StemError as error:
                outcome.fail(error)
            report()
    except Stopped:
        return
    finally:
        work.forget_models()


def _predict(outcome: Outcome, poll: Poll, report: Callable[[], None]) -> None:
    """Predict one slide; ``report`` is called after every step."""
    order, now, notes = outcome.order, time.monotonic(), list[str]()

    def watch(step: PredictionProgress) -> None:
        nonlocal now
        if step.stage == "embedding":  # before the first block
            outcome.begin(step.n_done)
        outcome.n_done, outcome.n_spots = step.n_done, step.n_spots
        before, now = now, time.monotonic()
        outcome.seconds += now - before
        report()

    with order.open() as slide:
        job = work.job_of(order, slide, notes)
        notes.append(job.domain_warning(poll) or "")
        prediction = job.run(order.out, resume=order.out.exists(), poll=poll, watch=watch)
    outcome.notes = tuple(filter(None, notes))
    outcome.n_genes, outcome.unit = len(prediction.genes), prediction.unit
    outcome.n_unlike = int(prediction.ood.sum())
    if prediction.done.all():
        outcome.status = "done"


@contextmanager
def workers(
    scheduler: str | None, n_workers: int | None, device: str, folder: str
) -> Iterator[Client]:
    """Offer a client of a cluster: the one at an address, or one of this machine that ends with the block.

    Parameters
    ----------
    scheduler
        Such as ``tcp://host:8786``; None: begin workers here.
    n_workers
        How many; None: one per GPU, else one per core, as far as memory reaches.
    device
        Where they compute, as torch names it; ``cpu`` leaves GPUs alone.
    folder
        Where workers of this machine may keep their own files.

    Raises
    ------
    StemError
        No scheduler answers at the address.
    """
    from distributed import Client

    if scheduler is None:
        with (
            _local(n_workers, device, folder) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            try:
                client.wait_for_workers(1, timeout=STARTED_WITHIN_S)
            except TimeoutError as error:
                raise StemError("No worker has started; try again with fewer --workers.") from error
            yield client
        return
    try:
        client = Client(scheduler, timeout=ANSWERS_WITHIN_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise StemError(
            f"No scheduler answers at {scheduler}; start one with 'dask scheduler', or check its address."
        ) from error
    with client:
        yield client


def gpus_of(device: str) -> list[str]:
    """Name the GPUs that workers share out among them, as ``CUDA_VISIBLE_DEVICES`` does."""
    if device not in ("auto", "cuda"):
        return []
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if visible or not may_have_gpu():
        return visible
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def resources_of(client: Client, device: str) -> dict[str, float]:
    """Ask for a GPU per task where workers say that they have one."""
    known = client.scheduler_info(n_workers=-1)["workers"].values()
    has_gpus = any(GPU in worker["resources"] for worker in known)
    return {GPU: 1} if has_gpus and device != "cpu" else {}


def worker_environments(
    n_workers: int | None, gpus: list[str], n_cores: int, memory_bytes: float
) -> list[dict[str, str]]:
    """Share out GPUs and cores: what each worker's environment adds, one GPU each, in turn if they are few."""
    n = n_workers or len(gpus) or max(1, min(n_cores, int(memory_bytes // WORKER_BYTES)))
    threads = {"OMP_NUM_THREADS": str(max(1, n_cores // n))}
    return [
        threads | ({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {})
        for number in range(n)
    ]


@contextmanager
def _local(n_workers: int | None, device: str, folder: str) -> Iterator[Any]:
    import dask
    from dask.system import CPU_COUNT
    from distributed import Nanny, Scheduler, SpecCluster
    from distributed.security import Security
    from distributed.system import MEMORY_LIMIT

    environments = worker_environments(n_workers, gpus_of(device), CPU_COUNT, MEMORY_LIMIT)
    # whoever has an account on this machine can reach its ports, and a scheduler runs what it is told
    security = Security.temporary() if find_spec("cryptography") else None
    common = {
        "nthreads": 1,
        "host": "127.0.0.1",
        "security": security,
        "local_directory": folder,
        "memory_limit": MEMORY_LIMIT // len(environments),
        "silence_logs": "CRITICAL",
    }
    scheduler = {"host": "127.0.0.1", "security": security, "dashboard_address": "127.0.0.1:0"}
    specs = {
        number: {"cls": Nanny, "options": common | {"env": environment}}
        for number, environment in enumerate(environments)
    }
    quiet = {"logging.distributed": "critical"}
    memory = {f"distributed.nanny.pre-spawn-environ.{name}": n for name, n in KEPT_MEMORY.items()}
    with dask.config.set(quiet | memory):
        cluster = SpecCluster(
            workers=specs,
            scheduler={"cls": Scheduler, "options": scheduler},
            security=security,
            silence_logs="CRITICAL",
        )
        try:
            yield cluster
        finally:
            with suppress(TimeoutError):  # of a machine that is busy: workers end with this process
                cluster.close(timeout=ENDED_WITHIN_S)
