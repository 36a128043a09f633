"""Workers of this machine, a process each; or those of a cluster that somebody else has started."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from napari_stem.device import may_have_gpu
from napari_stem.errors import StemError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

WORKER_BYTES = 2_000_000_000  # what a worker needs, with room: docs/scale.md
GPU = "GPU"  # the resource that dask's own examples and dask-cuda name so
ANSWERS_WITHIN_S, STARTED_WITHIN_S, ENDED_WITHIN_S = 20, 180, 30
# dask has workers give back memory at once; asking for the same pages again took 40% of their time
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": 2**25, "MALLOC_TRIM_THRESHOLD_": 2**28}  # bytes, of glibc
FEW_SPAWNS = 3  # a task that took so many workers with it is not tried again (dask's own figure)


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
    quiet = {
        "logging.distributed": "critical",
        "distributed.scheduler.allowed-failures": FEW_SPAWNS,
    } | {f"distributed.nanny.pre-spawn-environ.{name}": n for name, n in KEPT_MEMORY.items()}
    with dask.config.set(quiet):
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
