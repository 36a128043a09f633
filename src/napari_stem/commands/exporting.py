"""``export``: a prediction for other programs and for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_stem.commands.terminal import progress_bars

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.exporting.figure import FigureFormat
    from napari_stem.exporting.limits import Limits
    from napari_stem.settings import ExportKind


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What ``export`` was asked for; see the command's options."""

    prediction: Path
    kind: ExportKind
    out: Path
    limits: Limits
    genes: tuple[str, ...] = ()
    regions_file: Path | None = None
    slide: Path | None = None
    file_format: FigureFormat | None = None
    um_per_mm: float | None = None
    image_max_px: int | None = None
    is_long: bool = False
    overwrite: bool = False


def run_export(request: ExportRequest) -> dict[str, Any]:
    """Export what is done of a prediction.

    Returns
    -------
    JSON-ready: ``out, kind, n_spots, n_missing, n_genes, genes, n_regions, unit``.

    Raises
    ------
    StemError
        Anything that the user can mend; nothing is left of what was begun.
    """
    from napari_stem.exporting.kinds import ExportOptions, export, select
    from napari_stem.exporting.places import require_replaceable
    from napari_stem.results import Prediction
    from napari_stem.spatial.region_files import as_regions

    require_replaceable(request.out, overwrite=request.overwrite)
    regions = as_regions(request.regions_file)
    prediction = Prediction.open(request.prediction)
    options = ExportOptions(
        file_format=request.file_format,
        um_per_mm=request.um_per_mm,
        limits=request.limits,
        image_max_px=request.image_max_px,
        is_long=request.is_long,
    )
    with progress_bars() as bars:
        export(
            prediction,
            request.kind,
            request.out,
            genes=request.genes,
            regions=regions,
            slide=request.slide,
            options=options,
            overwrite=request.overwrite,
            progress=bars,
        )
    selection = select(request.kind, prediction, request.genes, regions)
    return {
        "out": str(request.out),
        "kind": request.kind,
        "n_spots": len(selection.rows),
        "n_missing": selection.n_missing,
        "n_genes": len(selection.genes),
        "genes": list(selection.genes),
        "n_regions": len(selection.regions),
        "unit": prediction.unit,
    }
