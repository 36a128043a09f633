"""The names of regions on the map: where each is written, and in what colour it is read there."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import shapely
from napari.layers import Image, Labels, Layer

from napari_stem.layers.values import luminance
from napari_stem.texts import quoted
from napari_stem.widgets.common.pictures import colours_of_values
from napari_stem.widgets.regions.region_shapes import affine
from napari_stem.widgets.slide.slide_layers import pyramid_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

# what is looked at under a name, as shares of its region's sides
UNDER = np.stack(
    np.meshgrid(np.linspace(-0.06, 0.06, 5), np.linspace(-0.12, 0.12, 9)), axis=-1
).reshape(-1, 2)
NEAR = 0.25  # share of a side within which a smaller region's middle takes the place of the name
MOST_LETTERS = 24  # of a name: longer ones would reach over their neighbours
# of a name on the screen: an average letter's width, and by what napari moves the next line
LETTER_PX, LINE_PX = 12.0, 27.9
LIGHT = 0.33  # relative luminance above which black is read more easily


def labels(
    outlines_yx: Sequence[NDArray[np.float64]], names: Sequence[str], px_per_um: float
) -> list[str]:
    """Say what to write in each outline's middle, (m, 2) in um: its short name, where there is room for it.

    Smaller regions come first. A name that would cover another goes up or down, by lines that are left empty
    below or above it, or to an edge of its region, and is left out where there is no room either. To an edge
    goes, too, the name of a region whose middle a smaller one takes.
    """
    texts = [quoted(name, MOST_LETTERS) for name in names]
    widths_px = LETTER_PX * np.array([len(text) for text in texts])
    middles_px = np.array([outline.mean(axis=0) for outline in outlines_yx]) * px_per_um
    tops_px = np.array([outline.min(axis=0) for outline in outlines_yx]) * px_per_um
    sides_px = np.array([np.ptp(outline, axis=0) for outline in outlines_yx]) * px_per_um
    areas = sides_px.prod(axis=1)
    reach_px = NEAR * np.maximum(sides_px, 1e-9)
    frames = shapely.box(*(middles_px - reach_px).T, *(middles_px + reach_px).T)
    tree = shapely.STRtree(shapely.points(middles_px))
    outer, inner = tree.query(frames, "contains_properly")
    is_round = np.isin(range(len(texts)), outer[areas[outer] > areas[inner]])
    half_px, written = LINE_PX / 2, [""] * len(texts)
    # middle and width of what is written, by the line of the screen
    lines = defaultdict[int, list[tuple[float, float, float]]](list)
    for n in np.argsort(areas, kind="stable").tolist():
        (y_px, x_px), width_px = middles_px[n].tolist(), float(widths_px[n])
        from_top_px = y_px - tops_px[n, 0]
        top = 1 - int(from_top_px / half_px)
        bottom = int((sides_px[n, 0] - from_top_px) / half_px) - 1
        for half_lines in (top, bottom) if is_round[n] else (0, -1, 1, -2, 2, top, bottom):
            at_px = y_px + half_lines * half_px
            line = int(at_px // LINE_PX)
            near = (*lines[line - 1], *lines[line], *lines[line + 1])
            if not any(
                abs(y - at_px) < LINE_PX and abs(x - x_px) < (width + width_px) / 2
                for y, x, width in near
            ):
                lines[line].append((at_px, x_px, width_px))
                # an empty line at the end counts by its space alone
                below = "\n" * -half_lines + " " if half_lines < 0 else ""
                written[n] = "\n" * half_lines + texts[n] + below
                break
    return written


def half_lines_down(text: str) -> int:
    """How far below the middle a text is seen that is drawn round it, by its empty lines; above: negative."""
    return text.count("\n") * (1 if text.startswith("\n") else -1)


def label_colours(
    outlines_yx: Sequence[NDArray[np.float64]], layers: Iterable[Layer]
) -> NDArray[np.float32]:
    """Black or white, (n, 4), for names in the middle of outlines, each (m, 2) in the world.

    ``layers`` are what is under them, the lowest first.
    """
    places = np.stack([o.mean(axis=0) + UNDER * np.ptp(o, axis=0) for o in outlines_yx])
    seen = np.zeros((*places.shape[:2], 3))
    for layer in layers:
        if layer.visible and isinstance(layer, Image | Labels) and layer.ndim == 2:
            colours = _colours_at(layer, places)
            alpha = colours[..., 3:]
            kept = 1 if layer.blending == "additive" else 1 - alpha
            seen = np.clip(seen * kept + colours[..., :3] * alpha, 0, 1)
    is_light = luminance(seen).mean(axis=1) > LIGHT
    return np.where(is_light[:, np.newaxis], (0, 0, 0, 1), (1, 1, 1, 1)).astype(np.float32)


def _colours_at(layer: Image | Labels, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Red, green, blue, alpha of (n, m, 2) places in the world: (n, m, 4), transparent beside the layer."""
    whole, pixels = (
        (layer.data[0], layer.data[-1]) if layer.multiscale else (layer.data, layer.data)
    )
    if (pyramid := pyramid_of(layer)) is not None:
        known = pyramid.known  # rather than wait for levels that are being made
        pixels = pyramid.arrays[pyramid.overview_level] if known is None else known
    to_data = affine(layer.world_to_data)
    shrunk = np.divide(pixels.shape[:2], whole.shape[:2])
    y, x = np.floor((to_data(places.reshape(-1, 2)) + 0.5) * shrunk).astype(int).T
    is_inside = (y >= 0) & (x >= 0) & (y < pixels.shape[0]) & (x < pixels.shape[1])
    with dask.config.set(scheduler="synchronous"):  # threads may be busy with a prediction
        found: NDArray[Any] = np.asarray(pixels)[y[is_inside], x[is_inside]]
    rgba = np.zeros((len(y), 4))
    rgba[is_inside] = colours_of_values(layer, found)
    return rgba.reshape(*places.shape[:2], 4)
