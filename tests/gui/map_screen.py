"""The maps of a real prediction with the panels that ask for them, without the rest of the dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QCoreApplication, QEvent, QThreadPool

from napari_stem.results import Prediction
from napari_stem.sample_data import sample_path
from napari_stem.slide import open_slide
from napari_stem.widgets.common.worker import Jobs
from napari_stem.widgets.genes.genes_panel import GenesPanel
from napari_stem.widgets.genes.map_display import MapDisplay
from napari_stem.widgets.slide.slide_layers import SlideLayers
from napari_stem.widgets.views.inspect import InspectPanel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG_MS = 60_000


class MapScreen:
    """Panels and maps, used as a person would use them."""

    def __init__(self, viewer, prediction: Prediction, qtbot) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.prediction = prediction
        self.genes = GenesPanel()
        qtbot.addWidget(self.genes)
        self.failures: list[str] = []
        self.jobs = Jobs(self.failures.append)
        self.display = MapDisplay(viewer, self.jobs, self.genes)
        self.inspect = InspectPanel(self.jobs, self.display)
        qtbot.addWidget(self.inspect)
        self.slide = open_slide(sample_path())
        SlideLayers(viewer, self.jobs).add(self.slide)
        self.display.activate(self.slide)
        self.reliability = prediction.reliability

    def show(self) -> None:
        """Put the prediction on screen, and wait for what is computed in the background."""
        self.display.begin(self.slide, self.prediction)
        self.wait(lambda: self.shown.limits_of_all is not None)

    def wait(self, condition) -> None:
        self.qtbot.waitUntil(condition, timeout=LONG_MS)

    def settle(self) -> None:
        """Wait until the layer list is as wanted."""
        self.wait(self.display.layer_queue.is_settled)

    def range(self, kind: str) -> None:
        choice = self.genes.look.choices["range_kind"]
        choice.setCurrentIndex(choice.findData(kind))
        choice.activated.emit(choice.currentIndex())

    def take(self, choice, data: str) -> None:
        """Choose in a combo box as if clicked."""
        choice.setCurrentIndex(choice.findData(data))
        choice.activated.emit(choice.currentIndex())

    @property
    def shown(self):
        return self.display.current()

    @property
    def maps(self):
        return self.display.current()

    def layer(self, field: str):
        """The layer of the expression (``mean``) or its uncertainty (``sd``)."""
        return self.display.layer(field)

    @property
    def mean(self):
        return self.layer("mean")

    def names(self) -> list[str]:
        """Names of the visible layers, from below."""
        return [layer.name for layer in self.viewer.layers if layer.visible]


def on_screen(viewer, path: Path, qtbot) -> Iterator[MapScreen]:
    """Body of a fixture: a screen that is put away after the test."""
    screen = MapScreen(viewer, Prediction.open(path), qtbot)
    screen.show()
    yield screen
    screen.display.close()
    screen.jobs.close()
    QThreadPool.globalInstance().waitForDone()
    qtbot.wait(20)  # signals of the last jobs are still on their way


def one_turn() -> None:
    """Let what has been posted and every timer that is due have its turn, once."""
    QCoreApplication.sendPostedEvents(None, QEvent.Type.Timer)
    QCoreApplication.processEvents()
