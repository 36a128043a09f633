"""Where layers of ours lie among the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.widgets.slide.slide_layers import slide_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer


def slides_among(layers: Sequence[Layer]) -> list[Layer]:
    """Layers that show a slide that was opened, in their order."""
    return [layer for layer in layers if slide_of(layer) is not None]


def raise_above_slides(viewer: Viewer, raised: Sequence[Layer]) -> None:
    """Move layers above every slide, one above the other; does nothing where they are above all already.

    Parameters
    ----------
    viewer
        In whose layer list they are; what is not in it is passed over.
    raised
        From the lowest to the topmost.
    """
    layers = viewer.layers
    slides, ours = slides_among(layers), [layer for layer in raised if layer in layers]
    if not ours or not slides or min(map(layers.index, ours)) > layers.index(slides[-1]):
        return
    below = slides[-1]
    # napari's own move of several loses count where they are not in order
    with layers.events.reordered.blocker():
        for layer in ours:
            layers.move(layers.index(layer), layers.index(below) + 1)
            below = layer
    layers.events.reordered(value=layers)
