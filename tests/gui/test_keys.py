"""The keys of the dock: every one is listed for users, under the place where it works."""

from __future__ import annotations

import pytest
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QRadioButton

from napari_stem.widgets.common.keys import GROUPS, sections

pytestmark = pytest.mark.gui


def test_keys_of_the_slide_are_under_their_own_heading(model_road):
    on_canvas = {key for group in GROUPS.values() for key in group if key.is_on_canvas}
    assert on_canvas == set(GROUPS["On the panel and on the slide"])
    bound = {str(key) for key in model_road.viewer.keymap}
    assert {key.sequence for key in on_canvas} <= bound
    model_road.dock.shut_down()
    assert not {key.sequence for key in on_canvas} & {str(k) for k in model_road.viewer.keymap}


def test_the_tab_key_goes_from_field_to_field_as_they_lie(model_road):
    panel = model_road.panels.model
    chain = [panel]
    while (following := chain[-1].nextInFocusChain()) is not panel:
        chain.append(following)
    fields = [panel.models, panel.encoders, panel.pitch, *panel.findChildren(QRadioButton)]
    fields += [panel.form[name] for name in ("n_draws", "quantity", "patient")]
    assert sorted(fields, key=chain.index) == fields


def test_every_key_is_listed(model_road):
    model_road.dock.help_button.click()
    box = model_road.dock.help_box
    assert box.isVisible()
    told = box.guide.toPlainText()
    assert all(step in told for step in (*model_road.panels.steps(), "What not to conclude"))
    assert "![" not in told
    texts = set(box.keys.toPlainText().splitlines())
    native = QKeySequence.SequenceFormat.NativeText
    bound = {s.key().toString(native) for s in model_road.dock.findChildren(QShortcut)}
    assert len(bound) >= 13
    assert bound <= texts
    listed = {key for title, keys in sections().items() if title in GROUPS for key, _ in keys}
    assert listed - bound == {"F"}  # which the list of genes takes by itself
    box.close()
