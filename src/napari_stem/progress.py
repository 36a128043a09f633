"""How long work tells how far it is, by a bar or a function of the caller's; and how it is asked to stop.

What callers hand along has the same names throughout and is called again and again: ``poll`` raises `Stopped`
where work is to stop, and who asked for the work catches it; ``progress`` (a `Progress`) is told how far it is,
``watch`` the same in more detail, ``tell`` in sentences what to know.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from napari_stem.texts import sentence

Progress = Callable[[str, int, int], None]  # what is being done, done so far, in all
Poll = Callable[..., None]  # raises `Stopped`; whatever it is told does not matter
# whose warnings are told to whoever opened a file
LOG_OF_FILES = logging.getLogger("napari_stem.spatial")


class Stopped(Exception):
    """Raised within work that its caller asked to stop."""


def poll_of(stop: threading.Event) -> Poll:
    """Make a function that raises `Stopped` once ``stop`` is set."""

    def poll(*_: Any) -> None:
        if stop.is_set():
            raise Stopped

    return poll


def go_on(*_: Any) -> None:
    """Poll of work that nobody stops, and watch of work that nobody watches."""


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
        return
    if not progress:
        yield silent
        return
    from tqdm.auto import tqdm

    bars: dict[str, tqdm] = {}  # one at a time: work goes on with something else once it is done
    with ExitStack() as opened:

        def show(text: str, done: int, total: int) -> None:
            if text not in bars:
                opened.close()
                bars.clear()
                bars[text] = opened.enter_context(tqdm(total=total, desc=text))
            bars[text].update(done - bars[text].n)

        yield show


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
def stop_on_signals(*, at_once: bool = False) -> Iterator[threading.Event]:
    """Turn Ctrl-C, or SIGTERM, as schedulers send, into an event, so that work ends where it can go on.

    A second one breaks off; ``at_once`` the first one too: some libraries swallow that while they are imported,
    the event stays.
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
    before = {each: signal.signal(each, on_signal) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
