from __future__ import annotations

import math

import pytest
import torch

from napari_stem.diffusion.denoiser import DenoiserConfig, build_denoiser
from napari_stem.diffusion.objectives import (
    edm_denoised,
    edm_loss,
    published_denoised,
)
from napari_stem.diffusion.schedule import LinearSchedule


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Recorder(torch.nn.Module):
    """Returns a given tensor and keeps what it was called with."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x, c_noise, condition):
        self.seen = (x, c_noise, condition)
        return self.answer


def test_preconditioning_keeps_unit_variance():
    """Karras et al. 2022, appendix B.6: the network's input and its target have variance 1."""
    x0, noise = normals(100_000, 1), normals(100_000, 1, seed=1)
    for sigma in (0.02, 1.0, 40.0):
        x = x0 + sigma * noise
        network = Recorder(torch.zeros_like(x))
        skipped = edm_denoised(network, x, sigma, x)
        network.answer = torch.ones_like(x)
        c_out = (edm_denoised(network, x, sigma, x) - skipped)[0]
        assert float(network.seen[0].var()) == pytest.approx(1, rel=0.02)
        assert float(((x0 - skipped) / c_out).var()) == pytest.approx(1, rel=0.02)
        torch.testing.assert_close(network.seen[1], torch.full_like(x[:, 0], math.log(sigma) / 4))


def test_untrained_loss_is_one_at_every_noise_level():
    """With a silent network the weighted loss of standard normal data is the target's variance."""
    network = build_denoiser(DenoiserConfig(n_genes=500, condition_width=3, hidden=8, depth=1))
    sigma = torch.tensor([0.01, 0.1, 1.0, 10.0, 100.0], dtype=torch.float64)
    loss = edm_loss(
        network.double(), normals(5, 500), normals(5, 3), sigma, normals(5, 500, seed=1)
    )
    torch.testing.assert_close(loss, torch.ones(5, dtype=torch.float64), rtol=0.2, atol=0)


def test_perfect_denoiser_has_no_loss():
    x0, noise, sigma = normals(4, 6), normals(4, 6, seed=1), torch.tensor([0.1, 0.5, 2.0, 9.0])
    sigma = sigma.double()
    scale = sigma[:, None]
    x, total = x0 + scale * noise, (scale**2 + 1).sqrt()
    answer = (x0 - x / total**2) / (scale / total)
    loss = edm_loss(Recorder(answer), x0, x0, sigma, noise)
    torch.testing.assert_close(loss, torch.zeros_like(loss))


def test_a_step_of_training_lowers_the_loss():
    torch.manual_seed(0)
    network = build_denoiser(DenoiserConfig(n_genes=6, condition_width=4, hidden=32, depth=1))
    network.double()
    x0, condition, sigma = normals(64, 6), normals(64, 4, seed=1), torch.ones(64).double()
    noise = normals(64, 6, seed=2)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = edm_loss(network, x0, condition, sigma, noise).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("kind", ["scalar", "rows"])
def test_published_denoiser_removes_exactly_the_noise_it_is_told(kind):
    schedule = LinearSchedule.published()
    level = float(schedule.sigmas[321])
    x0, noise = normals(3, 5), normals(3, 5, seed=1)
    network = Recorder(torch.stack([noise, torch.zeros_like(noise)], dim=1))
    sigma = level if kind == "scalar" else torch.full((3,), level, dtype=torch.float64)
    estimate = published_denoised(network, schedule, x0 + level * noise, sigma, x0)
    torch.testing.assert_close(estimate, x0)
    x_t = math.sqrt(schedule.alphas_cumprod[321]) * (x0 + level * noise)
    torch.testing.assert_close(network.seen[0], x_t)
    torch.testing.assert_close(network.seen[1], torch.full((3,), 321.0, dtype=torch.float64))
