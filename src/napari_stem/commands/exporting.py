"""``export``: a prediction for other programs and for people."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stem.commands.terminal import progress_bars
from napari_stem.errors import PredictionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_stem.exporting.figure import FigureFormat
    from napari_stem.exporting.limits import Limits
    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What ``export`` was asked for; see the command's options."""

    prediction: Path
    kind: str
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
    from napari_stem.spatial.region_files import read_regions

    require_replaceable(request.out, overwrite=request.overwrite)
    regions = () if request.regions_file is None else read_regions(request.regions_file)
    with opened(request.prediction) as prediction:
        selection = select(request.kind, prediction, request.genes, regions)
        with progress_bars() as bars, _slide(request.slide, prediction, bars) as slide:
            options = ExportOptions(
                slide=slide,
                file_format=request.file_format,
                um_per_mm=request.um_per_mm,
                limits=request.limits,
                image_max_px=request.image_max_px,
                is_long=request.is_long,
                overwrite=request.overwrite,
                progress=bars,
            )
            export(request.kind, selection, request.out, options)
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


@contextmanager
def opened(path: Path) -> Iterator[Prediction]:
    """Open a prediction, be it the ``.zarr`` folder that grew or the ``.h5ad`` made from it.

    Raises
    ------
    PredictionError
        There is none, or it is damaged.
    """
    from napari_stem.results import Prediction

    if path.suffix != ".h5ad":
        yield Prediction.open(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Prediction.open(_unpacked(path, Path(folder) / f"{path.stem}.zarr"))


def _unpacked(path: Path, folder: Path) -> Path:
    """Write an ``.h5ad`` as the folder that it was before."""
    import anndata

    from napari_stem.empty_prediction import write_zarr
    from napari_stem.results import PROVENANCE_KEY

    try:
        table = anndata.read_h5ad(path)
        json.loads(table.uns[PROVENANCE_KEY]["json"])
    except FileNotFoundError:
        msg = f"There is no prediction {path}; check the path."
        raise PredictionError(msg) from None
    except (OSError, LookupError, ValueError, TypeError) as error:
        msg = f"{path} is not a prediction of napari-stem, or is damaged ({error})."
        raise PredictionError(msg) from error
    write_zarr(table, folder)
    return folder


@contextmanager
def _slide(path: Path | None, prediction: Prediction, progress: Any) -> Iterator[Slide | None]:
    """Open the slide with the pixel size with which it was predicted."""
    if path is None:
        yield None
        return
    from napari_stem.geometry import Mpp
    from napari_stem.slide import open_slide

    y_um, x_um = prediction.provenance["mpp"]
    slide = open_slide(path, Mpp(y_um=y_um, x_um=x_um), progress=progress)
    try:
        yield slide
    finally:
        slide.close()
