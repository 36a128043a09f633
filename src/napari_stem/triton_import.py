"""Lets triton be imported beside an open window.

torch imports triton where it is installed, which pip sees to on Linux. Triton's library holds an LLVM of its
own whose symbols are public. Mesa opens its OpenGL driver with ``RTLD_GLOBAL``, and that driver brings
``libLLVM`` of another version: from then on the dynamic linker resolves triton's symbols to Mesa's, and
triton's constructors end the process with a segmentation fault (any program that has drawn with Mesa and then
imports triton 3.8 shows it). ``RTLD_DEEPBIND`` has the linker look into triton's library first (dlopen(3)).

It works whenever triton comes: a viewer may have been open for hours before anything of ours is asked for, so
that importing in the right order is not to be had.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

TRITON_LIBRARY = "triton._C.libtriton"
DEEPBIND: int | None = getattr(os, "RTLD_DEEPBIND", None)  # glibc alone has it


class _BoundToItself(ExtensionFileLoader):
    """Loads an extension whose symbols mean its own."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Open the library; the flags hold for this one alone."""
        flags = sys.getdlopenflags()
        sys.setdlopenflags(flags | (DEEPBIND or 0))
        try:
            return super().create_module(spec)
        finally:
            sys.setdlopenflags(flags)


class TritonFinder:
    """Finds triton's library, and nothing else."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find it with a loader that keeps it apart from another LLVM in the process, if there is one."""
        if name != TRITON_LIBRARY or not is_llvm_loaded():
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, ExtensionFileLoader):
            spec.loader = _BoundToItself(name, spec.loader.path)
        return spec


def is_llvm_loaded() -> bool:
    """Whether a shared LLVM is in this process; as it is with most drivers of Mesa."""
    try:
        return "/libLLVM" in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True  # not to be seen here: the safe way is the same


def make_triton_safe() -> None:
    """See to it that triton, should anybody import it later, survives an open window. Costs nothing."""
    if DEEPBIND is not None and not any(isinstance(f, TritonFinder) for f in sys.meta_path):
        sys.meta_path.insert(0, TritonFinder())
