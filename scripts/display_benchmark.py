"""Time what a person waits for when looking at slides in napari: opening, panning, zooming.

    python scripts/make_big_slide.py FOLDER
    xvfb-run -a -s "-screen 0 1600x1000x24" python scripts/display_benchmark.py FOLDER/big.*

Every slide is opened in a process and a real window of its own, after the small slide of the tests, to
which all is compared; first with an empty cache, then again. A step ends when its picture has been
drawn and read back from the canvas; ``redraw`` is what that costs when nothing has changed. Prints a
table, or with ``--json`` one JSON object.

With ``--cold``, each slide is the first of a process, and the others follow in it; before them, napari
alone shows a plain image of a few pixels, twice: what that takes, no slide can do without.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import napari

SMALL = Path(__file__).parents[1] / "tests" / "data" / "slides" / "CMU-1-Small-Region.svs"
WINDOW_PX = (1280, 800)
N_STEPS = 24
PAN_SHARE = 0.25  # of the visible width
ZOOM_STEP = 1.25
LIMIT_S = 120
MANY_COLOURS = 300
COLUMNS = ("returned_s", "picture_s", "whole_s", "longest_ms", "open_mb", "peak_mb")


def memory_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def draw(viewer: napari.Viewer) -> Any:
    """Let the window do all it has to, and give its canvas: (h, w, 4)."""
    from qtpy.QtWidgets import QApplication

    QApplication.processEvents()
    return viewer.screenshot(canvas_only=True, flash=False)


def shows_tissue(canvas: Any) -> bool:
    """Whether a picture has come, and not only the ground on which it will be."""
    return len(np.unique(canvas[::4, ::4, :3].reshape(-1, 3), axis=0)) > MANY_COLOURS


def opened(viewer: napari.Viewer, path: Path) -> Any:
    """Open as napari does where it has asked us; its layer."""
    from napari.layers import Layer

    from napari_stem.widgets.slide.reading import get_reader

    (data,) = get_reader(str(path))(str(path))
    return viewer.add_layer(Layer.create(*data))


def open_timed(viewer: napari.Viewer, path: Path) -> dict[str, float]:
    """Open as File > Open does; seconds until napari has returned, a picture is seen, all is there."""
    from qtpy.QtWidgets import QApplication

    before = memory_mb()
    start = last = time.perf_counter()
    layer = opened(viewer, path)
    returned = time.perf_counter() - start
    while not shows_tissue(draw(viewer)):
        if time.perf_counter() - start > LIMIT_S:
            sys.exit(f"{path.name}: no picture after {LIMIT_S} s")
    picture = time.perf_counter() - start
    slide, longest = layer.metadata["napari_stem"]["slide"], 0.0
    while True:
        last = time.perf_counter()
        QApplication.processEvents()
        longest = max(longest, time.perf_counter() - last)
        if slide.is_complete:
            break
        time.sleep(0.005)
    draw(viewer)
    return {
        "returned_s": returned,
        "picture_s": picture,
        "whole_s": time.perf_counter() - start,
        "longest_ms": longest * 1000,
        "open_mb": memory_mb() - before,
    }


def pans(viewer: napari.Viewer, zoom: float) -> Iterator[Callable[[], None]]:
    """Give steps across the middle of the slide at one magnification."""
    camera = viewer.scene.camera
    low, high = viewer.layers[0].extent.world
    camera.zoom = zoom
    step = PAN_SHARE * viewer.canvas.size[1] / zoom
    y, x = (low + high) / 2
    for number in range(N_STEPS):
        place = (0, y, low[1] + (x - low[1] + number * step) % (high[1] - low[1]))
        yield lambda place=place: setattr(camera, "center", place)


def zooms(viewer: napari.Viewer, fit: float) -> Iterator[Callable[[], None]]:
    """Give steps from the whole slide to its pixels."""
    camera = viewer.scene.camera
    for number in range(N_STEPS):
        yield lambda zoom=fit * ZOOM_STEP**number: setattr(camera, "zoom", zoom)


def steps_timed(viewer: napari.Viewer, steps: Iterator[Callable[[], None]]) -> dict[str, float]:
    """Median and 95th percentile of steps, in ms."""
    taken = []
    for step in steps:
        start = time.perf_counter()
        step()
        draw(viewer)
        taken.append(1000 * (time.perf_counter() - start))
    return {"median_ms": float(np.median(taken)), "p95_ms": float(np.percentile(taken, 95))}


def look(path: Path) -> dict[str, Any]:
    """Open a slide in a window and look about."""
    import napari

    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window.resize(*WINDOW_PX)
    open_timed(viewer, SMALL)  # libraries are loaded once per session
    viewer.layers.clear()
    draw(viewer)
    told: dict[str, Any] = open_timed(viewer, path)
    viewer.reset_view()
    draw(viewer)
    before, fit = memory_mb() - told["open_mb"], viewer.scene.camera.zoom
    told["redraw"] = steps_timed(viewer, iter([lambda: None] * N_STEPS))
    told["zoom"] = steps_timed(viewer, zooms(viewer, fit))
    for name, zoom in (("pan whole", fit * 2), ("pan 5x", 0.5), ("pan 20x", 2.0)):  # px per um
        told[name] = steps_timed(viewer, pans(viewer, zoom))
    told["peak_mb"] = memory_mb() - before
    viewer.close()
    return told


def seen(viewer: napari.Viewer, add: Callable[[], Any]) -> dict[str, float]:
    """Seconds, of the clock and of the processor, from a call until a picture is seen; MB that it took."""
    memory, wall, cpu = memory_mb(), time.perf_counter(), time.process_time()
    add()
    while not shows_tissue(draw(viewer)):
        if time.perf_counter() - wall > LIMIT_S:
            sys.exit(f"no picture after {LIMIT_S} s")
    told = {"picture_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    return told | {"more_mb": memory_mb() - memory, "in_all_mb": memory_mb()}


def cold(paths: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Open slides one after the other, the first of them as the first of this process."""
    import napari

    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window.resize(*WINDOW_PX)
    for _ in range(5):
        draw(viewer)
    told = {"window alone": {"in_all_mb": memory_mb()}}
    plain = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    steps = [(name, lambda: viewer.add_image(plain)) for name in ("plain image", "plain again")]
    steps += [(path.name, lambda path=path: opened(viewer, path)) for path in paths]
    for name, add in steps:
        told[name] = seen(viewer, add)
        viewer.layers.clear()
        draw(viewer)
    viewer.close()
    return told


