"""Frozen settings of a run, what is said of each setting, and where the program keeps its caches.

A setting's type, bounds, choices, default and help stand in its frozen dataclass alone. What refuses other
values, the command line's options and the window's fields are made of these: see `settings_of`.
"""

from __future__ import annotations

import inspect
import math
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from napari_stem.errors import RegionError, SettingsError, StemError

ExportKind = Literal["report", "figure", "h5ad", "zarr", "spatialdata", "csv", "geojson"]
SamplerName = Literal["dpmpp-2m", "heun", "ancestral", "ddim"]
GAUSSIAN = "gaussian"  # recorded where no sampler is used: a model without a network
SAMPLER_TITLES = {
    "dpmpp-2m": "DPM-Solver++ (2M)",
    "heun": "Heun's method",
    "ancestral": "ancestral sampling",
    "ddim": "DDIM",
    GAUSSIAN: "exact draws of a Gaussian copula",
}
Objective = Literal["edm", "published"]
Quantity = Literal["counts", "share"]
Patient = Literal["new", "same"]
DEFAULT_MODEL = "her2st-breast"
MAX_STEPS = 1000  # of the published chain; the other samplers have long converged by then
MAX_DRAWS = 10_000  # samples per spot: their quantiles have long settled by then
MAX_DEPTH = 1e9  # counts per spot: thousands of times what any sequencing gives
MAX_SEED = 2**32 - 1  # that every generator takes
CACHE_VARIABLE = "NAPARI_STEM_CACHE"


def cache_dir() -> Path:
    """Folder of all caches: ``$NAPARI_STEM_CACHE``, else the platform's own cache folder."""
    from platformdirs import user_cache_path  # sampling needs torch and numpy alone

    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else user_cache_path("napari-stem")


@dataclass(frozen=True)
class Bounds:
    """Between which numbers a setting lies; its type is annotated with them. Infinity is none of them."""

    least: float
    most: float = math.inf
    is_open: bool = False  # whether it must be more than ``least``

    def __contains__(self, number: float) -> bool:
        """Whether a number lies between them."""
        is_between = self.least <= number <= self.most and number < math.inf
        return is_between and not (self.is_open and number == self.least)

    def __str__(self) -> str:
        """As words after "a number"."""
        least = f"{'above' if self.is_open else 'from'} {self.least:,.9g}"
        return least if self.most == math.inf else f"{least} to {self.most:,.10g}"


@dataclass(frozen=True)
class Setting:
    """What a dataclass says of one of its fields, or a function of one of its parameters."""

    kind: Any  # type
    default: Any  # `inspect.Parameter.empty` where there is none
    help: str  # in one line: what numpydoc's ``Attributes`` say, empty where they do not
    choices: tuple[str, ...]  # words of which it is one; empty where it may be others
    bounds: Bounds | None
    notes: tuple[Any, ...]  # all that its type is annotated with

    @property
    def short_help(self) -> str:
        """First sentence of its help."""
        return re.split(r"(?<=\.) ", self.help)[0]


@cache
def settings_of(asked: Any) -> dict[str, Setting]:
    """Describe each field of a dataclass, or each parameter of a function."""
    hints, helps, found = get_type_hints(asked, include_extras=True), attribute_helps(asked), {}
    for name, parameter in inspect.signature(asked).parameters.items():
        is_annotated = get_origin(hints[name]) is Annotated
        kind, *notes = get_args(hints[name]) if is_annotated else (hints[name],)
        kinds = kind, *get_args(kind)  # the others: of what may be None too
        choices = next((get_args(each) for each in kinds if get_origin(each) is Literal), ())
        bounds = next((note for note in notes if isinstance(note, Bounds)), None)
        help_ = helps.get(name, "")
        found[name] = Setting(kind, parameter.default, help_, choices, bounds, tuple(notes))
    return found


def attribute_helps(kind: Any) -> dict[str, str]:
    """Say what each attribute of a class is for, as its numpydoc ``Attributes`` do, in one line each."""
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes\n----------\n")
    found: dict[str, str] = {}
    for names, text in re.findall(r"^(\w[\w, ]*)\n((?:[ ]+.*\n?)+)", section, re.MULTILINE):
        for name in names.split(", "):
            found[name] = " ".join(text.replace("`", "").split())
    return found


