"""Functions compiled by numba, kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile at the first call, and keep the result on disk if there is a place for it.

    What is kept is compiled anew when the text of the function's own file changes, not when one does from which
    it calls something: whoever changes that one deletes what is kept (``*.nbi``) before trying it, and changes
    the caller's text with it, so that nobody goes on with the old.
    """
    try:
        made = numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written to
        made = numba.njit(nogil=True, error_model="numpy")(function)
    return cast("Function", made)


def written_out(function: Function) -> Function:
    """Compile as a part of each function that calls it: handing over many arrays takes long."""
    made = numba.njit(nogil=True, error_model="numpy", inline="always")(function)
    return cast("Function", made)
