"""How closely the published Stem is reproduced: one table of relative errors, from tests/data alone.

    python scripts/parity.py

All networks run in float64; the embedding of the time step is float32, as published.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from napari_stem.diffusion.denoiser import DenoiserConfig, StemTransformer
from napari_stem.diffusion.objectives import published_loss
from napari_stem.diffusion.samplers import ddim, ddpm_ancestral
from napari_stem.diffusion.schedule import LinearSchedule

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parents[1] / "tests" / "data"
SCHEDULE = LinearSchedule.published()
TOLERANCE = 1e-5
Row = tuple[str, float, float]  # figure, relative error, tolerance


class Golden:
    """Figures that the published code gave, by key; its channel axis (n, 1, G) is dropped."""

    def __init__(self) -> None:
        with np.load(DATA / "golden" / "stem_published.npz") as stored:
            self._figures = dict(stored)

    def __call__(self, key: str) -> torch.Tensor:
        """Look a figure up."""
        value = torch.from_numpy(self._figures[key])
        return value.squeeze(-2) if value.ndim >= 3 and value.shape[-2] == 1 else value


def golden_network() -> StemTransformer:
    """Build the network that the golden figures were made with, in float64."""
    config = DenoiserConfig(
        kind="stem",
        n_genes=24,
        condition_width=40,
        hidden=48,
        depth=3,
        heads=4,
        mlp_ratio=4.0,
        learn_sigma=True,
        time_scale=1.0,
    )
    network = StemTransformer(config)
    network.load_state_dict(load_file(DATA / "golden" / "stem_published_weights.safetensors"))
    return network.double().eval()


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference over the largest golden figure; infinite where shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float((ours - theirs).abs().max() / theirs.abs().max())


def worst_entry(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest relative error of any entry by itself: what spans many orders of magnitude."""
    return float(np.max(np.abs(ours - theirs) / np.abs(theirs)))


def network_rows(golden: Golden, network: StemTransformer) -> Iterator[Row]:
    with torch.no_grad():
        out = network(golden("forward/x"), golden("forward/t"), golden("forward/y"))
    yield "network output", relative_error(out, golden("forward/out")), 1e-6
    for name in ("betas", "alphas_cumprod", "posterior_variance", "posterior_log_variance_clipped"):
        ours, theirs = getattr(SCHEDULE, name), golden(f"schedule/{name}").numpy()
        known = theirs != 0  # the first posterior variance is exactly 0 in both
        exact = bool(np.array_equal(ours[~known], theirs[~known]))
        yield (
            f"schedule: {name}",
            worst_entry(ours[known], theirs[known]) if exact else np.inf,
            1e-10,
        )
    with torch.no_grad():
        terms = published_loss(
            network,
            golden("loss/x0"),
            golden("loss/y"),
            step=golden("loss/t"),
            noise=golden("loss/noise"),
            schedule=SCHEDULE,
        )
    parts = {"mse": terms.mse, "vb": terms.vb, "loss": terms.mse + terms.vb}
    for name, ours in parts.items():
        error = worst_entry(ours.numpy(), golden(f"loss/{name}").numpy())
        yield f"loss: {'total' if name == 'loss' else name}, each spot", error, TOLERANCE


def sampler_rows(golden: Golden, network: StemTransformer) -> Iterator[Row]:
    told, noise = golden("forward/y"), golden("ddpm50/noise")
    draws = ddpm_ancestral(
        network, golden("ddpm50/x_T"), SCHEDULE, 50, told, noise=lambda step: noise[step - 1]
    )
    yield "ancestral, 50 steps", relative_error(draws, golden("ddpm50/out")), TOLERANCE
    generator = torch.Generator().manual_seed(int(golden("ddpm1000/noise_seed")))
    draws = ddpm_ancestral(
        network,
        golden("ddpm1000/x_T"),
        SCHEDULE,
        1000,
        told,
        noise=lambda _: torch.randn((6, 1, 24), generator=generator, dtype=torch.float64)[:, 0],
    )
    yield "ancestral, 1000 steps", relative_error(draws, golden("ddpm1000/out")), TOLERANCE
    for steps in (25, 250):
        key = f"ddim{steps}"
        draws = ddim(network, golden(f"{key}/x_T"), SCHEDULE, steps, golden(f"{key}/y"))
        yield f"DDIM, {steps} steps", relative_error(draws, golden(f"{key}/out")), TOLERANCE


def metric_rows(golden: Golden) -> Iterator[Row]:
    from napari_stem.metrics import all_metrics

    figures = all_metrics(golden("metrics/truth").numpy(), golden("metrics/pred").numpy())
    theirs = dict(zip(("pcc_10", "pcc_50", "pcc_200"), golden("metrics/pcc"), strict=True))
    theirs |= {"mse": golden("metrics/mse"), "mae": golden("metrics/mae")}
    theirs["rvd_mean"] = golden("metrics/rvd")
    for name, value in theirs.items():
        yield f"metric: {name}", abs(figures[name] / float(value) - 1), 1e-6


def panel_row() -> Row:
    """Share of the published panel's places that another gene takes in ours."""
    import anndata
    import pandas as pd
    from scipy.sparse import csr_matrix

    from napari_stem.spatial.panels import hmhvg

    golden = json.loads((DATA / "her2st" / "hmhvg_c2_c5.json").read_text(encoding="utf-8"))
    with np.load(DATA / "her2st" / "counts_c2_c5.npz") as stored:  # layout: README.md beside it
        counts = (stored["low"] + 256 * stored["high"].astype(np.uint16)).T.astype(np.float32)
        var = pd.DataFrame(index=stored["genes"].tobytes().decode().split("\n"))
        blocks = np.split(counts, np.cumsum(stored["n_spots"])[:-1])
    sections = [
        anndata.AnnData(
            csr_matrix(block), obs=pd.DataFrame(index=[str(i) for i in range(len(block))]), var=var
        )
        for block in blocks
    ]
    pairs = list(zip(hmhvg(sections, 200), golden["genes"], strict=True))
    differing = sum(ours != theirs for ours, theirs in pairs) / len(pairs)
    return "HMHVG-200 panel, share that differs", differing, 0.0


def main() -> int:
    """Print the table; 1 if any figure is off."""
    torch.set_num_threads(1)
    golden, network = Golden(), golden_network()
    rows = [
        *network_rows(golden, network),
        *sampler_rows(golden, network),
        *metric_rows(golden),
        panel_row(),
    ]
    table = Table("figure", "relative error", "tolerance", "", title="Published Stem, reproduced")
    for figure, error, tolerance in rows:
        verdict = "ok" if error <= tolerance else "OFF"
        table.add_row(figure, f"{error:.1e}", f"{tolerance:.0e}", verdict)
    Console().print(table)
    return int(any(error > tolerance for _, error, tolerance in rows))


if __name__ == "__main__":
    sys.exit(main())
