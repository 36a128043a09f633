"""All that is shown of one clicked spot, gathered off the GUI thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.encoders.bundled import BundledEncoder
from napari_stem.encoders.catalogue import CATALOGUE
from napari_stem.encoders.names import BUNDLED, parse_name
from napari_stem.errors import StemError
from napari_stem.evaluation.spot_profile import background, spot_profile
from napari_stem.geometry import PatchSpec
from napari_stem.model.config import read_config
from napari_stem.model.sources import named_in_file
from napari_stem.slide.patches import PatchReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_stem.evaluation.spot_profile import Background, SpotProfile
    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide

NO_PATCHES = "What the model saw cannot be shown: {}"


@dataclass(frozen=True)
class Patch:
    """A square of tissue: its side in um, and (side_px, side_px, 3) uint8 RGB."""

    side_um: float
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class SpotDetails:
    """One finished spot.

    Attributes
    ----------
    spot
        Its place among the prediction's spots.
    patches
        What the model looked at, the narrowest first; empty where it cannot be shown.
    why_no_patches
        Then the reason, in one sentence.
    profile
        Every gene against the slide's background.
    ground
        That background, to be used again.
    """

    spot: int
    patches: tuple[Patch, ...]
    why_no_patches: str
    profile: SpotProfile
    ground: Background


def spot_details(
    slide: Slide, prediction: Prediction, spot: int, ground: Background | None
) -> SpotDetails:
    """Gather what is shown of a spot.

    Parameters
    ----------
    slide, prediction, spot
        Which one.
    ground
        Background of the prediction, if it is known already.

    Raises
    ------
    StemError
        The prediction is damaged.
    """
    known = ground or background(prediction)
    if known is None:  # only where it was stopped, which nothing here does
        raise StemError("The spot was not read; click it again.")
    patches, why_not = _patches(slide, prediction, spot)
    return SpotDetails(spot, patches, why_not, spot_profile(prediction, spot, known), known)


def _patches(slide: Slide, prediction: Prediction, spot: int) -> tuple[tuple[Patch, ...], str]:
    try:
        spec = patch_spec(prediction)
        spots = prediction.spots.take(np.array([spot]))
        read = PatchReader(slide, spec).read(spots)[0]
    except StemError as error:
        return (), NO_PATCHES.format(error)
    sides = spec.fields_of_view_um
    found = [Patch(side_um, pixels) for side_um, pixels in zip(sides, read, strict=True)]
    return tuple(sorted(found, key=lambda patch: patch.side_um)), ""


def patch_spec(prediction: Prediction) -> PatchSpec:
    """Fields of view of the model that made a prediction; loads neither weights nor torch.

    Raises
    ------
    StemError
        The model is no packaged one, or its encoder is unknown.
    """
    config = read_config(named_in_file(prediction.provenance.get("model")))
    fields_um: set[float] = set(config.fields_of_view_um or ())
    side_px = 0
    for part in parse_name(config.encoder):
        if part.name == BUNDLED:
            own, own_side_px = BundledEncoder.patch.fields_of_view_um, BundledEncoder.patch.side_px
        else:
            facts = CATALOGUE[part.name]
            own, own_side_px = (facts.field_of_view_um,), facts.side_px
        side_px = max(side_px, own_side_px)
        if config.fields_of_view_um is None:
            fields_um.update(own)
    return PatchSpec(tuple(sorted(fields_um)), side_px)
