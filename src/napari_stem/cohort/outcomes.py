"""What has become of each slide of a cohort, how long the others will take, and what all sum up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_stem.cells import harmless_table
from napari_stem.errors import PredictionError
from napari_stem.io import write_file
from napari_stem.texts import RESEARCH, sentence, visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import anndata
    from distributed import Client

    from napari_stem.cohort.orders import Order


@dataclass
class Outcome:
    """What has become of one slide.

    Attributes
    ----------
    order
        What was asked for.
    status
        ``waiting`` (nothing was done for it in this run), ``running``, ``done`` or ``failed``.
    n_spots, n_before, n_done, n_unlike
        All; finished before this run; finished by now; of these, unlike the training data.
    n_genes, unit
        Of its values.
    seconds
        That workers spent on it in this run.
    notes, error
        What to know before trusting the figures; why it failed.
    """

    order: Order
    status: Literal["waiting", "running", "done", "failed"] = "waiting"
    n_spots: int = 0
    n_before: int = 0
    n_done: int = 0
    n_unlike: int = 0
    n_genes: int = 0
    unit: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: str = ""

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
            "seconds": round(each.seconds, 1),
            "error": each.order.unnamed(each.error),
            "notes": each.order.unnamed(" ".join(each.notes)),
            **dict(each.order.noted),
        }
        for each in outcomes
    ]


def write_summary(folder: Path, outcomes: Sequence[Outcome]) -> Path:
    """Write ``cohort.csv``, a line per slide, over an earlier one; OutputError where it cannot be."""
    import pandas as pd

    path = folder / "cohort.csv"
    write_file(path, harmless_table(pd.DataFrame(rows_of(outcomes))).to_csv(index=False))
    return path


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
    means = client.gather(client.map(region_means, [each.order.out for each in done], pure=False))
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
