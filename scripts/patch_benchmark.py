"""How fast patches are read, against OpenSlide, tiffslide, plain dask and the bare decoding of the tiles.

    python scripts/patch_benchmark.py --patches 10000

Writes three slides of 40,960 x 40,960 px (1.6 GB in all) from the pixels of a real one (CMU-1-Small-Region,
repeated): SVS with JPEG, SVS with JPEG 2000, OME-TIFF with JPEG. Each reader then reads the same patches in a
process of its own, in batches of 256 into one array as for an encoder, with as many threads as the others.
OpenSlide, tiffslide and dask hand over the windows that we would read, and Pillow's resampling follows.
"decode" decodes every tile that the patches touch once and does nothing else; "resample" is our reading
without any decoding. A tile is decoded once for all patches that show it, but its pixels are resampled for
each of them.
Memory is the peak of the process, libraries included. The last column is the mean difference in grey values
from our patches.

OpenSlide reads no OME-TIFF as such: it opens the file as a plain tiled TIFF and sees its finest level only.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from patch_readers import BEGIN, READERS, prepared, read_batches
from patch_slides import FORMATS, VIEWS_UM, Task, overlap, slide_path

N_COMPARED = 64


def measure(reader: str, task: Task, kept: Path) -> dict[str, float]:
    """Read all patches in this process; the first batch is left beside the slide, to be compared."""
    read = BEGIN[reader](task)
    out = prepared(read, task)
    first = None
    begin, begin_cpu = time.perf_counter(), time.process_time()
    for patches in read_batches(read, task.n_patches, out):
        first = patches[:N_COMPARED].copy() if first is None else first
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - begin_cpu
    if first is not None:
        np.save(kept, first)
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """Peak memory of this process; what getrusage says begins with the peak of the parent."""
    status = Path("/proc/self/status")
    if status.exists():
        found = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(found["VmHWM"].split()[0]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def measured_apart(reader: str, task: Task, kept: Path) -> dict[str, Any]:
    """Measure in a new process; a reader that fails says why."""
    options = {
        "--one": reader,
        "--slide": task.path,
        "--view": task.view,
        "--patches": task.n_patches,
        "--threads": task.threads,
        "--keep": kept,
    }
    arguments = [str(text) for pair in options.items() for text in pair]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603 (this script)
        [sys.executable, __file__, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:90]}
    return dict(json.loads(done.stdout))


def compare(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure all, several times in turn; the fastest time of each counts."""
    rows = []
    for kind in args.formats:
        path = slide_path(folder, kind)
        for view in args.views:
            task = Task(path, view, args.patches, args.threads)
            best: dict[str, dict[str, Any]] = {}
            for _ in range(args.repeat):
                for reader in args.readers:
                    found = measured_apart(reader, task, folder / f"{reader}.npy")
                    if found.get("seconds", 0) <= best.get(reader, found).get("seconds", 0):
                        best[reader] = found
            rows.extend(table(kind, view, args.patches, best, folder))
    return rows


HEADING = f"{'':12} patches/s   seconds   of decode     CPU s   of decode   peak MB   differs by"


def table(
    kind: str, view: str, n: int, best: dict[str, dict[str, Any]], folder: Path
) -> list[dict[str, Any]]:
    """Rows of one slide and view, with ratios within them; printed as well."""
    bare = best.get("decode", {})
    own = folder / "napari-stem.npy"
    rows = []
    per_pixel = overlap(n, view)
    print(f"\n{kind}, {view}; a pixel lies in {per_pixel:.1f} patches\n{HEADING}")
    for reader, found in best.items():
        row: dict[str, Any] = {"format": kind, "view": view, "reader": reader, **found}
        row["patches_per_pixel"] = per_pixel
        if "error" in found:
            print(f"{reader:12} {found['error']}")
        else:
            row["patches_per_s"] = n / found["seconds"]
            for unit in ("seconds", "cpu_seconds"):
                row[f"{unit}_of_decode"] = found[unit] / bare.get(unit, math.nan)
            if reader not in {"decode", "resample"} and own.exists():
                ours_, theirs = (np.load(folder / f"{r}.npy") for r in ("napari-stem", reader))
                row["differs_by"] = float(np.abs(ours_.astype(float) - theirs).mean())
            print(
                f"{reader:12} {row['patches_per_s']:9.0f} {row['seconds']:9.2f} "
                f"{row['seconds_of_decode']:11.2f} {row['cpu_seconds']:9.2f} "
                f"{row['cpu_seconds_of_decode']:11.2f} {row['peak_mb']:9.0f} "
                f"{row.get('differs_by', 0):12.3f}"
            )
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patches", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    parser.add_argument("--views", nargs="+", default=list(VIEWS_UM), choices=list(VIEWS_UM))
    parser.add_argument("--readers", nargs="+", default=READERS, choices=READERS)
    parser.add_argument("--folder", type=Path, help="keep the slides here for the next time")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as well")
    parser.add_argument("--one", choices=READERS, help=argparse.SUPPRESS)
    for hidden in ("--slide", "--keep"):
        parser.add_argument(hidden, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--view", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        task = Task(args.slide, args.view, args.patches, args.threads)
        print(json.dumps(measure(args.one, task, args.keep)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = compare(args, folder)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
