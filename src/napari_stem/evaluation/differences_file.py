"""Differences between two groups as CSV, with a note beside it that says what the columns are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.exporting.selection import NOTICE
from napari_stem.exporting.spreadsheet import FORMULA_STARTS
from napari_stem.io import written_whole

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from napari_stem.evaluation.differences import Differences

ASSUMPTIONS = {
    "alike": "All spots of a group are taken to err alike, the two groups independently of each other "
    "(cautious). The 90% interval of a group's mean is the mean of its spots' intervals.",
    "independent": "Every spot is taken to err by itself, as sampled. An error that spots share is not in "
    "these numbers: intervals are too narrow and probabilities too extreme by an unknown amount.",
}
COLUMNS = """\
gene                  as the model names it
group_a, group_b      what is compared; a spot in both counts for group_a
unit                  of means and differences
mean_a, mean_b        predicted mean over the group's spots
difference            mean_a - mean_b
q05, q95              90% interval of the difference
standardised          difference over the pooled standard deviation between single spots (Cohen's d)
probability           posterior probability that mean_a is above mean_b, from the samples
q_value               expected share of wrong signs among this gene and all that are surer: the mean of
                      min(P, 1 - P) over them (Stephens 2017, Biostatistics 18:275)
spot_errors           alike or independent, see above
"""


def differences_table(found: Differences, unit: str) -> pd.DataFrame:
    """Table of all genes, the surest first; `COLUMNS` says what the columns are."""
    import pandas as pd

    table = pd.DataFrame(
        {
            "gene": found.genes,
            "group_a": found.first,
            "group_b": found.second,
            "unit": unit,
            "mean_a": found.mean_a,
            "mean_b": found.mean_b,
            "difference": found.difference,
            "q05": found.low,
            "q95": found.high,
            "standardised": found.standardised,
            "probability": found.probability,
            "q_value": found.q_value,
            "spot_errors": found.errors,
        }
    )
    order = table.assign(size=table["difference"].abs()).sort_values(
        ["q_value", "size"], ascending=[True, False], kind="stable"
    )
    return table.loc[order.index].reset_index(drop=True)


def write_differences(
    found: Differences, unit: str, path: Path, *, overwrite: bool = False
) -> None:
    """Write one row per gene, and ``NAME_README.txt`` beside it.

    Parameters
    ----------
    found, unit
        What to write, and the unit of its means.
    path
        New file.
    overwrite
        Replace what is there.

    Raises
    ------
    OutputError
        The place is taken or cannot be written.
    """
    readme = path.with_name(f"{path.stem}_README.txt")
    text = (
        f"{path.name}: {found.first} compared with {found.second}, gene by gene.\n\n{NOTICE}\n"
        f"{ASSUMPTIONS[found.errors]}\n\n{COLUMNS}"
    )
    with (
        written_whole(readme, overwrite=overwrite) as new_readme,
        written_whole(path, overwrite=overwrite) as new,
    ):
        new_readme.write_text(text, encoding="utf-8")
        table = differences_table(found, unit)
        names = ["gene", "group_a", "group_b"]  # a spreadsheet must not take them for formulas
        table[names] = table[names].map(lambda s: f"'{s}" if s.startswith(FORMULA_STARTS) else s)
        table.to_csv(new, index=False, float_format="%.6g")
