"""Where layers of ours lie among the others; those that are used again are moved, never made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.layers import METADATA_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer


def place_above(viewer: Viewer, below: Sequence[Layer]) -> int:
    """Return the place in the layer list directly above some layers; on top where none of them is there."""
    places = [viewer.layers.index(layer) for layer in below if layer in viewer.layers]
    return max(places) + 1 if places else len(viewer.layers)


def raise_above_slides(
    viewer: Viewer, raised: Sequence[Layer | None], above: Sequence[Layer] = ()
) -> None:
    """Move layers above every slide, and above others; does nothing where they are so already.

    Parameters
    ----------
    viewer
        In whose layer list they are; what is not in it is passed over.
    raised
        From the lowest to the topmost.
    above
        What they must lie above besides slides.
    """
    layers = viewer.layers
    slides = [la for la in layers if la.metadata.get(METADATA_KEY, {}).get("slide") is not None]
    lower = [la for la in (*slides, *above) if la in layers]
    ours = [la for la in raised if la is not None and la in layers]
    if ours and lower and min(map(layers.index, ours)) < max(map(layers.index, lower)):
        stack(viewer, ours, max(lower, key=layers.index))


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
