"""Which sampler walks which model, and that its callback can watch and stop it."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_stem.diffusion.denoiser import DenoiserConfig, build_denoiser
from napari_stem.diffusion.objectives import edm_denoised, published_denoised
from napari_stem.diffusion.samplers import ddim, ddpm_ancestral, heun
from napari_stem.diffusion.schedule import LinearSchedule, karras_sigmas
from napari_stem.errors import ModelError, StemError
from napari_stem.exporting.report import PROVENANCE_TITLES
from napari_stem.geometry import Mpp, Spots
from napari_stem.model import load_model
from napari_stem.model.bundle import Model, ModelConfig
from napari_stem.model.head import EmbeddingHead
from napari_stem.model.sampling import SAMPLERS, located_scores, noise_of_step, sample_network
from napari_stem.settings import (
    GAUSSIAN,
    MAX_DRAWS,
    MAX_STEPS,
    SAMPLER_TITLES,
    SamplerName,
    SamplingSettings,
)

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
CHAIN = LinearSchedule.published()
FEW = SamplingSettings(n_draws=4, n_steps=6, device="cpu")
N_SPOTS, N_GENES, WIDTH = 3, 24, 40


@pytest.fixture(scope="module")
def spots() -> Spots:
    return Spots(
        x_px=np.array([10.0, 20.0, 30.0]),
        y_px=np.array([5.0, 5.0, 5.0]),
        array_row=np.zeros(N_SPOTS, int),
        array_col=np.arange(N_SPOTS),
        pitch_um=100.0,
        diameter_um=100.0,
        names=("a", "b", "c"),
        mpp=Mpp.square(0.5),
    )


@pytest.fixture(scope="module")
def published() -> Model:
    """The golden network behind a head that standardises."""
    denoiser = DenoiserConfig(
        kind="stem",
        n_genes=N_GENES,
        condition_width=WIDTH,
        hidden=48,
        depth=3,
        heads=4,
        mlp_ratio=4.0,
        learn_sigma=True,
        time_scale=1.0,
    )
    network = build_denoiser(denoiser)
    network.load_state_dict(load_file(GOLDEN / "stem_published_weights.safetensors"))
    config = ModelConfig(
        name="golden",
        genes=tuple(f"G{i}" for i in range(N_GENES)),
        normalisation="log2_counts",
        encoder="bundled",
        encoder_version=None,
        pitch_um=100.0,
        objective="published",
        denoiser=denoiser.to_dict(),
        calibrated=False,
        card={},
    )
    head = EmbeddingHead(
        centre=np.full(WIDTH, 2, np.float32),
        scale=np.full(WIDTH, 4, np.float32),
        domain_components=np.eye(WIDTH, dtype=np.float32)[None, :1],
        domain_spread=np.full(WIDTH, 2, np.float32),
        domain_limit=np.array(1.5, np.float32),
    )
    return Model(config, head, np.ones(N_GENES, np.float32), network)


@pytest.fixture(scope="module")
def embedding() -> np.ndarray:
    return 2 + 4 * np.random.default_rng(0).normal(size=(N_SPOTS, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def packaged() -> Model:
    return load_model("her2st-breast")


def parts(spots: Spots, embedding: np.ndarray, settings: SamplingSettings):
    """Condition per draw and noise per step, as the model must make them."""
    condition = torch.from_numpy((embedding - 2) / 4).repeat_interleave(settings.n_draws, 0)
    shape = (len(spots), settings.n_draws, N_GENES)
    return condition, partial(noise_of_step, spots, settings, shape, "cpu")


def as_draws(rows: torch.Tensor) -> np.ndarray:
    return rows.reshape(N_SPOTS, -1, N_GENES).numpy().transpose(0, 2, 1)


def test_ancestral_is_the_papers_chain_respaced(published, spots, embedding) -> None:
    settings = replace(FEW, sampler="ancestral", n_steps=20)
    condition, noise = parts(spots, embedding, settings)
    expected = ddpm_ancestral(published.network, noise(0), CHAIN, 20, condition, noise=noise)
    drawn = published.sample(embedding, spots, settings)
    np.testing.assert_allclose(drawn, as_draws(expected), rtol=1e-5, atol=1e-5)


def test_ddim_walks_the_same_chain_without_noise(published, spots, embedding) -> None:
    settings = replace(FEW, sampler="ddim", n_steps=25)
    condition, noise = parts(spots, embedding, settings)
    expected = ddim(published.network, noise(0), CHAIN, 25, condition)
    drawn = published.sample(embedding, spots, settings)
    np.testing.assert_allclose(drawn, as_draws(expected), rtol=1e-5, atol=1e-5)


def test_heun_solves_the_published_network_too(published, spots, embedding) -> None:
    settings = replace(FEW, sampler="heun")
    condition, noise = parts(spots, embedding, settings)
    high = float(CHAIN.sigmas[-1])
    sigmas = karras_sigmas(settings.n_steps, float(CHAIN.sigmas[0]), high)
    denoise = partial(published_denoised, published.network, CHAIN, condition=condition)
    expected = heun(denoise, noise(0) * high, sigmas)
    drawn = published.sample(embedding, spots, settings)
    np.testing.assert_allclose(drawn, as_draws(expected), rtol=1e-5, atol=1e-5)


def test_heun_on_the_leading_scores(corrected: Model, spots) -> None:
    settings, head = replace(FEW, sampler="heun", n_steps=60), corrected.head
    look = np.tile(head.centre, (N_SPOTS, 1))
    along = head.along(look)
    mean = head.mean(along)
    told = torch.from_numpy(head.condition(look, along)).repeat_interleave(4, 0)
    sigmas = karras_sigmas(60, corrected.config.sigma_min, corrected.config.sigma_max)
    scores, own = located_scores(spots, settings, head.residual)
    start = torch.from_numpy(scores[..., :16].reshape(-1, 16).copy())
    start *= np.hypot(sigmas[0], 1)  # noise upon what is of unit variance
    corrected_scores = heun(partial(edm_denoised, corrected.network, condition=told), start, sigmas)
    scores[..., :16] = corrected_scores.reshape(N_SPOTS, 4, 16)
    z = head.residual.correlated(scores, own)
    expected = mean[:, :, None] + head.residual.at(mean, z)
    drawn = corrected.raw_draws(look, spots, settings)
    assert np.abs(drawn - expected).max() < 0.05 * expected.std()


@pytest.mark.parametrize("sampler", ["dpmpp-2m", "heun"])
def test_a_correction_of_nothing_leaves_the_gaussian_as_it_is(
    corrected: Model, spots, sampler
) -> None:
    untrained = build_denoiser(DenoiserConfig.from_dict(corrected.config.denoiser))
    ones = np.ones(len(corrected.genes), np.float32)
    look = np.tile(corrected.head.centre, (N_SPOTS, 1))
    settings = replace(FEW, sampler=sampler, n_steps=5)
    exact, walked = (
        Model(corrected.config, corrected.head, ones, network).raw_draws(look, spots, settings)
        for network in (None, untrained)
    )
    np.testing.assert_allclose(walked, exact, atol=1e-4)


@pytest.mark.parametrize("n_steps", [4, 16])
@pytest.mark.parametrize("sampler", SAMPLERS["edm"])
def test_a_correction_of_nothing_leaves_the_spread_as_it_is(
    corrected: Model, sampler, n_steps
) -> None:
    untrained = build_denoiser(DenoiserConfig.from_dict(corrected.config.denoiser))
    start = torch.randn(20_000, 16, generator=torch.Generator().manual_seed(0))
    fresh = torch.Generator().manual_seed(1)
    drawn = sample_network(
        corrected.config,
        untrained,
        torch.zeros(len(start), corrected.config.denoiser["condition_width"]),
        start,
        lambda _: torch.randn(start.shape, generator=fresh),
        replace(FEW, sampler=sampler, n_steps=n_steps),
        None,
    )
    assert float(drawn.std()) == pytest.approx(1, abs=0.01)


def test_a_sampler_that_does_not_fit_is_refused(packaged: Model, spots) -> None:
    look = np.tile(packaged.head.centre, (N_SPOTS, 1))
    *most, last = SAMPLERS["edm"]
    words = rf"'ddim' does not fit.*'edm'; choose {', '.join(most)} or {last}\.$"
    with pytest.raises(ModelError, match=words):
        packaged.sample(look, spots, replace(FEW, sampler="ddim"))


def test_every_sampler_fits_some_model_and_has_a_title() -> None:
    assert set(get_args(SamplerName)) == {name for names in SAMPLERS.values() for name in names}
    assert set(SAMPLER_TITLES) == {*get_args(SamplerName), GAUSSIAN}


@pytest.mark.parametrize("kind", ["published", "corrected"])
def test_a_sampler_that_is_not_written_is_not_replaced_by_another(
    request, spots, kind, monkeypatch
) -> None:
    model: Model = request.getfixturevalue(kind)
    objective, settings = model.config.objective, replace(FEW)
    object.__setattr__(settings, "sampler", "unwritten")
    monkeypatch.setitem(SAMPLERS, objective, (*SAMPLERS[objective], "unwritten"))
    look = np.tile(model.head.centre, (N_SPOTS, 1))
    with pytest.raises(KeyError, match="unwritten"):
        model.raw_draws(look, spots, settings)


@pytest.mark.parametrize("sampler", SAMPLERS["edm"])
def test_each_sampler_corrects_the_leading_scores(corrected: Model, spots, sampler) -> None:
    look = np.tile(corrected.head.centre, (N_SPOTS, 1))
    drawn = corrected.raw_draws(look, spots, replace(FEW, sampler=sampler))
    assert np.isfinite(drawn).all()
    bare = Model(corrected.config, corrected.head, corrected.spread_factor, None)
    assert not np.allclose(drawn, bare.raw_draws(look, spots, FEW))


@pytest.mark.parametrize("sampler", SAMPLERS["published"])
def test_each_step_is_told_and_may_stop(published, spots, embedding, sampler) -> None:
    seen: list[tuple[int, int]] = []

    def watch(step: int, n_steps: int, _: object) -> None:
        seen.append((step, n_steps))
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        published.sample(embedding, spots, replace(FEW, sampler=sampler), watch)
    assert seen == [(1, 6), (2, 6), (3, 6)]


def test_long_steps_can_be_stopped_within(published, spots, embedding, monkeypatch) -> None:
    monkeypatch.setattr("napari_stem.diffusion.slices._TOKENS_AT_ONCE", 5 * N_GENES)
    polls = []
    sliced = published.sample(embedding, spots, FEW, poll=lambda: polls.append(1))
    assert len(polls) == 6 * 3  # 12 rows, 5 at once, in each of 6 steps
    whole = published.sample(embedding, spots, FEW)
    np.testing.assert_allclose(sliced, whole, rtol=1e-4, atol=1e-4)

    def stop() -> None:
        if len(polls) == 20:
            raise KeyboardInterrupt
        polls.append(1)

    with pytest.raises(KeyboardInterrupt):
        published.sample(embedding, spots, FEW, poll=stop)
    assert len(polls) == 20  # in the middle of the first step


def test_steps_have_bounds() -> None:
    assert SamplingSettings(n_steps=MAX_STEPS).n_steps == 1000
    for wrong in (0, MAX_STEPS + 1):
        with pytest.raises(ValueError, match=f"n_steps must .* 1 to 1,000, not {wrong}"):
            SamplingSettings(n_steps=wrong)


def test_samples_have_bounds() -> None:
    for wrong in (1, MAX_DRAWS + 1):
        with pytest.raises(ValueError, match=f"n_draws must .* 2 to 10,000, not {wrong}"):
            SamplingSettings(n_draws=wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"quantity": "shares"}, "There is no quantity 'shares'; choose counts or share."),
        ({"patient": "other"}, "There is no patient 'other'; choose new or same."),
        ({"sampler": "magic"}, "'magic'; choose dpmpp-2m, heun, ancestral or ddim."),
        ({"depth": 1e308}, "depth must be a number from 0 to 1,000,000,000, not 1e+308."),
        ({"depth": float("nan")}, "depth must be a number from 0 to 1,000,000,000, not nan."),
        ({"seed": -1}, "seed must be a whole number from 0 to 4,294,967,295, not -1."),
        ({"seed": 2**63}, "seed must be a whole number from 0 to 4,294,967,295, not 92233"),
        ({"spots_per_block": 0}, "spots_per_block must be a whole number from 1, not 0."),
    ],
)
def test_what_cannot_be_meant_is_refused_before_it_is_drawn_otherwise(wrong, said) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        SamplingSettings(**wrong)
    assert isinstance(refused.value, StemError)


# Another value of every setting but those that change none of a prediction's.
OTHERWISE = {
    "n_draws": 5,
    "n_steps": 7,
    "sampler": "heun",
    "seed": 1,
    "quantity": "share",
    "depth": 5000.0,
    "patient": "same",
}
CHANGES_NO_VALUE = {"device", "spots_per_block"}


def test_every_setting_that_changes_values_is_recorded_and_reported(corrected: Model) -> None:
    assert {field.name for field in fields(SamplingSettings)} == {*OTHERWISE, *CHANGES_NO_VALUE}
    usual = corrected.provenance(SamplingSettings())
    stated = {*PROVENANCE_TITLES, "unit"}  # by the report; the unit says quantity and depth
    for name, value in OTHERWISE.items():
        other = corrected.provenance(SamplingSettings(**{name: value}))
        assert other != usual, name
        assert any(other[key] != usual[key] for key in stated & usual.keys()), name


def test_what_is_recorded_without_a_network_is_not_what_was_asked_for(
    packaged: Model, spots
) -> None:
    """Whatever the steps and the solver, the draws are the same, and so is what is recorded of them."""
    look = np.tile(packaged.head.centre, (N_SPOTS, 1))
    others = replace(FEW, n_steps=7, sampler="heun"), replace(FEW, sampler="ancestral")
    drawn, recorded = packaged.sample(look, spots, FEW), packaged.provenance(FEW)
    assert (recorded["steps"], recorded["sampler"]) == (1, GAUSSIAN)
    for other in others:
        np.testing.assert_array_equal(packaged.sample(look, spots, other), drawn)
        assert packaged.provenance(other) == recorded


def test_a_published_model_comes_back_as_it_was(published, spots, embedding, tmp_path) -> None:
    from napari_stem.model.bundle import load_folder

    whole = replace(published.config, precision="float32", fields_of_view_um=(112.0, 300.0))
    model = Model(whole, published.head, published.spread_factor, published.network)
    model.save(tmp_path / "m")
    again = load_folder(tmp_path / "m")
    assert replace(again.config, weights_sha256="") == whole  # the hash is known once it is saved
    np.testing.assert_array_equal(
        again.sample(embedding, spots, FEW), published.sample(embedding, spots, FEW)
    )
    np.testing.assert_array_equal(
        again.head.distance(embedding), published.head.distance(embedding)
    )
    assert again.provenance(FEW)["domain"] == "known"
    assert any("NOT calibrated" in limit for limit in again.limits)


def test_distance_of_a_published_model(published, embedding) -> None:
    centre = np.full((1, WIDTH), 2, np.float32)
    assert published.head.distance(centre)[0] == 0
    left = 3 / 2 * ((WIDTH - 1) / WIDTH) ** 0.25  # all but what lies along the one component
    assert published.head.distance(centre + 4 * 3)[0] == pytest.approx(left / 1.5)
    unknown = EmbeddingHead.as_is(WIDTH)
    np.testing.assert_array_equal(unknown.condition(embedding), embedding)
    assert np.isnan(unknown.distance(embedding)).all()
