"""What is said to developers stays away from those who look at slides."""

from __future__ import annotations

import warnings
from contextlib import ExitStack

from napari.utils.notifications import notification_manager

TO_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ResourceWarning)


class CalmWarnings:
    """Keeps what Python does with warnings while workers run; used on the window's thread alone.

    Each of superqt's workers shows all warnings while it works, and gives back what it found: where two
    overlap, the last leaves what it found of the other.
    """

    def __init__(self) -> None:
        self._n_running = 0
        self._before = ExitStack()

    def begin(self) -> None:
        """Note that a worker is about to start."""
        if not self._n_running:
            self._before.enter_context(warnings.catch_warnings())
        self._n_running += 1

    def end(self) -> None:
        """Note that one has ended; after the last all is as before, but for news that would pop up."""
        self._n_running -= 1
        if self._n_running:
            return
        self._before.close()
        if warnings.showwarning == notification_manager.receive_warning:
            for category in TO_DEVELOPERS:
                warnings.simplefilter("ignore", category)


calm_warnings = CalmWarnings()
