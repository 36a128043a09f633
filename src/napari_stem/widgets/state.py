"""What is shown of the prediction on the map, and how: panels write it, layers follow it.

What a session says of the view is its dump; how maps look is remembered from one day to the next, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from psygnal import Signal

from napari_stem.layers.placement import SpotShape  # noqa: TC001 (read by `settings_of`)
from napari_stem.layers.values import ColourRange, RangeKind
from napari_stem.settings import Bounds, Setting, settings_of
from napari_stem.spatial.gene_sets import gene_sets

if TYPE_CHECKING:
    from collections.abc import Mapping

# what lies on the map: of the prediction itself, or in its place
MEAN, SD, NOTHING = "mean", "sd", "none"
MEASURED, DIFFERENCE, DOMAINS = "measured", "difference", "domains"
# how many genes are shown, and how
ONE, MIX, BESIDE, SCORE = "one", "mix", "beside", "score"
MOST_GENES = {MIX: 3, BESIDE: 4}
# what stands for expression and for uncertainty
FADED, PROBABLE, SAMPLE, WIDTH = "faded", "probable", "sample", "width"
Expression = Literal["mean", "faded", "probable", "sample"]
Uncertainty = Literal["sd", "width"]
UNCERTAINTIES: tuple[str, ...] = get_args(Uncertainty)
# which genes are listed
ALL, FAVOURITES = "all", "favourites"
SET_PREFIX, LIST_PREFIX = "set:", "list:"
# the last not for colour-blind eyes
Colormap = Literal["viridis", "magma", "inferno", "cividis", "turbo"]
COLORMAPS: tuple[str, ...] = get_args(Colormap)

ANY_VALUE = (-1e6, 1e6)  # limits of what can be typed
# by what they show, maps whose colours stand for values of expression: they share one range
OF_EXPRESSION = frozenset({*get_args(Expression), MEASURED})

# what the type of a setting notes: its use beside being dumped
SPECIAL = "special"  # it changes no plain map of a gene
NOT_SAVED = "not saved"  # each slide has its own


@dataclass(frozen=True)
class GeneSet:
    """The listed genes, as far as the model has them."""

    name: str  # as users read it
    genes: tuple[str, ...]  # the model's names
    n_named: int  # genes of the list


@dataclass(eq=False)
class MapLook:
    """How maps look: it is remembered from one day to the next."""

    # the first three as in `ColourRange`
    range_kind: RangeKind = "gene"
    range_low: Annotated[float, Bounds(*ANY_VALUE)] = 1.0
    range_high: Annotated[float, Bounds(*ANY_VALUE)] = 99.0
    colormap: Colormap = "viridis"
    mix_colours: Literal["safe", "rgb"] = "safe"
    spot_shape: SpotShape = "square"
    opacity_percent: Annotated[int, Bounds(0, 100)] = 70

    def look(self) -> dict[str, Any]:
        """Return how maps look, to be remembered."""
        return {each.name: getattr(self, each.name) for each in fields(MapLook)}


@dataclass(eq=False)
class DisplaySettings(MapLook):
    """All that is asked to be shown; `changed` tells the names of what has changed."""

    changed = Signal(frozenset)

    view: Literal["mean", "sd", "none", "measured", "difference", "domains"] = "mean"
    arrangement: Literal["one", "mix", "beside", "score"] = "one"
    gene: Annotated[str, NOT_SAVED] = ""  # the chosen one
    picked: tuple[str, ...] = ()  # genes that are shown together
    listed: str = ALL  # or ``favourites``, ``set:NAME``, ``list:NAME``
    own_list: tuple[str, ...] = ()  # genes of a list of the user's
    # genes that are listed; None where all are
    gene_set: Annotated[GeneSet | None, NOT_SAVED] = None
    # of the prediction on show; marked wherever genes are listed
    by_chance: Annotated[frozenset[str], NOT_SAVED] = frozenset()
    # [low, high] set in napari, by `hand_key`; until a range is chosen
    limits_by_hand: dict[str, list[float]] = field(default_factory=dict)
    # what stands for expression and for uncertainty
    expression: Expression = "mean"
    uncertainty: Uncertainty = "sd"
    # threshold of ``probable`` as a share of the gene's range, and the probability to be exceeded
    share: Annotated[float, Bounds(0, 1), SPECIAL] = 0.5
    probability: Annotated[float, Bounds(0, 1), SPECIAL] = 0.8
    sample: Annotated[int, Bounds(0, 1e6), SPECIAL] = 0  # number of the one on show
    is_outlined: bool = True  # spots unlike the training tissue

    def update(self, **values: Any) -> None:
        """Change some of it; emits `changed` once, and only where anything is different."""
        self._change(values, heard=frozenset())

    def apply(self, **values: Any) -> None:
        """Change some of it, and have it drawn though nothing differs: its layer may have been removed."""
        self._change(values, heard=frozenset(values))

    def dump(self) -> dict[str, Any]:
        """Return it, JSON-ready, as `restore` takes it."""
        return {name: getattr(self, name) for name in SETTINGS if not _is_used(name, NOT_SAVED)}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take what `dump` or `look` gave; what is missing or wrong stays as it is."""
        found = {
            name: type(value)(saved[name])
            for name, value in self.dump().items()
            if name in saved and _is_valid(SETTINGS[name], saved[name])
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
    def kind(self) -> str:
        """What the map shows where it is of one gene: the view, or what stands for it."""
        stands_for: dict[str, str] = {MEAN: self.expression, SD: self.uncertainty}
        return stands_for.get(self.view, self.view)

    @property
    def shown_kind(self) -> str:
        """What the colours on the map stand for: `kind`, ``score``, or `field` where several genes are."""
        if self.view not in {MEAN, SD}:
            return self.view
        return {ONE: self.kind, SCORE: SCORE}.get(self.shown_arrangement, self.field)

    def range_of(self, kind: str, gene: str = "") -> ColourRange:
        """How the limits of the colours are chosen, of a map that shows a kind of values, of a gene."""
        if by_hand := self.limits_by_hand.get(self.hand_key(kind, gene)):
            return ColourRange("fixed", *by_hand)
        chosen = ColourRange(self.range_kind, self.range_low, self.range_high)
        return chosen if kind in OF_EXPRESSION else chosen.as_percentiles()

    def set_limits(self, kind: str, low: float, high: float, gene: str = "") -> None:
        """Take limits set in napari on a map, as `range_of`; of expression alone as every gene's fixed ones."""
        key = self.hand_key(kind, gene)
        if key in OF_EXPRESSION:
            self.update(range_kind="fixed", range_low=low, range_high=high)
        else:
            self.update(limits_by_hand=self.limits_by_hand | {key: [low, high]})

    def hand_key(self, kind: str, gene: str) -> str:
        """Return by what limits set by hand are kept: kind of values, of genes seen together the gene too."""
        return f"{kind} {gene}" if self.shown_arrangement in MOST_GENES else kind

    def by_hand(self, kind: str) -> dict[str, list[float]]:
        """Return limits set by hand of the maps on show, which show a kind of values, by their gene."""
        keys = {gene: self.hand_key(kind, gene) for gene in self.genes}
        held = self.limits_by_hand
        return {gene: held[key] for gene, key in keys.items() if key in held}

    def _change(self, values: Mapping[str, Any], heard: frozenset[str]) -> None:
        new = frozenset(name for name, value in values.items() if getattr(self, name) != value)
        for name in new:
            setattr(self, name, values[name])
        if new | heard:
            self.changed.emit(new | heard)


def uncertainty_colormap(colormap: str) -> str:
    """Colours of the uncertainty, which must not be mistaken for those of the expression."""
    return "viridis" if colormap in {"magma", "inferno"} else "magma"


SETTINGS = settings_of(DisplaySettings)


def _is_used(name: str, use: str) -> bool:
    return use in SETTINGS[name].notes


OF_SPECIAL_MAPS = frozenset(name for name in SETTINGS if _is_used(name, SPECIAL))


def _is_valid(setting: Setting, value: Any) -> bool:
    """Whether a value from a file, which may have been edited by hand, can be taken."""
    if setting.choices:
        return value in setting.choices
    if setting.bounds is not None:
        return _is_number(value, setting.bounds)
    kind = get_origin(setting.kind) or setting.kind
    if kind is dict:
        return isinstance(value, dict) and all(map(_are_limits, value.values()))
    if kind is tuple:
        return isinstance(value, list | tuple) and all(isinstance(gene, str) for gene in value)
    return isinstance(value, kind)


def _is_number(value: Any, bounds: Bounds) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value in bounds


def _are_limits(value: Any) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2
    are_numbers = is_pair and all(_is_number(each, Bounds(*ANY_VALUE)) for each in value)
    return are_numbers and value[0] < value[1]


def _is_list(kind: str, own: object) -> bool:
    if kind.startswith(LIST_PREFIX):
        return bool(own)
    return kind in {ALL, FAVOURITES} or kind.removeprefix(SET_PREFIX) in gene_sets()
