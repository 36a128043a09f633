"""Samplers and schedules on problems whose answer is known in closed form."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from napari_stem.diffusion import samplers
from napari_stem.diffusion.noise import located_normal
from napari_stem.diffusion.samplers import ddim, ddpm_ancestral, dpmpp_2m, euler_ancestral, heun
from napari_stem.diffusion.schedule import LinearSchedule, karras_sigmas
from napari_stem.model.sampling import CHAIN_SAMPLERS, SIGMA_SAMPLERS

MEAN, SPREAD, SIGMA_MAX = 3.0, 0.5, 80.0


def ideal_denoiser(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """The posterior mean when the data are normal with MEAN and SPREAD."""
    return MEAN + SPREAD**2 / (SPREAD**2 + sigma**2) * (x - MEAN)


def exact_end(x: torch.Tensor) -> torch.Tensor:
    """Where the probability-flow ODE takes x from SIGMA_MAX to 0, solved by hand."""
    return MEAN + (x - MEAN) * SPREAD / math.sqrt(SPREAD**2 + SIGMA_MAX**2)


def ideal_noise_predictor(schedule: LinearSchedule):
    """Published parameterisation of the same problem: noise, and the lower variance bound."""

    def network(x, t, condition):
        signal = float(schedule.alphas_cumprod[int(t[0])])
        variance = signal * SPREAD**2 + 1 - signal
        epsilon = math.sqrt(1 - signal) * (x - math.sqrt(signal) * MEAN) / variance
        return torch.stack([epsilon, -torch.ones_like(x)], dim=1)

    return network


@pytest.fixture
def start() -> torch.Tensor:
    normal = located_normal(0, np.arange(4000.0), np.zeros(4000), 1, 0, 2)
    return SIGMA_MAX * torch.from_numpy(normal[:, 0]).double()


def test_karras_sigmas_match_the_paper():
    sigmas = karras_sigmas(18)  # Karras et al. 2022: 18 steps from 80 to 0.002 with rho 7
    assert len(sigmas) == 19
    assert sigmas[0] == pytest.approx(80)
    assert sigmas[1] == pytest.approx(57.586, abs=1e-3)
    assert sigmas[-2:] == (pytest.approx(0.002), 0.0)
    assert all(high > low for high, low in pairwise(sigmas))


def test_one_step_schedule():
    assert karras_sigmas(1, sigma_max=5.0) == (pytest.approx(5.0), 0.0)


@pytest.mark.parametrize("arguments", [(0,), (5, 0.0), (5, 3.0, 2.0)])
def test_impossible_sigmas_are_refused(arguments):
    with pytest.raises(ValueError, match="schedule"):
        karras_sigmas(*arguments)


@pytest.mark.parametrize("k", [0, 1001])
def test_impossible_respacing_is_refused(k):
    with pytest.raises(ValueError, match="respaced"):
        LinearSchedule.published().respaced(k)


def test_time_of_sigma_inverts_the_chain():
    schedule = LinearSchedule.published()
    np.testing.assert_allclose(schedule.time_of_sigma(schedule.sigmas), np.arange(1000), atol=1e-9)
    assert schedule.time_of_sigma(1e-5) == 0
    assert schedule.time_of_sigma(1e5) == 999
    between = math.sqrt(schedule.sigmas[10] * schedule.sigmas[11])
    assert schedule.time_of_sigma(between) == pytest.approx(10.5)


@pytest.mark.parametrize(("sampler", "order"), [(dpmpp_2m, 2), (heun, 2)])
def test_deterministic_samplers_converge_at_their_order(sampler, order, start):
    """Doubling the steps of a second-order solver divides its error by about four."""

    def error(n: int) -> float:
        draws = sampler(ideal_denoiser, start, karras_sigmas(n))
        return float((draws - exact_end(start)).abs().mean())

    errors = [error(n) for n in (32, 64, 128)]
    for coarse, fine in pairwise(errors):
        assert coarse / fine > 2 ** (order - 0.5)
    assert error(128) < 0.01 * SPREAD


def test_dpmpp_first_step_is_exact_for_a_constant_denoiser(start):
    target = torch.full_like(start, MEAN)
    sigmas = [80.0, 20.0, 5.0]
    draws = dpmpp_2m(lambda x, sigma: target, start, sigmas)
    torch.testing.assert_close(draws, target + (start - target) * 5.0 / 80.0)


def test_dpmpp_extrapolates_to_the_middle_of_an_uneven_step(start):
    """An estimate linear in lambda = -log(sigma) is taken at each step's middle lambda."""
    sigmas = [80.0, 20.0, 1.0]
    draws = dpmpp_2m(lambda x, sigma: torch.full_like(x, -math.log(sigma)), start, sigmas)
    first = start / 4 - 3 / 4 * math.log(80.0)
    second = first / 20 - 19 / 20 * math.log(20.0) / 2
    torch.testing.assert_close(draws, second)


