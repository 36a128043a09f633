"""Reads of a DICOM slide in a process of its own before it is read in this one.

OpenSlide (4.0.1) does not survive some damaged DICOM headers: reading ends the process, with all that
the user had open in it. A child that does not come back tells of such a file.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from napari_stem.errors import SlideError

if TYPE_CHECKING:
    from pathlib import Path

TIME_S = 60
STOPPED_BY_SIGNAL = -1  # exit codes from here down, as POSIX tells them; Windows tells huge ones
LARGEST_EXIT = 255
CODE = """
import sys, openslide
with openslide.OpenSlide(sys.argv[1]) as slide:
    for level, (width, height) in enumerate(slide.level_dimensions):
        factor = slide.level_downsamples[level]
        for y in (0.0, 0.3, 0.5, 0.7, 0.99):
            for x in (0.0, 0.3, 0.5, 0.7, 0.99):
                place = int(x * width * factor), int(y * height * factor)
                try:
                    slide.read_region(place, level, (64, 64))
                except openslide.OpenSlideError:
                    sys.exit(0)  # refused in words: here too
    for name in slide.associated_images:
        slide.associated_images[name]
"""


def refuse_fatal(path: Path) -> None:
    """Refuse a DICOM file that OpenSlide would crash on.

    Parameters
    ----------
    path
        One file of the slide.

    Raises
    ------
    SlideError
        A child process that read places all over the slide crashed or hung.
    """
    try:
        code = subprocess.run(  # noqa: S603  (our own code, the path is an argument)
            [sys.executable, "-I", "-c", CODE, str(path)],
            check=False,
            timeout=TIME_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).returncode
    except subprocess.TimeoutExpired:
        code = STOPPED_BY_SIGNAL
    except OSError:  # no process can be started here: as without this check
        return
    if code <= STOPPED_BY_SIGNAL or code > LARGEST_EXIT:
        msg = (
            f"{path.name} is damaged in a way that OpenSlide does not survive; copy or export it "
            f"again."
        )
        raise SlideError(msg)
