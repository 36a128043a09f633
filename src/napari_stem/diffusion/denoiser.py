"""The networks: a denoiser's configuration and the two designs that it can build.

Read from top to bottom: configuration, embeddings, blocks, published Stem, light MLP. Both networks
have one signature, ``network(x, c_noise, condition)``, and know nothing of how noise is
parameterised: that is the business of `napari_stem.diffusion.objectives`.

Shapes in trailing comments: n rows (spots times draws), G genes, C condition width, H hidden width.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_stem.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

N_TIME_FEATURES = 256


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """Everything needed to build a denoiser; its dict is what a model folder's JSON holds.

    Attributes
    ----------
    kind
        ``mlp`` (light, for laptops) or ``stem`` (published: one token per gene).
    n_genes
        Values that it generates, G: genes of the panel, or directions in which they vary together.
    condition_width
        Width of the condition, C.
    hidden
        Width H of a token (``stem``) or of the whole state (``mlp``).
    depth
        Residual blocks.
    heads
        Attention heads (``stem`` only); must divide ``hidden``.
    mlp_ratio
        Width of a block's feed-forward layer over ``hidden``.
    dropout
        Dropped share of each block's feed-forward layer, in training.
    condition_dropout
        Dropped share of the condition and of its MLP's hidden layer, in training.
    learn_sigma
        Whether the network also returns a variance channel (``stem`` only).
    time_scale
        Factor on ``c_noise`` before its sinusoidal features, whose fastest turns one radian a unit:
        1 for the published 0..999, some tens for EDM's ``ln(sigma) / 4``.
    """

    kind: Literal["stem", "mlp"] = "mlp"
    n_genes: int
    condition_width: int
    hidden: int = 256
    depth: int = 4
    heads: int = 4
    mlp_ratio: float = 2.0
    dropout: float = 0.0
    condition_dropout: float = 0.0
    learn_sigma: bool = False
    time_scale: float = 32.0

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        if self.kind not in ("stem", "mlp"):
            raise ModelError(
                f"The model's denoiser is of kind {self.kind!r}; known kinds are 'stem' and 'mlp'."
            )
        counts = (self.n_genes, self.condition_width, self.hidden, self.depth, self.heads)
        shares = (self.dropout, self.condition_dropout)
        if not all(type(count) is int for count in counts) or not (
            all(isinstance(share, int | float) and 0 <= share < 1 for share in shares)
            and 0 < self.mlp_ratio < math.inf
            and 0 < self.time_scale < math.inf
        ):
            raise ModelError(
                "The model's denoiser has settings that are no numbers, or that no network can have."
            )
        if min(self.n_genes, self.condition_width, self.hidden, self.depth, self.heads) < 1:
            raise ModelError("The model's genes, widths, depth and heads must be 1 or more.")
        if self.kind == "stem" and self.hidden % self.heads:
            raise ModelError(
                f"The model's hidden width {self.hidden} cannot be split into {self.heads} heads."
            )
        if self.kind == "mlp" and self.learn_sigma:
            raise ModelError(
                "A denoiser of kind 'mlp' has no variance channel; set learn_sigma to false."
            )

    @classmethod
    def published(cls, n_genes: int, condition_width: int = 1536) -> DenoiserConfig:
        """Return published Stem's own: 12 blocks of width 384 and 6 heads, learned variance."""
        return cls(
            kind="stem",
            n_genes=n_genes,
            condition_width=condition_width,
            hidden=384,
            depth=12,
            heads=6,
            mlp_ratio=4.0,
            learn_sigma=True,
            time_scale=1.0,
        )

    def to_dict(self) -> dict[str, str | int | float | bool]:
        """Return the fields as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> DenoiserConfig:
        """Read `to_dict`'s dict back.

        Raises
        ------
        ModelError
            If a field is unknown or a needed one is missing.
        """
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ModelError(
                f"The model's denoiser has unknown settings ({', '.join(sorted(unknown))})."
            )
        try:
            return cls(**values)  # type: ignore[arg-type]
        except TypeError as error:
            raise ModelError(
                f"The model's denoiser settings are incomplete or of the wrong type: {error}."
            ) from error


def build_denoiser(config: DenoiserConfig) -> StemTransformer | AdaLNMLP:
    """Freshly initialised network of the configured kind: before training it returns zeros."""
    return StemTransformer(config) if config.kind == "stem" else AdaLNMLP(config)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Shift and scale normalised features by what the condition says (adaptive layer norm)."""
    return x * (1 + scale) + shift


