"""What the user said of each slide, compared with the chosen model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import shapely
from qtpy.QtCore import QObject, Signal

from napari_stem.errors import StemError
from napari_stem.widgets.common.window_words import in_window_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_stem.encoders.precomputed import PrecomputedEmbedder, Stated
    from napari_stem.geometry import Region
    from napari_stem.model.config import ModelConfig
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.slide.about_slide_box import AboutSlideBox
    from napari_stem.widgets.slide.slide_control import SlideControl


@dataclass(frozen=True)
class AboutSlide:
    """What the user said of one slide.

    Attributes
    ----------
    species, tissue
        As `napari_stem.model.serving` compares them; empty where not stated.
    path, stated
        File of embeddings, and what it does not say; None: the encoder looks.
    """

    species: str = ""
    tissue: str = ""
    path: Path | None = None
    stated: Stated | None = None


@dataclass(frozen=True)
class _Read:
    """Embeddings as read for a model, or why they cannot be."""

    asked: tuple[str, str, AboutSlide]  # slide, model, answers
    embedder: PrecomputedEmbedder | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""


class AboutSlideControl(QObject):
    """Keeps the answers by slide; says what they mean for the chosen model."""

    changed = Signal()

    def __init__(
        self, jobs: Jobs, box: AboutSlideBox, slides: SlideControl, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._jobs, self._box, self._slides = jobs, box, slides
        self._answers: dict[str, AboutSlide] = {}  # by the slide's fingerprint
        self._source = ""
        self._config: ModelConfig | None = None
        self._read: _Read | None = None
        self._n_patches = 0
        box.changed.connect(self._on_changed)
        box.embeddings_chosen.connect(self._on_embeddings)
        box.embeddings_dropped.connect(partial(self._on_embeddings, None, None))
        slides.activated.connect(lambda _: self._refresh())

    @property
    def n_patches(self) -> int:
        """How many patches the file of embeddings has in the regions that were counted last."""
        return self._n_patches

    def count_patches(self, regions: Sequence[Region]) -> None:
        """Count the patches of the active slide's file in regions."""
        embedder = self.embedder
        self._n_patches = 0
        if embedder is not None and regions:
            area = shapely.union_all([region.polygon for region in regions])
            shapely.prepare(area)
            patches = embedder.patches
            self._n_patches = int(shapely.contains_xy(area, patches.x_px, patches.y_px).sum())

    @property
    def species(self) -> str:
        """Of the active slide; empty where not stated."""
        return self._answer().species

    @property
    def embedder(self) -> PrecomputedEmbedder | None:
        """What stands in place of the encoder for the active slide and the chosen model."""
        read = self._read
        return None if read is None or read.asked != self._asked() else read.embedder

    @property
    def has_embeddings(self) -> bool:
        """Whether a file of embeddings was chosen for the active slide."""
        return self._answer().path is not None

    def use_model(self, source: str, config: ModelConfig | None) -> None:
        """Compare with another model."""
        self._source, self._config = source, config
        self._refresh()

    def missing(self) -> str:
        """Say why the chosen model cannot predict the active slide; empty where it can."""
        refusal = self._refusal()
        if refusal or not self.has_embeddings:
            return refusal
        read = self._read
        if read is None or read.asked != self._asked():
            return "The embeddings are being read …"
        return read.problem

    def _key(self) -> str:
        slide = self._slides.slide
        return "" if slide is None else slide.fingerprint

    def _answer(self) -> AboutSlide:
        key = self._key()
        if key and key not in self._answers:
            self._answers[key] = _remembered(key)
        return self._answers.get(key, AboutSlide())

    def _asked(self) -> tuple[str, str, AboutSlide]:
        return self._key(), self._source, replace(self._answer(), species="", tissue="")

    def _refusal(self) -> str:
        from napari_stem.model.serving import require_species

        if self._config is None:
            return ""
        try:
            require_species(self._config, self.species or None)
        except StemError as error:
            return str(error)
        return ""

    def _on_changed(self) -> None:
        species, tissue = str(self._box.species.currentData()), self._box.tissue.text().strip()
        key = self._key()
        self._answers[key] = replace(self._answer(), species=species, tissue=tissue)
        if key:
            _remember(key, species, tissue)  # at once: of two jobs the first might write last
        self._refresh()

    def _on_embeddings(self, path: Path | None, stated: Stated | None) -> None:
        self._answers[self._key()] = replace(self._answer(), path=path, stated=stated)
        self._refresh()

    def _refresh(self) -> None:
        """Show the answers for the active slide, and read its embeddings where that is to be done."""
        answer = self._answer()
        self._box.show_answers(answer.species, answer.tissue)
        self._box.setEnabled(self._slides.slide is not None)
        self._box.show_warning(self._warning(answer.tissue))
        self._show_embeddings()
        slide = self._slides.slide
        is_read = self._read is not None and self._read.asked == self._asked()
        if answer.path is not None and slide is not None and self._source and not is_read:
            self._jobs.start(_read, slide, self._asked(), done=self._take)
        self.changed.emit()

    def _warning(self, tissue: str) -> str:
        from napari_stem.model.serving import tissue_warning

        refusal = self._refusal()
        if refusal or self._config is None:
            return refusal
        return tissue_warning(self._config, tissue or None) or ""

    def _show_embeddings(self) -> None:
        if not self.has_embeddings:
            self._box.show_embeddings("", ())
            return
        embedder, problem = self.embedder, self.missing()
        if embedder is None:
            self._box.show_embeddings(problem, (), is_file=True)
            return
        patches = embedder.patches
        text = (
            f"{patches.path.name}: {len(patches.x_px):,} patches of {patches.encoder}, "
            f"{patches.side_um:.0f} µm wide; predicted is where they lie."
        )
        notes = () if self._read is None else self._read.notes
        self._box.show_embeddings(text, notes, is_file=True)

    def _take(self, read: _Read) -> None:
        if read.asked == self._asked():
            self._read = read
            self._show_embeddings()
            self.changed.emit()


def _remembered(fingerprint: str) -> AboutSlide:
    """Give what was said of a slide in an earlier session; a file edited by hand may hold anything."""
    from napari_stem.slide.answers import answers_of

    told = answers_of(fingerprint)
    species, tissue = (told.get(key) for key in ("species", "tissue"))
    return AboutSlide(
        species if isinstance(species, str) else "", tissue if isinstance(tissue, str) else ""
    )


def _remember(fingerprint: str, species: str, tissue: str) -> None:
    from napari_stem.slide.answers import keep_answers

    keep_answers(fingerprint, species=species or None, tissue=tissue or None)


def _read(slide: Slide, asked: tuple[str, str, AboutSlide]) -> _Read:
    from napari_stem.encoders.precomputed import Stated
    from napari_stem.model import load_model
    from napari_stem.model.serving import embedder_for

    _, source, answer = asked
    if answer.path is None:
        return _Read(asked)
    try:
        model, stated = load_model(source), answer.stated or Stated()
        embedder, notes = embedder_for(answer.path, stated, slide.size, slide.require_mpp(), model)
    except StemError as error:
        return _Read(asked, problem=in_window_words(str(error)))
    return _Read(asked, embedder, notes)
