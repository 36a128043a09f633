"""A prediction as one HTML file to read, print and send: nothing in it comes from elsewhere."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.exporting.drawing import (
    area_mm2,
    cut,
    draw_coverage,
    draw_regions,
    draw_scale_bar,
    draw_tissue,
    frame,
    name_regions,
    window_of,
)
from napari_stem.exporting.figure import SMALL_PANEL_MM, drawn
from napari_stem.exporting.options import DEFAULT_OPTIONS, ExportOptions
from napari_stem.exporting.selection import (
    Selection,
    gene_summaries,
    model_card,
    region_summaries,
)
from napari_stem.io import written_whole
from napari_stem.model.card import warnings_of
from napari_stem.model.genes import BY_CHANCE, MARK
from napari_stem.progress import silent
from napari_stem.settings import SAMPLER_TITLES
from napari_stem.slide.pixel_size import BY_USER
from napari_stem.texts import NOTICE, plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_stem.slide.base import Slide

TEMPLATE = "report.html"
UNKNOWN = "–"
NOTHING: tuple[object, ...] = (None, "", [], ())
PROVENANCE_TITLES = {
    "slide": "Slide",
    "slide_fingerprint": "Fingerprint of the slide's file",
    "model": "Model",
    "model_weights_sha256": "Model weights, SHA-256",
    "encoder": "Image encoder",
    "encoder_version": "Version of the image encoder",
    "draws": "Samples per spot",
    "steps": "Steps per sample",
    "sampler": "How samples were drawn",
    "seed": "Random seed",
    "patient": "Patient",
    "pitch_um": "Distance between spots, µm",
    "spot_diameter_um": "Spot diameter, µm",
    "shared_tissue": "Neighbouring spots",
    "version": "Predicted with napari-stem",
}
# What the program calls things, and what readers do.
PROVENANCE_VALUES = {
    "encoder": {"bundled": "bundled with napari-stem"},
    "sampler": SAMPLER_TITLES,
    "patient": {"new": "a new one: intervals are wider", "same": "as in training"},
    "mpp_source": dict.fromkeys(BY_USER, "stated by the user"),
}
CARD = {
    "tissue": "Tissue",
    "species": "Species",
    "sections": "Trained on sections",
    "held_out": "Never seen in training",
    "source": "Training data",
    "licence": "Licence",
    "attribution": "Attribution",
}


def write_report(
    selection: Selection, path: Path, options: ExportOptions = DEFAULT_OPTIONS
) -> None:
    """Write the report; few genes make one that is read.

    OutputError: the place is taken or cannot be written. PredictionError: the slide is another than was
    predicted.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # names of slides, regions and models come from files that others made
    pages = Environment(
        loader=PackageLoader("napari_stem.exporting", "."),
        autoescape=True,
        finalize=lambda value: plain(value) if type(value) is str else value,  # a macro is markup
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    pages.filters |= {"number": _number, "within": _within, "share": _share}
    with written_whole(path, overwrite=options.overwrite) as fresh:
        facts = _facts(selection)
        for number, gene in enumerate(facts["genes"]):
            gene["title"] = f"{gene['name']} ({MARK})" if gene["by_chance"] else gene["name"]
            gene["image"] = map_image(selection, gene["name"], options)
            options.progress("Drawing maps", number + 1, len(facts["genes"]))
        facts["tissue"] = _tissue_image(selection, options.slide)
        fresh.write_text(pages.get_template(TEMPLATE).render(facts), encoding="utf-8")


def _facts(selection: Selection) -> dict[str, Any]:
    prediction = selection.prediction
    provenance = prediction.provenance
    is_calibrated = provenance.get("calibrated") is not False
    # what the model itself says against trusting it
    alarms = warnings_of(calibrated=is_calibrated, knows_domain=selection.prediction.knows_domain)
    return {
        "selection": selection,
        "about": provenance,
        "spots": selection.spots,
        "area_mm2": area_mm2(selection.spots),
        "unit": prediction.unit,
        "notice": NOTICE,
        "by_chance": f"{MARK}: {BY_CHANCE}",
        "alarms": alarms,
        "genes": gene_summaries(selection).reset_index(names="name").to_dict("records"),
        "regions": region_summaries(selection),
        "card": _rows(CARD, model_card(prediction)),
        "limits": [limit for limit in provenance.get("limits", ()) if limit not in alarms],
        "provenance": _provenance(selection),
    }


def _within(mean: float, low: float, high: float) -> str:
    return f"{_number(mean)} ({_number(low)} to {_number(high)})" if np.isfinite(mean) else UNKNOWN


def _rows(titles: Mapping[str, str], found: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (title, _word(found, key)) for key, title in titles.items() if found.get(key) not in NOTHING
    ]


def _provenance(selection: Selection) -> list[tuple[str, str]]:
    from napari_stem import __version__

    found, mpp = selection.prediction.provenance, selection.mpp
    return [
        *_rows(PROVENANCE_TITLES, found),
        ("Pixel size, µm (x, y)", f"{mpp.x_um:.4g}, {mpp.y_um:.4g}"),
        ("Source of the pixel size", _word(found, "mpp_source")),
        ("Report written with napari-stem", __version__),
        ("Report written on", datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")),
    ]


def _word(provenance: Mapping[str, Any], key: str) -> str:
    value = provenance.get(key, "not recorded")
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return PROVENANCE_VALUES.get(key, {}).get(text, text)


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else UNKNOWN


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}%" if whole else UNKNOWN


TISSUE_WIDTH_PX, PAIR_DPI, INCHES = 1100, 170, 5.0
JPEG: dict[str, Any] = {"format": "jpeg", "pil_kwargs": {"quality": 88}}


def map_image(selection: Selection, gene: str, options: ExportOptions) -> str:
    """Mean and uncertainty of one gene over all finished spots, regions outlined."""
    single = replace(selection, genes=(gene,))
    window = window_of(single.spots)
    um_per_mm = max(window.width_um, window.height_um) / SMALL_PANEL_MM
    quiet = replace(options, um_per_mm=um_per_mm, progress=silent)
    figure = drawn(single, quiet, window=window, titled=False)
    return _jpeg(figure, PAIR_DPI, bbox_inches="tight", pad_inches=0.05)


def _tissue_image(selection: Selection, slide: Slide | None) -> str:
    """Show the tissue with outlines of the regions and of the predicted spots."""
    from matplotlib.figure import Figure

    window = window_of(selection.spots)
    figure = Figure(figsize=(INCHES, INCHES * window.height_um / window.width_um))
    axes = figure.add_axes((0, 0, 1, 1))
    draw_tissue(axes, *cut(selection, slide, window, TISSUE_WIDTH_PX))
    draw_coverage(axes, selection)
    draw_regions(axes, selection)
    name_regions(axes, selection)
    frame(axes, window)
    draw_scale_bar(axes)
    return _jpeg(figure, TISSUE_WIDTH_PX / INCHES)


def _jpeg(figure: Any, dpi: float, **cropping: Any) -> str:
    """JPEG of a figure, as a page holds it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, **JPEG, **cropping)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