def _zeroed(layer: nn.Linear) -> nn.Linear:
    """Zero a layer, so that what it feeds starts as the identity (the "zero" of adaLN-zero)."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _modulation(hidden: int, n_parts: int) -> nn.Sequential:
    return nn.Sequential(nn.SiLU(), _zeroed(nn.Linear(hidden, n_parts * hidden)))


class TimeEmbedding(nn.Module):
    """Noise level -> sinusoidal features -> two-layer MLP."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(N_TIME_FEATURES, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
        )

    def forward(self, t: Tensor) -> Tensor:
        """(n,) -> (n, H). Features are float32 whatever the network's dtype, as published."""
        half = N_TIME_FEATURES // 2
        index = torch.arange(half, dtype=torch.float32, device=t.device)
        frequencies = torch.exp(-math.log(10_000) * index / half)
        angles = t.float()[:, None] * frequencies  # (n, 128)
        features = torch.cat([angles.cos(), angles.sin()], dim=-1)  # (n, 256)
        weight = cast("Tensor", self.mlp[0].weight)
        embedding: Tensor = self.mlp(features.to(weight.dtype))  # (n, H)
        return embedding


class GeneTokens(nn.Module):
    """One token per gene: a learned embedding of the gene plus an MLP of its expression."""

    def __init__(self, n_genes: int, hidden: int) -> None:
        super().__init__()
        self.gene_name_ebd = nn.Parameter(torch.randn(n_genes, hidden) * 0.02)
        self.gene_count_ebd = nn.Sequential(
            nn.Linear(1, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, G) -> (n, G, H)."""
        tokens: Tensor = self.gene_name_ebd + self.gene_count_ebd(x[..., None])
        return tokens


class Attention(nn.Module):
    """Multi-head self-attention over the genes."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.proj = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(n, G, H) -> (n, G, H)."""
        split = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # (n, G, 3, heads, H / heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)  # each (n, heads, G, H / heads)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        joined: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))  # (n, G, H)
        return joined


class FeedForward(nn.Module):
    """Two-layer MLP of a block."""

    def __init__(self, hidden: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        wide = int(hidden * mlp_ratio)
        self.fc1 = nn.Linear(hidden, wide)
        self.act = nn.GELU(approximate="tanh")
        self.drop = nn.Dropout(dropout)
        self.fc2 = nn.Linear(wide, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(..., H) -> (..., H)."""
        out: Tensor = self.fc2(self.drop(self.act(self.fc1(x))))
        return out


class TransformerBlock(nn.Module):
    """Attention over genes, then a feed-forward layer, both gated by the condition."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.norm1 = nn.LayerNorm(hidden, elementwise_affine=False, eps=1e-6)
        self.attn = Attention(hidden, config.heads)
        self.norm2 = nn.LayerNorm(hidden, elementwise_affine=False, eps=1e-6)
        self.mlp = FeedForward(hidden, config.mlp_ratio, config.dropout)
        self.adaLN_modulation = _modulation(hidden, 6)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """(n, G, H), (n, H) -> (n, G, H)."""
        parts = self.adaLN_modulation(c)[:, None].chunk(6, dim=-1)  # six times (n, 1, H)
        shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = parts
        x = x + gate_attn * self.attn(modulate(self.norm1(x), shift_attn, scale_attn))
        out: Tensor = x + gate_mlp * self.mlp(modulate(self.norm2(x), shift_mlp, scale_mlp))
        return out


class MLPBlock(nn.Module):
    """A feed-forward layer gated by the condition."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden, elementwise_affine=False, eps=1e-6)
        self.mlp = FeedForward(config.hidden, config.mlp_ratio, config.dropout)
        self.adaLN_modulation = _modulation(config.hidden, 3)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """(n, H), (n, H) -> (n, H)."""
        shift, scale, gate = self.adaLN_modulation(c).chunk(3, dim=-1)  # three times (n, H)
        out: Tensor = x + gate * self.mlp(modulate(self.norm(x), shift, scale))
        return out


class FinalLayer(nn.Module):
    """Modulated norm and a zeroed linear read-out."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(hidden, elementwise_affine=False, eps=1e-6)
        self.linear = _zeroed(nn.Linear(hidden, width))
        self.adaLN_modulation = _modulation(hidden, 2)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """(..., H), broadcastable (..., H) -> (..., width)."""
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=-1)
        out: Tensor = self.linear(modulate(self.norm_final(x), shift, scale))
        return out


class StemTransformer(nn.Module):
    """Published Stem (Zhu, Zhu, Tao, Qiu, ICLR 2025, arXiv 2501.15598).

    Parameters' names are those of the published checkpoints, which therefore load as they stand.
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        hidden, width = config.hidden, config.condition_width
        self.gene_joint_embed = GeneTokens(config.n_genes, hidden)
        self.time_embed = TimeEmbedding(hidden)
        self.label_drop = nn.Dropout(config.condition_dropout)
        self.label_embed = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, hidden)
        )
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.depth))
        self.final_layer = FinalLayer(hidden, 2 if config.learn_sigma else 1)

    def forward(self, x: Tensor, c_noise: Tensor, condition: Tensor) -> Tensor:
        """Evaluate the network.

        Parameters
        ----------
        x
            (n, G) noisy expression.
        c_noise
            (n,) noise level: the published time step 0..999, or EDM's ``ln(sigma) / 4``.
        condition
            (n, C).

        Returns
        -------
        Tensor
            (n, G); with ``learn_sigma`` (n, 2, G): the prediction, then the raw variance channel.
        """
        time = self.time_embed(c_noise * self.config.time_scale)  # (n, H)
        c = time + self.label_embed(self.label_drop(condition))  # (n, H)
        tokens = self.gene_joint_embed(x)  # (n, G, H)
        for block in self.blocks:
            tokens = block(tokens, c)
        # The tokens' sum is float32 under autocast too, and what is read out of it, times sigma, must be.
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = self.final_layer(tokens, c[:, None].to(tokens.dtype))  # (n, G, 1 or 2)
        return out.transpose(1, 2) if self.config.learn_sigma else out[..., 0]


class AdaLNMLP(nn.Module):
    """The light denoiser: the whole expression vector is one hidden state, without attention."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden
        self.embed = nn.Linear(config.n_genes, hidden)
        self.time_embed = TimeEmbedding(hidden)
        self.condition_embed = nn.Sequential(
            nn.Dropout(config.condition_dropout),
            nn.Linear(config.condition_width, hidden),
            nn.SiLU(),
            nn.Dropout(config.condition_dropout),
            nn.Linear(hidden, hidden),
        )
        self.blocks = nn.ModuleList(MLPBlock(config) for _ in range(config.depth))
        self.final_layer = FinalLayer(hidden, config.n_genes)

    def forward(self, x: Tensor, c_noise: Tensor, condition: Tensor) -> Tensor:
        """(n, G), (n,), (n, C) -> (n, G); the arguments are those of `StemTransformer.forward`."""
        time = self.time_embed(c_noise * self.config.time_scale)  # (n, H)
        c = time + self.condition_embed(condition)  # (n, H)
        state = self.embed(x)  # (n, H)
        for block in self.blocks:
            state = block(state, c)
        out: Tensor = self.final_layer(state, c)  # (n, G)
        return out
