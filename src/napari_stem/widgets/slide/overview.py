"""Where am I: the whole slide, small, with what the window shows of it; it can have a window of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QPointF, QRectF, QSize, QSizeF, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPalette, QPen, QPolygonF, QTransform
from qtpy.QtWidgets import QDialog, QMainWindow, QSizePolicy, QVBoxLayout, QWidget

from napari_stem.layers import METADATA_KEY
from napari_stem.widgets.common.parts import listening, one_shot
from napari_stem.widgets.common.pictures import colours_of_values, image_of
from napari_stem.widgets.common.units import regions_of
from napari_stem.widgets.regions.region_shapes import affine
from napari_stem.widgets.slide.slide_feed import pyramid_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari.layers import Image, Layer, Shapes
    from napari.viewer import Viewer
    from numpy.typing import NDArray
    from qtpy.QtGui import QCloseEvent, QMouseEvent, QPaintEvent

    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs

HEIGHT_PX = 150  # of the widget at most, before the screen's own scaling
LOWEST_PX = 40
SMALLEST_PX = 7.0  # a rectangle smaller than this would not be found
VISIBLE = QColor(0, 90, 220)  # H&E has no blue of this kind
AROUND = QColor(255, 255, 255)
REGION = QColor(0, 0, 0, 170)
# whatever changes how a map looks
LOOKS = "data", "colormap", "contrast_limits", "gamma", "opacity", "visible"
MARKS_MS = 250
MOST_CORNERS = 200  # of one outline: more are not seen at this size
SIDE_PX = 260  # of the window, which appears so far from the canvas's corner
FROM_CORNER_PX = 16
FILLING = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)


Corners = tuple[tuple[float, float], ...]  # (x, y) as shares of the slide's width and height


@dataclass(frozen=True)
class LaidMap:
    """A map that lies on the slide.

    Attributes
    ----------
    pixels
        (h, w, 4) uint8.
    corners
        The upper left and the lower right.
    is_added
        Whether its light is added to what lies below, as in a mixture.
    """

    pixels: NDArray[np.uint8]
    corners: Corners
    is_added: bool


class Overview(QWidget):
    """Paints a slide's small picture and the visible rectangle; knows no viewer.

    All places are shares of the slide's width and height, from its top left corner.
    """

    went_to = Signal(float, float)  # x, y of the place that was clicked

    def __init__(self) -> None:
        super().__init__()
        self.image: QImage | None = None  # the slide, small
        self._aspect = 1.0  # width by height
        self._visible: QRectF | None = None
        self.outlines: tuple[Corners, ...] = ()
        self.maps: tuple[LaidMap, ...] = ()
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setToolTip("Where you are on the slide; click or drag to go elsewhere")
        self.setAccessibleName("Overview of the slide")

    def sizeHint(self) -> QSize:
        """As high as is enough to find one's way."""
        return QSize(HEIGHT_PX, HEIGHT_PX)

    def minimumSizeHint(self) -> QSize:
        """Never smaller."""
        return QSize(LOWEST_PX, LOWEST_PX)

    def hasHeightForWidth(self) -> bool:
        """Tell that wide slides need less height."""
        return True

    def heightForWidth(self, width: int) -> int:
        """As high as the slide is at this width, but not higher than needed."""
        return max(LOWEST_PX, min(HEIGHT_PX, round(width / self._aspect)))

    def show_picture(self, pixels: NDArray[np.uint8] | None, aspect: float = 1.0) -> None:
        """Show a slide.

        Parameters
        ----------
        pixels
            (h, w, 3) of the whole slide; None: there is no slide.
        aspect
            The slide's width by its height, in um.
        """
        if aspect != self._aspect:
            self._aspect = aspect
            self.updateGeometry()
        self.image = None if pixels is None else image_of(pixels)
        self.update()

    def show_visible(self, left: float, top: float, right: float, bottom: float) -> None:
        """Mark what the window shows; may reach beyond the slide."""
        self._visible = QRectF(QPointF(left, top), QPointF(right, bottom))
        self.update()

    def show_marks(self, outlines: Iterable[Corners], maps: Iterable[LaidMap]) -> None:
        """Show what lies on the slide: outlines of regions, and maps from the lowest to the topmost."""
        self.outlines, self.maps = tuple(outlines), tuple(maps)
        self.update()

    def picture_rect(self) -> QRectF:
        """Where the slide is painted: as large as fits, in the middle."""
        whole = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        size = QSizeF(self._aspect, 1).scaled(whole.size(), Qt.AspectRatioMode.KeepAspectRatio)
        found = QRectF(QPointF(), size)
        found.moveCenter(whole.center())
        return found

    def visible_rect(self) -> QRectF | None:
        """Where the visible rectangle is painted, within the widget."""
        if self._visible is None:
            return None
        on = self.picture_rect()
        found = _shares_on(on).mapRect(self._visible).intersected(on)
        if found.isEmpty():
            return None
        wider = max(0.0, SMALLEST_PX - found.width()) / 2
        higher = max(0.0, SMALLEST_PX - found.height()) / 2
        return found.adjusted(-wider, -higher, wider, higher)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint; Qt scales to the screen's own pixels."""
        painter = QPainter(self)
        painter.setRenderHints(
            QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform
        )
        if self.image is None:
            painter.end()
            return
        on = self.picture_rect()
        painter.drawImage(on, self._scaled(on))
        for laid in self.maps:
            self._paint_map(painter, on, laid)
        painter.setPen(QPen(REGION, 1.2))
        for corners in self.outlines:
            shares = QPolygonF([QPointF(*corner) for corner in corners])
            painter.drawPolygon(_shares_on(on).map(shares))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(self.palette().color(QPalette.ColorRole.Mid), 1))
        painter.drawRect(on)
        seen = self.visible_rect()
        if seen is not None:
            for colour, width in ((AROUND, 4.0), (VISIBLE, 2.0)):
                pen = QPen(colour, width)
                pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
                painter.setPen(pen)
                painter.drawRect(seen)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Go where was clicked."""
        self._go(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Follow the mouse while its button is held."""
        self._go(event)

    def _go(self, event: QMouseEvent) -> None:
        if self.image is None or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        to_shares, _ = _shares_on(self.picture_rect()).inverted()
        at = to_shares.map(event.position())
        self.went_to.emit(min(1.0, max(0.0, at.x())), min(1.0, max(0.0, at.y())))

    def _scaled(self, on: QRectF) -> QImage:
        """Reduce the picture to the screen's pixels, better than painting does."""
        ratio = self.devicePixelRatioF()
        image = self.image or QImage()
        return image.scaled(
            max(1, round(on.width() * ratio)),
            max(1, round(on.height() * ratio)),
            Qt.AspectRatioMode.IgnoreAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )

    def _paint_map(self, painter: QPainter, on: QRectF, laid: LaidMap) -> None:
        modes = QPainter.CompositionMode
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, on=False)
        painter.setCompositionMode(
            modes.CompositionMode_Plus if laid.is_added else modes.CompositionMode_SourceOver
        )
        shares = QRectF(*(QPointF(*corner) for corner in laid.corners))
        painter.drawImage(_shares_on(on).mapRect(shares), image_of(laid.pixels))
        painter.restore()


