"""The command ``napari-stem`` itself: what it ends with, whatever a command raises."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import typer
from typer.core import TyperGroup

from napari_stem.commands.terminal import NOTICE, Interrupted, tell
from napari_stem.errors import StemError

DONE, FAILED, INTERRUPTED = 0, 1, 130


class _Commands(TyperGroup):
    """Ends with one line and the right exit code, whatever a command raises."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except StemError as error:
            tell(str(error))
            raise typer.Exit(FAILED) from error
        except Interrupted as stopped:
            tell(str(stopped))
            raise typer.Exit(INTERRUPTED) from stopped
        except KeyboardInterrupt as stopped:
            tell("Interrupted.")
            raise typer.Exit(INTERRUPTED) from stopped


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=f"Predicted gene expression maps with uncertainty from H&E slides. {NOTICE}",
)
importing = typer.Typer(no_args_is_help=True, help="Turn published data into a data set folder.")
app.add_typer(importing, name="import")


def main() -> None:
    """Run the command line; ends the process with 0, 1, 2 or 130."""
    if not sys.warnoptions:  # third parties' warnings mean nothing to users; -W brings them back
        warnings.simplefilter("ignore")
    app(prog_name="napari-stem")
