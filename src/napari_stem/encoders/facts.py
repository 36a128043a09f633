"""What must be known of a published encoder to use it as its authors do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Pooling = Literal["cls", "mean", "centre", "pooled"]
POOLINGS: dict[str, str] = {
    "cls": "the class token",
    "mean": "the mean of the patch tokens, without class and register tokens",
    "centre": "the mean of the patch tokens in the middle eighth of the side",
    "pooled": "the network's own attentional pooling (CONCH)",
}
Library = Literal["timm", "transformers", "attention-pool", "remote"]

Colour = tuple[float, float, float]
IMAGENET: tuple[Colour, Colour] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: tuple[Colour, Colour] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
HUB_PAGE = "https://huggingface.co/"


@dataclass(frozen=True, kw_only=True)
class EncoderFacts:
    """One published encoder.

    Attributes
    ----------
    name
        As users write it.
    description
        One line for a list.
    hub_id
        Repository on Hugging Face.
    gated
        Whether its terms must be accepted on the repository's page before it can be downloaded.
    licence
        As its card says.
    token_width
        Channels of a token: the width of `cls`, `mean` and `centre`.
    pooled_width
        Width of `pooled`, where the network has an attentional pooling.
    pooling
        What the card recommends as embedding.
    side_px, mpp
        Side of the network's input and the pixel size that it was trained for; their product is the
        default field of view in um.
    normalisation
        Mean and standard deviation of RGB in 0 to 1.
    library
        Who builds the network: timm; transformers' own classes; timm with CONCH's attentional pooling; or
        code from the repository, which runs on explicit consent alone.
    architecture
        Name of the timm model or of the transformers class.
    arguments
        Exactly what it is built with. `mlp_layer` and `act_layer` hold names (``SwiGLUPacked``, ``SiLU``).
    prefix_tokens
        Tokens before the patch tokens: class token and registers.
    weights
        File names, the first that exists is read.
    keep, drop
        Beginnings of the names of tensors to keep (and strip off), and to leave aside.
    size_mb
        Of the download; computed from the number of parameters where nobody states it.
    half
        The half precision used on CUDA.
    reference
        Where it was published.
    unconfirmed
        What could not be checked against the card or code that loads the published weights.
    """

    name: str
    description: str
    hub_id: str
    licence: str
    token_width: int
    size_mb: int
    architecture: str
    reference: str
    gated: bool = False
    prefix_tokens: int = 1
    library: Library = "timm"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    pooled_width: int | None = None
    pooling: tuple[Pooling, ...] = ("cls",)
    side_px: int = 224
    mpp: float = 0.5
    normalisation: tuple[Colour, Colour] = IMAGENET
    weights: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")
    keep: str = ""
    drop: tuple[str, ...] = ()
    half: Literal["float16", "bfloat16"] = "float16"
    unconfirmed: str = ""

    @property
    def page(self) -> str:
        """Where its card stands and its terms are accepted."""
        return HUB_PAGE + self.hub_id

    @property
    def is_of_transformers(self) -> bool:
        """Whether the package transformers builds it, from a ``config.json`` beside the weights."""
        return self.library in {"transformers", "remote"}

    @property
    def field_of_view_um(self) -> float:
        """Default field of view in um."""
        return self.side_px * self.mpp

    @property
    def poolings(self) -> tuple[str, ...]:
        """What can be asked of it after ``@``."""
        return tuple(p for p in POOLINGS if p != "pooled" or self.pooled_width is not None)

    def width(self, pooling: tuple[Pooling, ...]) -> int:
        """Width of the embedding of one patch."""
        return sum(
            self.pooled_width if p == "pooled" and self.pooled_width else self.token_width
            for p in pooling
        )