def require_possible(settings: Any, error: type[StemError] = SettingsError) -> None:
    """Raise an error where a field is out of its bounds, or no choice; NumPy's numbers become Python's."""
    for name, setting in settings_of(settings.__class__).items():
        value = getattr(settings, name)
        if value is None and setting.default is None:
            continue
        if setting.choices and value not in setting.choices:
            *others, last = setting.choices
            raise error(f"There is no {name} '{value}'; choose {', '.join(others)} or {last}.")
        if setting.bounds is None:
            continue
        is_whole = setting.kind in (int, int | None)
        if value not in setting.bounds or (is_whole and value % 1):
            number = "a whole number" if is_whole else "a number"
            raise error(f"{name} must be {number} {setting.bounds}, not {value}.")
        object.__setattr__(settings, name, int(value) if is_whole else float(value))


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How draws are taken.

    Attributes
    ----------
    n_draws
        Samples per spot. More samples: steadier uncertainty, longer runs.
    n_steps
        Denoising steps per sample. 16 suffice.
    sampler
        How samples are drawn. ``dpmpp-2m`` and ``heun`` (deterministic given their start; the latter evaluates
        the network twice a step), ``ancestral`` (fresh noise at every step; for Stem's own objective the
        paper's chain, respaced to ``n_steps``) or ``ddim`` (its deterministic twin, for that objective only).
    seed
        The same seed gives the same map again. Noise depends on it and on the spot alone.
    quantity
        Counts, or each gene's share of all counts (per 10,000).
    depth
        Counts per spot (of all genes) that the slide would be sequenced to; 0: as in training. Shares,
        too, are of counts of this depth: the fewer, the coarser.
    patient
        A ``new`` one, or the ``same`` as in training: intervals of a new one are wider. No two are alike.
    device
        Where to compute: auto, cpu, cuda, cuda:1, mps ... ``auto`` takes CUDA, then Apple's MPS, then the CPU.
    spots_per_block
        Spots sampled and written together: the unit of progress, cancelling and resuming.

    Raises
    ------
    SettingsError
        A number is out of its bounds, or a word is none of those to choose among.
    """

    n_draws: Annotated[int, Bounds(2, MAX_DRAWS)] = 32
    n_steps: Annotated[int, Bounds(1, MAX_STEPS)] = 16
    sampler: SamplerName = "dpmpp-2m"
    seed: Annotated[int, Bounds(0, MAX_SEED)] = 0
    quantity: Quantity = "counts"
    depth: Annotated[float, Bounds(0, MAX_DEPTH)] = 0.0
    patient: Patient = "new"
    device: str = "auto"
    spots_per_block: Annotated[int, Bounds(1)] = 16

    def __post_init__(self) -> None:
        """Refuse values that cannot give a prediction with a spread."""
        require_possible(self)


@dataclass(frozen=True)
class TissueSettings:
    """What a user decides about the search for tissue.

    Attributes
    ----------
    sensitivity
        Higher counts fainter and smoother parts as tissue too. 50 suits most slides.
    min_area_mm2
        Leave out pieces of tissue smaller than this. Dust and debris go with them.
    """

    sensitivity: Annotated[int, Bounds(0, 100)] = 50
    min_area_mm2: Annotated[float, Bounds(0, 10_000)] = 0.05  # no slide is larger

    def __post_init__(self) -> None:
        """Check the ranges; RegionError where one is left."""
        require_possible(self, RegionError)


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What a user says of embeddings, because their file does not.

    Attributes
    ----------
    coordinates
        Positions of the embeddings' patches, if the file has none: .h5, .npz, .npy.
    encoder
        Encoder that made the embeddings, if the file does not say. Any name; it need not be installed.
    patch_px
        Side of the embeddings' patches in level-0 px, if the file does not say.
    tolerance_um
        Most um from a spot to the centre of its patch; default: a tenth of the patch.

    Raises
    ------
    SettingsError
        A number is out of its bounds.
    """

    coordinates: Path | None = None
    encoder: str | None = None
    patch_px: Annotated[float | None, Bounds(1)] = None
    tolerance_um: Annotated[float | None, Bounds(0.01)] = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_possible(self)
