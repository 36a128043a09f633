"""How the residual is best drawn: the model's copula beside a Gaussian and resampled residuals, the mean alike.

    python scripts/residual_comparison.py DATASET C2 C3 C4 [--report C5]

DATASET in HEST layout. One section at a time is left out and the others fit mean and residuals;
``--report`` names one that all fit for, and that is looked at once. Prints CRPS, energy score, 90% coverage
(randomised PIT), and the model's score less each rival's with its 95% interval (rows of spots count as
one); then how many measured means of regions lie within the 90% interval of their draws: spot by spot, and
of joint draws. No correction is trained.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from napari_stem.encoders.registry import load_encoder
from napari_stem.evaluation.baselines import bootstrapped_residuals
from napari_stem.metrics import all_metrics, central_interval, crps, energy_score
from napari_stem.model.bundle import Model
from napari_stem.model.config import ModelConfig
from napari_stem.settings import SamplingSettings
from napari_stem.spatial.dataset import Dataset
from napari_stem.spatial.normalise import possible
from napari_stem.spatial.panels import parse_panel
from napari_stem.training.head_fit import fit_head
from napari_stem.training.mean import gaussian_residuals
from napari_stem.training.recipe import paired_interval
from napari_stem.training.sections import load_sections

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_stem.training.sections import SectionArrays

    Array = NDArray[np.float32]

UNIT = "log2_counts"
N_DRAWS = 128
REGION_SPOTS, N_REGIONS = (5, 20, 60), 40
RIVALS = {
    "Gaussian, full covariance": gaussian_residuals,
    "residual vectors": bootstrapped_residuals,
}


def drawn(
    train: Sequence[SectionArrays], section: SectionArrays, panel: Sequence[str]
) -> dict[str, Array]:
    """Name -> (n, genes, draws) for a section, by the model, the model spot by spot, and its rivals."""
    fitted = fit_head([replace(s, library_sizes=None) for s in train], UNIT)
    values = np.concatenate([s.values for s in train])
    config = ModelConfig(
        name="compared",
        genes=tuple(panel),
        normalisation=UNIT,
        encoder="bundled",
        encoder_version=None,
        pitch_um=section.spots.pitch_um,
        objective="edm",
        denoiser={},
        card={},
    )
    settings = SamplingSettings(n_draws=N_DRAWS, patient="same", device="cpu")
    alone = np.array([0, 0, 1], np.float32)  # shares of slide and neighbourhood, length
    residual = fitted.head.residual
    found = {}
    for name, shared in (("joint draws", residual.shared), ("spot by spot", alone)):
        head = replace(fitted.head, residual=replace(residual, shared=shared))
        model = Model(config, head, np.ones(len(panel), np.float32), None)
        found[name] = model.sample(section.embedding, section.spots, settings)
    mean = fitted.head.mean(fitted.head.along(section.embedding)).astype(np.float64)
    rng = np.random.default_rng(0)
    for name, fit in RIVALS.items():
        draw = fit(fitted.mean, values - fitted.mean)
        draws = np.stack([mean + draw(mean, rng) for _ in range(N_DRAWS)], -1)
        found[name] = possible(draws.astype(np.float32), UNIT)
    return found


def of_spots(score: Callable[..., float], truth: Array, draws: Array) -> NDArray[np.float64]:
    """(n,) score of each spot, from every second draw: mirrored pairs would flatter the model."""
    halves = [draws[..., start::2] for start in (0, 1)]
    rows = [slice(i, i + 1) for i in range(len(truth))]
    values = truth.astype(np.float64)
    return np.array([np.mean([score(values[r], half[r]) for half in halves]) for r in rows])


def held(section: SectionArrays, draws: Array, n_spots: int) -> float:
    """Share of measured means of regions, a spot and its nearest, within the 90% interval of their draws."""
    rng, tree = np.random.default_rng(0), cKDTree(section.spots.xy_um)
    inside = []
    for centre in rng.choice(len(section.values), N_REGIONS, replace=False):
        near = tree.query(section.spots.xy_um[centre], n_spots)[1]
        low, high = central_interval(draws[near].mean(0), 0.9)
        truth = section.values[near].mean(0)
        inside.append(np.mean((low <= truth) & (truth <= high)))
    return float(np.mean(inside))


def compare(train: Sequence[SectionArrays], section: SectionArrays, panel: Sequence[str]) -> None:
    """Print one section's tables."""
    found = drawn(train, section, panel)
    scores = {
        name: {s.__name__: of_spots(s, section.values, d) for s in (crps, energy_score)}
        for name, d in found.items()
    }
    print(f"\n{section.id}, fitted on {', '.join(s.id for s in train)}\n")
    print("| residual | CRPS | energy score | 90% coverage | joint draws less it: CRPS | energy |")
    print("| --- | --- | --- | --- | --- | --- |")
    ours = scores["joint draws"]
    for name, own in scores.items():
        coverage = all_metrics(section.values, found[name].mean(-1), found[name])["coverage"]["90"]
        cells = [
            f"{own['crps'].mean():.4f}",
            f"{own['energy_score'].mean():.3f}",
            f"{coverage:.3f}",
        ]
        for score, digits in (("crps", 4), ("energy_score", 3)):
            apart = paired_interval(ours[score] - own[score], section.spots.array_row)
            mean, low, high = (f"{value:+.{digits}f}" for value in apart)
            cells.append("" if own is ours else f"{mean} ({low} to {high})")
        print(f"| {name} | {' | '.join(cells)} |")
    sizes = ", ".join(f"{n}" for n in REGION_SPOTS)
    print(f"\nRegions of {sizes} spots within their 90% interval:")
    for name in ("joint draws", "spot by spot"):
        print(f"{name}: {', '.join(f'{held(section, found[name], n):.2f}' for n in REGION_SPOTS)}")


def left_out_in_turn(description: str, compare: Callable[..., None], heading: str = "") -> None:
    """Read the command line, and compare each section with what the others fit."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("sections", nargs="+", help="those that are left out in turn")
    parser.add_argument("--report", help="a section that nothing was chosen on")
    asked = parser.parse_args()
    dataset, chosen = Dataset(asked.dataset), asked.sections
    panel = parse_panel("hmhvg:200")([dataset.section(i).counts for i in chosen]).genes
    wanted = [*chosen, asked.report] if asked.report else chosen
    encoder = load_encoder("bundled", "cpu")
    sections = {s.id: s for s in load_sections(dataset, wanted, panel, UNIT, encoder)}
    print(heading)
    for left_out in chosen:
        compare([sections[i] for i in chosen if i != left_out], sections[left_out], panel)
    if asked.report:
        compare([sections[i] for i in chosen], sections[asked.report], panel)


if __name__ == "__main__":
    left_out_in_turn(__doc__.splitlines()[0], compare)
