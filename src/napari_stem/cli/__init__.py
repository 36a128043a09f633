"""The command line: modules of commands, with their options and what they do.

Nothing heavy is imported before a command runs, so that ``--help`` is quick.
"""

from __future__ import annotations

from napari_stem.cli import (  # noqa: F401 - they add their commands
    benchmark,
    cache,
    convert,
    datasets,
    demo,
    export,
    listing,
    predict,
    train,
)
from napari_stem.cli.app import app, main

__all__ = ["app", "main"]
