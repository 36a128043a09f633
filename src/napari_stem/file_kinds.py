"""Kinds of files: slides, predictions, regions and measured counts, told apart and opened as layer data.

Imports no viewer; what napari calls is ``widgets.slide.reading``.
"""

from __future__ import annotations

import itertools
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_stem.errors import PredictionError, StemError
from napari_stem.io import DAMAGE
from napari_stem.progress import LOG_OF_FILES, warnings_of_files
from napari_stem.slide.recognising import looks_like_slide

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_stem.geometry import Mpp
    from napari_stem.layers.placement import LayerData

Kind = Literal["slide", "prediction", "exported", "spatialdata", "measured", "regions"]
PROVENANCE = ("uns", "napari_stem")
SPATIALDATA_TABLE = ("tables", "predicted_expression")
_numbers = itertools.count(1)


class SlideWarning(UserWarning):
    """Something about a file that the user should read; napari shows it as a notification."""


def kind_of(path: Path) -> Kind | None:
    """Say how a file or folder is to be opened; None where it is not ours, or not there."""
    if path.is_dir():
        if path.joinpath(*PROVENANCE).is_dir():
            return "prediction"
        if path.joinpath(*SPATIALDATA_TABLE, *PROVENANCE).is_dir():
            return "spatialdata"
    elif path.suffix.lower() == ".h5ad":
        return _kind_of_table(path)
    elif path.name.lower().endswith((".geojson", ".geojson.gz")):
        return "regions" if path.is_file() else None
    return "slide" if looks_like_slide(path) else None


def _kind_of_table(path: Path) -> Kind | None:
    """Tell a prediction, which names its model, from measured counts, which have places."""
    from napari_stem.foreign import opened_hdf5

    try:
        with opened_hdf5(path) as file:
            if "/".join(PROVENANCE) in file:
                return "exported"
            obsm = file.get("obsm", {})
            names = getattr(getattr(obsm, "dtype", None), "names", None)  # before anndata 0.7
            return "measured" if "spatial" in (names or obsm) else None
    except (ValueError, RuntimeError):
        return "measured"  # refused, with the reason, once it is read
    except DAMAGE:
        return None


def read(kind: Kind, path: str) -> list[LayerData | tuple[None]]:
    """Open a file as layer data; where that fails, ``[(None,)]``, "nothing" to napari, and one warning."""
    try:
        with warnings_of_files(partial(_tell, path=path)):
            return [*layers_of(kind, path)]
    except StemError as error:
        _tell(str(error), path)
        return [(None,)]


def layers_of(kind: Kind, path: str) -> list[LayerData]:
    """Open a file as layer data; what the user should read of it is logged to `LOG_OF_FILES`.

    StemError: it cannot be opened.
    """
    openers: dict[Kind, Callable[[Path], list[LayerData]]] = {
        "slide": _slide,
        "prediction": _prediction,
        "exported": _exported,
        "spatialdata": _spatialdata,
        "measured": _measured,
        "regions": _regions,
    }
    return openers[kind](Path(path))


def _slide(path: Path) -> list[LayerData]:
    """Open one slide as a multiscale image in um.

    Levels that the file lacks are made when they are first read, unless somebody completes the slide
    before (``Slide.complete``).
    """
    from napari_stem.layers.placement import slide_layer
    from napari_stem.slide import open_slide
    from napari_stem.slide.pixel_size import conflict

    slide = open_slide(path, early=True)
    if (disagreement := conflict(slide.mpp_sources)) is not None:
        LOG_OF_FILES.warning("%s", disagreement)
    if slide.mpp is None:
        LOG_OF_FILES.warning(
            "%s does not say how large its pixels are; it is shown in pixels. Before predicting, state its "
            "pixel size in the Slide part of Stem's panel (Plugins menu).",
            slide.path.name,
        )
    return [slide_layer(slide)]


def _prediction(path: Path, file: Path | None = None) -> list[LayerData]:
    from napari_stem.layers.from_files import prediction_layers
    from napari_stem.results import Prediction

    prediction = Prediction.open(path)
    if not len(prediction.spots):
        raise PredictionError(f"{path} holds no spots; run it again.")
    return prediction_layers(prediction, file or path)


def _exported(path: Path) -> list[LayerData]:
    from napari_stem.results.prediction import unpacked

    return _prediction(unpacked(path), path)


def _spatialdata(path: Path) -> list[LayerData]:
    """Open what `export.spatial_data` wrote: its image, the map, and the regions."""
    from napari_stem.foreign import require_own_zarr
    from napari_stem.layers.from_files import region_layer
    from napari_stem.results.stored import damaged
    from napari_stem.spatial.region_files import read_outlines

    try:
        require_own_zarr(path, may_lack_values=True)
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
    _, *maps = _prediction(path.joinpath(*SPATIALDATA_TABLE), path)
    for _, options, _ in maps:
        options["metadata"]["napari_stem"]["has_slide"] = True
    mpp: Mpp = maps[0][1]["metadata"]["napari_stem"]["mpp"]
    regions = read_outlines(path / "shapes" / "regions" / "shapes.parquet", mpp)
    return [*_slide(path), *maps, *([region_layer(regions, path, mpp)] if regions else [])]


def _measured(path: Path) -> list[LayerData]:
    """Open counts; in um where a data set in HEST layout states the pixel size."""
    from napari_stem.evaluation.comparison import read_truth
    from napari_stem.layers.from_files import measured_layers
    from napari_stem.spatial.dataset import METADATA, TABLES, Section

    folder = path.parent.parent
    is_hest = path.parent.name == TABLES and (folder / METADATA / f"{path.stem}.json").is_file()
    mpp = Section(folder, path.stem).mpp if is_hest else None
    return measured_layers(read_truth(path), path, mpp)


def _regions(path: Path) -> list[LayerData]:
    from napari_stem.layers.from_files import region_layer
    from napari_stem.spatial.region_files import read_regions

    return [region_layer(read_regions(path), path, None)]


def _tell(sentence: str, path: str) -> None:
    # A viewer shows a warning from the same place only once per session; a count in place of the
    # line number lets it be seen again when the same file is tried again.
    warnings.warn_explicit(sentence, SlideWarning, filename=path, lineno=next(_numbers))
