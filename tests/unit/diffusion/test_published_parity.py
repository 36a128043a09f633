"""The published Stem, reproduced: figures from its own code (tests/data/golden/README.md)."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

from napari_stem.diffusion.objectives import published_denoised, published_loss
from napari_stem.diffusion.samplers import ddim, ddpm_ancestral, dpmpp_2m
from napari_stem.diffusion.schedule import LinearSchedule

SCHEDULE = LinearSchedule.published()
TABLES = ["betas", "alphas_cumprod", "posterior_variance", "posterior_log_variance_clipped"]


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def test_forward(published, published_network):
    with torch.no_grad():
        out = published_network(
            published("forward/x"), published("forward/t"), published("forward/y")
        )
    assert relative_error(out, published("forward/out")) < 1e-6


@pytest.mark.parametrize("table", TABLES)
def test_schedule(published, table):
    np.testing.assert_allclose(getattr(SCHEDULE, table), published(f"schedule/{table}"), rtol=1e-10)


@pytest.mark.parametrize("key", ["ddpm50", "ddpm1000", "ddim25", "ddim250"])
def test_respacing_keeps_the_same_steps(published, key):
    steps = published(f"{key}/timesteps").numpy()
    respaced = SCHEDULE.respaced(len(steps))
    np.testing.assert_array_equal(respaced.timesteps, steps)
    np.testing.assert_allclose(respaced.alphas_cumprod, SCHEDULE.alphas_cumprod[steps], rtol=1e-10)


def test_training_loss(published, published_network):
    terms = published_loss(
        published_network,
        published("loss/x0"),
        published("loss/y"),
        step=published("loss/t"),
        noise=published("loss/noise"),
        schedule=SCHEDULE,
    )
    torch.testing.assert_close(terms.mse, published("loss/mse"), rtol=1e-5, atol=0)
    torch.testing.assert_close(terms.vb, published("loss/vb"), rtol=1e-5, atol=0)
    torch.testing.assert_close(terms.mse + terms.vb, published("loss/loss"), rtol=1e-5, atol=0)


def test_variance_term_trains_the_variance_alone(published, published_network):
    terms = published_loss(
        published_network,
        published("loss/x0"),
        published("loss/y"),
        step=published("loss/t"),
        noise=published("loss/noise"),
        schedule=SCHEDULE,
    )
    (gradient,) = torch.autograd.grad(
        terms.vb.sum(), published_network.final_layer.linear.bias, retain_graph=True
    )
    assert gradient[0] == 0  # the mean's read-out
    assert gradient[1] != 0  # the variance's
    (gradient,) = torch.autograd.grad(terms.mse.sum(), published_network.final_layer.linear.bias)
    assert gradient[0] != 0
    assert gradient[1] == 0


def test_ancestral_sampling_50_steps(published, published_network):
    noise = published("ddpm50/noise")
    draws = ddpm_ancestral(
        published_network,
        published("ddpm50/x_T"),
        SCHEDULE,
        50,
        published("forward/y"),
        noise=lambda step: noise[step - 1],
    )
    assert relative_error(draws, published("ddpm50/out")) < 1e-5


def test_ancestral_sampling_1000_steps(published, published_network):
    generator = torch.Generator().manual_seed(int(published("ddpm1000/noise_seed")))
    draws = ddpm_ancestral(
        published_network,
        published("ddpm1000/x_T"),
        SCHEDULE,
        1000,
        published("forward/y"),
        noise=lambda _: torch.randn((6, 1, 24), generator=generator, dtype=torch.float64)[:, 0],
    )
    assert relative_error(draws, published("ddpm1000/out")) < 1e-5


@pytest.mark.parametrize("steps", [25, 250])
def test_ddim(published, published_network, steps):
    key = f"ddim{steps}"
    draws = ddim(published_network, published(f"{key}/x_T"), SCHEDULE, steps, published(f"{key}/y"))
    assert relative_error(draws, published(f"{key}/out")) < 1e-5


def test_published_network_as_a_denoiser_repeats_ddim(published, published_network):
    """First-order steps in sigma are DDIM: one road, two parameterisations."""
    sigmas = [*SCHEDULE.respaced(25).sigmas[::-1].tolist(), 0.0]
    y = published("ddim25/y")
    denoise = partial(published_denoised, published_network, SCHEDULE, condition=y)
    x = published("ddim25/x_T") * np.sqrt(1 + sigmas[0] ** 2)
    for sigma, sigma_next in pairwise(sigmas):
        x = dpmpp_2m(denoise, x, [sigma, sigma_next])  # no history: of first order
    assert relative_error(x, published("ddim25/out")) < 1e-5
