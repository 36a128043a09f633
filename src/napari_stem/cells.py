"""Cells of tables: those of others read, and ours such that no spreadsheet runs them as a formula."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, TypeVar

from napari_stem.texts import clean_name, read_text, separator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

Value = TypeVar("Value")
FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def harmless(value: Value) -> Value | str:
    """Put a ``'`` before text that begins as a formula does."""
    is_formula = isinstance(value, str) and value.startswith(FORMULA_STARTS)
    return f"'{value}" if is_formula else value


def harmless_table(table: pd.DataFrame) -> pd.DataFrame:
    """Make texts, headings and row names of a table harmless; numbers stay as they are."""
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    safe = table.copy(deep=False)
    for name, kind in table.dtypes.items():
        if not is_numeric_dtype(kind):
            # of kind object, as whole numbers beside gaps would become 0.0
            safe[name] = pd.Series(map(harmless, table[name]), table.index, object)
    safe.columns = safe.columns.map(harmless)
    safe.index = safe.index.map(harmless)
    return safe


def read_cells(
    path: Path, *, numbers: Sequence[str] = (), columns: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a small table as `read_text` does, whichever of comma, semicolon and tab parts its cells.

    Parameters
    ----------
    numbers
        Columns to be read as numbers, where they are there; with decimal commas where that is sure: where
        semicolons part the cells, and no number has a point.
    columns
        Their names, where the first line may lack them; else it has them.

    Returns
    -------
    A row per line, cells as text, NaN where they are empty; columns named as by `clean_name`.

    Raises
    ------
    OSError, ValueError
        It cannot be read, is no table, has two columns of one name, or what should be a number is none.
    """
    import pandas as pd

    text = read_text(path)
    mark = separator(text)
    is_headed = not columns or clean_name(text.split(mark)[0]).lower() == columns[0]
    how: Any = {
        "sep": mark,
        "dtype": str,
        "skipinitialspace": True,
        "keep_default_na": False,
        "na_values": [""],
    }
    if is_headed:  # names that repeat are numbered by pandas, so that the first would be taken
        first = pd.read_csv(io.StringIO(text), header=None, nrows=1, **how)
        named = [clean_name(name) for name in first.iloc[0].dropna()]
        if len(set(named)) < len(named):
            raise ValueError("it has two columns of the same name")
    table = pd.read_csv(io.StringIO(text), header=0 if is_headed else None, **how)
    # pandas takes cells that are too many for names of the rows
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError("it has more cells in its lines than columns in the first")  # noqa: TRY004
    table.columns = pd.Index(map(clean_name, table.columns) if is_headed else columns)
    found = [column for column in numbers if column in table.columns]
    cells = table[found]
    # where both marks occur, one of them may part thousands
    if mark == ";" and not any(cells[key].str.contains(".", regex=False).any() for key in found):
        cells = cells.apply(lambda column: column.str.replace(",", "."))
    table[found] = cells.apply(pd.to_numeric)
    return table
