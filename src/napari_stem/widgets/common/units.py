"""Layers that go together: in the same units, and regions with their slide.

napari shows no unit, and warns, where some layers are in um and others in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from napari_stem.layers import METADATA_KEY

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

PIXEL, UM = "pixel", "um"

_kept: WeakSet[Any] = WeakSet()  # layer lists that are looked after
_lent: WeakSet[Any] = WeakSet()  # layers in pixels that count as um for now


def keep_units(viewer: Viewer) -> None:
    """From now on, give layers in pixels um for as long as a layer of ours is in um.

    Nothing moves: napari draws one pixel of theirs as 1 um beside ours whatever the units say.
    """
    if viewer.layers in _kept:
        return
    _kept.add(viewer.layers)

    def settle(event: Any) -> None:
        settle_units(viewer)

    inserted = viewer.layers.events.inserted
    # napari draws, and warns, while it is telling of a new layer: this must come before that, just behind
    # the layer list's own callback
    callbacks = inserted.callbacks
    inserted.connect(settle, after=list(callbacks[:1]), before=list(callbacks[1:2]))
    viewer.layers.events.removed.connect(settle)
    settle_units(viewer)


def settle_units(viewer: Viewer) -> None:
    """Make the units of all layers agree, as far as that is ours to do."""
    measured = [layer for layer in viewer.layers if not is_in_pixels(layer) and layer not in _lent]
    is_ours_measured = any(METADATA_KEY in layer.metadata for layer in measured)
    for layer in viewer.layers:
        is_ours = METADATA_KEY in layer.metadata
        if is_ours_measured or (is_ours and measured):
            if is_in_pixels(layer):
                _lent.add(layer)
                layer.units = (*layer.units[:-2], UM, UM)
        elif layer in _lent:
            _lent.discard(layer)
            layer.units = (*layer.units[:-2], PIXEL, PIXEL)


def own_units(layer: Layer) -> None:
    """Note that a layer's um are its own now."""
    _lent.discard(layer)


def is_in_pixels(layer: Layer) -> bool:
    """Whether a layer has no unit of length."""
    return any(str(unit) == PIXEL for unit in layer.units[-2:])


def load_units() -> None:
    """Read napari's table of units (0.1 s); call it on the GUI thread, before `warm_up`.

    pint reads its table when first asked and does not guard that against a second thread, which would find
    it half read.
    """
    from napari.utils.transforms import Affine

    Affine(ndim=2)


def regions_of(layer: Any) -> str | None:
    """Fingerprint of the slide whose regions a layer holds, or None."""
    found = layer.metadata.get(METADATA_KEY, {}).get("regions_of")
    return None if found is None else str(found)
