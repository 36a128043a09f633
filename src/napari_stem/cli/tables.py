"""Tables for people, of what ``--json`` says to programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_stem.metrics import MEANINGS, flat
from napari_stem.texts import plain

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from rich.console import JustifyMethod


def say_figures(columns: Mapping[str, Mapping[str, Any]], title: str, unit: str) -> None:
    """Print metrics, one column per prediction, with a line on what each means."""
    values = [flat(figures) for figures in columns.values()]
    rows = [(key, *(v.get(key) for v in values), meaning) for key, meaning in MEANINGS.items()]
    _print(f"{title}; errors in {unit}", ["metric", *columns, "what it says"], rows, columns)


def say_aggregates(aggregates: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """Print mean [least, largest] of every metric, one column per predictor."""
    rows = [(key, *(_ranged(each.get(key)) for each in aggregates.values())) for key in MEANINGS]
    _print(title, ["metric", *aggregates], (row for row in rows if any(row[1:])), aggregates)


def say_list(
    rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], title: str | None = None
) -> None:
    """Print some of what ``rows`` say, ``columns`` being key -> heading."""
    _print(title, columns.values(), ([row.get(key) for key in columns] for row in rows))


def _print(
    title: str | None,
    headings: Iterable[str],
    rows: Iterable[Iterable[object]],
    of_numbers: Container[str] = (),
) -> None:
    """Print a table on stdout; a file or pipe gets it unwrapped.

    In it neither control characters nor rich's markup does anything.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def text(value: object) -> Text:
        return Text(plain(_shown(value)))

    table = Table(title=title and text(title), title_justify="left")
    for heading in headings:
        justify: JustifyMethod = "right" if heading in of_numbers else "left"
        table.add_column(text(heading), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*map(text, row))
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def _ranged(found: Mapping[str, Any] | None) -> str | None:
    if found is None:
        return None
    if found["n"] == 1:
        return f"{found['mean']:.3f}"
    return f"{found['mean']:.3f} [{found['min']:.3f}, {found['max']:.3f}]"


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
