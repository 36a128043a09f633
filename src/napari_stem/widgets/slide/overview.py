"""Small pictures of a slide: where one is on it, and what the scanner took beside it, such as its label."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, QSizeF, Qt
from qtpy.QtGui import (
    QColor,
    QImage,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
    QPolygonF,
    QTransform,
)
from qtpy.QtWidgets import (
    QDialog,
    QLabel,
    QMainWindow,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_stem.widgets.common.parts import Note, close_button, one_shot, stack
from napari_stem.widgets.common.pictures import colours_of_values, image_of, pixmap_within
from napari_stem.widgets.regions.region_shapes import affine
from napari_stem.widgets.slide.slide_layers import ours, regions_owner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari.layers import Image, Shapes
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_stem.slide.base import Slide
    from napari_stem.slide.display import Pyramid
    from napari_stem.widgets.common.worker import Jobs

HEIGHT_PX = 150  # of the widget at most, before the screen's own scaling
LOWEST_PX = 40
SMALLEST_PX = 7.0  # a rectangle smaller than this would not be found
VISIBLE = QColor(0, 90, 220)  # H&E has no blue of this kind
AROUND = QColor(255, 255, 255)
REGION = QColor(0, 0, 0, 170)
# of layers, and whatever changes how a map looks
CHANGES = {
    *("inserted", "removed"),
    *("data", "colormap", "contrast_limits", "gamma", "opacity", "visible"),
    *("affine", "scale", "translate", "rotate", "shear"),
}
UNIT = QRectF(0, 0, 1, 1)
MOST_CORNERS = 200  # of one outline: more are not seen at this size
SIDE_PX = 260  # of the window, which appears so far from the canvas's corner
FROM_CORNER_PX = 16
FILLING = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
WARNING = (
    "The label may show a patient's name or number. These images are shown here only: they go into "
    "no export, report or session."
)
LONGEST_PX = 420  # of an image in the window
TITLES = {"label": "Label", "macro": "Macro (the whole glass)", "thumbnail": "Thumbnail"}


class Overview(QWidget):
    """Paints the slide of a layer, what lies on it, and what the window shows of it; a click leads there.

    The slide stands upright, however it is turned in napari.
    """

    def __init__(self, viewer: Viewer, jobs: Jobs) -> None:
        super().__init__()
        self._viewer, self._jobs = viewer, jobs
        self._layer: Image | None = None
        self.image: QImage | None = None  # the slide, small
        # of the slide, all in the world: outlines of regions; maps, each as a unit square, from the lowest to
        # the topmost, and whether their light is added to what lies below, as in a mixture
        self.outlines: tuple[QPolygonF, ...] = ()
        self.maps: tuple[tuple[QTransform, QImage, bool], ...] = ()
        self._marking = one_shot(jobs, 250, self._mark)
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setMinimumSize(LOWEST_PX, LOWEST_PX)
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setToolTip("Where you are on the slide; click or drag to go elsewhere")
        self.setAccessibleName("Overview of the slide")
        camera = viewer.scene.camera
        jobs.listen(
            (camera.events.center, lambda _: self.update()),
            (camera.events.zoom, lambda _: self.update()),
            (viewer.canvas.events.size, lambda _: self.update()),
            (viewer.layers.events, self._on_layers),
        )
        jobs.at_end(partial(setattr, self, "_layer", None))

    def show_slide(self, layer: Image | None) -> None:
        """Show the slide of a layer; None: there is none."""
        if layer is not self._layer:
            self.image = None  # rather nothing than another slide
        self._layer = layer
        self.setVisible(layer is not None)
        self.updateGeometry()
        self.update()
        if layer is None:
            return
        self._mark()
        pyramid: Pyramid = ours(layer)["pyramid"]
        if (known := pyramid.known) is not None:
            self._picture(layer, known)
        elif pyramid.slide.is_complete:
            done = partial(self._picture, layer)
            self._jobs.start(np.asarray, pyramid.arrays[pyramid.overview_level], done=done)

    def sizeHint(self) -> QSize:
        """As high as is enough to find one's way."""
        return QSize(HEIGHT_PX, HEIGHT_PX)

    def heightForWidth(self, width: int) -> int:
        """As high as the slide is at this width, but not higher than needed."""
        slide = self._size()
        return max(LOWEST_PX, min(HEIGHT_PX, int(width * slide.height() / slide.width() + 0.5)))

    def picture_rect(self) -> QRectF:
        """Where the slide is painted: as large as fits, in the middle."""
        whole = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        aspect = Qt.AspectRatioMode.KeepAspectRatio
        found = QRectF(QPointF(), self._size().scaled(whole.size(), aspect))
        found.moveCenter(whole.center())
        return found

    def visible_rect(self) -> QRectF | None:
        """Where what the window shows is marked, within the widget; None where that is beside the slide."""
        camera = self._viewer.scene.camera
        y, x = camera.center[-2:]
        height, width = (side / camera.zoom for side in self._viewer.canvas.size)
        in_view = QRectF(x - width / 2, y - height / 2, width, height)
        found = self._from_world().mapRect(in_view).intersected(self.picture_rect())
        if found.isEmpty():
            return None
        wider = max(0.0, SMALLEST_PX - found.width()) / 2
        higher = max(0.0, SMALLEST_PX - found.height()) / 2
        return found.adjusted(-wider, -higher, wider, higher)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint; Qt scales to the screen's own pixels."""
        if self._layer is None or self.image is None:
            return
        painter, on, from_world = QPainter(self), self.picture_rect(), self._from_world()
        hints, modes = QPainter.RenderHint, QPainter.CompositionMode
        painter.setRenderHints(hints.Antialiasing | hints.SmoothPixmapTransform)
        # to the screen's pixels, better than painting does
        size = QSizeF(on.size() * self.devicePixelRatioF()).toSize().expandedTo(QSize(1, 1))
        smooth = Qt.TransformationMode.SmoothTransformation
        painter.drawImage(on, self.image.scaled(size, Qt.AspectRatioMode.IgnoreAspectRatio, smooth))
        painter.setRenderHint(hints.SmoothPixmapTransform, on=False)
        for where, image, is_added in self.maps:
            painter.setCompositionMode(
                modes.CompositionMode_Plus if is_added else modes.CompositionMode_SourceOver
            )
            painter.setTransform(where * from_world)
            painter.drawImage(UNIT, image)
        painter.resetTransform()
        painter.setCompositionMode(modes.CompositionMode_SourceOver)
        painter.setPen(QPen(REGION, 1.2))
        for outline in self.outlines:
            painter.drawPolygon(from_world.map(outline))
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
        if self._layer is None or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        at, on = event.position(), self.picture_rect()
        x = min(on.right(), max(on.left(), at.x()))
        y = min(on.bottom(), max(on.top(), at.y()))
        place = self._from_world().inverted()[0].map(QPointF(x, y))
        self._viewer.scene.camera.center = (0, place.y(), place.x())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Follow the mouse while its button is held."""
        self.mousePressEvent(event)

    def _size(self) -> QSizeF:
        """Width and height of the slide in the world."""
        slide = QTransform() if self._layer is None else _unit_square(self._layer)
        return QSizeF(math.hypot(slide.m11(), slide.m12()), math.hypot(slide.m21(), slide.m22()))

    def _from_world(self) -> QTransform:
        """Where places of the world lie in the widget."""
        on = self.picture_rect()
        to_widget = QTransform.fromTranslate(on.left(), on.top()).scale(on.width(), on.height())
        slide = QTransform() if self._layer is None else _unit_square(self._layer)
        return slide.inverted()[0] * to_widget

    def _picture(self, layer: Image, pixels: NDArray[np.uint8]) -> None:
        if layer is self._layer:  # not another one since
            self.image = image_of(pixels)
            self.update()

    def _on_layers(self, event: Any) -> None:
        if event.type in CHANGES and not self._marking.isActive():
            self._marking.start()

    def _mark(self) -> None:
        if self._layer is None:
            return
        layers, slide = self._viewer.layers, ours(self._layer)["slide"].fingerprint
        regions = [layer for layer in layers if regions_owner(layer) == slide]
        seen = [la for la in layers if la.visible and "field" in ours(la) and hasattr(la, "gamma")]
        self.outlines = tuple(outline for layer in regions for outline in _outlines(layer))
        self.maps = tuple(_laid_map(layer) for layer in seen)
        self.update()


def _outlines(layer: Shapes) -> Iterator[QPolygonF]:
    """Give each shape as it lies in the world."""
    to_world = affine(layer.data_to_world)
    for data in layer.data:
        corners = np.asarray(data, dtype=float)[:, -2:]
        thin = corners[:: max(1, len(corners) // MOST_CORNERS)]
        yield QPolygonF([QPointF(x, y) for y, x in to_world(thin).tolist()])


def _laid_map(layer: Image) -> tuple[QTransform, QImage, bool]:
    """Where a map lies, its colours as napari shows them, and whether they are added to what lies below."""
    rgba = colours_of_values(layer, np.asarray(layer.data))
    image = image_of((rgba * 255).astype(np.uint8))
    return _unit_square(layer), image, layer.blending == "additive"


def _unit_square(layer: Image) -> QTransform:
    """Bring the unit square to where the pixels of a layer lie in the world, to their outer edges."""
    height, width = (layer.data[0] if layer.multiscale else layer.data).shape[:2]
    corners = np.array([(0, 0), (0, width), (height, 0)]) - 0.5
    (y, x), right, bottom = affine(layer.data_to_world)(corners)
    return QTransform(right[1] - x, right[0] - y, bottom[1] - x, bottom[0] - y, x, y)


class OverviewWindow(QDialog):
    """Borrows the overview from the panel in whose layout it lies, and gives it back when it is closed.

    It appears in the lower left corner of the canvas of its parent's window: legends are on the right.
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
        self.finished.connect(self._give_back)
        self.resize(SIDE_PX, SIDE_PX)
        window = parent.window()
        canvas = window.centralWidget() if isinstance(window, QMainWindow) else window
        corner = canvas.mapToGlobal(canvas.rect().bottomLeft())
        self.move(corner.x() + FROM_CORNER_PX, corner.y() - SIDE_PX - FROM_CORNER_PX)

    def _give_back(self) -> None:
        self._overview.setSizePolicy(self._policy)
        self._home.layout().insertWidget(self._place, self._overview)


