"""What has become of each slide of a cohort, how long the others will take, and what all sum up to."""

from __future__ import annotations

import math
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_stem.cells import harmless, harmless_table, read_cells
from napari_stem.errors import OutputError, PredictionError, StemError
from napari_stem.io import write_file
from napari_stem.texts import RESEARCH, sentence, visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import anndata
    from distributed import Client

    from napari_stem.cohort.orders import Order

TELL_EVERY_S = 60.0
SCHEDULER_GONE = (
    "The scheduler is gone; what was finished is kept: run the same command with --resume."
)


@dataclass
class Outcome:
    """What has become of one slide."""

    order: Order  # what was asked for
    # ``waiting``: nothing was done for it in this run
    status: Literal["waiting", "running", "done", "failed"] = "waiting"
    n_spots: int = 0  # all
    n_before: int = 0  # finished before this run
    n_done: int = 0  # finished by now
    n_unlike: int = 0  # of these, unlike the training data
    # n_genes, unit: of its values
    n_genes: int = 0
    unit: str = ""
    # that workers spent on it, in earlier runs too; NaN where one of these was killed before it told
    seconds: float = 0.0
    notes: tuple[str, ...] = ()  # what to know before trusting the figures
    error: str = ""  # why it failed

    @property
    def share(self) -> float:
        """How much of its work is over; of one that failed nothing is left."""
        if self.has_ended:
            return 1.0
        return self.n_done / self.n_spots if self.n_spots else 0.0

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in ("done", "failed")

    def begin(self, n_done: int) -> None:
        """Go on with the spots that earlier runs finished.

        Those that a killed run did not tell of took as long as the others; where none was, nobody knows.
        """
        n_told = self.n_done
        if not n_done:  # whatever was told is no longer there
            self.seconds = 0.0
        elif n_done > n_told:
            self.seconds *= n_done / n_told if n_told else math.nan
        self.n_before = self.n_done = n_done

    def fail(self, error: BaseException) -> None:
        """Give it up."""
        killed = "Its workers were ended again and again, perhaps for want of memory."
        is_kill = type(error).__name__ == "KilledWorker"
        self.status = "failed"
        self.error = killed if is_kill else sentence(error) or type(error).__name__


def seconds_left(outcomes: Sequence[Outcome], seconds: float) -> float | None:
    """Time left, by the seconds that this run took; slides not looked at yet count as large as the others."""
    known = [each for each in outcomes if each.n_spots]
    n_filled = sum(each.n_done - each.n_before for each in known)
    if not n_filled:
        return None
    mean = sum(each.n_spots for each in known) / len(known)
    unknown = sum(not each.n_spots and not each.has_ended for each in outcomes)
    left = mean * unknown + sum(each.n_spots - each.n_done for each in known if not each.has_ended)
    return left * seconds / n_filled


def rows_of(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Say, JSON-ready and without folders, what has become of each slide."""
    return [
        {
            "slide": each.order.name,
            "file": each.order.alias or visible(each.order.slide.name),
            "out": visible(each.order.out.name),
            "status": each.status if each.has_ended else "unfinished",
            "n_spots": each.n_spots,
            "n_done": each.n_done,
            "n_unlike_training": each.n_unlike,
            "n_genes": each.n_genes,
            "unit": each.unit,
            "model": each.order.model_name,
            "seconds": None if math.isnan(each.seconds) else round(each.seconds, 1),
            "error": each.order.unnamed(each.error),
            "notes": each.order.unnamed(" ".join(each.notes)),
            **dict(each.order.noted),
        }
        for each in outcomes
    ]


class Summary:
    """``cohort.csv`` of a folder: a line per slide.

    It is written while slides are predicted, too: what a killed run did is told but for its last minute.
    """

    def __init__(self, folder: Path, outcomes: Sequence[Outcome]) -> None:
        self.path = folder / "cohort.csv"
        self._outcomes = outcomes
        self._written_s = time.monotonic()

    def recall(self) -> None:
        """Have slides for which nothing was done yet begin with what an earlier run told of them."""
        figures = ("n_spots", "n_done", "n_unlike_training", "n_genes")
        # there is none, or somebody has altered it
        with suppress(OSError, ValueError, KeyError, OverflowError):
            told = read_cells(self.path, numbers=(*figures, "seconds")).fillna({"unit": ""})
            rows = told.set_index("out")[[*figures, "unit", "seconds"]].to_dict("index")
            for each in self._outcomes:
                row = rows.get(str(harmless(visible(each.order.out.name))))
                if row is None or each.status != "waiting":
                    continue
                each.n_spots, each.n_done, each.n_unlike, each.n_genes = (
                    int(row[name]) for name in figures
                )
                each.n_before, each.unit, each.seconds = each.n_done, row["unit"], row["seconds"]

    def write(self) -> Path:
        """Write it, over an earlier one; OutputError where it cannot be."""
        import pandas as pd

        self._written_s = time.monotonic()
        table = harmless_table(pd.DataFrame(rows_of(self._outcomes)))
        write_file(self.path, table.to_csv(index=False))
        return self.path

    def write_if_due(self) -> None:
        """Write it where the last time was a minute ago; a disk that is full for a while stops nothing."""
        if time.monotonic() - self._written_s >= TELL_EVERY_S:
            with suppress(OutputError):
                self.write()


def cohort_table(outcomes: Sequence[Outcome], client: Client) -> anndata.AnnData:
    """Merge the finished slides into one table of region means, which workers read.

    Returns
    -------
    ``obs``: ``slide``, ``region``, ``n_spots``, ``n_unlike_training``, ``model`` and the manifest's further
    columns, a row per slide and region. ``X`` (rows, genes) float32: mean over the region's spots of the
    predicted mean, in ``uns["unit"]``; NaN where a slide's model lacks the gene.

    Raises
    ------
    PredictionError
        No slide is finished, or their values are in different units.
    StemError
        The scheduler is gone.
    """
    import anndata
    import numpy as np
    import pandas as pd

    from napari_stem.cohort.work import region_means

    done = [each for each in outcomes if each.status == "done"]
    units = sorted({each.unit for each in done})
    if len(units) != 1:
        raise PredictionError(
            f"Slides in different units are not merged ({'; '.join(units)}); make a table of each."
            if units
            else "No slide is finished, so there is nothing to merge."
        )
    try:
        means = client.gather(
            client.map(region_means, [each.order.out for each in done], pure=False)
        )
    except CancelledError as error:
        raise StemError(SCHEDULER_GONE) from error
    genes = list(dict.fromkeys(gene for table in means for gene in table.columns[2:]))
    obs = pd.DataFrame(
        {
            "slide": each.order.name,
            "region": region,
            "n_spots": table["n_spots"][region],
            "n_unlike_training": table["n_unlike"][region],
            "model": each.order.model_name,
            **dict(each.order.noted),
        }
        for each, table in zip(done, means, strict=True)
        for region in table.index
    )
    obs.index = pd.Index([f"{row.slide}/{row.region}" for row in obs.itertuples()])
    values = np.vstack([table.reindex(columns=genes).to_numpy(np.float32) for table in means])
    notice = f"Means of predictions from H&E images, not measured. {RESEARCH}"
    return anndata.AnnData(
        values,
        obs=obs.fillna(""),
        var=pd.DataFrame(index=genes),
        uns={"unit": units[0], "notice": notice},
    )
