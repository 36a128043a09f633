"""A vision transformer with attentional pooling: the image half of CONCH.

Built from the published description (Lu et al. 2024; CoCa, Yu et al. 2022; the pooling of Lee et al. 2019): a
learned query attends to all tokens of the trunk, class token included. Parameters bear the names that the
published weights give them.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

_HEADS = 8


class AttentionPool(nn.Module):
    """Learned queries attend to tokens.

    Parameters
    ----------
    width
        Of the queries and of the result.
    token_width
        Of the tokens.
    """

    def __init__(self, width: int, token_width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, width))
        self.attn = nn.MultiheadAttention(
            width, _HEADS, kdim=token_width, vdim=token_width, batch_first=True
        )
        self.ln_q = nn.LayerNorm(width)
        self.ln_k = nn.LayerNorm(token_width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, tokens, token_width) -> (n, 1, width)."""
        keys = self.ln_k(tokens)
        queries = self.ln_q(self.query).expand(len(tokens), -1, -1)
        return cast("torch.Tensor", self.attn(queries, keys, keys, need_weights=False)[0])


class AttentionPooled(nn.Module):
    """A timm vision transformer, its tokens pooled by attention.

    Parameters
    ----------
    trunk
        timm vision transformer without a head.
    width
        Of the embedding.
    """

    def __init__(self, trunk: Any, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.attn_pool_contrast = AttentionPool(width, trunk.num_features)
        self.ln_contrast = nn.LayerNorm(width)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, side, side) -> tokens (n, 1 + patches, token_width)."""
        return cast("torch.Tensor", self.trunk.forward_features(x))

    def pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens -> (n, width): before the projection that compares with text, and not normalised."""
        return cast("torch.Tensor", self.ln_contrast(self.attn_pool_contrast(tokens)[:, 0]))
