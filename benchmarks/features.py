"""How fast a slide becomes features, by us and by others. Run: asv run --quick --bench Features.

128 patches of 224 px that lie side by side, at the slide's own resolution, go through the same ViT of random
weights: by our `Embedder` with an empty cache, by LazySlide's tiling and feature extraction, and by OpenSlide
with a torch DataLoader of one worker, as scripts for feature extraction have it. ``network`` is the network
alone, on patches in memory: its share of our time says how much all else costs. The slide is made of real
pixels, as in patches.py. Compare the times of one run with one another; what is not installed is left out.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.patches import MPP_UM, SIDE_PX, VIEWS_UM, square_of_spots, write_slide

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_stem.encoders.published import PublishedEncoder
    from napari_stem.geometry import Spots

N_PATCHES, BATCH = 128, 16
NETWORKS = {
    "ViT-S": {"architecture": "vit_small_patch16_224", "token_width": 384},
    "ViT-L": {"architecture": "vit_large_patch16_224", "token_width": 1024},
}


class Made(NamedTuple):
    """A published encoder, and a network like its own."""

    encoder: PublishedEncoder
    module: Any


def made_of(kind: str) -> Made:
    """Make a published encoder of a ViT of random weights, and another ViT like it for others to run."""
    import torch

    from napari_stem.encoders.catalogue import CATALOGUE
    from napari_stem.encoders.networks import Network, build
    from napari_stem.encoders.published import PublishedEncoder

    facts = replace(CATALOGUE["uni"], arguments={"dynamic_img_size": True}, **NETWORKS[kind])
    torch.manual_seed(0)
    module = build(facts).eval()
    fov_um = (VIEWS_UM["0.5 um/px"],)
    own = build(facts).eval()
    network = Network(own, own.forward_features)
    return Made(PublishedEncoder(facts, network, fields_of_view_um=fov_um), module)


def ours(path: Path, spots: Spots, made: Made) -> None:
    from napari_stem.encoders.embed import Embedder
    from napari_stem.slide import open_slide

    with tempfile.TemporaryDirectory() as folder, open_slide(path) as slide:
        os.environ["NAPARI_STEM_CACHE"] = folder
        Embedder(slide, made.encoder).embed(spots)


def network_alone(path: Path, spots: Spots, made: Made) -> None:
    patches = np.random.default_rng(0).integers(0, 256, (BATCH, 1, SIDE_PX, SIDE_PX, 3), np.uint8)
    for _ in range(0, len(spots), BATCH):
        made.encoder.encode(patches)


def normalised(image: Any) -> Any:
    """(side, side, 3) -> (3, side, side) float32, as ImageNet's networks expect."""
    import torch

    x = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    return (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]


class Windows:
    """Data set of patches that each worker reads by itself."""

    def __init__(self, path: Path, corners_px: list[tuple[int, int]]) -> None:
        self.path, self.corners_px, self.slide = path, corners_px, None

    def __len__(self) -> int:
        return len(self.corners_px)

    def __getitem__(self, number: int) -> Any:
        from openslide import OpenSlide

        self.slide = self.slide or OpenSlide(self.path)
        region = self.slide.read_region(self.corners_px[number], 0, (SIDE_PX, SIDE_PX))
        return normalised(region.convert("RGB"))


def with_openslide(path: Path, spots: Spots, made: Made) -> None:
    import torch
    from torch.utils.data import DataLoader

    corners = np.rint(np.stack([spots.x_px, spots.y_px], 1) - SIDE_PX / 2).astype(int)
    loader = DataLoader(Windows(path, list(map(tuple, corners.tolist()))), BATCH, num_workers=1)
    with torch.inference_mode():
        for batch in loader:
            made.module.forward_features(batch)


def in_half_precision(
    run: Callable[[Path, Spots, Made], None],
) -> Callable[[Path, Spots, Made], None]:
    """Let a program that computes in float32 use bf16, as ours does where the processor multiplies in it."""

    def run_in_half(path: Path, spots: Spots, made: Made) -> None:
        import torch

        with torch.autocast("cpu", torch.bfloat16):
            run(path, spots, made)

    return run_in_half


