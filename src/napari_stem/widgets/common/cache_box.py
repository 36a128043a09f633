"""Where results are kept: asked for where nothing can be written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from napari_stem.caches import why_unwritable
from napari_stem.settings import CACHE_VARIABLE
from napari_stem.widgets.common.parts import ask_for_folder, button, stack, warning

if TYPE_CHECKING:
    from napari_stem.widgets.common.worker import Jobs


class CacheBox(QWidget):
    """Says that results cannot be kept, and takes another folder; hidden where they can.

    Parameters
    ----------
    folder
        Chosen in an earlier session; empty where none was.
    """

    def __init__(self, folder: str = "") -> None:
        super().__init__()
        self.folder = folder
        if folder:
            os.environ.setdefault(CACHE_VARIABLE, folder)
        self.message = warning()
        self.button = button(
            "Choose folder…", "Keep embeddings and predictions in another folder", self._ask
        )
        stack(self, self.message, self.button)
        self._show("")

    def look(self, jobs: Jobs) -> None:
        """Look again whether results can be kept."""
        jobs.start(why_unwritable, done=self._show)

    def _ask(self) -> None:
        if folder := ask_for_folder(self, "Keep results in"):
            self.folder = os.environ[CACHE_VARIABLE] = folder
            self._show(why_unwritable())

    def _show(self, why: str) -> None:
        self.message.say(why)
        self.setVisible(bool(why))
