"""The command line: a module for each command, with its options and what it does.

Nothing heavy is imported before a command runs, so that ``--help`` is quick.
"""

from __future__ import annotations

from napari_stem.cli import (  # noqa: F401 - they add their commands
    benchmark,
    cache,
    convert,
    demo,
    encoders,
    evaluate,
    export,
    genes,
    importing,
    info,
    models,
    predict,
    train,
)
from napari_stem.cli.app import app, main

__all__ = ["app", "main"]
