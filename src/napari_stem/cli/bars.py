"""Bars of a terminal, and beneath them the work at hand. Loaded when there is something to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType


class Bars(Progress):
    """A bar per kind of work, and a line beneath, ``detail``."""

    detail = ""

    def __init__(self, console: Console) -> None:
        left = TextColumn("{task.fields[left]}", style="progress.remaining")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), left)
        super().__init__(*columns, console=console)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Give what is drawn, from top to bottom."""
        yield self.make_tasks_table(self.tasks)
        if self.detail:
            yield Text(self.detail, no_wrap=True, overflow="ellipsis")