def in_child(paths: Sequence[Path], cache: str, mode: str = "--child") -> dict[str, Any]:
    """Look at slides in a process of its own."""
    environment = {**os.environ, "NAPARI_STEM_CACHE": cache}
    command = [sys.executable, __file__, mode, *map(str, paths)]
    done = subprocess.run(  # noqa: S603  (this script itself)
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def table(results: dict[str, dict[str, Any]]) -> str:
    """Lay out the results; times also as multiples of the first row's."""
    lines, first = [], next(iter(results.values()))
    for name, told in results.items():
        lines.append(name)
        lines.append("  " + ", ".join(f"{column} {told[column]:.3g}" for column in COLUMNS))
        for step, times in told.items():
            if isinstance(times, dict):
                share = times["median_ms"] / first[step]["median_ms"]
                lines.append(
                    f"  {step:10} median {times['median_ms']:6.0f} ms, 95% {times['p95_ms']:6.0f} ms "
                    f"({share:.1f} times the small slide's)"
                )
    return "\n".join(lines)


def cold_table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Lay out what ``cold`` found, one line for each step."""
    lines = []
    for name, told in results.items():
        lines.append(name)
        for step, numbers in told.items():
            words = ", ".join(f"{column} {value:.3g}" for column, value in numbers.items())
            lines.append(f"  {step:14} {words}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slides", type=Path, nargs="*")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--cold-child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child or options.cold_child:
        print(json.dumps(look(options.slides[0]) if options.child else cold(options.slides)))
        return
    slides = [path.resolve() for path in options.slides]
    results = {}
    with tempfile.TemporaryDirectory() as cache:
        if options.cold:
            for first in slides:
                others = [path for path in slides if path != first]
                told = in_child([first, *others], cache, "--cold-child")
                results[f"{first.name} first"] = told
        else:
            for path in (SMALL, *slides):
                for when in ("first", "again"):
                    results[f"{path.name}, {when}"] = in_child([path], cache)
    if options.json:
        print(json.dumps(results))
    else:
        print(cold_table(results) if options.cold else table(results))


if __name__ == "__main__":
    main()
