"""Which slides a cohort has, and what is asked for of each: files, patterns, folders, or a manifest."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections import Counter
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stem.cells import harmless
from napari_stem.errors import DatasetError
from napari_stem.geometry import Mpp
from napari_stem.io import ZARR_MARKS
from napari_stem.slide import open_slide
from napari_stem.slide.pseudonym import pseudonym
from napari_stem.slide.recognising import SLIDE_ENDINGS, looks_like_slide
from napari_stem.texts import plain, read_text, reason_of, separator, ways_to_write, without

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_stem.encoders.precomputed import PatchEmbeddings
    from napari_stem.model.bundle import Model
    from napari_stem.prediction_job import PredictionJob
    from napari_stem.settings import SamplingSettings, TissueSettings
    from napari_stem.slide.base import Slide

OWN_COLUMNS = ("slide", "out", "mpp", "regions", "model", "species", "tissue_type")
# Names that `napari_stem.cohort.outcomes` or AnnData give to columns of their own.
TAKEN_COLUMNS = {
    *("", "_index", "file", "region", "status", "unit", "seconds", "error", "notes"),
    *("n_spots", "n_done", "n_genes", "n_unlike_training"),
}
_log = logging.getLogger(__name__)
_WILD = frozenset("*?[")


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked for of one slide, before anything is opened; it travels to workers."""

    slide: Path  # its file
    out: Path  # ``.zarr`` folder to make
    model: str  # as `napari_stem.load_model` takes it
    settings: SamplingSettings  # how samples are drawn
    mpp: float | None = None  # pixel size in um, where the file does not say
    # spots to keep_draws: as of `PredictionJob.planned`
    spots: Path | None = None
    regions: Path | None = None
    whole_slide: bool = False
    tissue: TissueSettings | None = None
    pitch_um: float | None = None
    species: str | None = None
    tissue_type: str | None = None
    keep_draws: bool | None = False
    alias: str = ""  # stands for the slide's name in whatever is written
    # further columns of the manifest, by name: they go into tables as they are
    noted: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """Name of the slide in tables and messages: that of its result, without ending."""
        return self.out.stem

    @property
    def model_name(self) -> str:
        """The model's name, or its folder's."""
        model = Path(self.model)
        return model.name if model.is_absolute() or model.exists() else self.model

    def open(self, *, early: bool = False) -> Slide:
        """Open the slide, to be called as is asked for; see `napari_stem.open_slide`."""
        slide = open_slide(self.slide, self.mpp, early=early)
        slide.alias = self.alias
        return slide

    def under_pseudonym(self, key: bytes) -> Order:
        """Ask for the same under a name that says nothing; a result that was named otherwise keeps its name."""
        alias = pseudonym(self.slide.name, key)
        is_named = self.out.stem != stem_of(self.slide)
        return replace(
            self, alias=alias, out=self.out if is_named else self.out.with_name(f"{alias}.zarr")
        )

    def unnamed(self, text: str) -> str:
        """Take folders out of a text, and, where something stands for it, the slide's name."""
        places = [place for place in (self.slide, self.out, self.regions) if place is not None]
        folders = {each for place in places for each in (place.parent, place.absolute().parent)}
        for folder in (each for each in folders if each.name):
            text = without(text, ways_to_write(f"{folder}{os.sep}"), "")
            if folder.is_absolute():
                text = without(text, ways_to_write(str(folder)), "its folder")
        names = ways_to_write(self.slide.name) | ways_to_write(stem_of(self.slide)) | {self.alias}
        return without(text, names, self.alias) if self.alias else text

    def job(
        self,
        slide: Slide,
        model: Model,
        tell: Callable[[str], None],
        embedder: PatchEmbeddings | None = None,
    ) -> PredictionJob:
        """Check what is asked for of the opened slide, and choose the spots: see `PredictionJob.planned`."""
        from napari_stem.prediction_job import PredictionJob

        return PredictionJob.planned(
            slide,
            model,
            self.settings,
            spots=self.spots,
            regions=self.regions,
            whole_slide=self.whole_slide,
            tissue=self.tissue,
            pitch_um=self.pitch_um,
            embedder=embedder,
            species=self.species,
            tissue_type=self.tissue_type,
            keep_draws=self.keep_draws,
            tell=tell,
        )


def is_slide_folder(place: Path) -> bool:
    """Whether a folder is one slide (OME-Zarr, DICOM), not a folder of slides."""
    return any((place / mark).is_file() for mark in ZARR_MARKS) or any(place.glob("*.dcm"))


def are_several(places: Sequence[Path]) -> bool:
    """Whether what was named may be more than a single slide."""
    place = places[0]
    is_pattern = bool(_WILD & set(place.name)) and not place.exists()
    is_folder = place.is_dir() and not is_slide_folder(place)
    return len(places) > 1 or is_pattern or is_folder or place.suffix.lower() == ".csv"


def orders_of(places: Sequence[Path], folder: Path, common: Order) -> list[Order]:
    """List what to predict.

    Parameters
    ----------
    places
        Slides, patterns (``*.svs``), folders of slides, manifests (`read_manifest`).
    folder
        Where the results go, one Zarr for each slide, named after it.
    common
        What is asked for of every slide; its ``slide`` and ``out`` do not matter.

    Raises
    ------
    DatasetError
        There is no slide, two results would have the same name, or the manifest cannot be used.
    """
    orders: dict[Order, None] = {}  # each once
    for place in places:
        if place.suffix.lower() == ".csv":
            orders |= dict.fromkeys(read_manifest(place, folder, common))
            continue
        for slide in slides_at(place):
            orders[replace(common, slide=slide, out=folder / f"{stem_of(slide)}.zarr")] = None
    for out, n in Counter(order.out for order in orders).most_common(1):
        if n > 1:
            raise DatasetError(
                f"{n} slides would be written to {out}; name their results in the column 'out' of a manifest."
            )
    return list(orders)


