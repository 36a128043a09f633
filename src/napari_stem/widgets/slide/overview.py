"""Where am I: the whole slide, small, with what the window shows of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from qtpy.QtGui import QMouseEvent, QPaintEvent

HEIGHT_PX = 150  # of the widget at most, before the screen's own scaling
LOWEST_PX = 40
SMALLEST_PX = 7.0  # a rectangle smaller than this would not be found
VISIBLE = QColor(0, 90, 220)  # H&E has no blue of this kind
AROUND = QColor(255, 255, 255)
REGION = QColor(0, 0, 0, 170)
PREDICTED = QColor(0, 120, 60, 70)


@dataclass(frozen=True)
class Mark:
    """Something on the slide.

    Attributes
    ----------
    corners
        (x, y) as shares of the slide's width and height.
    is_area
        Filled faintly, as what has been predicted; otherwise an outline, as a region.
    """

    corners: tuple[tuple[float, float], ...]
    is_area: bool


class Overview(QWidget):
    """Paints a slide's small picture and the visible rectangle; knows no viewer.

    All places are shares of the slide's width and height, from its top left corner.
    """

    went_to = Signal(float, float)  # x, y of the place that was clicked

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._image: QImage | None = None
        self._aspect = 1.0  # width by height
        self._visible: QRectF | None = None
        self._marks: tuple[Mark, ...] = ()
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
        self._image = None
        if pixels is not None:
            height_px, width_px = pixels.shape[:2]
            data = pixels.tobytes()
            image = QImage(data, width_px, height_px, 3 * width_px, QImage.Format.Format_RGB888)
            self._image = image.copy()  # QImage only borrows
        self.update()

    def show_visible(self, left: float, top: float, right: float, bottom: float) -> None:
        """Mark what the window shows; may reach beyond the slide."""
        self._visible = QRectF(QPointF(left, top), QPointF(right, bottom))
        self.update()

    def show_marks(self, marks: Sequence[Mark]) -> None:
        """Mark regions and predicted areas faintly."""
        self._marks = tuple(marks)
        self.update()

    def picture_rect(self) -> QRectF:
        """Where the slide is painted: as large as fits, in the middle."""
        whole = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        width = min(whole.width(), whole.height() * self._aspect)
        height = width / self._aspect
        return QRectF(
            whole.center().x() - width / 2, whole.center().y() - height / 2, width, height
        )

    def visible_rect(self) -> QRectF | None:
        """Where the visible rectangle is painted, within the widget."""
        if self._visible is None:
            return None
        on = self.picture_rect()
        found = QRectF(
            on.left() + self._visible.left() * on.width(),
            on.top() + self._visible.top() * on.height(),
            self._visible.width() * on.width(),
            self._visible.height() * on.height(),
        ).intersected(on)
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
        if self._image is None:
            painter.end()
            return
        on = self.picture_rect()
        painter.drawImage(on, self._scaled(on))
        for mark in self._marks:
            self._paint_mark(painter, on, mark)
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
        if self._image is None or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        on, at = self.picture_rect(), event.position()
        x = (at.x() - on.left()) / on.width()
        y = (at.y() - on.top()) / on.height()
        self.went_to.emit(min(1.0, max(0.0, x)), min(1.0, max(0.0, y)))

    def _scaled(self, on: QRectF) -> QImage:
        """Reduce the picture to the screen's pixels, better than painting does."""
        ratio = self.devicePixelRatioF()
        image = self._image or QImage()
        return image.scaled(
            max(1, round(on.width() * ratio)),
            max(1, round(on.height() * ratio)),
            Qt.AspectRatioMode.IgnoreAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )

    def _paint_mark(self, painter: QPainter, on: QRectF, mark: Mark) -> None:
        corners = QPolygonF(
            [
                QPointF(on.left() + x * on.width(), on.top() + y * on.height())
                for x, y in mark.corners
            ]
        )
        painter.setPen(Qt.PenStyle.NoPen if mark.is_area else QPen(REGION, 1.2))
        painter.setBrush(PREDICTED if mark.is_area else Qt.BrushStyle.NoBrush)
        painter.drawPolygon(corners)
