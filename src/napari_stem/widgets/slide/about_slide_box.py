"""What the file of a slide does not say and a model may ask; a warning where its pixel size is odd."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import shapely
from napari.utils.notifications import show_warning
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QWidget,
)

from napari_stem.encoders.precomputed import Stated
from napari_stem.errors import StemError
from napari_stem.model import load_model
from napari_stem.model.serving import embedder_for, require_species, tissue_warning
from napari_stem.slide.pixel_size import answers_of, keep_answers
from napari_stem.slide.scale_check import known_check
from napari_stem.widgets.common.form import line, number
from napari_stem.widgets.common.parts import (
    Note,
    answer_buttons,
    button,
    choice,
    in_window_words,
    labelled,
    one_shot,
    row,
    stack,
    warning,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.encoders.precomputed import PatchEmbeddings
    from napari_stem.geometry import Mpp, Region
    from napari_stem.model.config import ModelConfig
    from napari_stem.slide.base import Slide
    from napari_stem.slide.scale_check import ScaleCheck
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.slide.slide_panel import SlidePanel

    Key = tuple[str, Mpp]  # fingerprint of the slide, pixel size

SPECIES = {"": "Not stated", "human": "Human", "mouse": "Mouse"}
EMBEDDINGS = {"here": "Computed here", "file": "From a file…"}
FILES = "Embeddings (*.h5 *.hdf5 *.h5ad *.pt *.npz);;All files (*)"
PLACES = "Places of patches (*.h5 *.hdf5 *.npz *.npy);;All files (*)"
AS_FILE_SAYS = "as the file says"
LENGTHS = (0, 100_000)  # 0: not said


class EmbeddingsDialog(QDialog):
    """One file, and four fields that may stay empty."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Embeddings of this slide, from a file")
        self.path = line("file, or a folder that ends in .zarr")
        self.encoder = line(f"{AS_FILE_SAYS}; such as uni")
        self.places = line(AS_FILE_SAYS)
        side_tip = "Side of a patch in pixels of the slide's finest level"
        self.side_px = number(LENGTHS, 0, side_tip, decimals=1, suffix=" px", empty=AS_FILE_SAYS)
        tip = "How far a patch's centre may lie from the spot it stands for"
        tenth = "a tenth of a patch"
        self.tolerance_um = number(LENGTHS, 0, tip, decimals=1, suffix=" µm", empty=tenth)
        self.folder_button = button(
            "Folder…",
            "LazySlide keeps its results in a folder that ends in .zarr",
            self._ask_for_folder,
        )
        self.buttons = answer_buttons(self, self.path)
        fields = {
            "File": row(self._with_button(self.path, FILES), self.folder_button, stretched=0),
            "Made by": self.encoder,
            "Patch side": self.side_px,
            "Places": self._with_button(self.places, PLACES),
            "Tolerance": self.tolerance_um,
        }
        told = Note(
            "HDF5 of CLAM or TRIDENT, a LazySlide store or AnnData, files of slide2vec. They must come "
            "from the encoder that the model was trained with."
        )
        stack(self, told, labelled(fields), self.buttons, is_window=True)
        self.setMinimumWidth(460)

    def chosen(self) -> tuple[Path, Stated]:
        """File, and what it does not say."""
        places = self.places.text().strip()
        return Path(self.path.text().strip()), Stated(
            encoder=self.encoder.text().strip() or None,
            patch_px=self.side_px.value() or None,
            coordinates=Path(places) if places else None,
            tolerance_um=self.tolerance_um.value() or None,
        )

    def _ask_for_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Choose a .zarr folder", self.path.text())
        if chosen:
            self.path.setText(chosen)

    def _with_button(self, field: QLineEdit, files: str) -> QHBoxLayout:
        def ask() -> None:
            chosen, _ = QFileDialog.getOpenFileName(self, "Choose a file", field.text(), files)
            if chosen:
                field.setText(chosen)

        return row(field, button("…", act=ask), stretched=0)


@dataclass(frozen=True)
class AboutSlide:
    """What the user said of one slide."""

    # as `napari_stem.model.serving` compares them; empty where not stated
    species: str = ""
    tissue: str = ""
    # file of embeddings, and what it does not say; None: the encoder looks
    path: Path | None = None
    stated: Stated | None = None


