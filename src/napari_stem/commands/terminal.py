"""How commands speak: results on stdout; progress, messages and errors on stderr."""

from __future__ import annotations

import json
import signal
import threading
import time
import traceback
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer

from napari_stem.commands.manner import MANNER, TOLD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID
    from rich.table import Table

    from napari_stem.commands.bars import Bars

NOTICE = "Predicted from the image, not measured. For research use only, not for diagnosis."
FIRST_LINE_S, LINE_S = 5.0, 60.0  # where there are no bars: a line after this time, and one each


class Interrupted(Exception):
    """A command was stopped by the user; the text says what is kept and how to go on."""


def say(text: str) -> None:
    """Print a result on stdout."""
    typer.echo(text)


def tell(text: str) -> None:
    """Print a message on stderr, on one line."""
    line = " ".join(text.split())
    TOLD.info("%s", line)
    if MANNER.verbosity >= 0:
        typer.echo(line, err=True)


def tell_error(text: str, error: BaseException) -> None:
    """Print on stderr, on one line, why a command ends; the log and -vv show where it arose."""
    line = " ".join(text.split())
    if MANNER.verbosity > 1:
        traceback.print_exception(error)
    if MANNER.log_file is not None:
        TOLD.error("%s", line, exc_info=error)
    typer.echo(line, err=True)


def say_json(value: Any) -> None:
    """Print one JSON value on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))


def say_table(table: Table) -> None:
    """Print a table on stdout; a file or pipe gets it unwrapped."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)


class ProgressBars:
    """How far work is, on stderr: a bar per kind of work; without a terminal, and in the log, a line a minute.

    Parameters
    ----------
    bars
        None: lines alone.
    """

    def __init__(self, bars: Bars | None = None) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, tuple[float, float]] = {}  # moment, and how much was done then
        self._next_line = time.monotonic() + FIRST_LINE_S

    def __call__(self, text: str, done: int, total: int) -> None:
        """Show how far the work called ``text`` is; its time left is estimated from its pace."""
        self.show(text, done, total, None)

    def of_bytes(self, text: str) -> Callable[[int, int], None]:
        """Make a function that shows bytes, told how many are done and how many there are."""
        return lambda done, total: self(f"{text}, MB", done // 1_000_000, -(-total // 1_000_000))

    def show(
        self,
        text: str,
        done: float,
        total: int,
        seconds_left: float | None,
        detail: str = "",
    ) -> None:
        """Show how far the work called ``text`` is, with a time left that is known better, and more."""
        self._show_line(text, done, total, seconds_left, detail)
        if self._bars is None:
            return
        if text not in self._tasks:
            for (
                earlier
            ) in self._bars.tasks:  # work goes on with something else only once it is done
                self._bars.update(earlier.id, completed=earlier.total)
            self._tasks[text] = self._bars.add_task(text, total=total, left=None)
        self._bars.detail = detail
        self._bars.update(self._tasks[text], completed=done, total=total, left=seconds_left)

    def _show_line(
        self, text: str, done: float, total: int, seconds_left: float | None, detail: str
    ) -> None:
        now = time.monotonic()
        began, n_before = self._began.setdefault(text, (now, done))
        if now < self._next_line or not total:
            return
        self._next_line = now + LINE_S
        if seconds_left is None and done > n_before:
            seconds_left = (now - began) / (done - n_before) * (total - done)
        line = f"{text}: {done / total:.0%} ({int(done):,} of {total:,})"
        if seconds_left is not None and done < total:
            line += f", {timedelta(seconds=round(seconds_left))} left"
        line += f"; {detail}" if detail else ""
        if self._bars is None:
            tell(line)
        else:
            TOLD.info("%s", line)


@contextmanager
def progress_bars() -> Iterator[ProgressBars]:
    """Show progress while the block runs; an error wipes the bars, so that its sentence stands alone."""
    from rich.console import Console

    console = Console(stderr=True)
    if MANNER.verbosity < 0 or not console.is_interactive:
        yield ProgressBars()
        return
    from napari_stem.commands.bars import Bars

    with Bars(console) as bars:
        try:
            yield ProgressBars(bars)
        except BaseException:
            bars.live.transient = True
            raise


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event, so that work ends where it can go on; a second one breaks off."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():  # signals reach the main one only
        yield stop
        return
    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
