"""Every kind of export: one list, for the command line and the dock."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_stem.errors import OutputError, require_extra
from napari_stem.exporting.figure import write_figure
from napari_stem.exporting.options import DEFAULT_OPTIONS, ExportOptions, FigureFormat
from napari_stem.exporting.qupath import write_geojson
from napari_stem.exporting.report import write_report
from napari_stem.exporting.selection import Selection, most_reliable_genes
from napari_stem.exporting.spatial_data import write_spatialdata
from napari_stem.exporting.spreadsheet import write_csv
from napari_stem.exporting.table import write_anndata
from napari_stem.io import ZARR_MARKS, require_replaceable
from napari_stem.progress import Progress, shown
from napari_stem.results import Prediction
from napari_stem.slide import open_slide
from napari_stem.spatial.region_files import as_regions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_stem.geometry import Region
    from napari_stem.settings import ExportKind
    from napari_stem.slide.base import Slide

ALL_GENES = "all"


@dataclass(frozen=True)
class Kind:
    """One kind of export."""

    # what users read
    title: str
    tip: str
    suffixes: tuple[str, ...]  # of the file, the usual one first
    write: Callable[[Selection, Path, ExportOptions], None]
    # fields of `ExportOptions` that it uses, beside ``overwrite`` and ``progress``
    options: tuple[str, ...] = ()
    n_genes: int | None = None  # how many it takes where none are named; None takes all
    needs: tuple[str, str, str] | None = None  # as of `require_extra`


KINDS: dict[ExportKind, Kind] = {
    "report": Kind(
        "Report (.html)",
        "One page to read, print and send: maps with uncertainty, regions, how it was made",
        (".html",),
        write_report,
        options=("slide", "look"),
        n_genes=6,
    ),
    "figure": Kind(
        "Figure (.png, .svg, .pdf)",
        "Map and uncertainty side by side, at a stated scale",
        (".png", ".svg", ".pdf"),
        write_figure,
        options=("slide", "file_format", "um_per_mm", "look", "seen"),
        n_genes=1,
    ),
    "h5ad": Kind("AnnData file (.h5ad)", "For scanpy, squidpy and R", (".h5ad",), write_anndata),
    "zarr": Kind(
        "AnnData folder (.zarr)", "For large slides and the web", (".zarr",), write_anndata
    ),
    "spatialdata": Kind(
        "SpatialData (.zarr)",
        "Image, spots, regions and table together; opens in napari-spatialdata",
        (".zarr",),
        write_spatialdata,
        options=("slide", "image_max_px"),
        needs=("spatialdata", "spatialdata", "Export as SpatialData"),
    ),
    "csv": Kind(
        "Spreadsheet (.csv)",
        "One row per spot; for Excel and R",
        (".csv",),
        write_csv,
        options=("is_long",),
    ),
    "geojson": Kind(
        "QuPath objects (.geojson)",
        "Spots with measurements and regions with means, to import into QuPath",
        (".geojson", ".json"),
        write_geojson,
        n_genes=20,
    ),
}


def require_place(
    kind: ExportKind, path: Path, *, overwrite: bool, file_format: FigureFormat | None = None
) -> None:
    """Check that a kind of export may be written at a path.

    OutputError: there is no such kind, the ending is not one of its, a package that it needs is not installed,
    or the place is taken. Where ``file_format`` (of a figure) is given, an ending may be any that no export and
    no other format has.
    """
    if kind not in KINDS:
        raise OutputError(f"There is no export '{kind}'; choose one of {', '.join(KINDS)}.")
    about = KINDS[kind]
    suffix, suffixes = path.suffix.lower(), about.suffixes
    if file_format is not None and "file_format" in about.options:
        suffixes = (f".{file_format}",)
        is_wrong = suffix in {ending for each in KINDS.values() for ending in each.suffixes}
    else:
        is_wrong = True
    if is_wrong and suffix not in suffixes:
        raise OutputError(
            f"{path.name} should end in {' or '.join(suffixes)}; choose another name."
        )
    if about.needs is not None:
        require_extra(*about.needs, OutputError)
    require_replaceable(path, overwrite=overwrite)


def select(
    kind: ExportKind,
    prediction: Prediction,
    genes: str | Sequence[str] = (),
    regions: Sequence[Region] = (),
) -> Selection:
    """Choose what to export, as `export` does; errors as of `Selection.of`."""
    n_genes = KINDS[kind].n_genes
    genes = (genes,) if isinstance(genes, str) else tuple(genes)  # of NumPy or pandas, too
    if genes == (ALL_GENES,) and ALL_GENES not in prediction.genes:
        genes = prediction.genes
    elif not genes and n_genes is not None:
        genes = most_reliable_genes(prediction, n_genes)
    return Selection.of(prediction, genes, regions)


def export(
    prediction: Prediction | str | Path,
    kind: ExportKind,
    out: str | Path,
    *,
    genes: str | Sequence[str] = (),
    regions: Region | Sequence[Region] | str | Path | None = None,
    slide: Slide | str | Path | None = None,
    options: ExportOptions = DEFAULT_OPTIONS,
    overwrite: bool = False,
    progress: bool | Progress = True,
) -> Path:
    """Export what is done of a prediction: data for other programs, a figure or a report.

    Parameters
    ----------
    prediction
        An open one, or its path (``.zarr``, ``.h5ad``).
    kind
        ``report``, ``figure``, ``h5ad``, ``zarr``, ``spatialdata``, ``csv`` or ``geojson``: a key of `KINDS`.
    out
        File or folder to make, with an ending that fits the kind.
    genes
        By name, one or several; ``"all"`` takes all; none takes what suits the kind, the most reliable ones
        first.
    regions
        One, several, or a GeoJSON file: named, outlined, and summed up where the kind can; all spots are
        exported all the same.
    slide
        The slide that was predicted, open or as its path, for a sharper image where the kind has one.
    options
        Of single kinds, beside this; its ``slide`` and ``overwrite`` count where these are not given.
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
    with shown(progress) as bar:
        slide, overwrite = slide or options.slide, overwrite or options.overwrite
        options = replace(options, overwrite=overwrite, progress=bar)
        export_selection(
            prediction, kind, out, genes=genes, regions=regions, slide=slide, options=options
        )
    return out