@dataclass(frozen=True)
class _Read:
    """Embeddings as read for a model, or why they cannot be."""

    asked: tuple[str, str, AboutSlide]  # slide, model, answers
    embedder: PatchEmbeddings | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""


class AboutSlideBox(QWidget):
    """Asks about the active slide, where nothing needs an answer; says what it means for the chosen model."""

    changed = Signal()

    def __init__(self, jobs: Jobs, slides: SlidePanel) -> None:
        super().__init__()
        self._jobs, self._slides = jobs, slides
        self.answers: dict[str, AboutSlide] = {}  # by the slide's fingerprint
        self._source = ""
        self._config: ModelConfig | None = None
        self._read: _Read | None = None
        self.species = choice(
            SPECIES, "Of the slide; a model of another species does not predict it"
        )
        self.tissue = line(
            "not stated", "Of the slide, such as breast; you are warned where a model is of another"
        )
        self.embeddings = choice(
            EMBEDDINGS,
            "Image features of the slide: computed by the encoder, or read from a file of CLAM, TRIDENT, "
            "LazySlide or slide2vec, which needs no encoder here",
            self._choose_embeddings,
        )
        self.embeddings_text, self.warning = Note(), warning()
        self.dialog = EmbeddingsDialog(self)
        asked = {"Species": self.species, "Tissue": self.tissue, "Embeddings": self.embeddings}
        form = labelled(asked)
        form.setFieldGrowthPolicy(form.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        stack(self, form, self.embeddings_text, self.warning)
        self._show_embeddings()
        self.species.currentIndexChanged.connect(self._on_changed)
        self.tissue.editingFinished.connect(self._on_changed)
        self.dialog.accepted.connect(self._take_file)
        self.dialog.rejected.connect(self._show_embeddings)
        slides.activated.connect(self._refresh)

    def count_patches(self, regions: Sequence[Region]) -> int:
        """Count the patches of the active slide's file in regions."""
        if (embedder := self.embedder) is None:
            return 0
        area = shapely.union_all([region.polygon for region in regions])
        shapely.prepare(area)
        return int(shapely.contains_xy(area, embedder.x_px, embedder.y_px).sum())

    @property
    def stated_species(self) -> str:
        """Of the active slide; empty where not stated."""
        return self._answer().species

    @property
    def embedder(self) -> PatchEmbeddings | None:
        """What stands in place of the encoder for the active slide and the chosen model."""
        return None if (read := self._found()) is None else read.embedder

    @property
    def has_embeddings(self) -> bool:
        """Whether a file of embeddings was chosen for the active slide."""
        return self._answer().path is not None

    def use_model(self, source: str, config: ModelConfig | None) -> None:
        """Compare with another model."""
        self._source, self._config = source, config
        self._refresh()

    def use_embeddings(self, path: Path | None, stated: Stated | None) -> None:
        """Take the active slide's embeddings from a file; None: the encoder looks."""
        self.answers[self._key()] = replace(self._answer(), path=path, stated=stated)
        self._refresh()

    def missing(self) -> str:
        """Say why the chosen model cannot predict the active slide; empty where it can."""
        refusal = self._refusal()
        if refusal or not self.has_embeddings:
            return refusal
        read = self._found()
        return "The embeddings are being read …" if read is None else read.problem

    def _key(self) -> str:
        slide = self._slides.slide
        return "" if slide is None else slide.fingerprint

    def _answer(self) -> AboutSlide:
        key = self._key()
        if key and key not in self.answers:
            self.answers[key] = _remembered(key)
        return self.answers.get(key, AboutSlide())

    def _asked(self) -> tuple[str, str, AboutSlide]:
        return self._key(), self._source, replace(self._answer(), species="", tissue="")

    def _found(self) -> _Read | None:
        """Return what was read as is asked for now; None: nothing was, or not yet."""
        read = self._read
        return None if read is None or read.asked != self._asked() else read

    def _refusal(self) -> str:
        if self._config is None:
            return ""
        try:
            require_species(self._config, self.stated_species or None)
        except StemError as error:
            return str(error)
        return ""

    def _on_changed(self) -> None:
        species, tissue = str(self.species.currentData()), self.tissue.text().strip()
        key = self._key()
        self.answers[key] = replace(self._answer(), species=species, tissue=tissue)
        if key:  # at once: of two jobs the first might write last
            keep_answers(key, species=species or None, tissue=tissue or None)
        self._refresh()

    def _choose_embeddings(self, source: str) -> None:
        if source == "file":
            self.dialog.open()
        elif self.has_embeddings:
            self.use_embeddings(None, None)

    def _take_file(self) -> None:
        self.use_embeddings(*self.dialog.chosen())

    def _refresh(self) -> None:
        """Show the answers for the active slide, and read its embeddings where that is to be done."""
        answer = self._answer()
        with QSignalBlocker(self.species):
            self.species.setCurrentIndex(max(0, self.species.findData(answer.species)))
        self.tissue.setText(answer.tissue)
        self.setEnabled(self._slides.slide is not None)
        self.warning.say(self._warning(answer.tissue))
        self._show_embeddings()
        slide = self._slides.slide
        is_read = self._found() is not None
        if answer.path is not None and slide is not None and self._source and not is_read:
            self._jobs.start(_read, slide, self._asked(), done=self._take)
        self.changed.emit()

    def _warning(self, tissue: str) -> str:
        refusal = self._refusal()
        if refusal or self._config is None:
            return refusal
        return tissue_warning(self._config, tissue or None) or ""

    def _show_embeddings(self) -> None:
        """Say where the embeddings come from, and what does not quite fit."""
        text, read = "", self._found()
        if read is not None and (patches := read.embedder) is not None:
            text = (
                f"{patches.path.name}: {len(patches.x_px):,} patches of {patches.encoder}, "
                f"{patches.field_of_view_um:.0f} µm wide; predicted is where they lie."
            )
            text = "\n".join((text, *read.notes))
        elif self.has_embeddings:
            text = self.missing()
        self.embeddings.setCurrentIndex(int(self.has_embeddings))
        self.embeddings_text.say(text)

    def _take(self, read: _Read) -> None:
        if read.asked == self._asked():
            self._read = read
            self._show_embeddings()
            self.changed.emit()


def _remembered(fingerprint: str) -> AboutSlide:
    """Give what was said of a slide in an earlier session; a file edited by hand may hold anything."""
    told = answers_of(fingerprint)
    species, tissue = (told.get(key) for key in ("species", "tissue"))
    return AboutSlide(
        species if isinstance(species, str) else "", tissue if isinstance(tissue, str) else ""
    )


def _read(slide: Slide, asked: tuple[str, str, AboutSlide]) -> _Read:
    _, source, answer = asked
    if answer.path is None:
        return _Read(asked)
    try:
        model, stated = load_model(source), answer.stated or Stated()
        embedder, notes = embedder_for(answer.path, stated, slide.size, slide.require_mpp(), model)
    except StemError as error:
        return _Read(asked, problem=in_window_words(str(error)))
    return _Read(asked, embedder, notes)


MEASURE_AFTER_MS = 4000  # the slide's first pictures come before, and its tissue


class ScaleWarning(Note):
    """Warns once of each slide and pixel size, and goes on saying it as long as it holds."""

    def __init__(self, jobs: Jobs, slides: SlidePanel) -> None:
        super().__init__()
        self.setObjectName("warning")
        self.setVisible(False)
        self._jobs, self._slides = jobs, slides
        self._found: dict[Key, str] = {}  # the warning; empty while measured, or where all is well
        self._timer = one_shot(jobs, MEASURE_AFTER_MS, self._measure)
        slides.activated.connect(self._on_activated)

    def _on_activated(self, slide: Slide | None) -> None:
        key = _key(slide)
        self.say("" if key is None else self._found.get(key, ""))
        if key is not None and key not in self._found:
            self._timer.start()

    def _measure(self) -> None:
        slide, key = self._slides.slide, _key(self._slides.slide)
        if slide is None or key is None or key in self._found:
            return
        self._found[key] = ""
        done, failed = partial(self._tell, key), partial(self._found.pop, key)
        self._jobs.start(known_check, slide, done=done, failed=failed)

    def _tell(self, key: Key, found: ScaleCheck) -> None:
        if found.warning is None:
            return
        warning = in_window_words(found.warning)
        self._found[key] = warning
        if key == _key(self._slides.slide):
            self.say(warning)
        show_warning(warning)


def _key(slide: Slide | None) -> Key | None:
    return None if slide is None or slide.mpp is None else (slide.fingerprint, slide.mpp)
