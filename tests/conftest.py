"""What every test shares: caches of its own, GUI tests that skip where no window can open, data."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import shutil
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numba
import pytest
from filelock import FileLock
from hypothesis import settings

from napari_stem.progress import Poll, Stopped
from napari_stem.settings import cache_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_stem.model.bundle import Model

DATA = Path(__file__).parent / "data"

# Sums in one thread, here and in processes begun here: tests run side by side, one process a core. Not by
# OMP_THREAD_LIMIT: torch shares bf16's attention among as many threads as it believes to have, and the parts of
# those that may not be are never done (torch 2.13 on a processor with avx512_bf16).
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Else each thread that ever was keeps a heap of its own, for hours: in processes begun here, and here. And once
# a large array was freed, the next ones lie in the heap, which is given back as far as its end is free alone.
os.environ.setdefault("MALLOC_ARENA_MAX", "2")
_LIBC = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # as glibc's malloc.h has them
if hasattr(_LIBC, "mallopt"):
    _LIBC.mallopt(_M_ARENA_MAX, 2)
    _LIBC.mallopt(_M_MMAP_THRESHOLD, 8 * 2**20)

# Neighbours as plain Python, here and in processes begun here: compiling takes each half a minute.
# Scanpy's own normalisation fails as plain Python (an unbound name in 1.12), and stays compiled.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
numba.config.reload_config()  # else numba would do so later, half-way through


def _import_plain_umap() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # that there is no tensorflow
        importlib.import_module("umap")
    numba.config.DISABLE_JIT = False


# A merge must not hang on which examples were drawn; people at their desks go on drawing new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture
def stopped() -> Poll:
    """Poll of work that is to stop at once."""

    def poll(*_: object) -> None:
        raise Stopped

    return poll


def _why_no_window() -> str | None:
    """Return the reason why no window can open on this machine, None where one can."""
    try:
        importlib.import_module("qtpy.QtWidgets")
    except ImportError as error:
        return f"Qt cannot be imported ({error}); `make test` says which packages it lacks"
    has_display = bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))
    if sys.platform.startswith("linux") and not has_display and shutil.which("Xvfb") is None:
        return "neither a display nor Xvfb; on Debian: sudo apt-get install xvfb"
    return None


_NO_WINDOW = _why_no_window()


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Take pytest-qt out where Qt cannot be imported: it would end the run instead of skipping."""
    if _NO_WINDOW is not None and _NO_WINDOW.startswith("Qt"):
        pluginmanager.unregister(name="pytest-qt")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a window where there is none."""
    if _NO_WINDOW is None:
        return
    for item in items:
        if item.get_closest_marker("gui"):
            item.add_marker(pytest.mark.skip(reason=_NO_WINDOW))


@pytest.fixture
def public_path() -> Iterator[Path]:
    """As ``tmp_path``, but everybody may enter it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        if os.name != "nt" and not all(each.stat().st_mode & 0o001 for each in path.parents):
            pytest.skip("the folder of temporary files is closed to others")
        yield path


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all processes of this run of the tests."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def new_cache(shared_folder: Path) -> Callable[[Path], Path]:
    """Make a folder a cache in which nothing lies but slides' missing levels, which all such caches share.

    The sample's take seconds to make: one process makes them for all.
    """
    pyramids = shared_folder / "pyramids"

    def made(folder: Path) -> Path:
        pyramids.mkdir(exist_ok=True)
        folder.mkdir(exist_ok=True)
        (folder / "pyramids").symlink_to(pyramids)
        return folder

    return made


