"""Give every reader damaged and hostile files, and count what comes of it.

    python scripts/fuzz.py [--seconds 60] [--first SEED] [--reader NAME]

The same seed makes the same input. Inputs are read in child processes: a traceback, a crash, more than 10 s
or more than 1 GB for one input is a failure. Prints a table and each failure with its seed, and exits with 1 if
there is any; ``--reader NAME --first SEED --seconds 0`` repeats one.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"
sys.path[:0] = [str(ROOT / "tests" / "unit" / room) for room in ("slide", "spatial")]
from damage import damaged, opened_and_read  # noqa: E402
from space_ranger_folders import visium_run  # noqa: E402
from vendor_files import write_bif, write_ndpi, write_philips, write_scn, write_vms  # noqa: E402

MOST_S, MOST_BYTES = 10, 10**9
STARTING_S = 120  # a child imports torch, squidpy and more
KINDS = ("header", "any", "cut", "text", "text", "lost")
TEXTS = {".json", ".geojson", ".csv", ".txt", ".tsv", ".vms"}
SVS = DATA / "slides" / "CMU-1-Small-Region.svs"
HOSTILE = (
    b"NaN", b"-1", b"0", b"1e400", b"-1e308", b"9" * 400, b"100000000", b"null", b"true", b'""', b"{}",
    b"[]", b'"a\\u0000b"', b'"\x1b[2J"', b'"=1+1"', b"[" * 100_000, b'"' + b"x" * 100_000 + b'"',
    b"\xff\xfe", b"\xef\xbb\xbf", b"\n\n", b"\x00", b'"../../../etc/passwd"', b'"hf://nobody/nothing"',
)  # fmt: skip


def make_sound(folder: Path) -> None:
    """Write one sound input for each reader, named as the reader is."""
    _make_slides(folder)
    _make_tables(folder)
    _make_sections(folder)
    _make_models(folder)


def _make_slides(folder: Path) -> None:
    """Write slides; those of several files as folders, of which ``_read_slide`` knows what to open."""
    import numpy as np
    import tifffile
    import zarr
    from PIL import Image

    crop = Image.open(DATA / "slides" / "C5-crop.jpg").crop((0, 0, 256, 192))
    shutil.copy(SVS, folder / "slide-svs.svs")
    for ending in ("jpg", "png", "webp", "jp2"):
        crop.save(folder / f"slide-{ending}.{ending}")
    for name in ("deflate", "jpeg", "lzw"):
        options = {"tile": (64, 64), "photometric": "rgb", "compression": name}
        tifffile.imwrite(folder / f"slide-{name}.tif", np.asarray(crop), **options)
    pixels = np.asarray(crop.crop((0, 0, 256, 128)))
    write_ndpi(folder / "slide-ndpi.ndpi", [pixels], pixels[::2, ::2], segment_px=64)
    write_scn(folder / "slide-scn.scn", [(pixels, 0, 0)], pixels[::2, ::2])
    write_bif(folder / "slide-bif.bif", pixels, [(0, 0, 1, 2, 0, 0)])
    write_philips(folder / "slide-philips.tiff", pixels, missing={(0, 1)}, tile_px=64)
    with contextlib.suppress(ImportError):
        from pylibCZIrw import czi

        with czi.create_czi(str(folder / "slide-czi.czi")) as document:
            document.write(np.ascontiguousarray(pixels[..., ::-1]))
    (folder / "slide-vms").mkdir()
    write_vms(folder / "slide-vms" / "index.vms", np.asarray(crop))
    shutil.copytree(DATA / "slides" / "CMU-1-Small-Region-dicom", folder / "slide-dicom")
    image = zarr.open_group(folder / "slide-ome.zarr", mode="w")
    image.create_array("0", data=np.moveaxis(np.asarray(crop), -1, 0), chunks=(3, 64, 64))
    axes = [{"name": "c", "type": "channel"}] + [
        {"name": name, "type": "space", "unit": "micrometer"} for name in "yx"
    ]
    scale = {"type": "scale", "scale": [1, 0.5, 0.5]}
    level = {"path": "0", "coordinateTransformations": [scale]}
    image.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [level]}]}


def _make_tables(folder: Path) -> None:
    """Write regions, genes, spots, counts and embeddings."""
    import anndata
    import h5py
    import numpy as np
    import pandas as pd
    import torch

    rng = np.random.default_rng(0)
    ring = [[0, 0], [900, 0], [900, 900], [0, 900], [0, 0]]
    region = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"name": "A", "classification": {"name": "Tumor", "color": [200, 0, 0]}},
    }
    (folder / "regions.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": [region, region]})
    )
    (folder / "genes.csv").write_text("gene\n" + "\n".join(f"G{i}" for i in range(20)))
    (folder / "spots-csv.csv").write_text("x_px,y_px,name\n10,20,a\n300,400,b\n")
    (folder / "labels.csv").write_text("slide,patient,msi\nA.svs,P1,1\nB.svs,P2,MSS\n")
    (folder / "manifest.csv").write_text("slide,mpp,species,note\nA.svs,0.5,Homo sapiens,x\n")
    counts = anndata.AnnData(
        rng.poisson(2, (12, 20)).astype(np.float32),
        obs=pd.DataFrame(index=[f"s{i}" for i in range(12)]),
        var=pd.DataFrame(index=[f"G{i}" for i in range(20)]),
        obsm={"spatial": rng.uniform(0, 2000, (12, 2))},
    )
    counts.write_h5ad(folder / "counts-h5ad.h5ad")
    counts.write_h5ad(folder / "spots-h5ad.h5ad")
    features, places = (
        rng.normal(size=(12, 1024)).astype(np.float32),
        rng.integers(0, 2000, (12, 2)),
    )
    torch.save(
        {"features": torch.tensor(features), "coords": torch.tensor(places)},
        folder / "embeddings-pt.pt",
    )
    np.savez(folder / "embeddings-npz.npz", features=features, coords=places)
    with h5py.File(folder / "embeddings-h5.h5", "w") as file:
        file["features"] = features[None]
        file["coords"] = places
        file["coords"].attrs.update({"patch_size": 224, "patch_size_level0": 224})


def _make_sections(folder: Path) -> None:
    """Write a section as each importer takes it."""
    from napari_stem.spatial.dataset import Dataset
    from napari_stem.spatial.her2st import import_her2st

    published, hest, run = (folder / f"import-{kind}" for kind in ("her2st", "hest", "visium"))
    published.mkdir()
    for path in (DATA / "her2st").glob("C3*"):
        shutil.copy(path, published)
    import_her2st(published, hest)
    section = Dataset(hest).section("C3")
    visium_run(run / "outs", section.slide_path, section.counts)
    shutil.copy(section.slide_path, run)


def _make_models(folder: Path) -> None:
    """Write a model, a checkpoint, and a prediction as folder and as file."""
    import numpy as np
    import torch

    from napari_stem.diffusion.denoiser import DenoiserConfig, build_denoiser
    from napari_stem.geometry import Mpp, SizePx, lattice
    from napari_stem.results import Prediction

    shutil.copytree(
        ROOT / "src" / "napari_stem" / "data" / "models" / "her2st-breast", folder / "model"
    )
    small = DenoiserConfig(
        kind="stem", n_genes=20, condition_width=8, hidden=64, depth=1, heads=1, learn_sigma=True
    )
    torch.save({"ema": build_denoiser(small).state_dict(), "args": {}}, folder / "checkpoint.pt")
    spots = lattice(SizePx(2000, 2000), Mpp(0.5, 0.5), 200)
    prediction = Prediction.create(
        folder / "prediction.zarr",
        spots,
        [f"G{i}" for i in range(20)],
        {
            "predicted": True,
            "slide": "x.svs",
            "slide_fingerprint": "0" * 16,
            "model": "m",
            "unit": "log2(count + 1)",
            "mpp": [0.5, 0.5],
            "pitch_um": spots.pitch_um,
            "spot_diameter_um": spots.diameter_um,
        },
        image=np.zeros((64, 64, 3), np.uint8),
        image_scale=0.03,
        spot_diameter_px=200.0,
        n_kept_draws=2,
    )
    prediction.to_anndata().write_h5ad(folder / "prediction-h5ad.h5ad")


READERS = {
    "regions": ("napari_stem.spatial.region_files", "read_regions"),
    "genes": ("napari_stem.spatial.panels", "read_panel"),
    "spots": ("napari_stem.spatial.table_files", "read_spots"),
    "counts": ("napari_stem.evaluation.measured_match", "read_measured"),
    "embeddings": ("napari_stem.encoders.precomputed", "read_embeddings"),
    "model": ("napari_stem.model", "load_model"),
    "checkpoint": ("napari_stem.model.published", "read_checkpoint"),
    "labels": ("napari_stem.evaluation.msi", "read_labels"),
    "manifest": ("napari_stem.cohort.orders", "read_manifest"),
    "import-her2st": ("napari_stem.spatial.her2st", "import_her2st"),
    "import-hest": ("napari_stem.spatial.hest", "import_hest"),
    "import-visium": ("napari_stem.spatial.visium", "import_visium"),
}


def read(name: str, path: Path) -> None:
    """Read an input as its reader does; raises what it raises."""
    from napari_stem.cohort.orders import Order
    from napari_stem.geometry import Mpp, SizePx
    from napari_stem.settings import SamplingSettings, Stated

    kind = name.partition("-")[0]
    if kind == "slide":
        _read_slide(path)
    elif kind == "prediction":
        _read_prediction(path)
    elif kind == "import":
        _import(name, path)
    else:
        size, mpp = SizePx(2967, 2220), Mpp(0.5, 0.5)
        more = {
            "spots": (size, mpp, 200.0),
            "counts": (size,),
            "embeddings": (size, mpp, Stated(encoder="uni", patch_px=224)),
            "manifest": (
                path.parent,
                Order(slide=path, out=path, model="m", settings=SamplingSettings()),
            ),
        }
        module, function = READERS[kind]
        getattr(importlib.import_module(module), function)(path, *more.get(kind, ()))


def _import(name: str, path: Path) -> None:
    from napari_stem.errors import DatasetError
    from napari_stem.spatial.dataset import Dataset

    module, function = READERS[name]
    source = [path] if name == "import-visium" else path
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "imported"
        outcome = getattr(importlib.import_module(module), function)(source, out)
        for section_id in outcome.imported:
            section = Dataset(out).section(section_id)
            section.counts, section.spots()
    for reason in outcome.failed.values():
        raise DatasetError(reason)


def _read_slide(path: Path) -> None:
    from napari_stem.errors import SlideError

    parts = [path, *path.glob("*.vms"), *path.glob("*.dcm")]  # of one that is several files
    index = next((part for part in parts if part.suffix == ".vms"), path)
    refused = opened_and_read(index)
    if refused is None:
        return
    if not any(part.name in refused for part in parts):
        raise RuntimeError(f"does not name the file: {refused}")
    raise SlideError(refused)


def _read_prediction(path: Path) -> None:
    from napari_stem.results import Prediction
    from napari_stem.spatial_analysis.store import read_domains

    prediction = Prediction.open(path)
    repr(prediction)
    prediction.to_anndata()
    read_domains(prediction)


def damage(source: Path, to: Path, seed: int) -> None:
    """Copy an input with something wrong in it; of a folder, in one of its files."""
    rng = random.Random(seed)  # noqa: S311 - the same damage for the same seed
    if source.is_dir():
        shutil.copytree(source, to)
        files = sorted(path for path in to.rglob("*") if path.is_file())
        told = [path for path in files if path.suffix in TEXTS]
        victim = rng.choice(told if told and rng.random() < 0.6 else files)
    else:
        shutil.copy(source, to)
        victim = to
    kind = rng.choice(KINDS)
    if kind == "lost":
        victim.unlink() if source.is_dir() else victim.write_bytes(b"")
    elif kind == "text" and victim.suffix in TEXTS:
        victim.write_bytes(_hostile(victim.read_bytes(), rng))
    else:
        kind = kind if kind in {"header", "any", "cut"} else "any"
        victim.write_bytes(damaged(victim.read_bytes(), kind, seed))


def _hostile(text: bytes, rng: random.Random) -> bytes:
    """Put something unwelcome in the place of a value, or anywhere."""
    marks = [at for at, mark in enumerate(text) if mark in b':,[\n"']
    at = rng.choice(marks or [0]) + 1
    end = at + rng.choice((0, 1, 4, 12))
    return text[:at] + rng.choice(HOSTILE) + text[end:]


def child(sound: Path, jobs: list[tuple[str, int]], results: object) -> None:
    """Read inputs one by one, telling what came of each."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["NAPARI_STEM_CACHE"] = str(folder / "cache")
        # torch loads its compiler with the first network, which takes seconds of the first input's time
        for module in (*(module for module, _ in READERS.values()), "torch._dynamo"):
            importlib.import_module(module)
        from napari_stem.errors import StemError
        from napari_stem.slide import level as levels

        levels.COARSEST_PX = 2**20  # what is tried are the files' own bytes
        for name, seed in jobs:
            results.send("begun")  # type: ignore[attr-defined]
            (source,) = (each for each in sound.iterdir() if each.stem == name)
            path = folder / f"{seed}{source.suffix}"
            damage(source, path, seed)
            Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
            before = _memory("VmRSS")
            try:
                read(name, path)
                outcome = "read"
            except StemError as error:
                outcome = (
                    "refused" if len(str(error)) < 1500 else f"long message: {str(error)[:300]}"
                )
            except BaseException:  # noqa: BLE001 - that is what is looked for
                outcome = f"traceback: {traceback.format_exc()[-900:]}"
            grown = _memory("VmHWM") - before
            results.send(outcome if grown < MOST_BYTES else f"took {grown / 1e9:.1f} GB")  # type: ignore[attr-defined]
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def batch(sound: Path, jobs: list[tuple[str, int]], ends: float) -> list[tuple[str, int, str]]:
    """Read inputs in one child until the time is up or one of them ends it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(sound, jobs, theirs))
    process.start()
    theirs.close()
    done: list[tuple[str, int, str]] = []
    try:
        for number, (name, seed) in enumerate(jobs):
            if number and time.monotonic() > ends:
                break
            if not ours.poll(STARTING_S):
                raise RuntimeError("a child does not start")
            ours.recv()
            outcome = ours.recv() if ours.poll(MOST_S) else f"over {MOST_S} s"
            done.append((name, seed, outcome))
            if outcome.startswith("over"):
                break
    except EOFError:
        process.join()
        name, seed = jobs[len(done)]
        done.append((name, seed, f"crashed (exit {process.exitcode})"))
    process.kill()
    process.join()
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--reader", help="this one alone")
    options = parser.parse_args()
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    failures = []
    with tempfile.TemporaryDirectory() as place:
        sound = Path(place)
        make_sound(sound)
        names = sorted({path.stem for path in sound.iterdir()})
        names = [name for name in names if options.reader in (None, name)]
        ends, seed = time.monotonic() + options.seconds, options.first
        while not seed > options.first or time.monotonic() < ends:
            n = 1 if options.seconds == 0 else 400
            jobs = [(names[i % len(names)], i) for i in range(seed, seed + n)]
            for name, at, outcome in batch(sound, jobs, ends):
                known = outcome in {"read", "refused"}
                counts[name][outcome if known else "failed"] += 1
                seed = at + 1
                if not known:
                    failures.append((name, at, outcome))
                    print(f"FAILED --reader {name} --first {at}: {outcome}", flush=True)
    print(f"{'reader':20}{'read':>8}{'refused':>9}{'failed':>8}")
    for name, counted in sorted(counts.items()):
        print(f"{name:20}{counted['read']:8}{counted['refused']:9}{counted['failed']:8}")
    total = sum((counted for counted in counts.values()), collections.Counter())
    print(f"{'all':20}{total['read']:8}{total['refused']:9}{total['failed']:8}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
