"""The command line: options and what they mean; the work is done in `napari_stem.commands`.

Nothing heavy is imported before a command runs, so that ``--help`` is quick.
"""

from __future__ import annotations

from napari_stem.cli import (  # noqa: F401 - they add their commands
    benchmarking,
    caching,
    converting,
    data,
    exporting,
    looking,
    models,
    panels,
    predicting,
    training,
)
from napari_stem.cli.app import app, main

__all__ = ["app", "main"]