def export_selection(
    prediction: Prediction | str | Path,
    kind: ExportKind,
    out: Path,
    *,
    genes: str | Sequence[str],
    regions: Region | Sequence[Region] | str | Path | None,
    slide: Slide | str | Path | None,
    options: ExportOptions,
) -> Selection:
    """As `export`, with ``overwrite`` and ``progress`` of the options; returns what was exported."""
    require_place(kind, out, overwrite=options.overwrite, file_format=options.file_format)
    if isinstance(regions, (str, Path)):
        require_apart(out, Path(regions), "the file of regions")
    if isinstance(slide, (str, Path)):
        slide = Path(slide)
        require_apart(out, slide, "the slide")
    if not isinstance(prediction, Prediction):
        prediction = Prediction.open(prediction)
    selection = select(kind, prediction, genes, as_regions(regions))
    with ExitStack() as opened:
        if isinstance(slide, Path) and "slide" in KINDS[kind].options:
            slide = opened.enter_context(
                open_slide(slide, selection.mpp, progress=options.progress)
            )
        elif isinstance(slide, Path):  # the kind has no use for it
            slide = None
        write(kind, selection, out, replace(options, slide=slide))
    return selection


def write(kind: ExportKind, selection: Selection, path: Path, options: ExportOptions) -> None:
    """Write a selection as a kind of export, whole or not at all.

    OutputError: as of `require_place`, the path is that of the prediction, or it cannot be written.
    PredictionError: the slide is another than was predicted.
    """
    require_place(kind, path, overwrite=options.overwrite, file_format=options.file_format)
    require_apart(path, selection.prediction.path, "the prediction")
    if selection.prediction.was_unpacked_from(path):
        raise _taken(path, "is the prediction")
    if options.slide is not None:
        require_apart(path, options.slide.path, "the slide")
    KINDS[kind].write(selection, path, options)


def require_apart(path: Path, source: Path, what: str) -> None:
    """Check that writing at ``path`` leaves alone what an export is made from; ``what`` names that.

    OutputError: it is the same file or folder, holds it, or lies in it where it is a Zarr.
    """
    if not source.exists():
        return
    if path.exists():
        if path.samefile(source):
            raise _taken(path, f"is {what}")
        if any(parent.samefile(path) for parent in source.resolve().parents):
            raise _taken(path, f"holds {what}")
    if any((source / mark).is_file() for mark in ZARR_MARKS) and any(
        parent.exists() and parent.samefile(source) for parent in path.resolve().parents
    ):
        raise _taken(path, f"lies in {what}")


def _taken(path: Path, why: str) -> OutputError:
    return OutputError(f"{path} {why} itself; choose another name for the export.")
