"""Where layers of ours lie among the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.layers import METADATA_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer


def raise_above_slides(viewer: Viewer, raised: Sequence[Layer]) -> None:
    """Move layers above every slide; does nothing where they are so already.

    Parameters
    ----------
    viewer
        In whose layer list they are; what is not in it is passed over.
    raised
        From the lowest to the topmost.
    """
    layers = viewer.layers
    slides = [la for la in layers if la.metadata.get(METADATA_KEY, {}).get("slide") is not None]
    ours = [la for la in raised if la in layers]
    if ours and slides and min(map(layers.index, ours)) < max(map(layers.index, slides)):
        stack(viewer, ours, max(slides, key=layers.index))


def stack(viewer: Viewer, ordered: Sequence[Layer], ground: Layer | None = None) -> None:
    """Move layers so that they follow one another, from the lowest to the topmost.

    Parameters
    ----------
    viewer
        In whose layer list they are.
    ordered
        From the lowest to the topmost.
    ground
        Directly above which; None: below everything.
    """
    layers = viewer.layers
    # napari's own move of several loses count where they are not in order
    with layers.events.reordered.blocker():
        for layer in ordered:
            layers.move(layers.index(layer), 0 if ground is None else layers.index(ground) + 1)
            ground = layer
    layers.events.reordered(value=layers)
