"""What sequencing depth does to a prediction: a section thinned to a twentieth, its depth told or not.

    python scripts/depth_comparison.py DATASET C2 C3 C4 [--report C5]

DATASET in HEST layout, sections of one patient. One section at a time is left out and the others fit the model
(200 genes, no correction); ``--report`` names one that all fit for. Prints the mean PCC of the genes against
the counts as measured and thinned, beside the noise ceiling of either, and how many measured counts lie within
the 90% interval (randomised PIT): with the depth told and not told, as the same and as a new patient; then the
same of shares.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from residual_comparison import UNIT, left_out_in_turn

from napari_stem.metrics import coverage_of, pcc, pit
from napari_stem.settings import SamplingSettings
from napari_stem.spatial.normalise import counts_of, in_unit
from napari_stem.training.fit import TrainingOptions, fit_sections
from napari_stem.training.reliability import noise_ceilings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.training.sections import SectionArrays

SHARE = "log1p_cp10k"
KEPT = 0.05  # of the counts
ASKED = SamplingSettings(n_draws=64, patient="same", device="cpu")


def thinned(section: SectionArrays) -> SectionArrays:
    """Leave each count of a section with probability `KEPT`."""
    rng = np.random.default_rng(0)
    counts = counts_of(section.values, UNIT).astype(np.int64)
    others = section.library_sizes.astype(np.int64) - counts.sum(1)
    fewer = rng.binomial(counts, KEPT).astype(float)
    sizes = fewer.sum(1) + rng.binomial(others, KEPT)
    return replace(section, values=in_unit(fewer, UNIT, lambda: sizes), library_sizes=sizes)


def compare(train: Sequence[SectionArrays], section: SectionArrays, panel: Sequence[str]) -> None:
    """Print one section's rows."""
    options = TrainingOptions(steps=0, normalisation=UNIT)
    model = fit_sections(train, panel, options, name="compared", encoder_version=None)

    def compared(truth: SectionArrays, unit: str = UNIT, **asked: object) -> tuple[float, float]:
        settings = replace(ASKED, **asked)
        draws = model.sample(section.embedding, section.spots, settings)
        counts = counts_of(truth.values, UNIT)
        values = in_unit(counts, unit, lambda: truth.library_sizes).astype(np.float64)
        place = pit(values, draws)
        return float(np.nanmean(pcc(values, draws.mean(-1)))), coverage_of(place, 0.9)

    fewer = thinned(section)
    told = {"depth": float(np.median(section.library_sizes))}
    told_thin = {"depth": float(np.median(fewer.library_sizes))}
    rows = {
        "as measured, depth told": (section, UNIT, told),
        "as measured, depth not told": (section, UNIT, {}),
        "as measured, depth not told, as a new patient": (section, UNIT, {"patient": "new"}),
        "thinned, depth told": (fewer, UNIT, told_thin),
        "thinned, depth not told": (fewer, UNIT, {}),
        "thinned, depth not told, as a new patient": (fewer, UNIT, {"patient": "new"}),
        "as measured, shares": (section, SHARE, {"quantity": "share", **told}),
        "thinned, shares": (fewer, SHARE, {"quantity": "share", **told_thin}),
    }
    ceilings = {id(s): float(noise_ceilings([s], UNIT).mean()) for s in (section, fewer)}
    for name, (truth, unit, asked) in rows.items():
        found, coverage = compared(truth, unit, **asked)
        ceiling = f"{ceilings[id(truth)]:.3f}" if unit == UNIT else ""
        print(f"| {section.id} | {name} | {found:.3f} | {ceiling} | {coverage:.3f} |", flush=True)


HEADING = (
    "| section | counts and prediction | PCC | noise ceiling | 90% coverage |\n"
    "| --- | --- | --- | --- | --- |"
)

if __name__ == "__main__":
    left_out_in_turn(__doc__.splitlines()[0], compare, HEADING)
