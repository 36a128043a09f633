"""What is shown of the prediction on the map, and how: panels write it, layers follow it.

What a session says of the view is its dump; how maps look is remembered from one day to the next, too.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

from psygnal import Signal

from napari_stem.layers.values import ColourRange, RangeKind
from napari_stem.spatial.gene_sets import gene_sets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_stem.layers.placement import SpotShape

# what lies on the map: of the prediction itself, or in its place
MEAN, SD, NOTHING = "mean", "sd", "none"
MEASURED, DIFFERENCE, DOMAINS = "measured", "difference", "domains"
# how many genes are shown, and how
ONE, MIX, BESIDE, SCORE = "one", "mix", "beside", "score"
MOST_GENES = {MIX: 3, BESIDE: 4}
# what stands for expression and for uncertainty
FADED, PROBABLE, SAMPLE, WIDTH = "faded", "probable", "sample", "width"
# which genes are listed
ALL, FAVOURITES = "all", "favourites"
SET_PREFIX, LIST_PREFIX = "set:", "list:"
COLORMAPS = ("viridis", "magma", "inferno", "cividis", "turbo")  # turbo: not for colour-blind eyes

CHOICES = {
    "view": (MEAN, SD, NOTHING, MEASURED, DIFFERENCE, DOMAINS),
    "arrangement": (ONE, MIX, BESIDE, SCORE),
    "range_kind": ("gene", "all", "percentile", "fixed"),
    "colormap": COLORMAPS,
    "spot_shape": ("square", "circle", "smooth"),
    "mix_colours": ("safe", "rgb"),
    "expression": (MEAN, FADED, PROBABLE, SAMPLE),
    "uncertainty": (SD, WIDTH),
}
LARGEST_VALUE = 1e6
LIMITS: dict[str, tuple[float, float]] = {
    "range_low": (-LARGEST_VALUE, LARGEST_VALUE),
    "range_high": (-LARGEST_VALUE, LARGEST_VALUE),
    "opacity_percent": (0, 100),
    "share": (0, 1),
    "probability": (0, 1),
    "sample": (0, LARGEST_VALUE),
}
LOOK = (
    *("range_kind", "range_low", "range_high", "colormap", "mix_colours", "spot_shape"),
    "opacity_percent",
)
DOUBT = frozenset({"share", "probability", "sample", "is_outlined"})  # of no plain map
OF_ONE_SLIDE = frozenset({"gene", "gene_set", "by_chance"})  # not dumped: each slide has its own


@dataclass(frozen=True)
class GeneSet:
    """The listed genes, as far as the model has them."""

    name: str  # as users read it
    genes: tuple[str, ...]  # the model's names
    n_named: int  # genes of the list


@dataclass(eq=False)
class DisplaySettings:
    """All that is asked to be shown; `changed` tells the names of what has changed."""

    changed = Signal(frozenset)

    view: str = MEAN  # of these and those below one of `CHOICES`
    arrangement: str = ONE
    gene: str = ""  # the chosen one
    picked: tuple[str, ...] = ()  # genes that are shown together
    listed: str = ALL  # or ``favourites``, ``set:NAME``, ``list:NAME``
    own_list: tuple[str, ...] = ()  # genes of a list of the user's
    gene_set: GeneSet | None = None  # the listed ones; None where all are
    # of the prediction on show; marked wherever genes are listed
    by_chance: frozenset[str] = frozenset()
    # how maps look; the first three as in `ColourRange`
    range_kind: str = "gene"
    range_low: float = 1.0
    range_high: float = 99.0
    colormap: str = COLORMAPS[0]
    mix_colours: str = "safe"
    spot_shape: str = "square"
    opacity_percent: int = 70
    # what stands for expression and for uncertainty
    expression: str = MEAN
    uncertainty: str = SD
    share: float = 0.5  # threshold of ``probable`` as a share of the gene's range, 0 to 1
    probability: float = 0.8  # to be exceeded, 0 to 1
    sample: int = 0  # number of the one on show
    is_outlined: bool = True  # spots unlike the training tissue

    def update(self, **values: Any) -> None:
        """Change some of it; those who follow hear of it once, and only where anything is different."""
        self._change(values, heard=frozenset())

    def ask(self, **values: Any) -> None:
        """Change some of it as a click does: it is heard anyway, as the user may have taken a layer away."""
        self._change(values, heard=frozenset(values))

    def dump(self) -> dict[str, Any]:
        """Return it, JSON-ready, as `restore` takes it."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in OF_ONE_SLIDE}

    def look(self) -> dict[str, Any]:
        """Return how maps look, to be remembered."""
        return {name: getattr(self, name) for name in LOOK}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take what `dump` or `look` gave; what is missing or wrong stays as it is."""
        found = {
            f.name: type(getattr(self, f.name))(saved[f.name])
            for f in fields(self)
            if f.name in saved and f.name not in OF_ONE_SLIDE and _is_valid(f.name, saved[f.name])
        }
        if not _is_list(str(found.get("listed", ALL)), found.get("own_list", ())):
            del found["listed"]
        if found.get("arrangement") == SCORE and found.get("listed", self.listed) == ALL:
            del found["arrangement"]
        self.update(**found)

    @property
    def shown_arrangement(self) -> str:
        """The arrangement, or ``one`` where there is no set to make a score of."""
        has_set = self.gene_set is not None and bool(self.gene_set.genes)
        return ONE if self.arrangement == SCORE and not has_set else self.arrangement

    @property
    def genes(self) -> tuple[str, ...]:
        """Genes on the map: the chosen one, those picked or those of the set."""
        arrangement = self.shown_arrangement
        if arrangement in MOST_GENES:
            return self.picked[: MOST_GENES[arrangement]]
        if arrangement == SCORE and self.gene_set is not None:
            return self.gene_set.genes
        return (self.gene,)

    @property
    def field(self) -> str:
        """What is shown of the prediction itself: ``mean``, ``sd`` or ``none``."""
        return self.view if self.view in {MEAN, SD} else NOTHING

    @property
    def colours(self) -> ColourRange:
        """How the limits of the colours are chosen."""
        kind = cast("RangeKind", self.range_kind)
        if kind in {"percentile", "fixed"}:
            return ColourRange(kind, self.range_low, self.range_high)
        return ColourRange(kind)

    @property
    def shape(self) -> SpotShape:
        """Shape of the spots."""
        return cast("SpotShape", self.spot_shape)

    def _change(self, values: Mapping[str, Any], heard: frozenset[str]) -> None:
        new = frozenset(name for name, value in values.items() if getattr(self, name) != value)
        for name in new:
            setattr(self, name, values[name])
        if new | heard:
            self.changed.emit(new | heard)


def uncertainty_colormap(colormap: str) -> str:
    """Colours of the uncertainty, which must not be mistaken for those of the expression."""
    return "viridis" if colormap in {"magma", "inferno"} else "magma"


def _is_valid(name: str, value: object) -> bool:
    """Whether a value from a file, which may have been edited by hand, can be taken."""
    if name in CHOICES:
        return value in CHOICES[name]
    if name in LIMITS:
        low, high = LIMITS[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and low <= cast("float", value) <= high
    if name in {"picked", "own_list"}:
        return isinstance(value, list | tuple) and all(isinstance(gene, str) for gene in value)
    return isinstance(value, bool if name == "is_outlined" else str)


def _is_list(kind: str, own: object) -> bool:
    if kind.startswith(LIST_PREFIX):
        return bool(own)
    return kind in {ALL, FAVOURITES} or kind.removeprefix(SET_PREFIX) in gene_sets()
