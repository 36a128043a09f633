"""Work off the GUI thread: any number of jobs, the latest asked for, or one that can be stopped.

What is said to developers meanwhile stays away from those who look at slides.
"""

from __future__ import annotations

import logging
import threading
import warnings
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from napari.utils.notifications import notification_manager, show_info, show_warning
from qtpy.QtCore import QObject, QThreadPool, QTimer, Signal

from napari_stem.errors import StemError
from napari_stem.progress import Stopped, poll_of, warnings_of_files
from napari_stem.widgets.common.garbage import collect_on_gui_thread
from napari_stem.widgets.common.parts import listening, tell_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_stem.progress import Progress

logger = logging.getLogger(__name__)

# Qt would have as many as cores: a slide would not open while two others are measured
MOST_JOBS = 8
TO_DEVELOPERS = (
    DeprecationWarning,
    PendingDeprecationWarning,
    FutureWarning,
    ResourceWarning,
    SyntaxWarning,
)


class Jobs(QObject):
    """The background jobs of one dock, and what else ends with it: after ``close`` none speaks any more.

    Timers that are its children stop, too. ``fail`` shows an error, one sentence.
    """

    _told = Signal(object)  # what to call in the window's thread

    def __init__(
        self, fail: Callable[[str], object] = tell_error, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        # no signal: Qt would hold what is connected, and with it the viewer, where Python cannot look
        self.fail = fail
        collect_on_gui_thread()
        pool = QThreadPool.globalInstance()
        pool.setMaxThreadCount(max(pool.maxThreadCount(), MOST_JOBS))
        # what follows each job: here, as no thread may hold the last reference to a widget
        self._following: dict[object, tuple[Callable[[Any], None], Callable[[], object]]] = {}
        self._ends: list[Callable[[], object]] = []
        self._stops: WeakSet[threading.Event] = WeakSet()  # of jobs that may still look at them
        self.is_closed = False
        self._told.connect(self._hear)

    def start(
        self,
        function: Callable[..., Any],
        *args: Any,
        done: Callable[[Any], None] = lambda _: None,
        failed: Callable[[], object] = lambda: None,
    ) -> None:
        """Call a function in a thread.

        A StemError is shown by ``fail``; any other error by napari. What files are read with, as
        warnings, is shown at the end. In the window's thread ``done`` is called with the result, None of one
        that was stopped, or ``failed``, after any error, to put the panels in order.
        """
        _spare_users()
        job = object()
        self._following[job] = done, failed
        end = self.in_window(partial(self._end, job))
        QThreadPool.globalInstance().start(partial(_work, end, function, args))

    def start_each(
        self, function: Callable[[Any], Any], things: Iterable[Any], **ends: Callable[..., Any]
    ) -> None:
        """Call a function with each of some things, as `start` does; ``done`` is told what came, in a list.

        A StemError is shown by ``fail`` and leaves its thing out alone.
        """
        tell = self.in_window(self.fail)

        def call() -> list[Any]:
            found = []
            for thing in things:
                try:
                    found.append(function(thing))
                except StemError as error:
                    tell(str(error))
            return found

        self.start(call, **ends)

    def save(self, write: Callable[..., Any], *args: Any) -> None:
        """Write a file in a thread, whose path is the last argument, and say so when it is there."""
        self.start(write, *args, done=lambda _: show_info(f"Saved {args[-1]}"))

    def in_window(self, act: Callable[..., object]) -> Callable[..., None]:
        """Make of a function of the window's one that any thread may call, such as to say how far it is."""

        def tell(*told: Any) -> None:
            with suppress(RuntimeError):  # the window was closed while a thread was at work
                self._told.emit(partial(act, *told))

        return tell

    def new_stop(self) -> threading.Event:
        """Make what tells a job to stop; it is set at the latest by ``close``."""
        stop = threading.Event()
        self._stops.add(stop)
        return stop

    def listen(self, *heard: tuple[Any, Callable[..., object]]) -> None:
        """Call functions on events until ``close``."""
        self.at_end(listening(*heard))

    def call_back(self, callbacks: list[Any], act: Callable[..., Any]) -> None:
        """Have napari call a function on what the mouse does, until ``close``."""
        callbacks.append(act)
        self.at_end(lambda: callbacks.remove(act) if act in callbacks else None)

    def at_end(self, act: Callable[[], object]) -> None:
        """Have ``close`` call a function; the last first."""
        self._ends.append(act)

    def close(self) -> None:
        """Stop what runs; results on disk stay."""
        self.is_closed = True
        for stop in self._stops:
            stop.set()
        while self._ends:
            self._ends.pop()()
        for timer in self.findChildren(QTimer):
            timer.stop()

    def _hear(self, act: Callable[[], None]) -> None:
        if not self.is_closed:
            act()

    def _end(self, job: object, found: Any, error: Exception | None, warned: list[str]) -> None:
        done, failed = self._following.pop(job)
        for warning in warned:
            show_warning(warning)
        if error is None:
            done(found)
            return
        if isinstance(error, StemError):
            self.fail(str(error))
        failed()
        if not isinstance(error, StemError):  # ours, not the user's
            logger.error("A background job broke", exc_info=error)
            raise error


class _OneJob:
    """Runs one job at a time."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self.is_running = False

    def _start(
        self,
        function: Callable[..., Any],
        *args: Any,
        done: Callable[[Any], None],
        failed: Callable[[], object] = lambda: None,
    ) -> None:
        self.is_running = True
        ends = {"done": partial(self._end, done), "failed": partial(self._end, failed)}
        self._jobs.start(function, *args, **ends)

    def _end(self, tell: Callable[..., object], *found: Any) -> None:
        self.is_running = False
        tell(*found)


class LatestJob(_OneJob):
    """Runs one job at a time; of those asked for while it runs, only the last follows."""

    _next: Callable[[], None] | None = None

    def start(self, function: Callable[..., Any], *args: Any, **ends: Callable[..., Any]) -> None:
        """Call a function in a thread, as `Jobs.start` does, now or after what runs."""
        if self.is_running:
            self._next = partial(self.start, function, *args, **ends)
        else:
            self._start(function, *args, **ends)

    def _end(self, tell: Callable[..., object], *found: Any) -> None:
        super()._end(tell, *found)
        following, self._next = self._next, None
        if following is not None:
            following()


class StoppableJob(_OneJob):
    """Runs one job at a time, which can be stopped, and may report how far it is.

    ``reported`` is called in the window's thread with what the job reports, until it is stopped.
    """

    def __init__(self, jobs: Jobs, reported: Progress | None = None) -> None:
        super().__init__(jobs)
        self.reported, self._stop = reported, threading.Event()

    @property
    def is_wanted(self) -> bool:
        """Whether a job is on its way and was not asked to stop."""
        return self.is_running and not self._stop.is_set()

    def start(self, function: Callable[..., Any], *args: Any, **ends: Callable[..., Any]) -> None:
        """Call a function in a thread, as `Jobs.start` does, with ``poll`` by keyword.

        Where there is somebody to hear what is ``reported``, with ``progress`` too, which polls as well.
        """
        self._stop = self._jobs.new_stop()
        poll, hear = poll_of(self._stop), self._jobs.in_window(self._hear)

        def progress(text: str, done: int, total: int) -> None:
            poll()
            hear(text, done, total)

        further = {} if self.reported is None else {"progress": progress}
        self._start(partial(function, poll=poll, **further), *args, **ends)

    def stop(self) -> None:
        """Ask what is on its way to stop; it ends when it next looks."""
        self._stop.set()

    def _hear(self, text: str, done: int, total: int) -> None:
        if self.reported is not None and self.is_wanted:
            self.reported(text, done, total)


def _work(end: Callable[..., None], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Call a function; what came of it is told in the window's thread, where napari's notifications belong."""
    found, error, warned = None, None, list[str]()
    try:
        with warnings_of_files(warned.append):
            found = function(*args)
    except Stopped:
        pass
    except Exception as caught:  # noqa: BLE001
        error = caught
    end(found, error, warned)


def _spare_users() -> None:
    """Keep from napari's notifications what libraries tell developers, and all that other threads warn of."""
    if warnings.showwarning != notification_manager.receive_warning:
        return
    for category in TO_DEVELOPERS:
        warnings.simplefilter("ignore", category)
    window = threading.get_ident()

    def show(*told: Any) -> None:
        if threading.get_ident() == window:
            notification_manager.receive_warning(*told)

    warnings.showwarning = show  # type: ignore[assignment]
