"""What computes, and what its memory holds: a GPU that torch finds, or so many threads of the processor.

torch takes seconds to come. The packaged model and encoder do without it on a processor, so that it is not
loaded either to find out that there is no GPU.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from napari_stem.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from threadpoolctl import ThreadpoolController

Part = TypeVar("Part")
Made = TypeVar("Made")
_log = logging.getLogger(__name__)
# Of torch on CUDA and MPS, of cuBLAS's own workspace, of torch on a CPU.
_SIGNS = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "DefaultCPUAllocator: can't allocate")
_AMD_DRIVER = Path("/dev/kfd")
_NVIDIA_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def torch_device(name: str) -> str:
    """Resolve ``auto``: CUDA, then Apple's MPS, then the CPU.

    ModelError: the named device is not there.
    """
    if name == "cpu" or (name == "auto" and not may_have_gpu()):
        return "cpu"
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"This machine has no device '{name}'; use --device auto or cpu."
        ) from error
    return name


def device_title(name: str) -> str:
    """Say on what is computed where a device, or ``auto``, is asked for."""
    found = torch_device(name)
    if found.startswith("cuda"):
        import torch

        return f"CUDA: {torch.cuda.get_device_name(found)}"
    return {"cpu": "processor", "mps": "Apple GPU (MPS)"}.get(found, found)


def may_have_gpu() -> bool:
    """Whether there is a driver of a GPU; without one torch finds none."""
    if sys.platform == "darwin" or _AMD_DRIVER.exists():
        return True
    try:
        ctypes.CDLL(_NVIDIA_DRIVER)
    except OSError:
        return False
    return True


def in_threads(
    function: Callable[[Part], Made], parts: Iterable[Part], begin: Callable[[], None] | None = None
) -> list[Made]:
    """Apply to each part, as many at a time as threads may compute; each thread calls ``begin`` first."""
    with ThreadPoolExecutor(n_threads(), initializer=begin) as pool:
        return list(pool.map(function, parts))


def n_threads() -> int:
    """How many threads may compute: as ``OMP_NUM_THREADS`` says, or as there are cores for this process."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isdecimal() and int(stated):
        return int(stated)
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@lru_cache(1)
def blas() -> ThreadpoolController:
    """Find the BLAS libraries that are loaded, which takes a tenth of a second: once."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether it was the memory, of a device or of the computer, that did not suffice."""
    return any(sign in str(error) for sign in _SIGNS)


def halved(error: RuntimeError, at_once: int, remedy: str) -> int:
    """Half as many rows at once as did not fit; an error of another kind is raised again.

    ModelError: not even one fits.
    """
    if not is_out_of_memory(error):
        raise error
    if at_once == 1:
        raise ModelError(f"Not even one spot at a time fits the memory; {remedy}.") from error
    fewer = (at_once + 1) // 2
    _log.warning("Out of memory with %d at once: going on with %d.", at_once, fewer)
    return fewer


def in_parts(
    evaluate: Callable[[slice], Part], n: int, at_once: int, remedy: str
) -> tuple[list[Part], int]:
    """Evaluate n rows, ``at_once`` or fewer at a time.

    Returns what each part gave, in their order, and how many rows at once the memory held.

    ModelError: not even one row fits; the message ends with ``remedy``.
    """
    parts: list[Part] = []
    start = 0
    while start < n:
        try:
            parts.append(evaluate(slice(start, start + at_once)))
        except RuntimeError as error:
            at_once = halved(error, at_once, remedy)
        else:
            start += at_once
    return parts, at_once
