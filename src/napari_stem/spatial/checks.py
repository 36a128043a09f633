"""What can be wrong with a measured section, found before it does harm.

Every finding says how bad it is, how often it occurs, where, and what to do. ``stops``: the section
cannot be used as it is. ``warns``: it can, and the numbers may surprise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from napari_stem.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import anndata
    from numpy.typing import ArrayLike, NDArray

Severity = Literal["stops", "warns"]
N_EXAMPLES = 5
_VALUES_PER_BLOCK = 4_000_000
ENSEMBL_ID = re.compile(r"ENS[A-Z]*G\d{11}(\.\d+)?")
MPP_TOLERANCE = 0.05
MPP_LIMIT = 0.25  # beyond it no optics and no fit explains the difference: a factor got lost
_DROPPABLE = "look at the positions, or import with --drop-bad-spots to leave these spots out"
_EMPTY = "copy the table again from where it came"
_RAW = "X must hold raw counts"
# what is looked for among the values of a spot, what it is called, and what to do
_COUNT_FINDINGS: dict[str, tuple[Callable[[NDArray[Any]], NDArray[np.bool_]], str, str]] = {
    "counts-not-numbers": (lambda v: ~np.isfinite(v), "counts that are not numbers", _DROPPABLE),
    "negative-counts": (lambda v: v < 0, "negative counts", _RAW),
    "fractional-counts": (
        lambda v: np.isfinite(v) & (v != np.rint(v)),
        "fractional counts",
        f"{_RAW}, not normalised values",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    check: str  # short name of what was looked for
    severity: Severity  # ``stops`` or ``warns``
    what: str  # in words that can follow "it has"
    count: int  # how many spots, genes or values; 0 where there is nothing to count
    examples: tuple[str, ...]  # up to five of them
    advice: str  # what to do

    def __str__(self) -> str:
        """Complete "this table has ...": with the count, examples, and what to do."""
        number = f": {self.count}" if self.count else ""
        more = ", ..." if self.count > len(self.examples) else ""
        some = f" ({', '.join(self.examples)}{more})" if self.examples else ""
        return f"{self.what}{number}{some}; {self.advice}."


def raise_on_stop(findings: Iterable[Finding], path: Path) -> None:
    """Refuse a table that a finding stops, by a DatasetError of the first such one and the file's name."""
    for finding in findings:
        if finding.severity == "stops":
            raise DatasetError(f"{path} has {finding}")


def check_positions(
    names: Sequence[str], xy_px: ArrayLike | None, size_px: tuple[float, float] | None
) -> list[Finding]:
    """Look for spots without a place, off the image, or twice.

    Places are (n, 2), x and y in level-0 px, or None where the table has none; the size is that of the image,
    width and height, if known.
    """
    found = [] if len(names) else [as_finding("no-spots", "no spots", [], _EMPTY)]
    found += _repeats("duplicate-spot-names", "spots with the name of another", names)
    xy = np.empty((0, 0)) if xy_px is None else np.asarray(xy_px, dtype=np.float64)
    if xy.shape != (len(names), 2):
        what = 'no usable obsm["spatial"], so its spots have no place'
        advice = "give it two columns, x and y of each spot in px"
        return [*found, as_finding("no-positions", what, [], advice)]
    finite = np.isfinite(xy).all(axis=1)
    width_px, height_px = size_px or (0, 0)
    off = f"spots outside the {width_px:g} x {height_px:g} px image"
    again = finite & pd.DataFrame(xy).duplicated().to_numpy()
    looked_for = (
        ("positions-not-numbers", "positions that are not numbers", ~finite),
        ("spots-outside-image", off, finite & outside_image(xy, size_px)),
        ("duplicate-positions", "spots at the place of another", again),
    )
    labels = np.asarray(names, dtype=object)
    return found + [
        as_finding(check, what, labels[where], _DROPPABLE)
        for check, what, where in looked_for
        if where.any()
    ]


def outside_image(
    xy_px: NDArray[np.float64], size_px: tuple[float, float] | None
) -> NDArray[np.bool_]:
    """(n,) which positions lie off the image; none where its size is unknown."""
    if size_px is None:
        return np.zeros(len(xy_px), bool)
    return np.asarray(((xy_px < 0) | (xy_px > size_px)).any(axis=1), dtype=np.bool_)


def check_counts(blocks: Iterable[csr_matrix], names: Sequence[str]) -> list[Finding]:
    """Look for what raw counts cannot be, and for spots without any.

    The (spots, genes) matrix comes in consecutive blocks of rows: a large table need not be in memory.
    """
    bad: dict[str, list[str]] = {check: [] for check in _COUNT_FINDINGS}
    empty: list[str] = []
    start = 0
    for block in blocks:
        for check, (test, _, _) in _COUNT_FINDINGS.items():
            places = np.flatnonzero(test(block.data))
            rows = np.searchsorted(block.indptr, places, side="right") - 1 + start
            bad[check] += [names[int(row)] for row in rows]
        with np.errstate(invalid="ignore"):
            total = np.asarray(block.sum(axis=1)).ravel()
        empty += [names[start + int(i)] for i in np.flatnonzero(total == 0)]
        start += block.shape[0]
    advice_on_empty = "they teach nothing; remove them if they are many"
    found = [
        *(as_finding(c, what, bad[c], advice) for c, (_, what, advice) in _COUNT_FINDINGS.items()),
        as_finding("empty-spots", "spots without any count", empty, advice_on_empty, "warns"),
    ]
    return [one for one in found if one.count]


