"""When and where Python collects garbage while there is a window.

*Where.* Python collects in whichever thread has just made the most objects, and destroys there what it finds:
an object of Qt's with a timer, or a texture whose end is noted in the list that the window draws from. Both
crash, rarely and anywhere (napari issue 1029). Our threads make many objects, so that, once there are
background jobs, only a timer of the window's own thread collects, as is done in calibre and pyqtgraph. This
stays so until the program ends: what a closed panel leaves behind is garbage too.

*How much.* napari collects all garbage whenever a layer is removed, so that what the graphics card held is
given back at once. With torch and its like loaded, a million objects are looked through for it, and the window
stands still for half a second to several. `gc.freeze` moves all objects that there are out of every later
collection, without looking at them; layers made afterwards are still collected as napari means it. What was
frozen and is thrown away later (a slide) is found once `thaw` has been called.
"""

from __future__ import annotations

import atexit
import gc
import sys
from functools import cache

from qtpy.QtCore import QCoreApplication, QThreadPool, QTimer

MANY_MODULES = 150  # so many new ones since the last time: a large library was loaded
LONGEST_WAIT_MS = 3000  # for threads, when the window has closed
LAST_WAIT_MS = 60_000  # the same, before Python ends
OLDEST = 2  # generation


# all for the whole process, as collection is
_collectors: list[QTimer] = []  # at most one
_thresholds: list[int] = []  # Python's own, of each generation
_n_modules = [0]  # when all was frozen last; 0: nothing is frozen


def collect_on_gui_thread() -> None:
    """Have garbage collected on the thread of the window alone; called there.

    Does nothing where that is so already, whoever has seen to it, or where there is no application.
    """
    application = QCoreApplication.instance()
    if application is None or not gc.isenabled() or not gc.get_threshold()[0]:
        return
    _thresholds[:] = gc.get_threshold()
    gc.set_threshold(0)  # never; what `gc.disable` does ends with the next slice of a dask array
    collector = QTimer(application)
    collector.timeout.connect(collect_what_is_due)
    collector.start(200)
    application.aboutToQuit.connect(_end)
    _collectors[:] = [collector]


def let_python_collect() -> None:
    """Have garbage collected by whichever thread it falls to again, as without a window."""
    while _collectors:
        collector = _collectors.pop()
        collector.stop()
        collector.deleteLater()
        gc.set_threshold(*_thresholds)


@cache  # once, however many docks there are
def wait_at_exit() -> None:
    """Give threads the time to end before Python does, with Qt's loop or without; called once zarr is loaded.

    What Python does at its very end comes in reverse order. Zarr stops the loop that its readers wait for: a
    thread that is still reading would wait for ever, and Qt for the thread.
    """
    atexit.register(QThreadPool.globalInstance().waitForDone, LAST_WAIT_MS)


def _end() -> None:
    """Give threads the time to end; what they were asked for is no longer wanted by now."""
    QThreadPool.globalInstance().waitForDone(LONGEST_WAIT_MS)
    let_python_collect()


def collect_what_is_due() -> None:
    """Collect the oldest generation whose time has come by Python's own thresholds."""
    counts = zip(gc.get_count(), _thresholds, strict=True)
    due = [generation for generation, (count, most) in enumerate(counts) if 0 < most < count]
    if due[:1] == [0]:  # only then does Python look at the older ones
        if due[-1] == OLDEST:
            spare_libraries()
        gc.collect(due[-1])


def spare_libraries() -> None:
    """Leave out of later collections what there is by now, where a large library was loaded."""
    if len(sys.modules) - _n_modules[0] > MANY_MODULES:
        _n_modules[0] = len(sys.modules)
        gc.freeze()


def thaw() -> None:
    """Let the next collection look at everything again."""
    _n_modules[0] = 0
    gc.unfreeze()
