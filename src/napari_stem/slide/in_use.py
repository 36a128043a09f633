"""A library's handle of a file that may be closed while other threads still read from it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class InUse:
    """Closes a handle once nobody reads from it any more.

    For libraries that hang or crash when a handle is closed under a reader, as OpenSlide 4.0 does. Closing
    never waits: the last reader closes.

    Parameters
    ----------
    handle
        Of the library; may be read from by several threads.
    close
        Frees it; called once.
    """

    def __init__(self, handle: Any, close: Callable[[], None]) -> None:
        self._handle, self._free = handle, close
        self._lock = threading.Lock()
        self._n_readers = 0
        self._is_closed = self._is_freed = False

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """Hand out the handle for as long as it is read from.

        Raises
        ------
        ValueError
            It was closed before.
        """
        with self._lock:
            if self._is_closed:
                msg = "the file is closed"
                raise ValueError(msg)
            self._n_readers += 1
        try:
            yield self._handle
        finally:
            with self._lock:
                self._n_readers -= 1
            self._free_if_idle()

    def close(self) -> None:
        """Let nobody begin to read any more, and free the handle when all have ended."""
        with self._lock:
            self._is_closed = True
        self._free_if_idle()

    def _free_if_idle(self) -> None:
        with self._lock:
            is_due = self._is_closed and not self._n_readers and not self._is_freed
            self._is_freed = self._is_freed or is_due
        if is_due:
            self._free()
