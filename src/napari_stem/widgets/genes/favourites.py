"""The user's favourite genes, kept from one session to the next."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from qtpy.QtCore import QSettings

if TYPE_CHECKING:
    from collections.abc import Collection

KEY = "favourite_genes"


def recall_favourites() -> set[str]:
    """Read what was stored last; nothing where it cannot be read."""
    try:
        genes = json.loads(str(_store().value(KEY, "[]")))
    except ValueError:  # a file edited by hand
        return set()
    return {str(gene) for gene in genes} if isinstance(genes, list) else set()


def remember_favourites(genes: Collection[str]) -> None:
    """Store for the next session."""
    _store().setValue(KEY, json.dumps(sorted(genes)))


def _store() -> QSettings:
    return QSettings(
        QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-stem", "napari-stem"
    )
