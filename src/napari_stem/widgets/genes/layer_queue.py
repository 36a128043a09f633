"""Layers come and go one per turn of the event loop, so that the window never waits for several of them.

napari needs a good part of a tenth of a second for every layer that comes or goes, and more for its legends: on
slow graphics a mixture of three genes would hold the window up for two seconds. What is not shown is not in
the layer list either.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
from napari.layers import Layer, Points
from qtpy.QtCore import QObject

from napari_stem.widgets.common.garbage import spare_libraries, thaw
from napari_stem.widgets.common.parts import listening, one_shot
from napari_stem.widgets.slide.slide_layers import ours, slide_of, slides_among

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.viewer import Viewer
    from numpy.typing import NDArray

# from the lowest to the topmost
SLIDE_RANK, MEAN_RANK, SD_RANK, FADED_RANK, SPECIAL_RANK, MEASURED_RANK, DOMAIN_RANK = range(-1, 6)
# a light for each gene of a mixture, then the outlines of spots
GROUND_RANK, LIGHTS_RANK, OUTLINES_RANK, INSPECTED_RANK = 6, 7, 12, 13
VIEWS_RANK = 100  # of views side by side, above everything else
_ours: WeakSet[Layer] = WeakSet()  # what was ever shown so, by whatever dock
LETTER_PX_PER_PT = 1.0  # width of an average one, and its share of the box around the name
LEAST_LETTERS_PT = 6.0


class Wanted(NamedTuple):
    """How a layer is to be in the list."""

    rank: int  # above which others of ours
    title: str  # empty where it names itself
    # of the name on the canvas, where that is wide enough; 0: neither name nor colour bar
    letters_pt: int


class LayerQueue(QObject):
    """Brings the layer list in line with what is wanted.

    ``opacity`` is how strongly maps cover the slide, 0 to 1. A viewer without a window has no event loop to
    hold up: there everything is done at once.
    """

    def __init__(self, viewer: Viewer, opacity: float = 1.0, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer, self._opacity = viewer, opacity
        self._from_slide_um = np.eye(3)  # to the world, (y, x)
        # opacity that this gave to a map last: what the user sets with napari's slider stays until another is
        # chosen here
        self._given: WeakKeyDictionary[Layer, float] = WeakKeyDictionary()
        self.is_changing = False  # what comes and goes now does so because of this
        self._wanted: dict[Layer, Wanted] = {}
        self._selected: Layer | None = None
        self._between: deque[Callable[[], None]] = deque()
        self._afterwards: deque[Callable[[], None]] = deque()
        self._timer = one_shot(self, 0, self._turn)  # comes after all that is waiting, drawing too
        events = viewer.layers.events
        self._let_go = listening(
            (events.removing, self._on_removing),
            (events.removed, self._on_removed),
            (viewer.canvas.events.size, self._fit_titles),
        )
        self._start()  # of what an earlier dock left, nothing is wanted

    def show(self, layer: Layer, rank: int, title: str = "", letters_pt: int = 0) -> None:
        """Have a layer in the list soon, visible, and covering the slide as strongly as maps do."""
        self._wanted[layer] = Wanted(rank, title, letters_pt)
        if not layer.visible:
            layer.visible = True
        if _is_map(layer):
            self._give_opacity(layer)
        self._lay_on_slide(layer)
        self._fit_titles()
        self._start()

    def lay_on(self, from_slide_um: NDArray[np.float64]) -> None:
        """Lay all that is shown on a slide that lies so in the world, as `slide_layers.from_slide_um`."""
        self._from_slide_um = from_slide_um
        for layer in self._wanted:
            self._lay_on_slide(layer)

    def on_slide_um(self, position: Sequence[float]) -> NDArray[np.float64]:
        """(y, x) in um on the slide of a position in the world."""
        y, x = position[-2:]
        return np.asarray(np.linalg.solve(self._from_slide_um, (y, x, 1))[:2])

    def set_opacity(self, opacity: float) -> None:
        """How strongly maps cover the slide from now on, 0 to 1."""
        self._opacity = opacity
        for layer in filter(_is_map, self._wanted):
            self._give_opacity(layer)

    def hide(self, layer: Layer) -> None:
        """Have a layer out of the list soon."""
        if self._wanted.pop(layer, None) is not None:
            if layer not in self.viewer.layers:  # it was to come, and nobody has seen it
                layer.visible = False
            self._start()

    def conceal(self) -> None:
        """Show nothing any more of what is still in the list and about to go."""
        for layer in self._going():
            layer.visible = False

    def select(self, layer: Layer) -> None:
        """Make a layer the active one as soon as it is in the list, if it is wanted there.

        Not while somebody outlines a region, which is done on the active layer alone.
        """
        active = self.viewer.layers.selection.active
        is_outlining = active is not None and active.visible and active.mode.startswith("add_")
        if layer in self._wanted and not is_outlining:
            self._selected = layer
            self._start()

    def between(self, step: Callable[[], None]) -> None:
        """Call something when all that goes is gone, before anything comes."""
        self._between.append(step)
        self._start()

    def afterwards(self, step: Callable[[], None]) -> None:
        """Call something in a turn of its own when everything is there."""
        self._afterwards.append(step)
        self._start()

    def maps(self) -> list[Layer]:
        """Return the maps that are seen, from the lowest to the topmost."""
        seen = [layer for layer in self._wanted if _is_map(layer) and layer.visible]
        return sorted(seen, key=self._rank)

    def is_settled(self) -> bool:
        """Whether nothing is left to do."""
        return not self._timer.isActive()

    def close(self) -> None:
        """Let go of the viewer. Maps stay until another dock comes, but views side by side end now."""
        self._timer.stop()
        while self._between and self.step():
            pass
        self._let_go()
        thaw()

    def _fit_titles(self, _event: Any = None) -> None:
        width_px = self.viewer.canvas.size[1]
        for layer, wanted in self._wanted.items():
            if wanted.letters_pt:
                room_pt = width_px / (LETTER_PX_PER_PT * len(wanted.title))
                size_pt = max(LEAST_LETTERS_PT, min(wanted.letters_pt, room_pt))
                if layer.name_overlay.font_size != size_pt:
                    layer.name_overlay.font_size = size_pt

    def _give_opacity(self, layer: Layer) -> None:
        if self._given.get(layer) != self._opacity:
            self._given[layer] = layer.opacity = self._opacity

    def _lay_on_slide(self, layer: Layer) -> None:
        if not np.array_equal(layer.affine.affine_matrix, self._from_slide_um):
            layer.affine = self._from_slide_um

    def _start(self) -> None:
        if self.is_changing:
            return
        if hasattr(self.viewer, "window"):
            self._timer.start()
            return
        while self.step():
            pass

    def _turn(self) -> None:
        spare_libraries()
        if self.step():
            self._timer.start()

    def step(self) -> bool:
        """Do the next thing; False where it was the last."""
        self.is_changing = True
        try:
            return self._do_next()
        finally:
            self.is_changing = False

    def _do_next(self) -> bool:
        layers, wanted = self.viewer.layers, self._wanted
        if gone := self._going():
            layers.remove(gone[-1])
            _hide_with_legend(gone[-1])  # out of the list nobody listens any more: free of cost
        elif self._between:
            self._between.popleft()()
        elif missing := [layer for layer in wanted if layer not in layers]:
            self._insert(missing[0])
        elif bare := [
            part
            for layer, how in wanted.items()
            if how.letters_pt
            for part in _legend(layer)
            if not part.visible
        ]:
            bare[0].visible = True
        elif self._afterwards:
            self._afterwards.popleft()()
        else:
            self._settle()
            return False
        return True

    def _going(self) -> list[Layer]:
        return [la for la in self.viewer.layers if la in _ours and la not in self._wanted]

    def _insert(self, layer: Layer) -> None:
        layers = self.viewer.layers
        active = layers.selection.active
        _ours.add(layer)
        rank = self._rank(layer)
        below = [place for place, other in enumerate(layers) if self._rank(other) < rank]
        layers.insert(max(below, default=-1) + 1, layer)
        if active in layers and layer is not self._selected:
            layers.selection.active = active

    def _rank(self, layer: Layer) -> int:
        """Above which others a layer lies: slides lowest, what others added between maps and views."""
        if layer in self._wanted:
            return self._wanted[layer].rank
        return VIEWS_RANK - 1 if slide_of(layer) is None else SLIDE_RANK

    def _settle(self) -> None:
        """Put in order what others may have stirred, and what waited for the layers."""
        layers = self.viewer.layers
        raised = [place for place, layer in enumerate(layers) if layer in self._wanted]
        above = 1 + max(map(layers.index, slides_among(layers)), default=-1)
        if raised and raised[0] < above:
            layers.move_multiple(raised, above)
        for layer, wanted in self._wanted.items():
            # a name was taken while another layer still had it
            if layer.name.startswith(f"{wanted.title} ["):
                layer.name = wanted.title
        selected, self._selected = self._selected, None
        if selected in layers:
            layers.selection.active = selected

    def _on_removing(self, event: Any) -> None:
        """Have napari collect all that it means to, where a layer goes that is none of these."""
        use_canvas_context(self.viewer)
        if not self.is_changing:
            thaw()

    def _on_removed(self, event: Any) -> None:
        """Do without a layer that the user took away, until it is asked for again."""
        if not self.is_changing:
            self._wanted.pop(event.value, None)
            if event.value in _ours:
                _hide_with_legend(event.value)


def _is_map(layer: Layer) -> bool:
    """Whether it covers the slide: of what is shown here, outlines and the slide in other views do not."""
    return "field" in ours(layer) and not isinstance(layer, Points)


def _legend(layer: Layer) -> list[Any]:
    parts = getattr(layer, "colorbar", None), layer.name_overlay
    return [part for part in parts if part is not None]


def _hide_with_legend(layer: Layer) -> None:
    """Hide a layer that is out of the list; its legend is stacked anew, part by part, when it comes again."""
    for part in (layer, *_legend(layer)):
        part.visible = False


def use_canvas_context(viewer: Viewer) -> None:
    """Make the OpenGL context of a viewer's canvas the current one; nothing where it has no window.

    napari flushes its graphics commands while it removes a layer, whatever OpenGL context Qt used last: often
    that in which Qt puts the window together. Drivers (Mesa's software one, napari 0.9, vispy 0.17) crash at
    the next drawing, as the programs deleted there are still in use in the canvas's own. Painting is not
    touched: Qt makes its context current by itself.
    """
    window = getattr(viewer, "window", None)
    if window is None:
        return
    from qtpy.QtOpenGLWidgets import QOpenGLWidget

    centre = window.main_menu.parentWidget().centralWidget()
    for canvas in [] if centre is None else centre.findChildren(QOpenGLWidget):
        canvas.makeCurrent()