def _shares_on(on: QRectF) -> QTransform:
    """Where shares of a rectangle's width and height lie."""
    return QTransform.fromTranslate(on.left(), on.top()).scale(on.width(), on.height())


class OverviewControl(QObject):
    """Shows the active slide in the overview."""

    def __init__(self, viewer: Viewer, jobs: Jobs, overview: Overview) -> None:
        super().__init__(overview)
        self._viewer, self._jobs, self._overview = viewer, jobs, overview
        self._layer: Image | None = None
        self._marking = one_shot(self, MARKS_MS, self._mark)
        overview.went_to.connect(self._go)
        camera, layers = viewer.scene.camera, viewer.layers
        self._let_go = listening(
            (camera.events.center, self._follow),
            (camera.events.zoom, self._follow),
            (viewer.canvas.events.size, self._follow),
            (layers.events.inserted, self._on_inserted),
            (layers.events.removed, self._mark_soon),
        )
        for layer in layers:
            self._watch(layer)

    def close(self) -> None:
        """Let go of the viewer."""
        self._marking.stop()
        self._layer = None
        self._let_go()
        for layer in self._viewer.layers:
            for emitter in _looks(layer):
                emitter.disconnect(self._mark_soon)

    def show(self, layer: Image | None) -> None:
        """Show the slide of a layer; None: there is none."""
        if layer is not self._layer:
            self._overview.show_picture(None)  # rather nothing than another slide
        self._layer = layer
        pyramid = None if layer is None else pyramid_of(layer)
        self._overview.setVisible(pyramid is not None)
        if layer is None or pyramid is None:
            return
        self._follow()
        self._mark()
        if (known := pyramid.known) is not None:
            self._picture(layer, known)
        elif pyramid.slide.is_complete:
            done = partial(self._picture, layer)
            self._jobs.start(np.asarray, pyramid.arrays[-1], done=done)

    def _picture(self, layer: Image, pixels: NDArray[np.uint8]) -> None:
        if layer is not self._layer:  # another one since
            return
        (top, left), (bottom, right) = _outer(layer)
        self._overview.show_picture(pixels, float((right - left) / (bottom - top)))

    def _go(self, x: float, y: float) -> None:
        if self._layer is None:
            return
        corner, opposite = _outer(self._layer)
        self._viewer.scene.camera.center = (0, *(corner + np.array([y, x]) * (opposite - corner)))

    def _follow(self, event: Any = None) -> None:
        if self._layer is None:
            return
        camera = self._viewer.scene.camera
        middle = np.asarray(camera.center[-2:], dtype=float)
        half = np.asarray(self._viewer.canvas.size, dtype=float) / (2 * camera.zoom)
        (left, top), (right, bottom) = self._shares([middle - half, middle + half])
        self._overview.show_visible(left, top, right, bottom)

    def _shares(self, places_yx: Any) -> Corners:
        """Say (n, 2) places in the world as shares of the slide's width and height."""
        corner, opposite = _outer(self._layer)
        shares = (np.asarray(places_yx, dtype=float) - corner) / (opposite - corner)
        return tuple((x, y) for y, x in shares.tolist())

    def _on_inserted(self, event: Any) -> None:
        self._watch(event.value)
        self._mark_soon()

    def _watch(self, layer: Layer) -> None:
        for emitter in _looks(layer):
            emitter.connect(self._mark_soon)

    def _mark_soon(self, event: Any = None) -> None:
        if not self._marking.isActive():
            self._marking.start()

    def _mark(self) -> None:
        pyramid = None if self._layer is None else pyramid_of(self._layer)
        if pyramid is not None:
            self._overview.show_marks(self._outlines(pyramid.slide), self._maps())

    def _maps(self) -> Iterator[LaidMap]:
        for layer in self._viewer.layers:
            is_map = "field" in layer.metadata.get(METADATA_KEY, {}) and hasattr(layer, "gamma")
            if is_map and layer.visible:
                corners = self._shares(layer.extent.world[:, -2:])
                yield LaidMap(map_pixels(layer), corners, layer.blending == "additive")

    def _outlines(self, slide: Slide) -> Iterator[Corners]:
        for layer in self._viewer.layers:
            if regions_of(layer) == slide.fingerprint:
                yield from map(self._shares, _outlines(layer))


