"""Time and memory by genes, samples and spots. Run: asv run --quick --bench scaling (asv from PyPI)."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_stem.model.bundle import Model


def model_of(n_genes: int) -> Model:
    """Make the packaged model predict so many genes, its own again and again."""
    import numpy as np

    from napari_stem.model import load_model

    model = load_model()
    n = len(model.genes)
    model.head = model.head.of_genes(np.append(np.arange(n_genes) % n, n))  # the last is depth
    model.genes = tuple(f"{model.genes[i % n]}-{i // n}" for i in range(n_genes))
    model.config = replace(model.config, genes=model.genes)
    return model


class Sampling:
    """Draws of one block of 16 spots and what is kept of them, the encoder left out."""

    param_names = ("genes", "samples")
    params = ((200, 1000, 5000), (8, 32, 100))

    def setup(self, n_genes: int, n_draws: int) -> None:
        import numpy as np

        from napari_stem.sample_data import sample_path
        from napari_stem.settings import SamplingSettings
        from napari_stem.slide import open_slide
        from napari_stem.spatial.spot_choice import choose_spots

        self.model, self.settings = model_of(n_genes), SamplingSettings(n_draws=n_draws)
        with open_slide(sample_path()) as slide:
            self.spots = choose_spots(slide, pitch_um=200.0, whole_slide=True).take(np.arange(16))
        head = self.model.head
        rng = np.random.default_rng(0)
        z = rng.normal(size=(16, len(head.centre))).astype(np.float32)
        self.embedding = head.centre + head.scale * z
        self.time_block(n_genes, n_draws)  # the noise that spots share is made once a run

    def time_block(self, _n_genes: int, _n_draws: int) -> None:
        from napari_stem.metrics import central_interval

        draws = self.model.sample(self.embedding, self.spots, self.settings)
        central_interval(draws, 0.9), draws.mean(-1), draws.std(-1)

    peakmem_block = time_block


class Spots:
    """A whole prediction of the packaged section with the packaged model: slide, encoder, samples, files."""

    param_names = ("spots",)
    params = (16, 64, 256)
    timeout = 600

    def setup(self, n_spots: int) -> None:
        import numpy as np

        from napari_stem.model import load_model
        from napari_stem.model.serving import encoder_of
        from napari_stem.sample_data import sample_path
        from napari_stem.slide import open_slide
        from napari_stem.spatial.spot_choice import choose_spots

        self.slide, self.model = open_slide(sample_path()), load_model()
        self.spots = choose_spots(self.slide, pitch_um=100.0).take(np.arange(n_spots))
        self.encoder = encoder_of(self.model, "cpu")

    def time_predict(self, _n_spots: int) -> None:
        from napari_stem.prediction_job import PredictionJob
        from napari_stem.settings import CACHE_VARIABLE, SamplingSettings

        job = PredictionJob(
            slide=self.slide,
            spots=self.spots,
            model=self.model,
            settings=SamplingSettings(device="cpu"),
            encoder=self.encoder,
        )
        with tempfile.TemporaryDirectory() as folder:
            os.environ[CACHE_VARIABLE] = folder  # nothing was looked at before
            job.run(Path(folder) / "p.zarr", watch=lambda _: None)

    peakmem_predict = time_predict

    def teardown(self, _n_spots: int) -> None:
        self.slide.close()
