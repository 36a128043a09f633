"""How few steps published Stem needs: its quality by sampler and number of steps, beside its 1000.

    napari-stem train DATASET --objective published --hold-out C5 --genes hmhvg:50 --minutes 10 --out MODEL
    python scripts/few_steps.py DATASET MODEL C5

MODEL is any of the published objective; DATASET (in HEST layout) has a section that it was not trained
on. Prints, by sampler and steps and over seeds: CRPS and energy score; how much more of both than
the 1000 ancestral steps of the same seeds, with a 95% interval (rows of spots count as one); gene
structure correlation of single draws; energy distance to the 1000 steps of another seed. That of these
steps among themselves, in the first line, is what chance makes.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.encoders.registry import load_encoder
from napari_stem.metrics import crps, energy_score, gsc, of_one_draw
from napari_stem.model import load_model
from napari_stem.settings import SamplingSettings
from napari_stem.spatial.dataset import Dataset
from napari_stem.training.recipe import paired_interval
from napari_stem.training.sections import load_sections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_stem.model.bundle import Model
    from napari_stem.settings import SamplerName
    from napari_stem.training.sections import SectionArrays

    Array = NDArray[np.float32]

STEPS: dict[SamplerName, tuple[int, ...]] = {
    "ancestral": (1000, 250, 50, 20, 16, 12, 8),
    "ddim": (250, 50, 20, 16, 12, 8),
    "dpmpp-2m": (50, 20, 16, 12, 8),
    "heun": (50, 20, 16, 12, 8),
}


def drawn(
    model: Model, section: SectionArrays, sampler: SamplerName, steps: int, n_draws: int, seed: int
) -> Array:
    """(n, genes, draws) without mirrored pairs: of each, one."""
    settings = SamplingSettings(
        n_draws=2 * n_draws, n_steps=steps, sampler=sampler, seed=seed, device="cpu"
    )
    return model.sample(section.embedding, section.spots, settings)[..., ::2]


def of_spots(score: Callable[..., float], truth: Array, draws: Array) -> NDArray[np.float64]:
    """(n,) score of each spot."""
    rows = [slice(i, i + 1) for i in range(len(truth))]
    return np.array([score(truth[row].astype(np.float64), draws[row]) for row in rows])


def apart(a: Array, b: Array) -> NDArray[np.float64]:
    """(n,) energy distance between the draws of each spot: (n, genes, draws) twice.

    Unbiased (Székely and Rizzo 2013, eq. 2.5, by U-statistics): draws of one distribution give 0 on average.
    """
    n_draws = a.shape[2]

    def mean_distance(x: Array, y: Array, n_pairs: int) -> NDArray[np.float64]:
        return np.linalg.norm(x[..., None] - y[..., None, :], axis=1).sum((1, 2)) / n_pairs

    within = sum(mean_distance(x, x, n_draws * (n_draws - 1)) for x in (a, b))
    return 2 * mean_distance(a, b, n_draws**2) - within


def rows(model: Model, section: SectionArrays, n_draws: int, n_seeds: int) -> Iterator[list[str]]:
    """Give the cells of each line, the 1000 ancestral steps first."""
    settings = [(sampler, steps) for sampler, each in STEPS.items() for steps in each]
    reference: list[Array] = []
    first: dict[str, NDArray[np.float64]] = {}
    for sampler, steps in settings:
        found = [drawn(model, section, sampler, steps, n_draws, seed) for seed in range(n_seeds)]
        reference = reference or found
        cells = [sampler, str(steps)]
        for score, digits in ((crps, 4), (energy_score, 3)):
            scores = np.mean([of_spots(score, section.values, each) for each in found], axis=0)
            more = scores - first.setdefault(score.__name__, scores)
            mean, low, high = paired_interval(more, section.spots.array_row)
            cells.append(f"{scores.mean():.{digits}f}")
            cells.append(f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})")
        truth = section.values.astype(np.float64)
        cells.append(f"{np.mean([of_one_draw(gsc, truth, each) for each in found]):.3f}")
        pairs = itertools.permutations(range(n_seeds), 2)
        distance = [apart(found[a], reference[b]).mean() for a, b in pairs]
        yield [*cells, f"{np.mean(distance):+.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("section")
    parser.add_argument("--spots", type=int, default=24, help="so many, evenly spread")
    parser.add_argument("--draws", type=int, default=6, help="samples a spot and seed")
    parser.add_argument("--seeds", type=int, default=2, help="2 or more")
    asked = parser.parse_args()
    model = load_model(str(asked.model))
    dataset, encoder = Dataset(asked.dataset), load_encoder(model.encoder_name, "cpu")
    (section,) = load_sections(
        dataset, [asked.section], model.genes, model.config.normalisation, encoder
    )
    chosen = np.zeros(len(section.values), bool)
    chosen[np.linspace(0, len(chosen) - 1, asked.spots).round().astype(int)] = True
    columns = ["sampler", "steps", "CRPS", "more", "energy score", "more", "GSC of a draw"]
    print(f"| {' | '.join(columns)} | energy distance to 1000 steps |")
    print(f"|{' --- |' * (len(columns) + 1)}")
    for cells in rows(model, section.part(chosen), asked.draws, asked.seeds):
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