def associated_pixels(slide: Slide) -> dict[str, NDArray[np.uint8]]:
    """Read the images beside a slide, the label first: (h, w, 3) uint8 by name.

    SlideError where one is damaged.
    """
    names = sorted(slide.associated, key=lambda name: (name != "label", name != "macro", name))
    return {name: slide.associated[name].whole() for name in names}


class AssociatedBox(QDialog):
    """Shows the images beside a slide, (h, w, 3) uint8 by name, with a warning; ``title`` names the slide."""

    def __init__(
        self, title: str, images: Mapping[str, NDArray[np.uint8]], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Label and macro of {title}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.pictures: dict[str, QLabel] = {}
        held = QWidget()
        rows = QVBoxLayout(held)
        for name, pixels in images.items():
            rows.addWidget(QLabel(TITLES.get(name, name.capitalize())))
            self.pictures[name] = _picture(pixels, self.devicePixelRatioF())
            rows.addWidget(self.pictures[name])
        rows.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setWidget(held)
        stack(self, Note(WARNING), scroll, close_button(self), stretched=1, is_window=True)
        self.resize(480, 640)


def _picture(pixels: NDArray[np.uint8], ratio: float) -> QLabel:
    pixmap = pixmap_within(pixels, min(round(LONGEST_PX * ratio), max(pixels.shape)))
    pixmap.setDevicePixelRatio(ratio)
    label = QLabel()
    label.setPixmap(pixmap)
    return label
