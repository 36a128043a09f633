"""Bars of a terminal, and beneath them the work at hand. Loaded when there is something to show."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType
    from rich.progress import Task


class Bars(Progress):
    """A bar per kind of work, and a line beneath.

    Attributes
    ----------
    detail
        The line.
    """

    detail = ""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _TimeLeft())
        super().__init__(*columns, console=console)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Give what is drawn, from top to bottom."""
        yield self.make_tasks_table(self.tasks)
        if self.detail:
            yield Text(self.detail, no_wrap=True, overflow="ellipsis")


class _TimeLeft(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Show the time that is known, else what rich makes of the pace."""
        left = task.fields["left"]
        seconds = task.time_remaining if left is None else left
        if seconds is None or task.finished:
            return Text("")
        return Text(f"{timedelta(seconds=round(seconds))} left", style="progress.remaining")