def check_genes(genes: Sequence[str]) -> list[Finding]:
    """Look for genes named twice and for Ensembl ids in place of symbols."""
    found = [] if len(genes) else [as_finding("no-genes", "no genes", [], _EMPTY)]
    advice = "import the section again: its counts are then added up"
    found += _repeats("duplicate-genes", "genes with the name of another", genes, advice)
    ids = [gene for gene in genes if ENSEMBL_ID.fullmatch(gene)]
    if ids:
        advice = "models know genes by symbol; name a column of symbols in var 'gene_name'"
        what = "Ensembl ids in place of gene symbols"
        found.append(as_finding("ensembl-ids", what, ids, advice, "warns"))
    return found


def check_mpp(
    stated_um: object,
    others_um: Mapping[str, float | None],
    doubtful: Collection[str] = (),
    file: Path | None = None,
) -> list[Finding]:
    """Compare the pixel size that will be used with what else speaks of it.

    ``stated_um`` is um per px, as the metadata say (any JSON value), or None; ``others_um`` what others say,
    by who says it: the spots' spacing, the image's tag, scale factors. The word of the ``doubtful`` never
    stops anything. ``file`` holds the metadata, where a user can correct them; None where there is none, as
    where the pixel size was fitted to the positions.
    """
    try:
        used_um = float(stated_um)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        used_um = 0.0
    if not (np.isfinite(used_um) and 0.01 <= used_um <= 100):
        what = "no pixel size in its metadata" if stated_um is None else "an impossible pixel size"
        examples = [] if stated_um is None else [repr(stated_um)]
        advice = f"write um per px as 'pixel_size_um_estimated' into {file or 'its metadata'}"
        return [as_finding("pixel-size-missing", what, examples, advice)]
    found = []
    for who, other_um in others_um.items():
        if other_um is None:
            continue
        factor = max(used_um / other_um, other_um / used_um)
        if factor > 1 + MPP_TOLERANCE:
            what = (
                f"pixel sizes that disagree by a factor of {factor:.3g}: {used_um:.4g} um/px are used, "
                f"{who} says {other_um:.4g}"
            )
            severe = factor > 1 + MPP_LIMIT and who not in doubtful
            severity: Severity = "stops" if severe else "warns"
            mend = "image and positions may be those of different sections"
            if file is not None:
                mend = f"correct 'pixel_size_um_estimated' in {file}"
            advice = f"find out which is right: {mend}"
            found.append(as_finding("pixel-size-mismatch", what, [], advice, severity))
    return found


def check_unit_of_positions(spacing_um: float | None) -> list[Finding]:
    """Look for positions in um: by them (um per px, None where unknown), a pixel would be a micrometre wide."""
    if spacing_um is None or abs(spacing_um - 1) > MPP_TOLERANCE:
        return []
    what = "positions that make a pixel 1 um wide, as where they are in um instead of px"
    advice = "lay them over the image, and if they are in um, divide them by its pixel size"
    return [as_finding("positions-in-um", what, [], advice, "warns")]


def check_table(table: anndata.AnnData, size_px: tuple[float, float] | None) -> list[Finding]:
    """Look at a table in memory: positions, counts and genes."""
    names = [str(name) for name in table.obs_names]
    return [
        *check_positions(names, table.obsm.get("spatial"), size_px),
        *check_counts(_in_blocks(csr_matrix(table.X)), names),
        *check_genes([str(gene) for gene in table.var_names]),
    ]


def drop_bad_spots(
    table: anndata.AnnData, size_px: tuple[float, float] | None
) -> tuple[anndata.AnnData, dict[str, int]]:
    """Leave out spots that are off the image, repeated, or hold what is not a number.

    Returns the table without them, and how many went, by check.
    """
    xy_px = np.asarray(table.obsm["spatial"], dtype=np.float64)
    finite = np.asarray(np.isfinite(xy_px).all(axis=1), dtype=np.bool_)
    matrix = csr_matrix(table.X)
    rows = np.repeat(np.arange(table.n_obs), np.diff(matrix.indptr))
    reasons = {
        "positions-not-numbers": ~finite,
        "counts-not-numbers": np.isin(np.arange(table.n_obs), rows[~np.isfinite(matrix.data)]),
        "spots-outside-image": finite & outside_image(xy_px, size_px),
    }
    bad = np.logical_or.reduce(list(reasons.values()))
    # A repeated spot is judged among those that stay, or both copies might go.
    for check, identity in (
        ("duplicate-positions", pd.DataFrame(xy_px)),
        ("duplicate-spot-names", pd.Series(table.obs_names)),
    ):
        staying = np.flatnonzero(~bad)
        reasons[check] = np.zeros(table.n_obs, bool)
        reasons[check][staying[identity.iloc[staying].duplicated()]] = True
        bad = bad | reasons[check]
    dropped = {check: int(which.sum()) for check, which in reasons.items() if which.any()}
    return (table[~bad].copy() if bad.any() else table), dropped


def _in_blocks(matrix: csr_matrix) -> Iterator[csr_matrix]:
    """Cut a matrix into rows of a few megabytes, so that looking at it costs no second copy."""
    step = max(1, int(_VALUES_PER_BLOCK * matrix.shape[0] / max(matrix.nnz, 1)))
    for start in range(0, matrix.shape[0], step):
        yield matrix[start : start + step]


def as_finding(
    check: str,
    what: str,
    all_examples: Sequence[object] | NDArray[Any],
    advice: str,
    severity: Severity = "stops",
) -> Finding:
    """Count the examples, of which there may be none, and show a few different ones."""
    count = len(all_examples)
    some = tuple(dict.fromkeys(str(one) for one in all_examples))[:N_EXAMPLES]
    return Finding(check, severity, what, count, some, advice)


def _repeats(
    check: str, what: str, names: Sequence[str], advice: str = _DROPPABLE
) -> list[Finding]:
    index = pd.Index(names)
    again = index[index.duplicated()]
    return [as_finding(check, what, again, advice)] if len(again) else []