def _outer(layer: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners of a slide in the world: top left, bottom right, each (y, x)."""
    low, high = layer.extent.world[:, -2:]
    return np.asarray(low, dtype=float), np.asarray(high, dtype=float)


def _outlines(layer: Shapes) -> Iterator[NDArray[np.float64]]:
    """Corners of each shape in the world, (n, 2) as (y, x)."""
    for data in layer.data:
        corners = np.asarray(data, dtype=float)[:, -2:]
        thin = corners[:: max(1, len(corners) // MOST_CORNERS)]
        yield affine(layer.data_to_world)(thin)


def _looks(layer: Layer) -> list[Any]:
    """Events that tell of another look; few kinds of layers have all of them."""
    return [layer.events[name] for name in LOOKS if name in layer.events.emitters]


def map_pixels(layer: Image) -> NDArray[np.uint8]:
    """Colours of a map as napari shows them: (h, w, 4) uint8."""
    rgba = colours_of_values(layer, np.asarray(layer.data))
    rgba[..., 3] *= layer.opacity
    return np.asarray(rgba * 255).astype(np.uint8)


class OverviewWindow(QDialog):
    """Borrows the overview from the panel that it lies in, and gives it back when it is closed.

    Parameters
    ----------
    overview
        In the layout of a panel.
    parent
        In the lower left corner of whose window's canvas it appears: legends are on the right.
    """

    def __init__(self, overview: Overview, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Tool)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Overview")
        self._overview, self._home = overview, overview.parentWidget()
        self._place = self._home.layout().indexOf(overview)
        self._policy = overview.sizePolicy()
        overview.setSizePolicy(FILLING)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(overview)
        self.finished.connect(self.give_back)
        self.resize(SIDE_PX, SIDE_PX)
        window = parent.window()
        canvas = window.centralWidget() if isinstance(window, QMainWindow) else window
        corner = canvas.mapToGlobal(canvas.rect().bottomLeft())
        self.move(corner.x() + FROM_CORNER_PX, corner.y() - SIDE_PX - FROM_CORNER_PX)

    def give_back(self) -> None:
        """Put the overview where it was."""
        if self._overview.parentWidget() is self:
            self._overview.setSizePolicy(self._policy)
            self._home.layout().insertWidget(self._place, self._overview)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Give the overview back, whoever closes the window."""
        self.give_back()
        super().closeEvent(event)
