"""How fast patches are read, by us and by others. Run: asv run --quick (asv from PyPI).

``scripts/patch_benchmark.py`` prints the same as a table, each reader in a process of its own.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))

import patch_readers as readers
import patch_slides as slides

N_PATCHES = 1000


class Patches:
    """1,000 patches that lie side by side, in batches, with two threads."""

    params = (slides.FORMATS, tuple(slides.VIEWS_UM), readers.READERS)
    param_names = ("format", "view", "reader")
    timeout = 600
    number, repeat, warmup_time = 1, 3, 0.0  # a second reading finds tiles in the readers' caches

    def setup_cache(self) -> str:
        folder = Path(tempfile.mkdtemp(dir=Path.cwd()))  # asv's own, removed by it
        for kind in slides.FORMATS:
            slides.slide_path(folder, kind)
        return str(folder)

    def setup(self, folder: str, kind: str, view: str, reader: str) -> None:
        path = slides.slide_path(Path(folder), kind)
        task = slides.Task(path, view, N_PATCHES, threads=2)
        self.read = readers.BEGIN[reader](task)
        self.out = readers.prepared(self.read, task)

    def read_all(self) -> None:
        for _ in readers.read_batches(self.read, N_PATCHES, self.out):
            pass

    def time_read(self, folder: str, kind: str, view: str, reader: str) -> None:
        self.read_all()

    def peakmem_read(self, folder: str, kind: str, view: str, reader: str) -> None:
        self.read_all()
