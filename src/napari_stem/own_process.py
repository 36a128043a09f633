"""Work in a process of its own: a window stays quick beside it, and it is ended at once when it must be.

The process is ``python -m napari_stem.own_process MODULE FUNCTION ARGUMENTS``: a function of ours, whose last
argument is where it reports progress. It speaks on stdout, one JSON object a line:
``{"progress": [text, done, in all]}`` as often as it likes, and at last ``{"result": value}`` or
``{"error": sentence}``.
"""

from __future__ import annotations

import gc
import json
import logging
import queue
import subprocess
import sys
import tempfile
import threading
import warnings
from contextlib import redirect_stdout
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any

from napari_stem.errors import StemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.progress import Poll, Progress

POLL_S = 0.1
logger = logging.getLogger(__name__)


def run_module(
    module: str,
    arguments: Sequence[str],
    poll: Poll,
    progress: Progress,
    broke: str,
) -> Any:
    """Call a module's function in a process of its own, and pass on what it tells.

    The module is one of ours; ``arguments`` are the name of the function, and what it is given, as texts.
    ``poll`` is called ten times a second, and ends the process by raising; ``progress`` with every line of
    progress: text, done, in all; ``broke`` is the sentence for a process that ended without a word.

    Returns what the function did, as JSON can hold it.

    StemError: what it raised, in its own words.
    """
    command = [sys.executable, "-m", "napari_stem.own_process", module, *arguments]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as complaints,
        subprocess.Popen(  # noqa: S603 - our own module, arguments as a list
            command, stdout=subprocess.PIPE, stderr=complaints, stdin=subprocess.DEVNULL, text=True
        ) as process,
    ):
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True).start()
        result: Any = None
        try:
            while True:
                poll()
                try:
                    line = lines.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                if line is None:
                    break
                said = json.loads(line)
                if "error" in said:
                    raise StemError(said["error"])
                if "result" in said:
                    result = said["result"]
                else:
                    progress(*said["progress"])
            if process.wait() != 0:
                complaints.seek(0)
                logger.error("A process of ours broke (%s):\n%s", broke, complaints.read())
                raise StemError(broke)
            return result
        finally:
            process.kill()


def main(module: str, function: str, *arguments: str) -> int:
    """Be the process: do the work, say how far it is and what came of it, and return an exit status."""
    warnings.simplefilter("ignore")  # of the libraries' own making; nobody reads them here
    try:
        with redirect_stdout(sys.stderr):  # libraries log to stdout, which is ours
            work = getattr(import_module(module), function)
            result = work(*arguments, lambda *how_far: _say({"progress": how_far}))
    except StemError as error:
        _say({"error": str(error)})
        return 1
    if result is not None:
        _say({"result": result})
    return 0


def _say(what: dict[str, object]) -> None:
    channel = sys.__stdout__
    if channel is not None:
        channel.write(json.dumps(what) + "\n")
        channel.flush()


def _read_lines(stream: IO[str] | None, lines: queue.Queue[str | None]) -> None:
    for line in stream or ():
        lines.put(line)
    lines.put(None)


if __name__ == "__main__":
    status = main(*sys.argv[1:])
    gc.freeze()  # else Python looks through all of the libraries before it ends, half a second, for nothing
    sys.exit(status)