def test_ancestral_step_has_the_posteriors_mean_and_variance(start):
    """Between sigma 4 and 2, by hand: mean weight 2^2 / 4^2 of x, variance 2^2 (1 - 2^2 / 4^2)."""
    target, noise = torch.full_like(start, MEAN), torch.ones_like(start)
    draws = euler_ancestral(lambda x, sigma: target, start, [4.0, 2.0], lambda step: noise)
    torch.testing.assert_close(draws, 0.75 * target + 0.25 * start + math.sqrt(3) * noise)


def normal_noise(step: int) -> torch.Tensor:
    x_px = np.arange(4000.0)
    normal = located_normal(0, x_px, x_px * 0, 1, step, 2)
    return torch.from_numpy(normal[:, 0]).double()


def test_ancestral_sampler_reaches_the_distribution(start):
    draws = euler_ancestral(ideal_denoiser, start, karras_sigmas(200), normal_noise)
    assert float(draws.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(draws.std()) == pytest.approx(SPREAD, rel=0.05)


def test_published_chain_reaches_the_distribution(start):
    schedule = LinearSchedule.published()
    x, condition = start / SIGMA_MAX, torch.zeros(len(start), 1)
    network = ideal_noise_predictor(schedule)
    ancestral = ddpm_ancestral(network, x, schedule, 250, condition, noise=normal_noise)
    for draws in (ancestral, ddim(network, x, schedule, 250, condition)):
        assert float(draws.mean()) == pytest.approx(MEAN, abs=0.03)
        assert float(draws.std()) == pytest.approx(SPREAD, rel=0.06)


OF_SIGMA, OF_CHAIN = set(SIGMA_SAMPLERS.values()), set(CHAIN_SAMPLERS.values())
SAMPLERS = sorted(OF_SIGMA | OF_CHAIN)


def run(name: str, x: torch.Tensor, steps: int, callback) -> torch.Tensor:
    walk = getattr(samplers, name)

    def noise(step: int) -> torch.Tensor:
        return torch.zeros_like(x)

    if name in OF_SIGMA:
        return walk(ideal_denoiser, x, karras_sigmas(steps), noise, callback)
    schedule, condition = LinearSchedule.published(), torch.zeros(len(x), 1)
    network = ideal_noise_predictor(schedule)
    return walk(network, x, schedule, steps, condition, noise, callback)


@pytest.mark.parametrize("name", SAMPLERS)
def test_callback_counts_steps_and_ends_on_the_draw(name, start):
    told = []
    untouched = start.clone()
    draws = run(name, start, 5, lambda step, n, x0: told.append((step, n, x0)))
    assert [(step, n) for step, n, _ in told] == [(i, 5) for i in range(1, 6)]
    torch.testing.assert_close(told[-1][2], draws)  # the last estimate is what is returned
    assert torch.equal(start, untouched)


class Cancelled(Exception):
    pass


@pytest.mark.parametrize("name", SAMPLERS)
def test_callback_may_cancel(name, start):
    steps = []

    def stop_at_two(step: int, _n: int, _x0: torch.Tensor) -> None:
        steps.append(step)
        if step == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(name, start, 5, stop_at_two)
    assert steps == [1, 2]
