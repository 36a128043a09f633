"""Inspect: what is predicted at the spot under the cursor, and all of a spot that was clicked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_stem.encoders.bundled import BundledEncoder
from napari_stem.encoders.catalogue import BUNDLED_FACTS, CATALOGUE
from napari_stem.encoders.registry import parse_name
from napari_stem.errors import StemError
from napari_stem.evaluation.differences import Background, background, spot_profile
from napari_stem.geometry import PatchSpec
from napari_stem.layers.values import map_title
from napari_stem.model.config import read_config
from napari_stem.model.sources import named_in_file
from napari_stem.slide.patches import PatchReader
from napari_stem.widgets.common.hints import NO_SAMPLES
from napari_stem.widgets.common.parts import Note, is_click, stack
from napari_stem.widgets.common.pictures import pixmap_within
from napari_stem.widgets.common.table import Column, Table, TableView, marked
from napari_stem.widgets.genes.layer_queue import INSPECTED_RANK
from napari_stem.widgets.genes.map_layers import SpotOutlines
from napari_stem.widgets.state import BESIDE, DIFFERENCE, FADED, MEAN, SCORE, SD
from napari_stem.widgets.views.plots import LOW, Plot, draw_samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_stem.results import Prediction
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.genes.active_prediction import ActivePrediction, GeneSamples
    from napari_stem.widgets.genes.map_display import MapDisplay
    from napari_stem.widgets.genes.map_layers import SpotMap

PATCHES_WIDTH, LARGEST_PATCH, GAP = 288, 140, 6
N_ROWS_SEEN = 9
NO_PATCHES = "What the model saw cannot be shown: {}"
GENE, Z, RANGE, MEAN_COLUMN = range(4)
COLUMNS = (
    Column("gene", "Gene", "Click to see its map"),
    Column(
        "z",
        "z",
        "How far the spot's predicted mean lies above the mean of all predicted spots of this slide, in "
        "standard deviations between them",
        "+.1f",
        order="z_told",
    ),
    Column(
        "z_low",
        "90% interval",
        "The spot's 90% interval on the same scale: a gene whose interval holds 0 may be as everywhere else",
        "+.1f",
        upper="z_high",
        widest="+0.0 to +00.0",
    ),
    Column("mean", "Mean", "Predicted mean of the spot", ".2f"),
)


POINT_AT = "Point at the map to read a spot; click to look at it closely."
UNLIKE = "looks unlike the tissue that the model learnt from: do not rely on it."
OUTLINE_COLOURS = "black", "white"  # one within the other: seen on whatever colour


@dataclass(frozen=True)
class SpotDetails:
    """One finished spot."""

    spot: int  # its place among the prediction's spots
    # what the model looked at, (side_px, side_px, 3) by side in um, the narrowest first
    patches: dict[float, NDArray[np.uint8]]
    why_no_patches: str  # in one sentence, where they cannot be shown
    profile: pd.DataFrame  # every gene against the slide's background


class InspectPanel(QWidget):
    """Reads out the spot under the cursor in a line, shows the clicked one in depth, for the chosen gene."""

    def __init__(self, jobs: Jobs, maps: MapDisplay) -> None:
        super().__init__()
        self._jobs, self._maps = jobs, maps
        self.inspected: tuple[Path, int] | None = None  # the clicked spot, and of which prediction
        # of which prediction, and where in um
        self._pointed_at: tuple[Path, Any] | None = None
        self.readout, self.title, self.saw, self.plot_note = Note(POINT_AT), Note(), Note(), Note()
        self.spot, pictures = QWidget(), QWidget()
        self.grid = QGridLayout(pictures)
        self.grid.setContentsMargins(0, 0, 0, 0)
        self.grid.setSpacing(GAP)
        self.grid.setAlignment(Qt.AlignmentFlag.AlignLeft)
        self.plot = Plot(LOW)
        self.plot.hide()
        self.table = Table(COLUMNS)
        self.view = TableView(self.table, sort_by=Z)
        self.view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.view.setMinimumHeight(self.view.fontMetrics().height() * (N_ROWS_SEEN + 2))
        stack(self.spot, self.title, self.saw, pictures, self.plot, self.plot_note, self.view)
        stack(self, self.readout, self.spot)
        self.spot.setVisible(False)
        self.outline = SpotOutlines(
            maps.layer_queue, "inspected", "Inspected spot", OUTLINE_COLOURS, INSPECTED_RANK
        )
        viewer = maps.layer_queue.viewer
        jobs.call_back(viewer.mouse_drag_callbacks, self.on_press)
        jobs.call_back(viewer.mouse_move_callbacks, self.read_out)
        self.view.chosen.connect(lambda gene: maps.settings.update(gene=gene))
        maps.map_updated.connect(self._follow)
        maps.samples_read.connect(self._follow)

    def read_out(self, _viewer: Viewer, event: Any) -> None:
        """Say what lies under the cursor."""
        active = self._maps.current()
        where_um = self._maps.layer_queue.on_slide_um(event.position)
        self._pointed_at = None if active is None else (active.prediction.path, where_um)
        self._tell(active)

    def _tell(self, active: ActivePrediction | None) -> None:
        """Say what lies where the cursor was last, if that was on this prediction."""
        reading, pointed_at = "", self._pointed_at
        if active and pointed_at and active.prediction.path == pointed_at[0]:
            with active.telling():
                reading = self._reading(active, pointed_at[1])
        self.readout.setText(reading or POINT_AT)

    def inspect(self, spot: int) -> None:
        """Look at a finished spot of the active slide in depth."""
        active = self._maps.current()
        if active is None:
            return
        self.inspected = active.prediction.path, spot
        self._jobs.start(
            spot_details,
            self._maps.slide,
            active.prediction,
            spot,
            active.background,
            done=partial(self._show, active),
            failed=lambda: self.spot.setVisible(False),
        )

    def on_press(self, viewer: Viewer, event: Any) -> Iterator[None]:
        """Look at a spot that is clicked; one of napari's mouse callbacks."""
        layer = viewer.layers.selection.active
        if event.button != 1 or getattr(layer, "mode", "pan_zoom") != "pan_zoom":
            return
        if (yield from is_click(event)):
            where_um = self._maps.layer_queue.on_slide_um(event.position)
            spot = self._spot_at(self._maps.current(), where_um)
            if spot is not None:
                self.inspect(spot)

    def _spot_at(self, active: ActivePrediction | None, position: Any) -> int | None:
        return None if active is None else active.spot_at(position, self._maps.settings.spot_shape)

    def _reading(self, active: ActivePrediction, position: Any) -> str:
        """Say what the map shows at a place, and what is predicted there where that is something else."""
        shown, spot, lines = self._maps.shown_map, self._spot_at(active, position), []
        settings = self._maps.settings
        if shown is not None and shown.probability is not None:
            lines += [] if spot is None else _probability(shown, shown.probability[spot], spot)
        elif shown is not None and shown.kind not in {MEAN, FADED}:
            value = shown.value_at(position)
            sign = "+" if shown.kind in {SCORE, DIFFERENCE} else ""
            lines += [f"{value:{sign}.2f}: {shown.title}"] if np.isfinite(value) else []
        if spot is None:
            return "\n".join(lines)
        here, rows = slice(spot, spot + 1), active.prediction.rows  # one block from disk
        for gene in () if shown is not None and shown.kind == SCORE else settings.genes:
            if settings.shown_arrangement == BESIDE and settings.field == SD:
                title = map_title(gene, "sd", active.prediction.unit)
                lines.append(f"{rows(here, 'sd', [gene]).item():.2f}: {title}")
            mean, low, high = (rows(here, field, [gene]).item() for field in ("mean", "q05", "q95"))
            interval = f"90% interval {low:.2f} to {high:.2f}"
            lines.append(f"{gene} predicted {mean:.2f} ({interval}), {active.prediction.unit}")
        return "\n".join(lines) + (f". This spot {UNLIKE}" if active.prediction.ood[spot] else "")

    def _show(self, active: ActivePrediction, details: SpotDetails) -> None:
        prediction, spot = active.prediction, details.spot
        if active is not self._maps.current() or self.inspected != (prediction.path, spot):
            return
        name = f"Spot {prediction.spots.names[spot]}, as exported tables call it."
        self.title.setText(f"{name} It {UNLIKE}" if prediction.ood[spot] else name)
        self._show_patches(details.patches)
        self.saw.setText(details.why_no_patches or "What the model saw:")
        self.table.fill(_frame(prediction.gene_accuracy["by_chance"], details.profile))
        self.view.sortByColumn(Z, Qt.SortOrder.DescendingOrder)
        self.view.scrollToTop()
        self.spot.setVisible(True)
        self._follow()

    def _show_patches(self, patches: dict[float, NDArray[np.uint8]]) -> None:
        while (item := self.grid.takeAt(0)) is not None:
            widget = item.widget()
            widget.setParent(None)
            widget.deleteLater()
        n = max(1, len(patches))
        side = min(LARGEST_PATCH, (PATCHES_WIDTH - (n - 1) * GAP) // n)
        for place, (side_um, pixels) in enumerate(patches.items()):
            picture, caption = QLabel(), QLabel(f"{side_um:g} µm")
            picture.setPixmap(pixmap_within(pixels, side))
            picture.setToolTip(f"The {side_um:g} µm round the spot's centre, as the model saw them")
            caption.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            self.grid.addWidget(picture, 0, place)
            self.grid.addWidget(caption, 1, place)

    def _follow(self) -> None:
        """Show the samples of the chosen gene; leave the spot of another prediction."""
        active = self._maps.current()
        self._tell(active)
        if self.inspected is None or active is None or active.prediction.path != self.inspected[0]:
            self.inspected = None
            self.spot.setVisible(False)
            self.outline.hide()
            return
        spot = self.inspected[1]
        if self._maps.settings.shown_arrangement == BESIDE:  # the outline would take a view
            self.outline.hide()
        else:
            shape = self._maps.settings.spot_shape
            self.outline.show(active.prediction, active.mpp, np.array([spot]), shape)
        samples = self._maps.samples()
        if samples is not None:
            with active.telling():
                self._show_samples(active, spot, samples)

    def _show_samples(self, active: ActivePrediction, spot: int, samples: GeneSamples) -> None:
        """Show the samples of the chosen gene at the spot, or why there are none."""
        gene, unit = active.gene, active.prediction.unit
        mean = float(active.values(gene)[spot])
        low, high = float(samples.low[spot]), float(samples.high[spot])
        draws = samples.draws[spot].astype(np.float64)
        self.view.choose(gene)
        has_samples = bool(draws.size) and bool(np.isfinite(draws).all())
        self.plot.setVisible(has_samples)
        self.plot_note.setVisible(not has_samples)
        if has_samples:
            self.plot.plot(draw_samples, draws, mean, low, high, f"{gene} predicted, {unit}")
            return
        why_not = f"{NO_SAMPLES}." if not draws.size else "The spot is still being predicted."
        known = f"{gene} predicted {mean:.2f} (90% interval {low:.2f} to {high:.2f}). "
        self.plot_note.setText((known if np.isfinite(mean) else "") + why_not)


def _probability(shown: SpotMap, probability: float, spot: int) -> list[str]:
    """Say in a line how probably a spot is high, on a map that shows only those that probably are."""
    hidden = "" if np.isfinite(shown.values[spot]) else " (hidden)"
    return [f"{probability:.0%}{hidden}: {shown.title}"] if np.isfinite(probability) else []


def _frame(by_chance: pd.Series, profile: pd.DataFrame) -> pd.DataFrame:
    frame = profile.assign(z_told=profile["z"].mask(by_chance))
    return marked(frame, by_chance.index[by_chance])


def spot_details(
    slide: Slide, prediction: Prediction, spot: int, known: Background | None
) -> SpotDetails:
    """Gather what is shown of a spot, against the background of the prediction, if it is known already.

    StemError where the prediction is damaged.
    """
    against = known or background(prediction)
    patches: dict[float, NDArray[np.uint8]] = {}
    why_not = ""
    try:
        spec = patch_spec(prediction)
        read = PatchReader(slide, spec).read(prediction.spots.take(np.array([spot])))[0]
        patches = dict(sorted(zip(spec.fields_of_view_um, read, strict=True)))
    except StemError as error:
        why_not = NO_PATCHES.format(error)
    return SpotDetails(spot, patches, why_not, spot_profile(prediction, spot, against))


def patch_spec(prediction: Prediction) -> PatchSpec:
    """Fields of view of the model that made a prediction; loads neither weights nor torch.

    StemError where the model is no packaged one, or its encoder is unknown.
    """
    config = read_config(named_in_file(prediction.provenance.get("model")))
    if config.encoder == BUNDLED_FACTS.name and config.fields_of_view_um is None:
        return BundledEncoder.patch
    facts = [CATALOGUE.get(part.name, BUNDLED_FACTS) for part in parse_name(config.encoder)]
    own_um = {field_um for each in facts for field_um in each.fields_of_view_um}
    fields_um = tuple(sorted(set(config.fields_of_view_um or own_um)))
    return PatchSpec(fields_um, max(each.side_px for each in facts))
