from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from napari_stem.diffusion.denoiser import (
    AdaLNMLP,
    DenoiserConfig,
    StemTransformer,
    build_denoiser,
)
from napari_stem.diffusion.slices import RowSlices
from napari_stem.errors import ModelError

MLP = DenoiserConfig(n_genes=7, condition_width=5, hidden=32, depth=2)
STEM = replace(MLP, kind="stem")
STEM_SIGMA = replace(STEM, learn_sigma=True)


def awake(config: DenoiserConfig) -> torch.nn.Module:
    """A network whose zeroed layers were trained away from zero."""
    torch.manual_seed(0)
    network = build_denoiser(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def inputs(n: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(n, 7, generator=generator),
        torch.randn(n, generator=generator),
        torch.randn(n, 5, generator=generator),
    )


@pytest.mark.parametrize(
    ("config", "shape"), [(MLP, (4, 7)), (STEM, (4, 7)), (STEM_SIGMA, (4, 2, 7))]
)
def test_starts_at_zero_and_has_its_shape(config, shape):
    """adaLN-zero: an untrained network predicts nothing, whatever it is told."""
    out = build_denoiser(config)(*inputs())
    assert out.shape == shape
    assert not out.any()


@pytest.mark.parametrize("config", [MLP, STEM])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_every_input_matters_to_its_own_row_alone(config, which):
    network = awake(config)
    arguments = inputs()
    before = network(*arguments)
    arguments[which][2] += 1.0
    after = network(*arguments)
    changed = ((after - before).abs() > 1e-5).any(dim=1)
    assert changed.tolist() == [False, False, True, False]


def test_genes_talk_to_each_other():
    for config in (MLP, STEM):
        network = awake(config)
        x, c_noise, condition = inputs()
        before = network(x, c_noise, condition)
        x[:, 0] += 1.0
        assert ((network(x, c_noise, condition) - before)[:, 1:].abs() > 1e-5).all()


@pytest.mark.parametrize("config", [MLP, STEM])
def test_all_parameters_are_trained(config):
    network = awake(config)
    network(*inputs()).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("config", [MLP, STEM])
@pytest.mark.parametrize("where", ["dropout", "condition_dropout"])
def test_dropout_only_in_training(config, where):
    network = awake(replace(config, **{where: 0.5}))
    arguments = inputs()
    assert torch.equal(network(*arguments), network(*arguments))
    network.train()
    assert not torch.equal(network(*arguments), network(*arguments))


def test_kind_decides():
    assert isinstance(build_denoiser(MLP), AdaLNMLP)
    assert isinstance(build_denoiser(STEM), StemTransformer)


@pytest.mark.parametrize("config", [MLP, STEM_SIGMA, DenoiserConfig.published(300)])
def test_configuration_survives_json(config):
    assert DenoiserConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "unet"}, "unet"),
        ({"depth": 0}, "depth"),
        ({"kind": "stem", "heads": 5}, "5 heads"),
        ({"learn_sigma": True}, "learn_sigma"),
        ({"colour": "red"}, "colour"),
        ({"hidden": "wide"}, "no numbers"),
    ],
)
def test_impossible_configuration_is_refused(change, told):
    with pytest.raises(ModelError, match=told):
        DenoiserConfig.from_dict(MLP.to_dict() | change)


def test_missing_setting_is_refused():
    with pytest.raises(ModelError, match="n_genes"):
        DenoiserConfig.from_dict({"kind": "mlp", "condition_width": 5})


def test_full_memory_halves_the_rows_and_loses_nothing() -> None:
    """Parts in bf16 and of one shape are the network's own to bf16's rounding; the read-out is float32."""
    torch.manual_seed(0)
    network = build_denoiser(
        DenoiserConfig(kind="stem", n_genes=6, condition_width=5, hidden=32, depth=2)
    )
    torch.nn.init.normal_(network.final_layer.linear.weight)
    x, told, seen = torch.randn(11, 6), torch.randn(11, 5), []
    expected = network(x, x[:, 0], told)

    def watched(*given: torch.Tensor) -> torch.Tensor:
        seen.append(len(given[0]))
        if len(seen) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return network(*given)

    for is_half, tolerance in ((False, 1e-5), (True, 0.1)):
        seen.clear()
        rows = RowSlices(watched, 8, is_half=is_half, pads=True)  # type: ignore[arg-type]
        found = rows(x, x[:, 0], told)
        assert seen == [8, 8, 4]
        assert rows.rows_at_once == 4
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    assert not torch.equal(found, expected)
