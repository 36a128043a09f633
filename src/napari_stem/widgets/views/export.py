"""Export: save a prediction for other programs and for people, or what is seen on the slide as a picture."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Layer
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QRect, Qt, QUrl
from qtpy.QtGui import QDesktopServices, QImage, QPainter
from qtpy.QtWidgets import QApplication, QWidget

from napari_stem.caches import CACHES
from napari_stem.exporting import kinds
from napari_stem.exporting.drawing import Legend, SeenMap, WindowUm
from napari_stem.exporting.kinds import KINDS
from napari_stem.exporting.options import ExportOptions
from napari_stem.exporting.selection import NOTICES, Shown, most_reliable_genes
from napari_stem.texts import count
from napari_stem.widgets.common import parts
from napari_stem.widgets.common.keys import COPY_VIEW, SAVE_VIEW, Key
from napari_stem.widgets.common.pictures import colours_of_values, image_of
from napari_stem.widgets.common.worker import Jobs, StoppableJob
from napari_stem.widgets.genes.map_layers import colours_of
from napari_stem.widgets.state import DIFFERENCE, MEASURED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.viewer import Viewer

    from napari_stem.geometry import Region
    from napari_stem.progress import Poll, Progress
    from napari_stem.results import Prediction
    from napari_stem.settings import ExportKind
    from napari_stem.widgets.genes.map_display import MapDisplay

GENE_CHOICES = {"usual": "Most reliable genes", "shown": "Genes on the map", "all": "All genes"}
FEW_GENES = 20  # "most reliable genes" of data that would otherwise hold all
SHOWN: dict[str, Shown] = {MEASURED: "measured", DIFFERENCE: "predicted minus measured"}


class ExportPanel(QWidget):
    """Asks what to save, of which genes, and where; carries it out, one export at a time.

    ``regions`` returns those on the active slide.
    """

    def __init__(
        self, jobs: Jobs, maps: MapDisplay, regions: Callable[[], tuple[Region, ...]], folder: str
    ) -> None:
        super().__init__()
        self._maps, self._regions, self.folder = maps, regions, folder
        self._running = StoppableJob(jobs, self._show_progress)
        self.suggested_name = "prediction"
        titles: dict[str, str] = {kind: about.title for kind, about in KINDS.items()}
        self.kinds = parts.choice(titles, "What to save the prediction as")
        self.genes = parts.choice(GENE_CHOICES, "Genes to save; a figure holds at most 24")
        self.tip = parts.Note()
        self.save_button = parts.button("Save…", act=self._ask)
        self.copy_view_button = parts.button("Copy this view", _tip(COPY_VIEW), self.copy_view)
        self.save_view_button = parts.button("Save this view…", _tip(SAVE_VIEW), self.save_view)
        self.cancel_button = parts.button("Cancel", act=self._cancel)
        self.progress = parts.ProgressBar()
        self.message = parts.Note()
        self.show_button = parts.button("Show in folder", act=self._show_in_folder)
        self._saved: Path | None = None
        parts.stack(
            self,
            parts.labelled({"Save as": self.kinds, "Genes": self.genes}),
            self.tip,
            parts.row(self.save_button, self.cancel_button),
            self.progress,
            self.message,
            self.show_button,
            parts.row(self.copy_view_button, self.save_view_button),
        )
        self.kinds.currentIndexChanged.connect(self._on_kind)
        maps.map_updated.connect(self._follow)
        self._on_kind()
        self._show("")
        self.setEnabled(False)

    def copy_view(self) -> None:
        """Put what is seen into the clipboard, with the notice."""
        if (picture := self._picture()) is not None:
            QApplication.clipboard().setImage(picture)
            show_info("This view is copied; paste it into a document.")

    def save_view(self) -> None:
        """Save what is seen as a PNG, with the notice."""
        if (picture := self._picture()) is None:  # before the dialog covers it
            return
        name = f"{self.suggested_name}_view.png"
        path = parts.ask_where_to_save(self, "Save this view", name, "Picture (*.png)")
        if not path:
            return
        if picture.save(path, "PNG"):
            self._show(f"Saved {path}.", Path(path))
        else:
            show_error(f"{path} cannot be written; choose another folder.")

    def save(self, kind: ExportKind, genes: str, path: str) -> None:
        """Save the prediction on the map, where nothing is being saved yet, in place of what is there.

        ``genes`` is a key of `GENE_CHOICES`.
        """
        active = self._maps.current()
        if active is None or self._running.is_running:
            return
        # as it is now, whatever is shown later
        prediction, regions, special = active.prediction, self._regions(), self._maps.special_maps()
        names = {"shown": self._maps.shown_genes(), "all": prediction.genes}.get(genes)
        shown = SHOWN.get(self._maps.settings.view, "predicted")
        seen = seen_map(special, shown) if special and genes == "shown" else None
        options = ExportOptions(
            slide=self._maps.slide, look=self._maps.figure_look(), seen=seen, overwrite=True
        )
        asked = prediction, kind, Path(path), names, regions, options
        done, failed = partial(self._finished, Path(path)), partial(self._show, "Not saved.")
        self._running.start(_export, *asked, done=done, failed=failed)
        self._show_progress(f"Saving {Path(path).name}", 0, 0)

    def _follow(self) -> None:
        active = self._maps.current()
        self.setEnabled(active is not None)
        if active is not None:
            path = active.prediction.path
            is_cached = path.parent == CACHES["predictions"].folder  # there as NAME-DIGEST
            stem = path.stem.rsplit("-", 1)[0] if is_cached else path.stem
            self.suggested_name = f"{stem}_predicted"

    def _cancel(self) -> None:
        self._running.stop()
        self._show("Stopping …")

    def _finished(self, path: Path, n_missing: int | None) -> None:
        if n_missing is None:
            self._show("Cancelled; nothing was saved.")
            return
        missing = ""
        if n_missing:
            missing = f" {count(n_missing, 'spot', 'is', 'are')} missing, as not predicted yet."
        self._show(f"Saved {path}.{missing}", path)
        show_info(f"Saved {path}")

    def _picture(self) -> QImage | None:
        """Return what is seen with what it is; None, and a word, where there is no prediction."""
        maps, active = self._maps, self._maps.current()
        if active is None:
            show_info("Nothing is predicted yet, so there is no map in this view.")
            return None
        viewer, seen = maps.layer_queue.viewer, maps.layer_queue.maps()
        slide, model = map(active.prediction.provenance.get, ("slide", "model"))
        if not seen:  # the slide only
            return view_picture(viewer, str(slide))
        if maps.shown_map is not None:
            what = maps.shown_map.title
        elif len(seen) == 1:
            what = str(seen[0].name)
        else:
            what = f"{', '.join(maps.shown_genes())}, {active.prediction.unit}"
        shown = SHOWN.get(maps.settings.view, "predicted")
        return view_picture(viewer, f"{what} · {slide} · model {model}", NOTICES[shown])

    def _show_progress(self, text: str, done: int, total: int) -> None:
        self.progress.show_share(done, total)
        self._show(f"{text} …")

    def _show(self, text: str, saved: Path | None = None) -> None:
        """Say what is going on, or what was saved; no text: nothing is."""
        self._saved = saved
        self.message.say(text)
        self.show_button.setVisible(saved is not None)
        is_busy = self._running.is_running
        self.save_button.setVisible(not is_busy)
        self.cancel_button.setVisible(is_busy)
        self.progress.setVisible(is_busy)
        for asking in (self.kinds, self.genes):
            asking.setEnabled(not is_busy)

    def _on_kind(self) -> None:
        kind: ExportKind = self.kinds.currentData()
        self.tip.setText(KINDS[kind].tip)
        n_genes = KINDS[kind].n_genes
        choice = "all" if n_genes is None else "shown" if n_genes == 1 else "usual"
        self.genes.setCurrentIndex(self.genes.findData(choice))

    def _ask(self) -> None:
        kind: ExportKind = self.kinds.currentData()
        endings, title = KINDS[kind].suffixes, "Save the prediction"
        filters = f"{KINDS[kind].title} ({' '.join(f'*{ending}' for ending in endings)})"
        name = f"{self.suggested_name}{endings[0]}"
        if path := parts.ask_where_to_save(self, title, name, filters):
            self.save(kind, str(self.genes.currentData()), path)

    def _show_in_folder(self) -> None:
        if self._saved is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._saved.parent)))


def _export(
    prediction: Prediction,
    kind: ExportKind,
    path: Path,
    genes: Sequence[str] | None,
    regions: Sequence[Region],
    options: ExportOptions,
    *,
    poll: Poll,
    progress: Progress,
) -> int:
    """Export genes, or the most reliable ones (None), in a thread that can be stopped.

    Returns how many spots are missing.
    """
    if genes is None:
        genes = most_reliable_genes(prediction, KINDS[kind].n_genes or FEW_GENES)
    poll()
    selection = kinds.export_selection(
        prediction,
        kind,
        path,
        genes=genes,
        regions=regions,
        slide=options.slide,
        options=replace(options, progress=progress),
    )
    return selection.n_missing


def _tip(key: Key) -> str:
    return f"{key.meaning} ({key.sequence})"


FOOT_PX, SIDE_PX = 44, 8


def seen_map(layers: Sequence[Layer], shown: Shown = "predicted") -> SeenMap:
    """Put maps of one raster together as napari does, from the lowest to the topmost, at least one.

    What is of another raster than the topmost is left out. ``shown`` is as of `SeenMap`.
    """
    top = layers[-1]
    rows, cols = top.data.shape[:2]
    light, cover = np.zeros((rows, cols, 3)), np.zeros((rows, cols, 1))
    for layer in layers:
        if layer.data.shape[:2] != (rows, cols):
            continue
        colours = colours_of_values(layer, np.asarray(layer.data))
        alpha = colours[..., 3:]
        is_light = layer.blending == "additive"
        light = colours[..., :3] * alpha + light * (1 if is_light else 1 - alpha)
        cover = cover if is_light else alpha + cover * (1 - alpha)
    mixed = np.divide(light, cover, out=np.zeros_like(light), where=cover > 0)
    (y_um, x_um), (height_um, width_um) = top.translate, top.scale
    left, upper = x_um - width_um / 2, y_um - height_um / 2
    where = WindowUm(left, upper, left + cols * width_um, upper + rows * height_um)
    valued = [layer for layer in layers if not isinstance(layer, Labels) and not layer.rgb]
    return SeenMap(
        "; ".join(layer.name for layer in valued or [top]),
        np.concatenate([mixed.clip(0, 1), cover], axis=2),
        where,
        tuple(_legend(layer) for layer in reversed(valued)),
        _names(top),
        shown,
    )


def view_picture(viewer: Viewer, caption: str, notice: str = "") -> QImage:
    """Return what the canvas shows, legends and scale bar too, with two lines below it.

    ``caption`` and ``notice`` say what it shows, and what it must not be taken for.
    """
    canvas = image_of(viewer.screenshot(canvas_only=True, flash=False)[..., :3])
    width, height = canvas.width(), canvas.height()
    picture = QImage(width, height + FOOT_PX, QImage.Format.Format_RGB32)
    picture.fill(Qt.GlobalColor.white)
    picture.setText("Description", f"{caption}. {notice}".rstrip())
    painter = QPainter(picture)
    painter.drawImage(0, 0, canvas)
    painter.setPen(Qt.GlobalColor.black)
    for line, text in enumerate((caption, notice)):
        place = QRect(SIDE_PX, height + line * FOOT_PX // 2, width - 2 * SIDE_PX, FOOT_PX // 2)
        short = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, place.width())
        painter.drawText(place, Qt.AlignmentFlag.AlignVCenter, short)
    painter.end()
    return picture


def _legend(layer: Any) -> Legend:
    colours = layer.colormap.map(np.linspace(0, 1, 256))
    low, high = layer.contrast_limits
    return Legend(str(layer.name), np.asarray(colours, float), (low, high), layer.gamma)


def _names(layer: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(layer, Labels):
        return ()
    names = [str(name) for name in layer.features["domain"]][1:]
    return tuple(zip(names, colours_of(len(names)), strict=True))
