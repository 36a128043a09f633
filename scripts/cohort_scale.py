"""What a cohort costs: memory of a worker, what a second worker gains, bytes and chunks of a gene, codecs.

    python scripts/make_big_slide.py FOLDER
    python scripts/cohort_scale.py FOLDER/big.tif [--tasks 6] [--genes 5000] [--draws 20]

Prints the tables of docs/scale.md. The slide of 100,000 spots is made (of repeated tissue), and so
is the model of many genes (the packaged one, whose genes are repeated); encoder, draws and files are real.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_stem.settings import CACHE_VARIABLE

N_SPOTS = 100_000


def wide_model(folder: Path, n_genes: int) -> Path:
    """Write the packaged model with so many genes, its own again and again."""
    from napari_stem.model import load_model

    model = load_model()
    n = len(model.genes)
    names = [f"{model.genes[i % n]}-{i // n}" for i in range(n_genes)]
    model.head = model.head.of_genes(np.append(np.arange(n_genes) % n, n))  # the last is depth
    model.config = replace(model.config, genes=tuple(names), name="wide", card={})
    model.save(folder)
    return folder


def in_process(function: Any, *arguments: Any) -> Any:
    """Call in a fresh process, whose memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def memory(
    slide: Path, model: Path, out: Path, n_tasks: int, n_draws: int
) -> list[tuple[str, float, float]]:
    """Begin a slide and fill some of it; gives (what, seconds, highest memory until then in MB)."""
    from napari_stem.cohort import work
    from napari_stem.cohort.orders import Order
    from napari_stem.settings import SamplingSettings
    from napari_stem.slide import open_slide

    settings = SamplingSettings(n_draws=n_draws, device="cpu")
    with open_slide(slide) as opened:
        area_um2 = float(
            np.prod(
                [opened.size.width_px * opened.mpp.x_um, opened.size.height_px * opened.mpp.y_um]
            )
        )
    order = Order(
        slide=slide,
        out=out,
        model=str(model),
        settings=settings,
        whole_slide=True,
        pitch_um=(area_um2 / N_SPOTS) ** 0.5,
    )
    rows: list[tuple[str, float, float]] = []

    def note(what: str, began: float) -> None:
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append((what, time.monotonic() - began, peak_mb))

    note("imports", time.monotonic())
    now = time.monotonic()
    known, todo = work.create(order)
    note(f"begin: {known['n_spots']:,} spots", now)
    half = n_tasks // 2
    for start, stop in (*todo[:half], *todo[half - n_tasks :]):
        now = time.monotonic()
        work.fill(order, "scale", start, stop)
        note(f"fill {start:,} to {stop:,}", now)
    return rows


def bytes_of(out: Path) -> dict[str, float]:
    """Count bytes a spot and gene of what was filled, by array."""
    from napari_stem.results import Prediction

    prediction = Prediction.open(out)
    n = int(prediction.done.sum()) * len(prediction.genes)
    arrays = ("X", "layers/sd", "layers/q05", "layers/q95")
    sizes = {
        name: sum(each.stat().st_size for each in (out / name / "c").rglob("*") if each.is_file())
        for name in arrays
    }
    return {name: size / n for name, size in sizes.items()} | {"all": sum(sizes.values()) / n}


def one_gene(out: Path) -> tuple[int, int, float]:
    """Read one gene's mean at every spot; gives files read, files there, and seconds."""
    from napari_stem.results import Prediction

    opened: set[str] = set()
    there = sum(each.is_file() for each in (out / "X" / "c").rglob("*"))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and "/X/c/" in str(arguments[0]):
            opened.add(str(arguments[0]))

    prediction = Prediction.open(out)
    sys.addaudithook(hook)
    began = time.monotonic()
    prediction.values(prediction.genes[0])
    return sum(Path(each).is_file() for each in opened), there, time.monotonic() - began


