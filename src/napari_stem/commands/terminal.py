"""How commands speak: results on stdout; progress, messages and errors on stderr."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Task, TaskID
    from rich.table import Table

NOTICE = "Predicted from the image, not measured. For research use only, not for diagnosis."


class Interrupted(Exception):
    """A command was stopped by the user; the text says what is kept and how to go on."""


def say(text: str) -> None:
    """Print a result on stdout."""
    typer.echo(text)


def tell(text: str) -> None:
    """Print a message on stderr, on one line."""
    typer.echo(" ".join(text.split()), err=True)


def say_json(value: Any) -> None:
    """Print one JSON value on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))


def say_table(table: Table) -> None:
    """Print a table on stdout; a file or pipe gets it unwrapped."""
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)


class ProgressBars:
    """Bars on stderr, one per kind of work."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, text: str, done: int, total: int) -> None:
        """Show how far the work called ``text`` is; its time left is estimated from its pace."""
        self.show(text, done, total, None)

    def show(self, text: str, done: float, total: int, seconds_left: float | None) -> None:
        """Show how far the work called ``text`` is, with a time left that is known better."""
        if text not in self._tasks:
            for (
                earlier
            ) in self._bars.tasks:  # work goes on with something else only once it is done
                self._bars.update(earlier.id, completed=earlier.total)
            self._tasks[text] = self._bars.add_task(text, total=total, left=None)
        self._bars.update(self._tasks[text], completed=done, total=total, left=seconds_left)


class _TimeLeft(ProgressColumn):
    def render(self, task: Task) -> Text:
        left = task.fields["left"]
        seconds = task.time_remaining if left is None else left
        if seconds is None or task.finished:
            return Text("")
        return Text(f"{timedelta(seconds=round(seconds))} left", style="progress.remaining")


@contextmanager
def progress_bars() -> Iterator[ProgressBars]:
    """Show bars while the block runs; an error wipes them, so that its sentence stands alone."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _TimeLeft())
    with Progress(*columns, console=Console(stderr=True)) as bars:
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
