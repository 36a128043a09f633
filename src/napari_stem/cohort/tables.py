"""What a cohort sums up to: a line per slide, and one AnnData of the means of all regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_stem.cells import harmless_table
from napari_stem.cohort.work import region_means
from napari_stem.errors import PredictionError
from napari_stem.io import write_file
from napari_stem.texts import visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import anndata
    from distributed import Client

    from napari_stem.cohort.outcomes import Outcome


def rows_of(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Say, JSON-ready and without folders, what has become of each slide."""
    return [
        {
            "slide": each.name,
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
            "slide": each.name,
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
    notice = "Means of predictions from H&E images, not measured. For research use only."
    return anndata.AnnData(
        values,
        obs=obs.fillna(""),
        var=pd.DataFrame(index=genes),
        uns={"unit": units[0], "notice": notice},
    )
