"""How commands speak: results on stdout; progress, messages and errors on stderr; all of it in a log file."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import shlex
import sys
import time
import traceback
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from napari_stem.errors import OutputError
from napari_stem.io import unwritable
from napari_stem.texts import sentence, visible, ways_to_write, without

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console, Group
    from rich.progress import Progress, TaskID

TOLD = logging.getLogger("napari_stem.told")  # what stands on stderr already, for the log file
_HUB_BARS = "HF_HUB_DISABLE_PROGRESS_BARS"
_SNIPPED = re.compile(r"'[^'\n]*\u2026[^'\n]*'")  # names of files, as tifffile shortens them
FIRST_LINE_S, LINE_S = 5.0, 60.0  # where there are no bars: a line after this time, and one each


@dataclass
class Manner:
    """How much a command says."""

    # -1: errors alone. 0: messages, progress and warnings. 1: also what is being done, and third parties'
    # warnings. 2: also details.
    verbosity: int = 0
    log_file: Path | None = None  # where everything goes besides
    as_json: bool = False  # the result is one JSON value instead of words
    # paths and names that the log file does not hold, unless details are asked for: they may name patients
    private: set[str] = field(default_factory=set)

    def keep_private(self, *places: str | Path) -> None:
        """Keep files and folders out of the log file, by their paths, all folders above, and files' names."""
        for path in map(Path, places):
            words = {path.name} if path.suffix else set()  # else it may be any word
            words |= {f"{folder}{os.sep}" for folder in path.parents if folder.name}
            for whole in (path.absolute(), Path(os.path.realpath(path))):
                words |= {str(each) for each in (whole, *whole.parents) if each.name}
            self._keep(str(path), *words)
        self._keep(*map(str, places))

    def keep_slides_private(self, *slides: str | Path) -> None:
        """Keep slides, or what is named after them, out of the log file, by whatever could name them."""
        self.keep_private(*slides)
        for path in map(Path, slides):
            self._keep(path.name, path.stem, path.stem.removesuffix(".ome"))

    def _keep(self, *words: str) -> None:
        self.private |= {way for word in words for way in ways_to_write(word)}

    def publishable(self, text: str) -> str:
        """Text for the log file."""
        if self.verbosity > 1:
            return text
        return without(_SNIPPED.sub("'<...>'", text), self.private, "<...>")


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
                with suppress(OSError):  # the log file's disk is full, as was said
                    handler.close()
            logging.captureWarnings(False)
            MANNER.verbosity, MANNER.log_file, MANNER.as_json = 0, None, False
            MANNER.private.clear()
            root.setLevel(levels[0])
            ours.setLevel(levels[1])
            if hub_bars is None:
                os.environ.pop(_HUB_BARS, None)


def speak(verbosity: int, log_file: Path | None) -> None:
    """Speak in this manner from now on, within `speaking`; OutputError where the log file cannot be written."""
    root, ours = logging.getLogger(), logging.getLogger("napari_stem")
    if log_file is not None and log_file != MANNER.log_file:
        root.addHandler(file_handler(log_file))
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

        places = [_place_in(word) for word in sys.argv[1:]]
        MANNER.keep_private(*filter(None, places))
        words = [
            word.replace(place, "<...>") if place and verbosity < 2 else word
            for word, place in zip(sys.argv[1:], places, strict=True)
        ]
        TOLD.debug(
            "napari-stem %s, Python %s, %s: %s",
            __version__,
            platform.python_version(),
            platform.platform(),
            shlex.join([Path(sys.argv[0]).name, *words]),
        )


