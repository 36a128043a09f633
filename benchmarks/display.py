"""How slides of real size open and are read for display, without a window. Run: asv run --quick (from PyPI).

``scripts/display_benchmark.py`` times the same in a real window.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))

import make_big_slide as big

SLIDES = ("big.tif", "big.ome.zarr")
CANVAS_PX = (800, 1000)
N_STEPS = 8


class Display:
    """Opening, and moving a window across the levels as a viewer asks for them."""

    params = SLIDES
    param_names = ("slide",)
    timeout = 600
    number, repeat, warmup_time = 1, 5, 0.0  # a second turn finds all blocks decoded

    def setup_cache(self) -> str:
        folder = Path(tempfile.mkdtemp(dir=Path.cwd()))  # asv's own, removed by it
        piece = big.section_piece()
        big.write_tiff(folder / "big.tif", piece, big.WIDTH_PX, big.HEIGHT_PX)
        big.write_ome_zarr(folder / "big.ome.zarr", piece, big.WIDTH_PX, big.HEIGHT_PX)
        return str(folder)

    def setup(self, folder: str, name: str) -> None:
        from napari_stem.slide import open_slide
        from napari_stem.slide.display import Pyramid

        self.path = Path(folder) / name
        self.slide = open_slide(self.path)  # the coarsest level is made once
        self.pyramid = Pyramid(self.slide)

    def teardown(self, folder: str, name: str) -> None:
        self.slide.close()

    def look(self, level: int) -> None:
        """Move by a quarter of the canvas, some times."""
        height_px, width_px = CANVAS_PX
        for step in range(N_STEPS):
            left = step * width_px // 4
            self.pyramid.arrays[level][2048 : 2048 + height_px, left : left + width_px].compute()

    def time_open(self, folder: str, name: str) -> None:
        from napari_stem.slide import open_slide

        open_slide(self.path, early=True).close()

    def time_coarsest(self, folder: str, name: str) -> None:
        self.pyramid.arrays[-1].compute()

    def time_pan_finest(self, folder: str, name: str) -> None:
        self.look(0)

    def time_pan_in_between(self, folder: str, name: str) -> None:
        self.look(1)  # not stored, made from the finest

    def peakmem_pan(self, folder: str, name: str) -> None:
        for level in range(4):
            self.look(level)
