"""What every predictor in a benchmark offers: fitted once a fold, then asked for each test section."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_stem.progress import silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.progress import Progress
    from napari_stem.training.sections import SectionArrays


@dataclass(frozen=True)
class Forecast:
    """Expression of one section's n spots and G genes, in the unit that was fitted.

    Attributes
    ----------
    mean
        (n, G).
    draws
        (n, G, D), None for a predictor that gives a mean alone.
    is_sampled
        Whether the draws are samples, of which there could be more, or all that is forecast.
    """

    mean: NDArray[np.float32]
    draws: NDArray[np.float32] | None = None
    is_sampled: bool = True


Fitted: TypeAlias = Callable[["SectionArrays"], Forecast]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a predictor is told besides the training sections.

    Attributes
    ----------
    panel
        Names of the G genes, the columns of every section's ``values``.
    normalisation
        Unit of these, a key of `napari_stem.spatial.normalise.NORMALISATIONS`.
    encoder, encoder_version
        What made the embeddings.
    seed
        Of everything random.
    progress
        Told (what, done, in all); may raise to cancel.
    """

    panel: tuple[str, ...]
    normalisation: str
    encoder: str
    encoder_version: str
    seed: int = 0
    progress: Progress = silent


@dataclass(frozen=True)
class Predictor:
    """One way to predict expression from embeddings.

    Attributes
    ----------
    name
        As users ask for it.
    about
        One line on what it is.
    fit
        Fits on training sections; the function that it returns forecasts a section that was not among them,
        whose ``values`` are NaN: no predictor can look at what it is asked for.
    seeded
        Whether another seed gives other numbers; if not, it runs once whatever seeds are asked for.
    settings
        What else its numbers depend on that users can choose, JSON-ready.
    """

    name: str
    about: str
    fit: Callable[[Sequence[SectionArrays], Task], Fitted]
    seeded: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
