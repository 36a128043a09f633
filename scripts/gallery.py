"""Drive the real window along the road on the packaged section and save what a user sees at each station.

    python scripts/gallery.py FOLDER [--size 1280x800 --size 2560x1440] [--theme dark|light]
                              [--prediction P.zarr] [--only STATION]
    python scripts/gallery.py docs/images --docs    # those of README.md and docs/guide.md

Writes FOLDER/THEME-WIDTHxHEIGHT/NN-STATION.png, reduced to a palette. Needs a display (or ``xvfb-run -s
"-screen 0 2600x1500x24"``) and takes a few minutes; without ``--prediction`` the section is predicted first.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import napari
    from PIL.Image import Image
    from qtpy.QtGui import QPixmap

    from napari_stem.widgets.dock import StemDock

LIMIT_S = 900
SETTLE_S = 0.7
N_COLOURS = 256  # of a palette: tissue and text stay as they are, files become a third
GENES = ("CD74", "COL1A1", "GNAS", "SCD")
BESIDE = [(3900, 3300), (5100, 3300), (5100, 4300), (3900, 4300)]  # (x, y) in level-0 px
# names of the pictures in docs/images, by station
DOCS = {
    **{name: name for name in ("region", "model", "side-by-side", "uncertainty", "compare")},
    **{name: name for name in ("measured", "domains")},
    "map": "screenshot",
}
OTHER = [(2300, 3700), (3400, 3700), (3400, 4500), (2300, 4500)]


class Tour:
    """The window, and a way to each of its stations."""

    def __init__(self, viewer: napari.Viewer, dock: StemDock) -> None:
        self.viewer, self.dock = viewer, dock
        self.panels, self.road = dock.panels, dock.coordinator
        self.part = "Slide"  # that is looked at

    def wait(self, condition: Callable[[], bool]) -> None:
        """Let the window live until something has happened."""
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + LIMIT_S
        while not condition():
            if time.monotonic() > end:
                sys.exit("The window did not get there in time.")
            QApplication.processEvents()
            time.sleep(0.01)

    def settle(self, seconds: float = SETTLE_S) -> None:
        """Let all layers come, and the window draw."""
        self.wait(self.panels.maps.layer_queue.is_settled)
        start = time.monotonic()
        self.wait(lambda: time.monotonic() - start > seconds)

    def open_parts(self, *titles: str) -> None:
        """Unfold these parts only, and have the first in sight."""
        for title, part in self.dock.parts.items():
            part.open() if title in titles else part.fold()
        self.part = titles[0]
        self.dock.show_part(self.part)
        self.settle()

    def stations(self, prediction: Path | None) -> Iterator[str]:
        """Go from station to station; yields the name of each."""
        yield from self._lead(prediction)
        yield from self._maps()
        yield from self._unsure()
        yield from self._closer()
        yield from self._beyond()

    def _lead(self, prediction: Path | None) -> Iterator[str]:
        panels, road = self.panels, self.road
        self.wait(lambda: panels.model.model_name() != "")
        yield "start"
        panels.slide.sample_button.click()
        self.wait(lambda: road.slide is not None)
        self.settle(2)
        yield "slide"
        panels.region.tissue.button.click()
        self.wait(panels.run.run_button.isEnabled)
        self.settle(2)
        self.open_parts("Region")
        yield "region"
        self.open_parts("Model")
        yield "model"
        if prediction is None:
            panels.run.run_button.click()
            self.wait(lambda: not self.panels.run.is_running)
        else:
            self.panels.model.predictions.open(prediction)
        self.wait(lambda: self.panels.maps.current() is not None)
        self.wait(lambda: self.panels.maps.current().limits_of_all is not None)
        self._look_at_tissue()

    def _look_at_tissue(self) -> None:
        layer = self.panels.maps.layer("mean")
        self.viewer.scene.camera.center = (0, *layer.extent.world.mean(axis=0))
        self.viewer.scene.camera.zoom *= 1.3

    def _maps(self) -> Iterator[str]:
        genes = self.panels.genes
        known = [gene for gene in GENES if genes.table.row_of(gene) is not None]
        genes.choose(known[0])
        self.open_parts("Genes")
        yield "map"
        genes.search.setText("COL")
        self.settle()
        yield "search"
        genes.search.clear()
        for name, n_genes in (("mixed", 2), ("mixed-three", 3)):
            genes.settings.update(picked=tuple(known[:n_genes]))
            genes.choose_arrangement("mix")
            yield name
        genes.settings.update(picked=tuple(known[:4]))
        genes.choose_arrangement("beside")
        self.settle(2)
        yield "side-by-side"
        genes.sets.add_list("Collagens", tuple(g for g in genes.table.frame.index if "COL" in g))
        genes.choose_arrangement("score")
        self.wait(lambda: self.panels.maps.current().score is not None)
        yield "score"
        genes.choose_arrangement("one")

    def _unsure(self) -> Iterator[str]:
        panels = self.panels
        self.open_parts("Uncertainty")
        panels.genes.settings.apply(view="sd")
        yield "sd"
        panels.uncertainty.choose_expression("faded")
        yield "uncertainty"
        panels.uncertainty.choose_expression("probable")
        self.wait(lambda: "where P(" in self._title())
        yield "probable"
        panels.uncertainty.choose_expression("sample")
        self.wait(lambda: "one possibility" in self._title())
        yield "sample"
        panels.uncertainty.choose_expression("mean")
        self.settle()

    def _title(self) -> str:
        return str(self.panels.uncertainty.map.layer.name)

    def _closer(self) -> Iterator[str]:
        import numpy as np

        self.open_parts("Inspect")
        prediction = self.panels.maps.current().prediction
        spot = int(np.nanargmax(prediction.values(GENES[0])))
        self.panels.inspect.inspect(spot)
        self.settle(3)
        yield "inspect"
        self._compare_regions()
        self.wait(lambda: self.panels.compare.result is not None)
        self.settle(2)
        yield "compare"
        self.panels.compare.result.close()

    def _compare_regions(self) -> None:
        import shapely

        from napari_stem.spatial.region_files import ClassedRegion, class_colour

        drawn = [
            ClassedRegion(shapely.Polygon(corners), name, kind, class_colour(kind))
            for corners, name, kind in ((BESIDE, "nest", "Tumor"), (OTHER, "tip", "Stroma"))
        ]
        self.panels.region.add(self.road.slide, drawn)
        self.open_parts("Compare")
        panel = self.panels.compare
        self.wait(lambda: panel.first.count() > 2)
        panel.first.setCurrentText("nest")
        panel.second.setCurrentText("tip")
        self.settle(2)
        panel.button.click()

    def _beyond(self) -> Iterator[str]:
        from napari_stem.sample_data import sample_path

        panels = self.panels
        self.open_parts("Measured data")
        panels.measured.load(str(sample_path().parents[1] / "st" / "C5.h5ad"))
        self.wait(lambda: panels.measured.match() is not None)
        panels.measured.choose_view("measured")
        self.settle(2)
        yield "measured"
        panels.measured.choose_view("mean")
        self.open_parts("Spatial analysis")
        if panels.analysis.domains is None or panels.analysis.domains.relations is None:
            panels.analysis.find_button.click()
            self.wait(lambda: not panels.analysis.find_button.isEnabled())
            self.wait(panels.analysis.find_button.isEnabled)
        if not panels.analysis.visible_box.isChecked():
            panels.analysis.visible_box.click()
        self.settle(2)
        yield "domains"
        panels.analysis.visible_box.click()
        self.open_parts("Export")
        yield "export"
        self.dock.toggle_overview()
        self.settle()
        yield "overview"
        self.dock.toggle_overview()
        self.dock.show_help()
        yield "help"
        self.dock.help_box.close()
        yield from self._another_day()

    def _another_day(self) -> Iterator[str]:
        """Save the session, look at something else, and restore it."""
        genes, sessions = self.panels.genes, self.road.sessions
        genes.choose_arrangement("beside")
        self.settle(1)
        session = sessions.session()
        genes.choose_arrangement("one")
        self.viewer.layers.clear()
        self.settle()
        restored: list[bool] = []
        sessions.restored.connect(lambda: restored.append(True))
        sessions.restore(session)
        self.wait(lambda: bool(restored))
        self.open_parts("Genes")
        self.settle(2)
        yield "session"


def take(tour: Tour, path: Path) -> None:
    """Save the whole window, with other windows of ours in front of it."""
    from PIL import Image
    from qtpy.QtWidgets import QApplication

    from napari_stem.widgets.common.keys import HelpBox
    from napari_stem.widgets.slide.overview import OverviewWindow
    from napari_stem.widgets.views.compare import CompareWindow

    tour.settle()
    tour.dock.show_part(tour.part)
    tour.settle(0.2)
    shot = Image.fromarray(tour.viewer.screenshot(canvas_only=False, flash=False)).convert("RGB")
    for front in QApplication.topLevelWidgets():
        if not isinstance(front, HelpBox | CompareWindow | OverviewWindow) or not front.isVisible():
            continue
        picture = _image(front.grab())
        shot.paste(
            picture, tuple((a - b) // 2 for a, b in zip(shot.size, picture.size, strict=True))
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    shot.quantize(N_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def _image(pixmap: QPixmap) -> Image:
    """Turn a picture of Qt's into one of Pillow's."""
    from PIL import Image
    from qtpy.QtCore import QBuffer

    buffer = QBuffer()
    buffer.open(QBuffer.OpenModeFlag.ReadWrite)
    pixmap.save(buffer, "PNG")
    return Image.open(io.BytesIO(bytes(buffer.data()))).convert("RGB")


def main() -> None:
    """Take the pictures that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", action="append", help="WIDTHxHEIGHT")
    parser.add_argument("--theme", default="dark", choices=("dark", "light"))
    parser.add_argument("--prediction", type=Path)
    parser.add_argument("--only", action="append", help="name of a station")
    parser.add_argument("--docs", action="store_true", help="those of the documentation, in FOLDER")
    asked = parser.parse_args()
    usual = ["1280x800"] if asked.docs else ["1280x800", "2560x1440"]
    sizes = [tuple(map(int, size.split("x"))) for size in asked.size or usual]
    wanted = set(asked.only or ()) or (set(DOCS) if asked.docs else None)

    with tempfile.TemporaryDirectory() as settings:  # the usual look, not this user's
        os.environ["NAPARI_CONFIG"] = str(Path(settings, "napari.yaml"))
        os.environ["NAPARI_STEM_CACHE"] = settings
        import napari
        from qtpy.QtCore import QSettings

        from napari_stem.widgets.dock import StemDock

        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, settings)
        viewer = napari.Viewer(title="napari-stem", show_welcome_screen=False)
        viewer.theme = asked.theme
        dock = StemDock(viewer)
        viewer.window.add_dock_widget(dock, name="Predict gene expression", area="right")
        tour = Tour(viewer, dock)
        viewer.window.resize(*sizes[0])
        for number, station in enumerate(tour.stations(asked.prediction), start=1):
            if wanted is not None and station not in wanted:
                continue
            for width, height in sizes:
                viewer.window.resize(width, height)
                larger = height / sizes[0][1]
                viewer.scene.camera.zoom *= larger
                place = asked.folder / f"{asked.theme}-{width}x{height}"
                path = place / f"{number:02}-{station}.png"
                take(tour, asked.folder / f"{DOCS[station]}.png" if asked.docs else path)
                viewer.scene.camera.zoom /= larger
            viewer.window.resize(*sizes[0])
            print(station, flush=True)
        dock.shut_down()
        viewer.close()


if __name__ == "__main__":
    main()
