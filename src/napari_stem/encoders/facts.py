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
    """One published encoder."""

    name: str  # as users write it
    description: str  # one line for a list
    hub_id: str  # repository on Hugging Face
    licence: str  # as its card says
    token_width: int  # channels of a token: the width of `cls`, `mean` and `centre`
    size_mb: int  # of the download; computed from the number of parameters where nobody states it
    architecture: str  # name of the timm model or of the transformers class
    reference: str  # where it was published
    # whether its terms must be accepted on the repository's page before it can be downloaded
    gated: bool = False
    prefix_tokens: int = 1  # tokens before the patch tokens: class token and registers
    # who builds the network: timm; transformers' own classes; timm with CONCH's attentional pooling; or code
    # from the repository, which runs on explicit consent alone
    library: Library = "timm"
    # exactly what it is built with. `mlp_layer` and `act_layer` hold names (``SwiGLUPacked``, ``SiLU``).
    arguments: Mapping[str, Any] = field(default_factory=dict)
    # width of `pooled`, where the network has an attentional pooling
    pooled_width: int | None = None
    pooling: tuple[Pooling, ...] = ("cls",)  # what the card recommends as embedding
    # side of the network's input and the pixel size that it was trained for; their product is the default field
    # of view in um
    side_px: int = 224
    mpp: float = 0.5
    normalisation: tuple[Colour, Colour] = IMAGENET  # mean and standard deviation of RGB in 0 to 1
    # file names, the first that exists is read
    weights: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")
    # beginnings of the names of tensors to keep (and strip off), and to leave aside
    keep: str = ""
    drop: tuple[str, ...] = ()
    half: Literal["float16", "bfloat16"] = "float16"  # the half precision used on CUDA
    # what could not be checked against the card or code that loads the published weights
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
