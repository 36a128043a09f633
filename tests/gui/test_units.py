"""Beside layers of others, which are in pixels, napari neither warns nor loses its units."""

from __future__ import annotations

import numpy as np
import pytest

from napari_stem.layers.placement import METADATA_KEY
from napari_stem.widgets.slide.slide_layers import keep_units

pytestmark = pytest.mark.gui


def add_ours(viewer):
    return viewer.add_image(
        np.zeros((40, 50, 3), np.uint8),
        scale=(0.5, 0.5),
        units=("um", "um"),
        metadata={METADATA_KEY: {}},
    )


def add_theirs(viewer):
    return [
        viewer.add_image(np.zeros((3, 40, 50))),
        viewer.add_labels(np.zeros((40, 50), int)),
        viewer.add_points(np.zeros((1, 2))),
    ]


@pytest.mark.parametrize("is_ours_first", [True, False])
def test_layers_in_pixels_and_in_um_agree_on_units(
    make_napari_viewer, qtbot, is_ours_first, notifications
):
    viewer = make_napari_viewer(show=True)
    keep_units(viewer)
    if is_ours_first:
        ours = add_ours(viewer)
        qtbot.wait(50)
    theirs = add_theirs(viewer)
    qtbot.wait(50)
    if not is_ours_first:
        ours = add_ours(viewer)
        qtbot.wait(50)
    assert [str(unit) for unit in viewer.layers.extent.units] == ["pixel", *2 * ["micrometer"]]
    assert [layer.scale.tolist() for layer in theirs] == [[1, 1, 1], [1, 1], [1, 1]]
    viewer.layers.remove(ours)
    qtbot.wait(50)
    assert {str(unit) for layer in theirs for unit in layer.units} == {"pixel"}
    assert notifications == []


def test_a_layer_s_own_unit_is_left_alone(make_napari_viewer):
    viewer = make_napari_viewer()
    keep_units(viewer)
    theirs = viewer.add_image(np.zeros((4, 5)), units=("nm", "nm"))
    ours = add_ours(viewer)
    viewer.layers.remove(ours)
    assert str(theirs.units[0]) == "nanometer"