def codecs(out: Path) -> list[tuple[str, str, float, float, float]]:
    """Write the means that were filled in other ways; gives a row for `say` of each."""
    import zarr
    from zarr.codecs import BloscCodec, ZstdCodec

    from napari_stem.results import Prediction

    prediction = Prediction.open(out)
    values = prediction.rows(np.flatnonzero(prediction.done))
    kinds = {
        "none": None,
        "zstd 1": ZstdCodec(level=1),
        "zstd 5": ZstdCodec(level=5),
        "blosc zstd 3, bytes shuffled": BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
        "blosc lz4 5, bytes shuffled": BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
    }
    rows = []
    for name, codec in kinds.items():
        for chunk in ((256, 625), (256, 64), (64, 2500)):
            with tempfile.TemporaryDirectory() as folder:
                began = time.monotonic()
                array = zarr.create_array(
                    folder, shape=values.shape, dtype="f4", chunks=chunk, overwrite=True,
                    compressors=codec,
                )  # fmt: skip
                array[:] = values
                written = time.monotonic()
                _ = array[:, 7]
                size = sum(
                    each.stat().st_size for each in Path(folder).rglob("c/**/*") if each.is_file()
                )
                rows.append(
                    (name, f"{chunk[0]} x {chunk[1]}", size / values.size, 1e3 * (written - began),
                     1e3 * (time.monotonic() - written))
                )  # fmt: skip
    return rows


def workers(folder: Path, n_cores: int, n_workers: int, n_slides: int) -> tuple[float, float, int]:
    """Run the command on copies of the packaged slide; gives wall seconds, those of tasks, and spots."""
    from napari_stem.sample_data import sample_path
    from napari_stem.slide import open_slide

    manifest, out = folder / "slides.csv", folder / f"by-{n_workers}-on-{n_cores}"
    with open_slide(
        sample_path()
    ) as slide:  # each a bit larger: no copy finds another's embeddings
        sizes = [slide.require_mpp().x_um * (1 + number / 1000) for number in range(n_slides)]
    lines = [f"{sample_path()},{size},{number}" for number, size in enumerate(sizes)]
    manifest.write_text("\n".join(["slide,mpp,out", *lines]))
    command = ["-W", "ignore", "-m", "napari_stem", "predict", manifest, "--out", out, "--json"]
    options = ["--workers", str(n_workers), "--pitch", "100", "--device", "cpu"]
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:n_cores])
    os.environ[CACHE_VARIABLE] = str(folder / f"cache-{out.name}")
    began = time.monotonic()
    said = subprocess.run([sys.executable, *command, *options], check=True, capture_output=True)  # noqa: S603
    os.sched_setaffinity(0, cores)
    wall_s, rows = time.monotonic() - began, json.loads(said.stdout)["slides"]
    return wall_s, sum(row["seconds"] for row in rows), sum(row["n_done"] for row in rows)


def say(columns: str, rows: list[tuple[Any, ...]]) -> None:
    """Print a table of Markdown."""
    names = columns.split(", ")
    sys.stdout.write(f"\n| {' | '.join(names)} |\n|{' --- |' * len(names)}\n")
    for row in rows:
        cells = [f"{cell:,.3g}" if isinstance(cell, float) and cell < 100 else
                 f"{cell:,.0f}" if isinstance(cell, float) else str(cell) for cell in row]  # fmt: skip
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=Path, help="big.tif of make_big_slide.py")
    parser.add_argument("--tasks", type=int, default=6, help="how many are filled")
    parser.add_argument("--slides", type=int, default=4, help="how many for the workers")
    parser.add_argument("--genes", type=int, default=5000, help="of the made model")
    parser.add_argument("--draws", type=int, default=20, help="samples a spot")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ[CACHE_VARIABLE] = str(folder / "cache")  # empty: all is looked at
        out, model = folder / "big.zarr", in_process(wide_model, folder / "wide", args.genes)
        rows = in_process(memory, args.slide, model, out, args.tasks, args.draws)
        say("one worker, s, highest MB so far", rows)
        say("array, bytes a spot and gene", list(bytes_of(out).items()))
        say("files read, files there, s", [one_gene(out)])
        say("codec, chunk, bytes a value, ms to write, ms to read a gene", codecs(out))
        kinds = ((1, 1), (2, 1), (2, 2))
        say(
            "cores, workers, s, s of tasks, spots",
            [(*n, *workers(folder, *n, args.slides)) for n in kinds],
        )


if __name__ == "__main__":
    main()
