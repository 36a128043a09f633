"""What went wrong, told by napari's notifications: the same sentence once, whoever met the same trouble."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.utils.notifications import show_error

from napari_stem.widgets.common.window_words import in_window_words

if TYPE_CHECKING:
    from napari.viewer import Viewer

# Display, overview and measuring meet a lost file within moments of each other; later than that, it is
# the answer to something that the user has done.
SAME_S = 5.0

_told: WeakKeyDictionary[Any, dict[str, float]] = WeakKeyDictionary()


def tell_error(viewer: Viewer, sentence: str) -> None:
    """Show an error, unless the same was shown a moment ago.

    Parameters
    ----------
    viewer
        Whose user is told.
    sentence
        As errors say it; the words of the command line become those of the window.
    """
    told, now = _told.setdefault(viewer, {}), time.monotonic()
    words = in_window_words(sentence)
    before = told.get(words)
    told[words] = now
    if before is None or now - before > SAME_S:
        show_error(words)
