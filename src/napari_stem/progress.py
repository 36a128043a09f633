"""How long work tells how far it is, by a bar or a function of the caller's; and how it is asked to stop."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_stem.texts import sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tqdm.auto import tqdm

Progress = Callable[[str, int, int], None]  # what is being done, done so far, in all
# whose warnings are told to whoever opened a file
LOG_OF_FILES = logging.getLogger("napari_stem.spatial")


def silent(_text: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


@contextmanager
def shown(progress: bool | Progress) -> Iterator[Progress]:
    """Offer a function that work can tell its progress.

    Parameters
    ----------
    progress
        True: a bar (tqdm's) for each kind of work, on stderr or in the notebook. False: nothing is shown. A
        function is told itself; what it raises breaks the work off.
    """
    if not isinstance(progress, bool):
        yield progress
    elif not progress:
        yield silent
    else:
        bars = _Bars()
        try:
            yield bars
        finally:
            bars.close()


class _Bars:
    """One bar at a time; work goes on with something else once it is done."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._text = ""

    def __call__(self, text: str, done: int, total: int) -> None:
        if self._bar is None or text != self._text:
            from tqdm.auto import tqdm

            self.close()
            self._bar, self._text = tqdm(total=total, desc=text), text
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Leave the last bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def warnings_of_files(tell: Callable[[str], None]) -> Iterator[None]:
    """Tell what reading files in this thread logs as warnings; stderr shows it where there is a terminal."""
    thread = threading.get_ident()
    handler = logging.Handler(logging.WARNING)
    handler.addFilter(lambda record: record.thread == thread)
    handler.emit = lambda record: tell(sentence(record.getMessage()))  # type: ignore[method-assign]
    LOG_OF_FILES.addHandler(handler)
    try:
        yield
    finally:
        LOG_OF_FILES.removeHandler(handler)


@contextmanager
def stop_on_signals(*signals: signal.Signals, at_once: bool = False) -> Iterator[threading.Event]:
    """Turn the first signal into an event, so that work ends where it can go on; a second one breaks off.

    Parameters
    ----------
    signals
        Ctrl-C alone where none are given; schedulers send SIGTERM.
    at_once
        The first one breaks off too; some libraries swallow that while they are imported, the event stays.
    """
    stop = threading.Event()

    def on_signal(_number: int, _frame: object) -> None:
        is_first = not stop.is_set()
        stop.set()
        if at_once or not is_first:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals reach the main one only
        yield stop
        return
    before = {each: signal.signal(each, on_signal) for each in signals or (signal.SIGINT,)}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