def with_lazyslide(path: Path, spots: Spots, made: Made) -> None:
    import lazyslide
    from wsidata import open_wsi

    wsi = open_wsi(path, store=None)
    lazyslide.pp.tile_tissues(wsi, SIDE_PX, mpp=MPP_UM, tissue_key=None, background_filter=False)
    wsi["tiles"] = wsi["tiles"].iloc[: len(spots)]
    lazyslide.tl.feature_extraction(
        wsi,
        made.module,
        model_name="vit",
        transform=normalised,
        device="cpu",
        batch_size=BATCH,
        pbar=False,
    )


PROGRAMS: dict[str, tuple[str, Callable[[Path, Spots, Made], None]]] = {
    "napari-stem": ("napari_stem", ours),
    "network": ("torch", network_alone),
    "OpenSlide + DataLoader": ("openslide", with_openslide),
    "LazySlide": ("lazyslide", with_lazyslide),
    "OpenSlide + DataLoader, bf16": ("openslide", in_half_precision(with_openslide)),
    "LazySlide, bf16": ("lazyslide", in_half_precision(with_lazyslide)),
}


class Features:
    """Time and highest memory for the features of 128 patches."""

    params = (tuple(NETWORKS), tuple(PROGRAMS))
    param_names = ("network", "program")
    timeout = 1800
    number, repeat, warmup_time = 1, 1, 0.0

    def setup_cache(self) -> str:
        folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
        write_slide(folder / "slide.svs", "svs-jpeg")
        return str(folder)

    def setup(self, folder: str, network: str, program: str) -> None:
        library, self.run = PROGRAMS[program]
        try:
            __import__(library)
        except ImportError as error:
            raise NotImplementedError from error
        self.path, self.made = Path(folder) / "slide.svs", made_of(network)
        self.spots = square_of_spots(VIEWS_UM["0.5 um/px"]).take(slice(0, N_PATCHES))
        self.run(self.path, self.spots.take(slice(0, BATCH)), self.made)

    def time_features(self, folder: str, network: str, program: str) -> None:
        self.run(self.path, self.spots, self.made)

    def peakmem_features(self, folder: str, network: str, program: str) -> None:
        self.run(self.path, self.spots, self.made)


class ShareOfTheEncoder:
    """How much of the time of a run its encoder works, 0 to 1: what else there is hides behind it, or not."""

    params = ("bundled", "ViT-L")
    param_names = ("encoder",)
    timeout = 1800

    def setup(self, encoder: str) -> None:
        from napari_stem.encoders.registry import load_encoder
        from napari_stem.sample_data import sample_path
        from napari_stem.slide import open_slide
        from napari_stem.spatial.spot_choice import choose_spots

        self.folder = tempfile.TemporaryDirectory()
        os.environ["NAPARI_STEM_CACHE"] = self.folder.name
        self.slide = open_slide(sample_path())
        n_spots = 512 if encoder == "bundled" else 32
        self.spots = choose_spots(self.slide, pitch_um=100.0).take(slice(0, n_spots))
        self.encoder = load_encoder("bundled") if encoder == "bundled" else made_of(encoder).encoder

    def teardown(self, encoder: str) -> None:
        self.folder.cleanup()

    def track_share(self, encoder: str) -> float:
        """Of `predict` with the packaged model, files included; of the features alone for ViT-L."""
        worked_s, encode = [], self.encoder.encode

        def timed(patches: Any) -> Any:
            began = time.perf_counter()
            features = encode(patches)
            worked_s.append(time.perf_counter() - began)
            return features

        self.encoder.encode = timed
        began = time.perf_counter()
        if encoder == "bundled":
            self._predict()
        else:
            from napari_stem.encoders.embed import Embedder

            Embedder(self.slide, self.encoder).embed(self.spots)
        return sum(worked_s) / (time.perf_counter() - began)

    def _predict(self) -> None:
        from napari_stem.model import load_model
        from napari_stem.prediction_job import PredictionJob
        from napari_stem.settings import SamplingSettings

        job = PredictionJob(
            slide=self.slide,
            model=load_model(),
            settings=SamplingSettings(),
            spots=self.spots,
            encoder=self.encoder,
        )
        prediction = job.create_or_resume(Path(self.folder.name) / "p.zarr", resume=False)
        for _ in job.steps(prediction):
            pass
