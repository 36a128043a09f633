"""What loads what, asked of fresh interpreters: import-linter cannot see through third parties."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import napari_stem
from napari_stem.device import may_have_gpu

QT_BINDINGS = ("PySide6", "PySide2", "PyQt6", "PyQt5")
VIEWER = ("napari", "qtpy", "magicgui", *QT_BINDINGS)


def loaded_in_turn(suspects: tuple[str, ...], *codes: str) -> list[set[str]]:
    """Which of the suspect packages a fresh interpreter has loaded after running each of ``codes``."""
    report = f"\nimport sys\nprint('loaded:', *({set(suspects)!r} & sys.modules.keys()))\n"
    done = subprocess.run(
        [sys.executable, "-c", "".join(code + report for code in codes)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("loaded:")]
    assert len(told) == len(codes)
    return [set(names) for names in told]


def loaded_by(code: str, *suspects: str) -> set[str]:
    """Which of the suspect packages a fresh interpreter has loaded after running ``code``."""
    (loaded,) = loaded_in_turn(suspects, code)
    return loaded


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


def test_the_reader_and_the_widgets_load_no_torch() -> None:
    """Napari imports what the manifest names when a menu opens: that has to be quick."""
    assert loaded_by("import napari_stem.file_kinds, napari_stem.widgets", "torch") == set()


@pytest.mark.skipif(may_have_gpu(), reason="torch computes on GPUs")
def test_a_prediction_of_the_packaged_model_on_a_processor_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import napari_stem as ns\nfrom napari_stem.sample_data import sample_path\n"
        f"ns.predict_slide(sample_path(), {str(tmp_path / 'a.zarr')!r}, pitch_um=800)"
    )
    assert loaded_by(code, "torch", "onnxruntime") == {"onnxruntime"}


def importing(*names: str) -> str:
    """Code that imports modules of ours."""
    return f"import {', '.join(f'napari_stem.{name}' for name in names)}"


def test_what_trains_and_draws_needs_torch_and_numpy_alone_and_no_algorithm_a_viewer() -> None:
    """The diffusion model has to run on a bare GPU node."""
    model = importing(
        *("diffusion.denoiser", "diffusion.samplers", "diffusion.slices", "model.sampling"),
        *("training.batches", "training.denoiser_fit", "training.options", "training.team"),
    )
    algorithms = importing("prediction_job", "training.fit", "layers", "metrics")
    others = (
        "anndata",
        "scipy",
        "pandas",
        "zarr",
        "dask",
        "skimage",
        "sklearn",
        "timm",
        "squidpy",
        *VIEWER,
    )
    of_model, of_all = loaded_in_turn(others, model, algorithms)
    assert of_model == set()
    assert of_all.isdisjoint(VIEWER)


def imports_of_files() -> dict[str, set[str]]:
    """Which of our files imports which, at whatever depth of its code, for types alone too."""
    root = Path(napari_stem.__file__).parent
    files = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        asked: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                asked |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                of_module = {f"{node.module}.{alias.name}" for alias in node.names}
                asked |= of_module & files.keys() or {node.module}
        # The package itself loads what it offers on first use, by names in a stub: a file that asks it for
        # the version imports none of them.
        found[name] = (asked & files.keys()) - {name, "napari_stem"}
    return found


def circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Find the files that import one another: what is left where nobody is without import or importer."""
    reached = {name: set(others) for name, others in imports.items()}
    for through in imports:
        for others in reached.values():
            if through in others:
                others.update(reached[through])
    turning = {name for name, others in reached.items() if name in others}
    return [
        set(group)
        for group in {
            frozenset(other for other in reached[name] if name in reached[other])
            for name in turning
        }
    ]


def test_the_search_finds_circles() -> None:
    imports = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set()}
    assert circles(imports) == [{"a", "b", "c"}]


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(imports_of_files()) == []
