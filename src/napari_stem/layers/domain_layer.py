"""Domains as a labels layer: one number per spot, colours and names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.layers.spot_grid import SpotGrid

TITLE = "Domains of predicted expression"
MOST_LINES = 12  # of a legend on the canvas


def domain_raster(
    grid: SpotGrid, rows: NDArray[np.int64], labels: NDArray[np.int64]
) -> NDArray[np.uint16]:
    """Image of labels from 1; 0 where there is no domain.

    Small numbers: for wider ones napari compiles a look-up when they are first shown.

    Parameters
    ----------
    grid
        Of all spots of a prediction.
    rows
        (n,) which spots have a domain.
    labels
        (n,) their domains, from 0.
    """
    per_spot = np.zeros(grid.spot_at.max() + 2, dtype=np.uint16)  # the last for "no spot", at -1
    per_spot[rows] = labels + 1
    return np.asarray(per_spot[grid.spot_at])


def domain_features(names: Sequence[str]) -> dict[str, list[object]]:
    """Columns that a viewer reads out under the cursor: label 0 is where there is none."""
    return {"index": list(range(len(names) + 1)), "domain": ["", *names]}


def legend_lines(names: Sequence[str], colours: Sequence[str]) -> list[tuple[str, str]]:
    """Lines of a legend, (text, colour of its ground): every domain's name on its colour.

    Parameters
    ----------
    names, colours
        Of the domains, in their order; of more than ``MOST_LINES`` the first, and how many follow.
    """
    lines = list(zip(names, colours, strict=True))
    if len(lines) <= MOST_LINES:
        return lines
    kept = lines[: MOST_LINES - 1]
    return [*kept, (f"and {len(lines) - len(kept)} more, in the panel", "#ffffff")]


def readable_on(colour: str) -> str:
    """Black or white, whichever is read more easily on a colour (WCAG 2.1, relative luminance)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"
