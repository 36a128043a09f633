"""Squidpy tells what it does on stdout, which belongs to results."""

from __future__ import annotations

import logging
from typing import Any

_LOGGER = "spatialdata._logging"  # through which squidpy speaks too


def squidpy_without_chatter() -> Any:
    """Import squidpy, and let it speak of nothing less than a warning from now on."""
    import squidpy

    logging.getLogger(_LOGGER).setLevel(logging.WARNING)
    return squidpy
