"""Analyses in a process of their own.

Some of their steps hold Python's lock for seconds, so a thread would freeze the window, and none of them can
be asked to stop. A process freezes nothing, and is ended at once when its user has enough.
"""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import sys
import tempfile
import threading
from typing import IO, TYPE_CHECKING

from napari_stem.errors import StemError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

POLL_S = 0.1
logger = logging.getLogger(__name__)


def run_apart(
    arguments: Sequence[str],
    is_stopped: Callable[[], bool],
    told: Callable[[str, int, int], None],
) -> bool:
    """Run ``python -m napari_stem.spatial_analysis ARGUMENTS`` and pass on what it tells.

    Parameters
    ----------
    arguments
        As `napari_stem.spatial_analysis.__main__` reads them.
    is_stopped
        Asked ten times a second; ends the process.
    told
        Called with every line of progress: text, done, in all.

    Returns
    -------
    Whether it came to its end; False where it was stopped.

    Raises
    ------
    StemError
        What it raised, in its own words.
    """
    command = [sys.executable, "-m", "napari_stem.spatial_analysis", *arguments]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as complaints,
        subprocess.Popen(  # noqa: S603 - our own module, arguments as a list
            command, stdout=subprocess.PIPE, stderr=complaints, stdin=subprocess.DEVNULL, text=True
        ) as process,
    ):
        try:
            return _follow(process, is_stopped, told, complaints)
        finally:
            if process.poll() is None:
                process.kill()


def _follow(
    process: subprocess.Popen[str],
    is_stopped: Callable[[], bool],
    told: Callable[[str, int, int], None],
    complaints: IO[str],
) -> bool:
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True).start()
    while not is_stopped():
        try:
            line = lines.get(timeout=POLL_S)
        except queue.Empty:
            continue
        if line is None:
            break
        said = json.loads(line)
        if "error" in said:
            raise StemError(said["error"])
        told(*said["progress"])
    else:
        return False
    if process.wait() != 0:
        complaints.seek(0)
        logger.error("A spatial analysis broke:\n%s", complaints.read())
        raise StemError(
            "The spatial analysis broke down, perhaps for want of memory; napari's log says more."
        )
    return True


def _read_lines(stream: IO[str] | None, lines: queue.Queue[str | None]) -> None:
    for line in stream or ():
        lines.put(line)
    lines.put(None)