@pytest.fixture(scope="session", autouse=True)
def _own_caches(
    tmp_path_factory: pytest.TempPathFactory, new_cache: Callable[[Path], Path]
) -> Iterator[None]:
    """Keep the user's caches out of the tests, and the tests out of the user's caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_STEM_CACHE", str(new_cache(tmp_path_factory.mktemp("cache"))))
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[object]:
    """Look for no garbage while modules are imported: they leave none, and each look takes longer."""
    # not by `gc.disable`: dask does so with every slice for good, where that is so when it is imported
    thresholds = gc.get_threshold()
    gc.set_threshold(0)
    try:
        if session.config.getoption("dist", "no") == "no":  # else other processes run the tests
            _import_plain_umap()
        return (yield)
    finally:
        gc.set_threshold(*thresholds)


@pytest.fixture(scope="module", autouse=True)
def _give_memory_back() -> None:
    """What the file of tests before needed is free for those beside this one: glibc keeps it otherwise.

    What is left after that are modules and what the whole session shares: no later collection looks through it.
    """
    gc.collect()
    gc.freeze()
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)


@pytest.fixture(autouse=True)
def _forget_answers() -> Iterator[None]:
    """What one test answered for a slide is no other test's answer."""
    yield
    shutil.rmtree(cache_dir() / "answers", ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def _forget_predictions() -> Iterator[None]:
    """Every slide that opens in the dock has its stored predictions opened: a file of tests leaves none."""
    yield
    shutil.rmtree(cache_dir() / "predictions", ignore_errors=True)


@pytest.fixture(scope="session")
def made_once(shared_folder: Path) -> Callable[[str, Callable[[Path], None]], Path]:
    """Have a path filled by whichever test process needs it first; the others wait, and take it as it is."""

    def made(name: str, make: Callable[[Path], None]) -> Path:
        path = shared_folder / "made-once" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_name(f"{path.name}.whole")
        with FileLock(f"{path}.lock"):
            if not whole.exists():
                make(path)
                whole.touch()
        return path

    return made


@pytest.fixture(scope="session")
def her2st_source() -> Path:
    """Sections C2 and C3 as published, reduced: a folder for the importer."""
    return DATA / "her2st"


@pytest.fixture(scope="session")
def her2st_dataset(her2st_source: Path, made_once) -> Path:
    """The same two sections as a data set folder; do not write into it."""
    from napari_stem.spatial.her2st import import_her2st

    return made_once("her2st/dataset", lambda folder: import_her2st(her2st_source, folder))


@pytest.fixture(scope="session")
def small_dataset(her2st_dataset: Path, made_once) -> Path:
    """Every eighth spot of the two sections, to be embedded and trained on in seconds; do not write."""
    import anndata

    def thinned(folder: Path) -> None:
        shutil.copytree(her2st_dataset, folder)
        for table in (folder / "st").glob("*.h5ad"):
            anndata.read_h5ad(table)[::8].copy().write_h5ad(table)

    return made_once("small/dataset", thinned)


@pytest.fixture(scope="session")
def tiny_dataset(small_dataset: Path, made_once) -> Path:
    """16 spots of each of the two sections, where the numbers matter to nobody; do not write."""
    import anndata

    def first(folder: Path) -> None:
        shutil.copytree(small_dataset, folder)
        for table in (folder / "st").glob("*.h5ad"):
            anndata.read_h5ad(table)[:16].copy().write_h5ad(table)

    return made_once("tiny/dataset", first)


@pytest.fixture(scope="session")
def small_model(small_dataset: Path, made_once) -> Path:
    """Folder of a model of 20 genes, trained on C2 of the small data set; do not write.

    Two steps are enough to be judged: after 28 as after 2 its correction does not pay, and it has none.
    """
    from napari_stem.spatial.dataset import Dataset
    from napari_stem.training.fit import TrainingOptions, train

    options = TrainingOptions(steps=2, genes="hvg:20", hold_out=("C3",))
    return made_once("models/small", lambda folder: train(Dataset(small_dataset), folder, options))


@pytest.fixture(scope="session")
def with_correction() -> Callable[[Model], Model]:
    """Give a model, which may have learned none, a correction of its residual that nobody trained."""
    import torch

    from napari_stem.diffusion.denoiser import DenoiserConfig, build_denoiser
    from napari_stem.model.bundle import Model

    def correct(model: Model) -> Model:
        width = len(model.head.component_scale) + len(model.head.mean_component_scale)
        denoiser = DenoiserConfig(n_genes=16, condition_width=width, hidden=16, depth=2)
        network = build_denoiser(denoiser)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in network.parameters():
                weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
        config = replace(model.config, denoiser=denoiser.to_dict())
        return Model(config, model.head, model.spread_factor, network)

    return correct


@pytest.fixture(scope="session")
def other_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What LazySlide, slide2vec and TRIDENT wrote of CMU-1-Small-Region, a folder each; do not write."""
    folder = tmp_path_factory.mktemp("other-programs")
    for packed in (DATA / "features").glob("*.zip"):
        shutil.unpack_archive(packed, folder / packed.stem)
    return folder


@pytest.fixture(scope="session")
def c5_prediction(made_once) -> Path:
    """The packaged model on 16 spots of the packaged section, draws kept; do not write."""
    import shapely

    from napari_stem.geometry import Region
    from napari_stem.model import load_model
    from napari_stem.prediction_job import PredictionJob
    from napari_stem.sample_data import sample_path
    from napari_stem.settings import SamplingSettings
    from napari_stem.slide import open_slide
    from napari_stem.spatial.spot_choice import choose_spots

    def predicted(path: Path) -> None:
        slide, model = open_slide(sample_path()), load_model()
        settings = SamplingSettings(n_draws=6, n_steps=3, device="cpu")
        square = Region(shapely.box(4400, 3400, 5561, 4561))  # 800 um, in the middle of the tissue
        spots = choose_spots(slide, pitch_um=model.pitch_um, regions=[square])
        job = PredictionJob(
            slide=slide, model=model, settings=settings, spots=spots, keep_draws=True
        )
        job.run(path, watch=lambda _: None)
        slide.close()

    return made_once("c5/C5.zarr", predicted)