def file_handler(path: Path) -> logging.Handler:
    """Log to a file, in which nothing from outside steers a terminal; OutputError where it cannot be."""
    try:
        handler = _LogFile(path, encoding="utf-8")
    except OSError as error:
        raise unwritable(path, error) from error
    handler.setFormatter(_Plain("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


def _place_in(word: str) -> str:
    """Give the file or folder that a word of the command line names, also as ``--out=FILE``; else nothing."""
    place = word.partition("=")[2] if word.startswith("-") else word
    path = Path(place)
    is_file = bool(path.suffix) and not path.suffix[1:].isdigit()  # and no number
    is_place = len(path.parts) > 1 or is_file or os.path.exists(place)  # noqa: PTH110 - may be too long for a path
    return place if is_place else ""


class _LogFile(logging.FileHandler):
    """Ends, and says so, where nothing can be written any more; work goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif self.level <= logging.CRITICAL:
            self.setLevel(logging.CRITICAL + 1)
            _tell(str(unwritable(Path(self.baseFilename), error, "the log ends here.")))


class _Plain(logging.Formatter):
    """One line a record, and below it a traceback's lines: no name in a file adds one of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = sentence(MANNER.publishable(record.message))
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        return visible(MANNER.publishable(super().formatException(ei)))


class _Stderr(logging.Handler):
    """Says what parts of the program log, each on one line."""

    def emit(self, record: logging.LogRecord) -> None:
        least = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
        is_loud = record.levelno >= least.get(MANNER.verbosity, logging.DEBUG)
        is_foreign = record.name.startswith(("py.warnings", "distributed")) and MANNER.verbosity < 1
        if not is_loud or is_foreign or record.name == TOLD.name:
            return
        line = sentence(record.getMessage())
        if MANNER.verbosity > 0:
            moment = time.strftime("%H:%M:%S", time.localtime(record.created))
            line = f"{moment} {record.name}: {line}"
        _tell(line)


class Interrupted(Exception):
    """A command was stopped by the user; the text says what is kept and how to go on."""


def say(text: str) -> None:
    """Print a result on stdout."""
    typer.echo(visible(text))


def _tell(text: str) -> None:
    """Print on stderr; work goes on where that takes nothing, as on a full disk or without its terminal."""
    with suppress(OSError):
        typer.echo(text, err=True)


def tell(text: str, *, is_failure: bool = False) -> None:
    """Print a message on stderr, on one line; what failed while other work goes on also with --quiet."""
    # whole: names are looked for in it
    TOLD.log(logging.ERROR if is_failure else logging.INFO, "%s", text)
    if is_failure or MANNER.verbosity >= 0:
        _tell(sentence(text))


def tell_error(text: str, error: BaseException) -> None:
    """Print on stderr, on one line, why a command ends; the log and -vv show where it arose."""
    if MANNER.verbosity > 1:
        _tell(visible("".join(traceback.format_exception(error))))
    if MANNER.log_file is not None:
        TOLD.error("%s", text, exc_info=error)
    _tell(sentence(text))


def answer(result: Any, told: str | Callable[[Any], object]) -> None:
    """Print a JSON-ready result on stdout: as one JSON value where that was asked for, else in words.

    ``told`` are the words, or what says a result in words.
    """
    if MANNER.as_json:
        say(json.dumps(result, allow_nan=False))  # in ASCII nothing can steer a terminal
    elif isinstance(told, str):
        say(told)
    else:
        told(result)


def has_person() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty()


def agreed(question: str, what_not: str, what: str) -> bool:
    """Ask before what cannot be undone.

    OutputError where nobody is there to be asked, which says that nothing was ``what_not``, and how to
    ``what``.
    """
    if not has_person():
        raise OutputError(
            f"Nothing was {what_not}: nobody is there to be asked; add --yes to {what}."
        )
    return typer.confirm(question, err=True)


class ProgressBars:
    """How far work is, on stderr: a bar per kind of work; without a terminal, and in the log, a line a minute.

    Without a ``console`` there are lines alone; with one, bars are seen while ``live`` is entered.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._bars: Progress | None = None
        self._detail = ""  # the work at hand, beneath the bars
        if console is not None:
            from rich.live import Live
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            left = TextColumn("{task.fields[left]}", style="progress.remaining")
            text = TextColumn("{task.description}")
            self._bars = Progress(text, BarColumn(), MofNCompleteColumn(), left)
            self.live = Live(console=console, get_renderable=self._drawn, refresh_per_second=10)
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, tuple[float, float]] = {}  # moment, and how much was done then
        self._next_line = time.monotonic() + FIRST_LINE_S

    def __call__(self, text: str, done: int, total: int) -> None:
        """Show how far the work called ``text`` is; its time left is estimated from its pace."""
        self.show(text, done, total, None)

    def ask(self, question: str) -> bool:
        """Ask whether to go on, the bars out of the way; yes where nobody is there to be asked."""
        if not has_person():
            return True
        if self._bars is not None:
            self.live.stop()
        is_agreed = typer.confirm(question, err=True)
        if self._bars is not None:
            self.live.start()
        return is_agreed

    def of_bytes(self, text: str) -> Callable[[int, int], None]:
        """Make a function that shows bytes, told how many are done and how many there are."""
        return lambda done, total: self(f"{text}, MB", done // 1_000_000, -(-total // 1_000_000))

    def show(
        self,
        text: str,
        done: float,
        total: int,
        seconds_left: float | None,
        detail: str = "",
    ) -> None:
        """Show how far the work called ``text`` is, with a time left that is known better, and more."""
        now = time.monotonic()
        began, n_before = self._began.setdefault(text, (now, done))
        if seconds_left is None and done > n_before:
            seconds_left = (now - began) / (done - n_before) * (total - done)
        is_known = seconds_left is not None and done < total
        left = f"{timedelta(seconds=round(seconds_left or 0))} left" if is_known else ""
        if total and now >= self._next_line:
            self._next_line = now + LINE_S
            line = f"{text}: {done / total:.0%} ({int(done):,} of {total:,})"
            line += (f", {left}" if left else "") + (f"; {detail}" if detail else "")
            tell(line) if self._bars is None else TOLD.info("%s", line)
        if self._bars is None:
            return
        if text not in self._tasks:
            for earlier in self._bars.tasks:  # which are done, now that other work begins
                self._bars.update(earlier.id, completed=earlier.total, left="")
            self._tasks[text] = self._bars.add_task(text, total=total, left=left)
        self._detail = detail
        self._bars.update(self._tasks[text], completed=done, total=total, left=left)

    def _drawn(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        bars = cast("Progress", self._bars)
        detail = Text(self._detail, no_wrap=True, overflow="ellipsis")
        return Group(bars, detail) if self._detail else Group(bars)


@contextmanager
def progress_bars() -> Iterator[ProgressBars]:
    """Show progress while the block runs; an error wipes the bars, so that its sentence stands alone."""
    from rich.console import Console

    console = Console(stderr=True)
    if MANNER.verbosity < 0 or not console.is_interactive:
        yield ProgressBars()
        return
    bars = ProgressBars(console)
    with bars.live:
        try:
            yield bars
        except BaseException:
            bars.live.transient = True
            raise
