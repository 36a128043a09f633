"""What loads what, asked of fresh interpreters: import-linter cannot see through third parties."""

from __future__ import annotations

import subprocess
import sys

import pytest

QT_BINDINGS = ("PySide6", "PySide2", "PyQt6", "PyQt5")
VIEWER = ("napari", "qtpy", "magicgui", *QT_BINDINGS)


def loaded_by(code: str, *suspects: str) -> set[str]:
    """Which of the suspect packages a fresh interpreter has loaded after running ``code``."""
    report = f"{code}\nimport sys\nprint('loaded:', *({set(suspects)!r} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("loaded:")
    return set(last.split()[1:])


HELP = """
import sys
sys.argv = ["napari-stem", "--help"]
import runpy
try:
    runpy.run_module("napari_stem", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert end.code in (0, None), end.code
"""


def test_the_probe_sees_what_is_loaded() -> None:
    assert loaded_by("import json", "json", "torch") == {"json"}


def test_help_loads_neither_torch_nor_a_viewer() -> None:
    assert loaded_by(HELP, "torch", "squidpy", "scanpy", "timm", *VIEWER) == set()


def test_the_package_itself_loads_nothing_heavy() -> None:
    heavy = ("torch", "anndata", "pandas", "squidpy", "scanpy", "skimage", "timm", *VIEWER)
    assert loaded_by("import napari_stem", *heavy) == set()


@pytest.mark.parametrize("module", ["predict", "training.fit", "layers", "evaluation.metrics"])
def test_algorithms_load_no_viewer(module: str) -> None:
    assert loaded_by(f"import napari_stem.{module}", *VIEWER) == set()


def test_the_reader_and_the_widgets_load_no_torch() -> None:
    """Napari imports what the manifest names when a menu opens: that has to be quick."""
    assert "torch" not in loaded_by("import napari_stem.reader", "torch")
    assert "torch" not in loaded_by("import napari_stem.widgets", "torch")


def test_the_noise_and_samplers_load_nothing_but_torch_and_numpy() -> None:
    """The diffusion model has to run on a bare GPU node."""
    code = "import napari_stem.diffusion.denoiser, napari_stem.diffusion.samplers"
    others = ("anndata", "pandas", "zarr", "dask", "skimage", "sklearn", "timm", "squidpy", *VIEWER)
    assert loaded_by(code, *others) == set()
