"""Triton beside another LLVM in the process, as Mesa brings one with the first window."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ExtensionFileLoader, PathFinder
from importlib.util import find_spec

import pytest

import napari_stem
from napari_stem import triton_import
from napari_stem.triton_import import TRITON_LIBRARY, TritonFinder, make_triton_safe

MESA_THEN_TRITON = """
import ctypes, glob, sys
llvm = sorted(glob.glob("/usr/lib/*/libLLVM*.so*") + glob.glob("/lib/*/libLLVM*.so*"))
ctypes.CDLL(llvm[0], mode=ctypes.RTLD_GLOBAL)  # as Mesa opens its driver
import napari_stem, triton
print(triton.__version__)
"""


def test_importing_the_package_makes_triton_safe():
    assert napari_stem.__version__
    make_triton_safe()
    assert sum(isinstance(finder, TritonFinder) for finder in sys.meta_path) == 1


def test_other_modules_are_left_to_others(monkeypatch):
    monkeypatch.setattr(triton_import, "is_llvm_loaded", lambda: True)
    assert TritonFinder.find_spec("json") is None
    assert TritonFinder.find_spec("triton") is None


def test_without_another_llvm_triton_is_loaded_as_ever(monkeypatch):
    monkeypatch.setattr(triton_import, "is_llvm_loaded", lambda: False)
    assert TritonFinder.find_spec(TRITON_LIBRARY) is None


def test_flags_hold_for_tritons_library_alone(monkeypatch):
    module = "_bisect" if PathFinder.find_spec("_bisect") else "_json"
    spec = PathFinder.find_spec(module)
    if spec is None or not isinstance(spec.loader, ExtensionFileLoader):
        pytest.skip("this Python has no extension in a file of its own to try it on")
    seen = []
    monkeypatch.setattr(triton_import, "is_llvm_loaded", lambda: True)
    monkeypatch.setattr(PathFinder, "find_spec", lambda *_: spec)
    monkeypatch.setattr(
        ExtensionFileLoader, "create_module", lambda *_: seen.append(sys.getdlopenflags())
    )
    before = sys.getdlopenflags()
    found = TritonFinder.find_spec(TRITON_LIBRARY, [])
    found.loader.create_module(found)
    assert seen == [before | triton_import.DEEPBIND]
    assert sys.getdlopenflags() == before


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_triton_is_imported_after_another_llvm():
    done = subprocess.run(
        [sys.executable, "-c", MESA_THEN_TRITON], capture_output=True, text=True, check=False
    )
    if "IndexError" in done.stderr:
        pytest.skip("no other LLVM is on this machine")
    assert done.returncode == 0, done.stderr