def slides_in(place: Path) -> list[Path]:
    """List the slides of a folder, which is none itself."""
    return [
        each
        for each in sorted(place.iterdir())
        if looks_like_slide(each) or (each.is_dir() and any(each.glob("*.dcm")))
    ]


def slides_at(place: Path) -> list[Path]:
    """List the slides of a folder or pattern; anything else is one itself, whether it is there or not.

    DatasetError: there is none.
    """
    if place.is_dir() and not is_slide_folder(place):
        found = slides_in(place)
        left = [each for each in place.iterdir() if each.suffix.lower() in SLIDE_ENDINGS]
        n_left = len(set(left) - set(found))
        if n_left:  # no names: they would get into the log file
            _log.warning(
                "Images in %s that were passed over, as by their look they are no slides (small, grey, 16-bit "
                "or damaged): %d. Name them, or a pattern in quotes, to predict them too.",
                place,
                n_left,
            )
    elif _WILD & set(place.name) and not place.exists():
        found = sorted(place.parent.glob(place.name))
    else:  # what is not there is told as that slide's failure
        return [place]
    if not found:
        raise DatasetError(f"There is no slide at {place}; check the path.")
    return found


def stem_of(slide: Path) -> str:
    """Name of a slide without its ending."""
    return slide.name.removesuffix(".zip").removesuffix(slide.suffix).removesuffix(".ome")


def read_manifest(path: Path, folder: Path, common: Order) -> list[Order]:
    """Read a CSV with a line per slide.

    Parameters
    ----------
    path
        With a column ``slide`` (a file, also without its ending where no other slide is called so) and, where
        slides differ in it, ``mpp`` (um per px, also with a decimal comma), ``regions`` (GeoJSON), ``model``,
        ``species``, ``tissue_type`` and ``out`` (name of the result). An empty cell means what is asked for of
        all. Paths are relative to the manifest's folder. Other columns are taken along.
    folder, common
        As of `orders_of`.

    Raises
    ------
    DatasetError
        It cannot be read, has no column ``slide``, or a cell cannot be used.
    """
    try:
        text = read_text(path)
        lines = csv.reader(io.StringIO(text), delimiter=separator(text))
        rows = [[cell.strip() for cell in line] for line in lines if any(map(str.strip, line))]
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as a manifest ({reason_of(error)}).") from error
    if not rows or "slide" not in rows[0]:
        raise DatasetError(f"{path} is no list of slides: its first line has no column 'slide'.")
    columns = rows[0]
    if len(set(columns)) < len(columns):
        raise DatasetError(f"{path} has two columns of the same name; rename one of them.")
    if len(rows) == 1:
        raise DatasetError(f"{path} lists no slides; add a line for each.")
    orders = []
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(columns):
            raise DatasetError(
                f"Slide {number} of {path} has {len(row)} cells, and there are {len(columns)} columns."
            )
        cells = {name: cell for name, cell in zip(columns, row, strict=True) if cell}
        orders.append(_order(cells, f"Slide {number} of {path}", path.parent, folder, common))
    return orders


def _order(cells: dict[str, str], where: str, beside: Path, folder: Path, common: Order) -> Order:
    if "slide" not in cells:
        raise DatasetError(f"{where} has no file in the column 'slide'.")
    slide = _slide_at(beside / cells["slide"])
    if taken := sorted(TAKEN_COLUMNS & set(cells)):
        raise DatasetError(
            f"{where} has '{cells[taken[0]]}' in the column '{taken[0]}': the results have one of that name, "
            f"or need one; rename it."
        )
    if parted := sorted(name for name in cells if "/" in name):
        raise DatasetError(
            f"{where} has a column '{parted[0]}': the results take no '/' in a name; rename it."
        )
    own: dict[str, Any] = {
        name: cells[name] for name in ("species", "tissue_type") if name in cells
    }
    if "mpp" in cells:
        try:  # thousands are out of the question
            own["mpp"] = Mpp.square(float(cells["mpp"].replace(",", "."))).x_um
        except ValueError:
            raise DatasetError(
                f"{where} has the pixel size '{cells['mpp']}'; write um per pixel, such as 0.25."
            ) from None
    if "regions" in cells:
        own["regions"] = beside / cells["regions"]
    if "model" in cells:
        is_beside = (beside / cells["model"]).exists()
        own["model"] = str(beside / cells["model"]) if is_beside else cells["model"]
    name = cells.get("out", stem_of(slide)).removesuffix(".zarr")
    noted = tuple(
        (plain(name), str(harmless(plain(cell))))
        for name, cell in cells.items()
        if name not in OWN_COLUMNS
    )
    return replace(common, slide=slide, out=folder / f"{name}.zarr", noted=noted, **own)


def _slide_at(place: Path) -> Path:
    """Find the slide that a manifest names, also without its ending where only one is called so."""
    if os.path.exists(place) or not os.path.isdir(place.parent):  # noqa: PTH110, PTH112 - may be too long
        return place
    found = [
        each for each in place.parent.glob(f"{escape(place.name)}.*") if looks_like_slide(each)
    ]
    return found[0] if len(found) == 1 else place
