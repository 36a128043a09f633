"""Lines of text with addresses to click."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt

from napari_stem.widgets.common.parts import note

if TYPE_CHECKING:
    from qtpy.QtWidgets import QLabel

COLOUR = "#3b8eea"  # Qt's own blue cannot be read on napari's dark theme; this one can on both


def link(address: str, text: str = "") -> str:
    """Rich text of an address; it is shown itself where no text is given."""
    return f'<a href="{escape(address)}" style="color: {COLOUR}">{escape(text or address)}</a>'


def linked_note(text: str = "") -> QLabel:
    """Make a wrapping line of rich text, whose addresses open in the browser."""
    label = note(text)
    label.setTextFormat(Qt.TextFormat.RichText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
    label.setOpenExternalLinks(True)
    return label
