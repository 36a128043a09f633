"""Rows worked on in parts that the memory holds: halved when it is full, and nothing done is lost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from napari_stem.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)
# Of torch on CUDA and MPS, of cuBLAS's own workspace, of torch on a CPU.
_SIGNS = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "DefaultCPUAllocator: can't allocate")
Part = TypeVar("Part")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether it was the memory, of a device or of the computer, that did not suffice."""
    return any(sign in str(error) for sign in _SIGNS)


def halved(error: RuntimeError, at_once: int, remedy: str) -> int:
    """Half as many rows at once as did not fit; an error of another kind is raised again.

    Raises
    ------
    ModelError
        Not even one fits.
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

    Returns
    -------
    What each part gave, in their order, and how many rows at once the memory held.

    Raises
    ------
    ModelError
        Not even one row fits; the message ends with ``remedy``.
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
