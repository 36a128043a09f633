"""What is seen on the slide, for a figure of it; and the view itself, as a picture with the notice below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QRect, Qt
from qtpy.QtGui import QImage, QPainter

from napari_stem.exporting.backdrop import WindowUm
from napari_stem.exporting.drawing import Legend, SeenMap
from napari_stem.widgets.common.pictures import colours_of_values, image_of
from napari_stem.widgets.views.domain_layer import colours_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_stem.exporting.selection import Shown

N_COLOURS = 256
FOOT_PX, SIDE_PX = 44, 8


def seen_map(layers: Sequence[Layer], shown: Shown = "predicted") -> SeenMap:
    """Put maps of one raster together as napari does.

    Parameters
    ----------
    layers
        From the lowest to the topmost, at least one; what is of another raster than the topmost is left out.
    shown
        As of `SeenMap`.
    """
    top = layers[-1]
    rows, cols = top.data.shape[:2]
    light, cover = np.zeros((rows, cols, 3)), np.zeros((rows, cols, 1))
    for layer in layers:
        if layer.data.shape[:2] != (rows, cols):
            continue
        colours = colours_of_values(layer, np.asarray(layer.data))
        alpha = colours[..., 3:] * layer.opacity
        is_light = layer.blending == "additive"
        light = colours[..., :3] * alpha + light * (1 if is_light else 1 - alpha)
        cover = cover if is_light else alpha + cover * (1 - alpha)
    mixed = np.divide(light, cover, out=np.zeros_like(light), where=cover > 0)
    (y_um, x_um), (height_um, width_um) = top.translate, top.scale
    left, upper = x_um - width_um / 2, y_um - height_um / 2
    where = WindowUm(left, upper, left + cols * width_um, upper + rows * height_um)
    valued = [layer for layer in layers if _has_values(layer)]
    return SeenMap(
        "; ".join(layer.name for layer in valued or [top]),
        np.concatenate([mixed.clip(0, 1), cover], axis=2),
        where,
        tuple(_legend(layer) for layer in reversed(valued)),
        _names(top),
        shown,
    )


def view_picture(viewer: Viewer, caption: str, notice: str) -> QImage:
    """Return what the canvas shows, with two lines below it.

    Parameters
    ----------
    viewer
        Whose canvas it is; its legends and scale bar are in the picture.
    caption, notice
        What it shows, and what it must not be taken for.
    """
    canvas = image_of(viewer.screenshot(canvas_only=True, flash=False)[..., :3])
    width, height = canvas.width(), canvas.height()
    picture = QImage(width, height + FOOT_PX, QImage.Format.Format_RGB32)
    picture.fill(Qt.GlobalColor.white)
    picture.setText("Description", f"{caption}. {notice}")
    painter = QPainter(picture)
    painter.drawImage(0, 0, canvas)
    painter.setPen(Qt.GlobalColor.black)
    for line, text in enumerate((caption, notice)):
        place = QRect(SIDE_PX, height + line * FOOT_PX // 2, width - 2 * SIDE_PX, FOOT_PX // 2)
        short = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, place.width())
        painter.drawText(place, Qt.AlignmentFlag.AlignVCenter, short)
    painter.end()
    return picture


def _has_values(layer: Any) -> bool:
    return not isinstance(layer, Labels) and not layer.rgb


def _legend(layer: Any) -> Legend:
    colours = layer.colormap.map(np.linspace(0, 1, N_COLOURS))
    low, high = layer.contrast_limits
    return Legend(str(layer.name), np.asarray(colours, float), (low, high), layer.gamma)


def _names(layer: Any) -> tuple[tuple[str, str], ...]:
    """Return names and colours of domains."""
    if not isinstance(layer, Labels):
        return ()
    names = [str(name) for name in layer.features["domain"]][1:]
    return tuple(zip(names, colours_of(len(names)), strict=True))
