"""A prediction as QuPath objects: GeoJSON in level-0 px, with measurements.

What QuPath reads (its ``QuPathTypeAdapters``, versions 0.4 to 0.6): per feature a UUID ``id``; under
``properties`` ``objectType``, ``name``, ``classification`` with ``name`` and RGB ``color``, ``measurements``
as one object of numbers, ``metadata`` as one of texts. Its measurement maps show tiles and detections.
"""

from __future__ import annotations

import json
import uuid
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from napari_stem.exporting.drawing import are_squares, outlines_um
from napari_stem.exporting.options import DEFAULT_OPTIONS, ExportOptions
from napari_stem.exporting.selection import Selection, region_summaries
from napari_stem.io import written_whole
from napari_stem.results import FIELDS
from napari_stem.spatial.region_files import annotation, feature
from napari_stem.texts import NOTICE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


SPOT_CLASS = {"name": "Predicted spot", "color": [68, 119, 170]}
UNLIKE_CLASS = {"name": "Predicted spot, unlike training data", "color": [187, 187, 187]}
SPOTS_PER_REPORT = 500


def write_geojson(
    selection: Selection, path: Path, options: ExportOptions = DEFAULT_OPTIONS
) -> None:
    """Write regions as annotations and spots as tiles (squares) or detections (circles).

    Every spot carries ``GENE predicted mean``, ``sd``, ``q05`` and ``q95``; every region its area, spots and
    per gene the mean over its spots with its 90% interval (see `region_summaries`). A region that was given a
    class carries it with its colour; one that was not stays unclassified.
    Few genes keep QuPath's tables readable.

    OutputError: the place is taken or cannot be written.
    """
    n_spots = len(selection.spot_indices)
    about = {**selection.prediction.provenance, "notice": NOTICE}
    with (
        written_whole(path, overwrite=options.overwrite) as fresh,
        fresh.open("w", encoding="utf-8") as file,
    ):
        head = json.dumps({"type": "FeatureCollection", "napari_stem": about}, ensure_ascii=False)
        file.write(head[:-1] + ', "features": [')
        separator = "\n"
        for number, feature in enumerate(chain(_regions(selection), _spots(selection))):
            file.write(separator + json.dumps(feature, ensure_ascii=False, allow_nan=False))
            separator = ",\n"
            if number % SPOTS_PER_REPORT == 0:
                options.progress("Writing spots", min(number, n_spots), n_spots)
        file.write("\n]}\n")
        options.progress("Writing spots", n_spots, n_spots)


def _spots(selection: Selection) -> Iterator[dict[str, Any]]:
    spots, mpp = selection.spots, selection.mpp
    corners_px = outlines_um(spots) / (mpp.x_um, mpp.y_um)  # (k, 2) about a centre
    kind = "tile" if are_squares(spots) else "detection"
    measured = [(gene, field) for gene in selection.genes for field in FIELDS]
    names = [f"{gene} predicted {field}" for gene, field in measured]
    values = np.stack([selection.values(*each) for each in measured], axis=1)
    # nothing rather than "no" where the model cannot tell
    unlike = [
        {"unlike training data": i} if selection.prediction.knows_domain else {} for i in (0, 1)
    ]
    for row, (name, is_unlike) in enumerate(zip(spots.names, selection.ood, strict=True)):
        ring = corners_px + np.array([spots.x_px[row], spots.y_px[row]])
        measurements = dict(zip(names, map(_short, values[row]), strict=True))
        properties = {
            "objectType": kind,
            "name": name,
            "classification": UNLIKE_CLASS if is_unlike else SPOT_CLASS,
            "measurements": measurements | unlike[int(is_unlike)],
        }
        identity = _identity(selection, f"spot {name}")
        yield feature(shapely.Polygon(ring), properties, identity)


def _regions(selection: Selection) -> Iterator[dict[str, Any]]:
    for region, summary in zip(selection.regions, region_summaries(selection), strict=True):
        measurements: dict[str, float] = {
            "area mm2": round(summary.area_mm2, 6),
            "predicted spots": summary.n_spots,
        }
        if selection.prediction.knows_domain:
            measurements["spots unlike training data"] = summary.n_unlike
        for gene, value in summary.genes.items():
            measurements |= {
                f"{gene} predicted mean": _short(value.mean),
                f"{gene} predicted q05": _short(value.low),
                f"{gene} predicted q95": _short(value.high),
            }
        about = {"unit": selection.prediction.unit, "notice": NOTICE}
        properties = annotation(region) | {"measurements": measurements, "metadata": about}
        identity = _identity(selection, f"region {region.name} {region.polygon.wkt}")
        yield feature(region.polygon, properties, identity)


def _identity(selection: Selection, name: str) -> uuid.UUID:
    """UUID that is the same each time the same thing is exported."""
    provenance = selection.prediction.provenance
    base = f"napari-stem/{provenance.get('slide_fingerprint')}/{provenance.get('model')}/{name}"
    return uuid.uuid5(uuid.NAMESPACE_URL, base)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
