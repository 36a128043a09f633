"""Arrays as pictures of Qt's, and values as napari colours them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = {3: QImage.Format.Format_RGB888, 4: QImage.Format.Format_RGBA8888}


def image_of(pixels: NDArray[np.uint8]) -> QImage:
    """Copy (h, w, 3) or (h, w, 4) uint8 into a picture."""
    height_px, width_px, n_channels = pixels.shape
    data = np.ascontiguousarray(pixels).data
    borrowed = QImage(data, width_px, height_px, n_channels * width_px, KINDS[n_channels])
    return borrowed.copy()


def pixmap_within(pixels: NDArray[np.uint8], side_px: int) -> QPixmap:
    """Copy (h, w, 3) uint8 into a picture whose longer side is ``side_px``."""
    return QPixmap.fromImage(image_of(pixels)).scaled(
        side_px,
        side_px,
        Qt.AspectRatioMode.KeepAspectRatio,
        Qt.TransformationMode.SmoothTransformation,
    )


def colours_of_values(layer: Any, values: NDArray[Any]) -> NDArray[np.float64]:
    """Colours that a layer of images or labels gives to values, as opaque as it is: (..., 4) RGBA, 0 to 1.

    ``values`` are (...) as its data hold them, or (..., 3) or (..., 4) uint8 where it is of colours;
    transparent where a value is not known.
    """
    if isinstance(layer, Labels):
        colours = np.array(layer.colormap.map(values), float)
    elif layer.rgb:
        colours = np.ones((*values.shape[:-1], 4))
        colours[..., : values.shape[-1]] = values / 255
    else:
        low, high = layer.contrast_limits
        known = np.isfinite(values)
        share = np.clip((np.where(known, values, low) - low) / (high - low), 0, 1) ** layer.gamma
        colours = np.array(layer.colormap.map(share.ravel()), float).reshape(*share.shape, 4)
        colours[..., 3] *= known
    colours[..., 3] *= layer.opacity
    return colours
