"""What the published objective is trained on, and what it does not do unasked."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_stem.errors import DatasetError, StemError
from napari_stem.geometry import Mpp, Spots
from napari_stem.model.card import card_text
from napari_stem.settings import SamplingSettings
from napari_stem.training.fit import TrainingOptions, fit_sections
from napari_stem.training.options import fit_settings
from napari_stem.training.recipe import prepare_edm, prepare_published
from napari_stem.training.sections import SectionArrays

WIDTH, N_GENES = 12, 3
PANEL = ("A", "B", "C")


def section(name: str, n: int = 20, seed: int = 0) -> SectionArrays:
    """Features of very unlike scales, turned by adding the number of the turn."""
    rng = np.random.default_rng([seed, ord(name)])
    scale = 10 ** np.linspace(-1, 1, WIDTH)
    embedding = (5 + rng.normal(size=(n, WIDTH)) * scale).astype(np.float16)
    turned = (embedding[:, None] + np.arange(8)[:, None]).astype(np.float16)
    values = np.log2(rng.poisson(2, (n, N_GENES)) + 1).astype(np.float32)
    place = np.arange(n)
    spots = Spots(
        x_px=place * 10.0,
        y_px=np.zeros(n),
        array_row=place,
        array_col=place,
        pitch_um=100.0,
        diameter_um=100.0,
        names=tuple(f"{name}{i}" for i in place),
        mpp=Mpp.square(1.0),
    )
    return SectionArrays(name, spots, embedding.astype(np.float32), values, {}, turned)


def options(**more: Any) -> TrainingOptions:
    return TrainingOptions(**{"objective": "published", "steps": 2, "batch": 8, **more})


def fitted(sections: list[SectionArrays], asked: TrainingOptions) -> tuple[Any, set[str]]:
    told: list[str] = []
    model = fit_sections(
        sections,
        PANEL,
        asked,
        name="m",
        encoder_version="1",
        progress=lambda what, _done, _total: told.append(what),
    )
    return model, set(told)


def test_it_is_told_the_embedding_itself_standardised_where_scales_differ() -> None:
    sections = [section("a"), section("b")]
    prepared = prepare_published(sections, options())
    assert prepared.sizes == (len(PANEL), WIDTH)
    assert prepared.data.embedding.shape == (40, 8, WIDTH)
    told = prepared.data.condition_of(np.concatenate([s.embedding for s in sections]))
    np.testing.assert_allclose(told.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(told.std(0), 1, atol=1e-3)
    np.testing.assert_array_equal(prepared.data.target[:20], sections[0].values)
    as_it_is = prepare_published(sections, options(encoder="uni+conch", augment=False))
    np.testing.assert_array_equal(as_it_is.data.embedding[:20], sections[0].embedding)
    np.testing.assert_array_equal(
        as_it_is.data.condition_of(sections[0].embedding), sections[0].embedding
    )


def test_spots_without_a_count_are_left_out() -> None:
    one = section("a")
    one.values[[2, 5]] = 0
    prepared = prepare_published([one], options(augment=False))
    kept = [i for i in range(20) if i not in (2, 5)]
    np.testing.assert_array_equal(prepared.data.target, one.values[kept])
    np.testing.assert_array_equal(prepared.data.embedding, one.embedding[kept])
    one.values[:] = 0
    with pytest.raises(DatasetError, match="No spot of a"):
        prepare_published([one], options())


def test_so_many_steps_and_nothing_left_out_unless_asked() -> None:
    sections = [section("a"), section("b")]
    model, told = fitted(sections, options())
    assert told == {"Training on all sections"}
    assert not model.config.calibrated
    assert model.config.denoiser["condition_width"] == WIDTH
    assert model.card["training_steps"] == 2
    assert (model.spread_factor == 1).all()
    draws = model.sample(sections[0].embedding, sections[0].spots, SamplingSettings(n_steps=2))
    assert np.isfinite(draws).all()
    calibrated, told = fitted(sections, options(calibrate=True))
    assert "Leaving out b (2 of 2)" in told
    assert calibrated.config.calibrated
    assert not (calibrated.spread_factor == 1).all()
    assert set(calibrated.card["gene_pcc"]) == set(PANEL)
    assert "crps_of_steps" not in calibrated.card
    for one, other in zip(model.network.parameters(), calibrated.network.parameters(), strict=True):
        assert one.equal(other)  # calibration changes the spread alone


def test_turned_patches_are_asked_for_and_used() -> None:
    bare = [replace(section(name), turned=None) for name in "ab"]
    with pytest.raises(DatasetError, match="Section a comes without"):
        fitted(bare, options())
    plain, _ = fitted(bare, options(augment=False))
    turned, _ = fitted([section("a"), section("b")], options())
    pairs = zip(plain.network.parameters(), turned.network.parameters(), strict=True)
    assert any(not one.equal(other) for one, other in pairs)


def test_ours_may_see_turned_patches_too() -> None:
    sections = [section("a"), section("b")]
    plain = prepare_edm(sections, options(objective="edm"))
    turned = prepare_edm(sections, options(objective="edm", augment=True))
    assert turned.data.embedding.shape == (40, 8, plain.sizes[1])
    np.testing.assert_array_equal(turned.data.target, plain.data.target)
    np.testing.assert_allclose(turned.data.embedding[:, 0], plain.data.embedding, atol=1e-5)
    n_leading = len(plain.head.component_scale)
    assert not np.allclose(
        turned.data.embedding[:, 3, :n_leading], plain.data.embedding[:, :n_leading]
    )
    np.testing.assert_array_equal(
        turned.data.embedding[:, 3, n_leading:], plain.data.embedding[:, n_leading:]
    )


def test_full_size_is_the_papers() -> None:
    """12 blocks of 384, 6 heads, batch 256, AdamW 1e-4 without decay, EMA 0.9999."""
    sizes = (len(PANEL), 1536)
    full = fit_settings(TrainingOptions(objective="published", size="full"), sizes, 1)
    shape = (full.denoiser.depth, full.denoiser.hidden, full.denoiser.heads)
    assert shape == (12, 384, 6)
    assert (full.denoiser.kind, full.denoiser.learn_sigma) == ("stem", True)
    assert (full.batch, full.learning_rate, full.weight_decay) == (256, 1e-4, 0.0)
    assert (full.ema, full.condition_noise, full.denoiser.condition_width) == (0.9999, 0.0, 1536)
    asked = TrainingOptions(objective="published", minutes=30, batch=32, ema=0.9)
    small = fit_settings(asked, sizes, 3)
    assert (small.denoiser.depth, small.denoiser.hidden, small.denoiser.heads) == (4, 96, 4)
    assert (small.seconds, small.batch, small.ema) == (600, 32, 0.9)
    assert fit_settings(TrainingOptions(ema=0.0), sizes, 1).ema == 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"objective": "gan"}, "There is no objective 'gan'; choose edm or published."),
        ({"objective": "published", "size": "huge"}, "There is no size 'huge'"),
        ({"precision": "fp8"}, "There is no precision 'fp8'"),
        ({"log": "wandb"}, "There is no log 'wandb'"),
        ({"normalisation": "tpm"}, "There is no normalisation 'tpm'"),
        ({"steps": -1}, "steps must be a whole number from 0"),
        ({"objective": "published", "steps": 0}, "steps must be a whole number from 1"),
        ({"batch": 0}, "batch must be"),
        ({"minutes": 0.0}, "minutes must be"),
        ({"ema": 1.0}, "ema must be"),
        ({"checkpoint_minutes": -1.0}, "checkpoint_minutes must be"),
    ],
)
def test_options_that_cannot_be_met_are_refused_at_once(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(StemError, match=re.escape(said)):
        TrainingOptions(**asked)


@pytest.mark.parametrize(
    ("patients", "recorded"),
    [(("", ""), []), (("P1", ""), []), (("P1", "P1"), ["P1"]), (("P2", "P1"), ["P1", "P2"])],
)
def test_patients_that_nobody_stated_are_not_taken_for_one(
    patients: tuple[str, str], recorded: list[str]
) -> None:
    sections = [
        replace(section(name, 20, i), metadata={"patient": patient} if patient else {})
        for i, (name, patient) in enumerate(zip("ab", patients, strict=True))
    ]
    model, _ = fitted(sections, options(augment=False, steps=1))
    assert model.card["patients"] == recorded
    training = model.card["training"]
    assert (training["batch"], training["learning_rate"], training["ema"]) == (8, 3e-4, 0.9999)
    facts = card_text(replace(model.config, depth=100.0), knows_domain=True)
    expected = {0: "Patients: not recorded;", 1: "Patients: one;", 2: "Patients: 2;"}
    assert expected[len(recorded)] in facts


@pytest.mark.parametrize(
    ("stated", "recorded"),
    [
        (("", "mouse"), "Mus musculus"),
        (("human", "Homo sapiens"), "Homo sapiens"),
        (("Homo sapiens", "Mus musculus"), None),
        (("", ""), None),
    ],
)
def test_a_model_is_of_a_species_where_no_section_is_of_another(
    stated: tuple[str, str], recorded: str | None
) -> None:
    sections = [
        replace(section(name, 20, i), metadata={"species": species} if species else {})
        for i, (name, species) in enumerate(zip("ab", stated, strict=True))
    ]
    model, _ = fitted(sections, options(augment=False, steps=1))
    assert model.card["species"] == recorded
