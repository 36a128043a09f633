"""What a benchmark is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from napari_stem.settings import Bounds, require_possible
from napari_stem.spatial.normalise import NormalisationName  # noqa: TC001 - a field's type
from napari_stem.training.options import Size  # noqa: TC001 - a field's type


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What a user asks of a benchmark, and of how its denoisers are trained and sampled.

    Attributes
    ----------
    predictors
        Of ours, published, ridge, hest-ridge, hest-ridge-centred, hest-ridge-cv, knn, place, gaussian and
        bootstrap; default: the protocol's.
    encoder
        See 'encoders'.
    genes
        Panel, as in 'train'; default: the protocol's.
    normalisation
        Unit of the values; default: the protocol's.
    sections
        Use these only.
    hold_out
        published: the section to test on.
    seeds
        One run each, of predictors that have a seed.
    minutes
        Limit for training one diffusion model.
    steps
        Training steps at the most. None for the objective's default.
    size
        Size of published Stem's network. ``small`` for a laptop, ``full`` as published.
    published_steps
        Sampling steps of published Stem; the paper: 1000.
    device
        Torch device of training and sampling.

    Raises
    ------
    SettingsError
        A number is out of its bounds, or a word is none of those to choose among.
    """

    predictors: tuple[str, ...] = ()
    encoder: str = "bundled"
    genes: str | None = None
    normalisation: NormalisationName | None = None
    sections: tuple[str, ...] = ()
    hold_out: str | None = None
    seeds: tuple[int, ...] = (0,)
    minutes: Annotated[float | None, Bounds(0, is_open=True)] = None
    steps: Annotated[int | None, Bounds(1)] = None
    size: Size = "small"
    published_steps: Annotated[int, Bounds(1, 1000)] = 50
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse what cannot be asked for."""
        require_possible(self)
