"""How much a command says on stderr, and the log file that gets all of it, with times."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import sys
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from napari_stem.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOLD = logging.getLogger("napari_stem.told")  # what stands on stderr already, for the log file
_HUB_BARS = "HF_HUB_DISABLE_PROGRESS_BARS"


@dataclass
class Manner:
    """How much a command says.

    Attributes
    ----------
    verbosity
        -1: errors alone. 0: messages, progress and warnings. 1: also what is being done, and third parties'
        warnings. 2: also details.
    log_file
        Where everything goes besides.
    """

    verbosity: int = 0
    log_file: Path | None = None


MANNER = Manner()  # of the command that runs in this process


@contextmanager
def speaking() -> Iterator[None]:
    """Speak in the usual manner while the block runs, unless `speak` changes it; the log says how it ended."""
    root, ours = logging.getLogger(), logging.getLogger("napari_stem")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    hub_bars, began = os.environ.get(_HUB_BARS), time.monotonic()
    root.addHandler(_Stderr())
    with warnings.catch_warnings():
        try:
            speak(0, None)
            yield
        except SystemExit as end:
            TOLD.debug("Ended with %s after %.0f s.", end.code, time.monotonic() - began)
            raise
        except BaseException:
            if MANNER.log_file is not None:  # Python prints it on stderr
                TOLD.critical("Broke off", exc_info=True)
            raise
        finally:
            for handler in [each for each in root.handlers if each not in handlers]:
                root.removeHandler(handler)
                handler.close()
            logging.captureWarnings(False)
            MANNER.verbosity, MANNER.log_file = 0, None
            root.setLevel(levels[0])
            ours.setLevel(levels[1])
            if hub_bars is None:
                os.environ.pop(_HUB_BARS, None)


def speak(verbosity: int, log_file: Path | None) -> None:
    """Speak in this manner from now on, within `speaking`.

    Raises
    ------
    OutputError
        The log file cannot be written.
    """
    root, ours = logging.getLogger(), logging.getLogger("napari_stem")
    if log_file is not None and log_file != MANNER.log_file:
        root.addHandler(_file_handler(log_file))
        MANNER.log_file = log_file
    MANNER.verbosity = verbosity
    has_log = MANNER.log_file is not None
    if (has_log or verbosity > 0) and not sys.warnoptions:  # else they mean nothing to users
        warnings.simplefilter("default")
        logging.captureWarnings(True)
    is_detailed = has_log or verbosity > 1
    root.setLevel(logging.INFO if is_detailed else logging.WARNING)
    ours.setLevel(logging.DEBUG if is_detailed else logging.INFO)
    if verbosity < 0 or not sys.stderr.isatty():
        os.environ.setdefault(_HUB_BARS, "1")
    if log_file is not None:
        from napari_stem import __version__

        TOLD.debug(
            "napari-stem %s, Python %s, %s: %s",
            __version__,
            platform.python_version(),
            platform.platform(),
            shlex.join(sys.argv),
        )


def _file_handler(path: Path) -> logging.Handler:
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        msg = f"The log {path} cannot be written ({error.strerror}); choose another place."
        raise OutputError(msg) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


class _Stderr(logging.Handler):
    """Says what parts of the program log, each on one line."""

    def emit(self, record: logging.LogRecord) -> None:
        least = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
        is_loud = record.levelno >= least.get(MANNER.verbosity, logging.DEBUG)
        is_foreign = record.name == "py.warnings" and MANNER.verbosity < 1
        if not is_loud or is_foreign or record.name == TOLD.name:
            return
        line = " ".join(record.getMessage().split())
        if MANNER.verbosity > 0:
            moment = time.strftime("%H:%M:%S", time.localtime(record.created))
            line = f"{moment} {record.name}: {line}"
        typer.echo(line, err=True)
