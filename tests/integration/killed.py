"""Kill jobs at one of their writes, look at what is left, let them go on.

Call it as ``python killed.py FOLDER '{JOB: [SOURCE, N]}'``.

Every opening for writing, renaming, removing in FOLDER counts; the writes at which it dies are drawn by a seed.
Prints, as JSON, for each kill of each job: at which of how many writes, and whether the end is that of an
undisturbed run.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stem.encoders.networks import import_timm
from napari_stem.exporting.options import ExportOptions
from napari_stem.exporting.selection import Selection
from napari_stem.exporting.spreadsheet import write_csv
from napari_stem.exporting.table import write_anndata
from napari_stem.geometry import SizePx, lattice
from napari_stem.prediction_job import predict_slide
from napari_stem.results import Prediction
from napari_stem.settings import SamplingSettings
from napari_stem.slide import open_slide
from napari_stem.slide.scale_check import known_check
from napari_stem.training.fit import TrainingOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable

SLIDE = Path(__file__).parents[1] / "data" / "slides" / "CMU-1-Small-Region.svs"
WRITING = os.O_WRONLY | os.O_RDWR
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}


def predict(out: Path, source: Path) -> None:
    """Six spots of ``SLIDE``, by the model in a folder, in blocks of two."""
    with open_slide(SLIDE) as slide:
        spots = lattice(SizePx(1200, 800), slide.require_mpp(), 200)
        settings = SamplingSettings(n_draws=2, n_steps=2, spots_per_block=2, device="cpu")
        predict_slide(
            slide, out, model=source, spots=spots, settings=settings, resume=True, progress=False
        )


def fit(out: Path, source: Path) -> None:
    """A small model, with a checkpoint after every step."""
    genes = source.parent / "genes.txt"
    options = TrainingOptions(
        genes=str(genes), steps=4, batch=16, hold_out=("C3",), checkpoint_minutes=0.0, name="m",
        resume=True, device="cpu",
    )  # fmt: skip
    if not (out / "config.json").exists():
        train(source, out, options, False)


def export(out: Path, source: Path) -> None:
    """Table and spreadsheet, over earlier ones."""
    out.mkdir(exist_ok=True)
    selection = Selection.of(Prediction.open(source))
    write_anndata(selection, out / "a.zarr", ExportOptions(overwrite=True))
    write_csv(selection, out / "a.csv", ExportOptions(overwrite=True))


def digest(out: Path) -> str:
    """Of every file that has values in it."""
    digest = hashlib.sha256()
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        if path.name in {"zarr.json"} or "logs" in path.parts:  # dates and times
            continue
        digest.update(str(path.relative_to(out)).encode() + path.read_bytes())
    return digest.hexdigest()


def sound(job: str, out: Path) -> None:
    """What is there after a kill can be opened."""
    if job == "predict" and out.exists():
        Prediction.open(out).to_anndata()
    if job == "export":
        for path in out.glob("a.zarr"):
            Prediction.open(path).to_anndata()


JOBS: dict[str, Callable[[Path, Path], None]] = {"predict": predict, "train": fit, "export": export}


def forked(function: Callable[[], Any]) -> int:
    """Call something in a child; how that ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def counting(folder: Path, last: int | None, total: Path) -> None:
    """From here on count writes; die at the last."""
    n, prefix = 0, str(folder)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal n
        is_write = event in CHANGES or (event == "open" and (args[2] or 0) & WRITING)
        if (
            not is_write
            or not isinstance(args[0], (str, Path))
            or not str(args[0]).startswith(prefix)
        ):
            return
        n += 1
        if n == last:
            os.kill(os.getpid(), signal.SIGKILL)
        if last is None:
            os.write(counter, b".")

    counter = os.open(total, os.O_WRONLY | os.O_CREAT)
    sys.addaudithook(hook)


# loaded once, not in every child
HEAVY = (
    "dask.array", "anndata", "zarr", "scipy.ndimage", "scipy.stats", "skimage.measure", "skimage.filters",
    "sklearn.decomposition", "sklearn.linear_model", "onnxruntime", "safetensors.torch",
    "napari_stem.encoders.bundled", "napari_stem.training.recipe",
)  # fmt: skip


def main() -> None:
    for module in HEAVY:
        importlib.import_module(module)
    import_timm()
    with open_slide(SLIDE) as slide:
        known_check(slide)  # measured once, too
    gc.freeze()  # no child looks through what all of them share, which would copy its memory
    folder = Path(sys.argv[1])
    jobs = json.loads(sys.argv[2]).items()
    told = {name: kills(name, folder / name, Path(source), n) for name, (source, n) in jobs}
    sys.stdout.write(json.dumps(told))


def kills(name: str, folder: Path, source: Path, n_kills: int) -> list[list[Any]]:
    """Run one job undisturbed, then kill it so many times."""
    job, rng = JOBS[name], random.Random(0)  # noqa: S311
    total = folder.parent / f"{name}-writes"

    def place(number: int) -> Path:
        out = folder / str(number) / "out.zarr"
        out.parent.mkdir(parents=True)
        if name == "export":  # there is something to lose
            export(out, source)
        return out

    def whole() -> None:
        out = place(0)
        counting(out.parent, None, total)
        job(out, source)

    if forked(whole) != 0:
        sys.exit(f"the undisturbed {name} failed")
    told, wanted, n_writes = [], digest(folder / "0"), total.stat().st_size
    for number in range(1, n_kills + 1):
        last, out = rng.randint(1, n_writes), folder / str(number) / "out.zarr"

        def killed(number: int = number, last: int = last) -> None:
            out = place(number)
            counting(out.parent, last, total)
            job(out, source)

        ended = forked(killed)
        is_sound = forked(lambda out=out: sound(name, out)) == 0
        goes_on = forked(lambda out=out: job(out, source)) == 0
        told.append(
            [
                last,
                n_writes,
                ended == -signal.SIGKILL,
                is_sound,
                goes_on,
                digest(out.parent) == wanted,
            ]
        )
    return told


if __name__ == "__main__":
    main()
