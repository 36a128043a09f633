"""Names of regions: in their middle, black or white, whichever can be read on what lies under them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask
import numpy as np
from napari.layers import Image, Labels

from napari_stem.texts import quoted
from napari_stem.widgets.common.pictures import colours_of_values
from napari_stem.widgets.regions.region_shapes import affine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari.layers import Layer
    from numpy.typing import NDArray

LABEL = {"string": "{name}", "size": 12, "color": "white", "anchor": "center"}
# what is looked at under a name, as shares of its region's sides
UNDER = np.stack(
    np.meshgrid(np.linspace(-0.06, 0.06, 5), np.linspace(-0.12, 0.12, 9)), axis=-1
).reshape(-1, 2)
NEAR = 0.25  # share of a side within which two names would cover one another
MOST_LETTERS = 24  # of a name: longer ones would reach over their neighbours
LIGHT = 0.33  # relative luminance above which black is read more easily


def labels(outlines_yx: Sequence[NDArray[np.float64]], names: Sequence[str]) -> list[str]:
    """Tell what to write in the middle of each outline: its name, shortened, unless a smaller one stands there.

    Parameters
    ----------
    outlines_yx
        Corners of each, (m, 2).
    names
        Their names.
    """
    middles = np.array([outline.mean(axis=0) for outline in outlines_yx])
    sides = np.array([np.ptp(outline, axis=0) for outline in outlines_yx])
    apart = np.abs(middles[:, np.newaxis] - middles) / np.maximum(sides[:, np.newaxis], 1e-9)
    is_larger = sides.prod(axis=1)[:, np.newaxis] > sides.prod(axis=1)
    hidden = set(np.flatnonzero((is_larger & (apart < NEAR).all(axis=2)).any(axis=1)))
    return ["" if n in hidden else quoted(name, MOST_LETTERS) for n, name in enumerate(names)]


def label_colours(
    outlines_yx: Sequence[NDArray[np.float64]], layers: Iterable[Layer]
) -> NDArray[np.float32]:
    """Colours of names in the middle of outlines: (n, 4), black or white.

    Parameters
    ----------
    outlines_yx
        Corners of each, (m, 2) in world coordinates.
    layers
        What is under them, the lowest first.
    """
    places = np.stack([o.mean(axis=0) + UNDER * np.ptp(o, axis=0) for o in outlines_yx])
    seen = np.zeros((*places.shape[:2], 3))
    for layer in layers:
        if layer.visible and isinstance(layer, Image | Labels) and layer.ndim == 2:
            colours = _colours(layer, places)
            alpha = colours[..., 3:] * layer.opacity
            kept = 1 if layer.blending == "additive" else 1 - alpha
            seen = np.clip(seen * kept + colours[..., :3] * alpha, 0, 1)
    light = np.where(seen <= 0.04045, seen / 12.92, ((seen + 0.055) / 1.055) ** 2.4)  # sRGB
    is_light = (light @ (0.2126, 0.7152, 0.0722)).mean(axis=1) > LIGHT
    return np.where(is_light[:, np.newaxis], (0, 0, 0, 1), (1, 1, 1, 1)).astype(np.float32)


def _colours(layer: Image | Labels, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Red, green, blue, alpha of (n, m, 2) places in the world: (n, m, 4), transparent beside the layer."""
    whole, pixels = (
        (layer.data[0], layer.data[-1]) if layer.multiscale else (layer.data, layer.data)
    )
    to_data = affine(layer.world_to_data)
    shrunk = np.divide(pixels.shape[:2], whole.shape[:2])
    y, x = np.floor((to_data(places.reshape(-1, 2)) + 0.5) * shrunk).astype(int).T
    is_inside = (y >= 0) & (x >= 0) & (y < pixels.shape[0]) & (x < pixels.shape[1])
    with dask.config.set(scheduler="synchronous"):  # threads may be busy with a prediction
        found: NDArray[Any] = np.asarray(pixels)[y[is_inside], x[is_inside]]
    rgba = np.zeros((len(y), 4))
    rgba[is_inside] = colours_of_values(layer, found)
    return rgba.reshape(*places.shape[:2], 4)
