"""Analyses in a process of their own.

Some of their steps hold Python's lock for seconds, so a thread would freeze the window, and none of them can
be asked to stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.own_process import run_module

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BROKE = "The spatial analysis broke down, perhaps for want of memory; napari's log says more."


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
    module = "napari_stem.spatial_analysis"
    return run_module(module, arguments, is_stopped, told, BROKE) is not None
