"""Cells of tables that no spreadsheet runs as a formula: names come from files that others made."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import pandas as pd

Value = TypeVar("Value")
FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def harmless(value: Value) -> Value | str:
    """Put a ``'`` before text that begins as a formula does."""
    is_formula = isinstance(value, str) and value.startswith(FORMULA_STARTS)
    return f"'{value}" if is_formula else value


def harmless_table(table: pd.DataFrame) -> pd.DataFrame:
    """Make texts, headings and row names of a table harmless; numbers stay as they are."""
    from pandas.api.types import is_numeric_dtype

    safe = table.copy(deep=False)
    for name, kind in table.dtypes.items():
        if not is_numeric_dtype(kind):
            safe[name] = safe[name].map(harmless)
    safe.columns = safe.columns.map(harmless)
    safe.index = safe.index.map(harmless)
    return safe
