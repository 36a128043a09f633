"""How long the stations of the road take, on the packaged section. Run: asv run --quick (asv from PyPI)."""

from __future__ import annotations

import tempfile
from pathlib import Path


def timeraw_help() -> str:
    """Cold start of the command line."""
    return "import napari_stem.cli"


def timeraw_import_predict() -> str:
    """Cold import of everything but torch's kernels and timm."""
    return "import napari_stem.prediction_blocks"


class Stations:
    """One station each, 16 spots where spots count."""

    def setup(self) -> None:
        import numpy as np

        from napari_stem.encoders.bundled import features_in_torch
        from napari_stem.encoders.registry import load_encoder
        from napari_stem.model import load_model
        from napari_stem.sample_data import sample_path
        from napari_stem.slide import open_slide
        from napari_stem.slide.patches import PatchReader
        from napari_stem.spatial.spot_choice import choose_spots

        self.slide = open_slide(sample_path())
        self.model = load_model()
        self.spots = choose_spots(self.slide, pitch_um=self.model.pitch_um).take(np.arange(16))
        self.encoder = load_encoder("bundled")
        self.reader = PatchReader(self.slide, self.encoder.patch)
        self.patches = self.reader.read(self.spots)
        self.in_torch = features_in_torch("cpu")
        self.embedding = self.encoder.encode(self.patches)

    def time_tissue(self) -> None:
        from napari_stem.slide.tissue import find_tissue

        find_tissue(self.slide)

    def time_patches(self) -> None:
        self.reader.read(self.spots)

    def time_encode(self) -> None:
        self.encoder.encode(self.patches)

    def time_encode_in_torch(self) -> None:
        """The same network without ONNX Runtime, stain statistics left out."""
        self.in_torch(self.patches.reshape(-1, *self.patches.shape[2:]))

    def time_stain_statistics(self) -> None:
        from napari_stem.encoders.bundled import stain_statistics

        stain_statistics(self.patches.reshape(-1, *self.patches.shape[2:]))

    def time_sample(self) -> None:
        from napari_stem.settings import SamplingSettings

        self.model.sample(self.embedding, self.spots, SamplingSettings())

    def time_write(self) -> None:
        from napari_stem.prediction_job import PredictionJob
        from napari_stem.settings import SamplingSettings

        job = PredictionJob(
            slide=self.slide,
            spots=self.spots,
            model=self.model,
            settings=SamplingSettings(),
            encoder=self.encoder,
        )
        with tempfile.TemporaryDirectory() as folder:
            job.create_or_resume(Path(folder) / "p.zarr", resume=False)
