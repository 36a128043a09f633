"""Everything that a prediction can be exported as, and be told: one list, for the command line and the dock."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_stem.errors import OutputError
from napari_stem.exporting.drawing import USUAL_LOOK, Look, SeenMap
from napari_stem.exporting.selection import Selection, telling_genes
from napari_stem.io import require_replaceable
from napari_stem.progress import Progress, shown, silent
from napari_stem.results import Prediction
from napari_stem.slide import open_slide
from napari_stem.spatial.region_files import as_regions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_stem.geometry import Region
    from napari_stem.settings import ExportKind
    from napari_stem.slide.base import Slide

ALL_GENES = "all"
FigureFormat = Literal["png", "svg", "pdf"]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What some kinds of export can be told; the others pass over it.

    Attributes
    ----------
    slide
        The slide that was predicted, for a sharper image than the overview that the prediction carries.
    file_format
        Of a figure; else the path's ending says it.
    um_per_mm
        Scale of a figure: um of tissue per mm of it; a round one that fits the page if not given.
    look
        Colours of maps and their limits.
    seen
        What a window shows of the genes of a figure, drawn instead.
    image_max_px
        The finest level of SpatialData's image is the finest of the slide whose longer side is at most this.
    is_long
        Whether a CSV has one row per spot and gene.
    overwrite
        Replace what is there.
    progress
        Told how far it is; may raise to break off: nothing is left then.
    """

    slide: Slide | None = None
    file_format: FigureFormat | None = None
    um_per_mm: float | None = None
    look: Look = USUAL_LOOK
    seen: SeenMap | None = None
    image_max_px: int | None = None
    is_long: bool = False
    overwrite: bool = False
    progress: Progress = silent


USUAL = ExportOptions()


@dataclass(frozen=True)
class Kind:
    """One form of export."""

    # what users read
    title: str
    tip: str
    suffixes: tuple[str, ...]  # of the file, the usual one first
    writer: str  # module of this folder and function in it; loaded when it is needed
    n_genes: int | None = None  # how many it takes where none are named; None takes all


KINDS: Mapping[str, Kind] = {
    "report": Kind(
        "Report (.html)",
        "One page to read, print and send: maps with uncertainty, regions, how it was made",
        (".html",),
        "report:write_report",
        6,
    ),
    "figure": Kind(
        "Figure (.png, .svg, .pdf)",
        "Map and uncertainty side by side, at a stated scale",
        (".png", ".svg", ".pdf"),
        "figure:write_figure",
        1,
    ),
    "h5ad": Kind(
        "AnnData file (.h5ad)", "For scanpy, squidpy and R", (".h5ad",), "table:write_table"
    ),
    "zarr": Kind(
        "AnnData folder (.zarr)", "For large slides and the web", (".zarr",), "table:write_table"
    ),
    "spatialdata": Kind(
        "SpatialData (.zarr)",
        "Image, spots, regions and table together; opens in napari-spatialdata",
        (".zarr",),
        "spatial_data:write_spatialdata",
    ),
    "csv": Kind(
        "Spreadsheet (.csv)",
        "One row per spot; for Excel and R",
        (".csv",),
        "spreadsheet:write_csv",
    ),
    "geojson": Kind(
        "QuPath objects (.geojson)",
        "Spots with measurements and regions with means, to import into QuPath",
        (".geojson", ".json"),
        "qupath:write_geojson",
        20,
    ),
}


def select(
    kind: str,
    prediction: Prediction,
    genes: Sequence[str] = (),
    regions: Sequence[Region] = (),
) -> Selection:
    """Choose what to export, as `export` does; errors as of `Selection.of`."""
    n_genes = KINDS[kind].n_genes
    if tuple(genes) == (ALL_GENES,) and ALL_GENES not in prediction.genes:
        genes = prediction.genes
    elif not genes and n_genes is not None:
        genes = telling_genes(prediction, n_genes)
    return Selection.of(prediction, genes, regions)


def export(
    prediction: Prediction | str | Path,
    kind: ExportKind,
    out: str | Path,
    *,
    genes: Sequence[str] = (),
    regions: Region | Sequence[Region] | str | Path | None = None,
    slide: Slide | str | Path | None = None,
    options: ExportOptions = USUAL,
    overwrite: bool = False,
    progress: bool | Progress = True,
) -> Path:
    """Export what is done of a prediction: data for other programs, a figure or a report.

    Parameters
    ----------
    prediction
        An open one, or its path (``.zarr``, ``.h5ad``).
    kind
        ``report``, ``figure``, ``h5ad``, ``zarr``, ``spatialdata``, ``csv`` or ``geojson``.
    out
        File or folder to make, with an ending that fits the kind.
    genes
        By name; ``["all"]`` takes all; none takes what suits the kind, the most reliable ones first.
    regions
        One, several, or a GeoJSON file: named, outlined, and summed up where the kind can.
    slide
        The slide that was predicted, open or as its path, for a sharper image.
    options
        What single kinds can be told beside this.
    overwrite
        Replace what is there.
    progress
        True: a bar. A function is told (what, done, in all), and may raise to break off. False: nothing.

    Returns
    -------
    ``out``.

    Raises
    ------
    StemError
        Whatever can be mended; nothing is left of what was begun.
    """
    out = Path(out)
    if kind not in KINDS:
        raise OutputError(f"There is no export '{kind}'; choose one of {', '.join(KINDS)}.")
    require_replaceable(out, overwrite=overwrite)
    if not isinstance(prediction, Prediction):
        prediction = Prediction.open(prediction)
    selection = select(kind, prediction, genes, as_regions(regions))
    with shown(progress) as bar, ExitStack() as opened:
        if isinstance(slide, (str, Path)):
            slide = opened.enter_context(open_slide(slide, selection.mpp, progress=bar))
        asked: dict[str, Any] = {"slide": slide, "overwrite": overwrite, "progress": bar}
        write(kind, selection, out, replace(options, **asked))
    return out


def write(kind: str, selection: Selection, path: Path, options: ExportOptions) -> None:
    """Write a selection in one of the forms of `KINDS`, whole or not at all.

    The functions of all kinds take a selection, a new path, and options. OutputError where the ending is not
    one of the kind's, or the place is taken or cannot be written; PredictionError where the slide is another
    than was predicted.
    """
    suffixes = KINDS[kind].suffixes
    is_told = kind == "figure" and options.file_format is not None
    if path.suffix.lower() not in suffixes and not is_told:
        raise OutputError(
            f"{path.name} should end in {' or '.join(suffixes)}; choose another name."
        )
    module, _, function = KINDS[kind].writer.partition(":")
    getattr(import_module(f"napari_stem.exporting.{module}"), function)(selection, path, options)
