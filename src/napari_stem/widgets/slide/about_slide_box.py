"""What the file of a slide does not say and a model may ask: species, tissue, embeddings made elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import shapely
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_stem.encoders.precomputed import Stated
from napari_stem.errors import StemError
from napari_stem.model import load_model
from napari_stem.model.serving import embedder_for, require_species, tissue_warning
from napari_stem.slide.pixel_size import answers_of, keep_answers
from napari_stem.widgets.common.parts import (
    Note,
    answer_buttons,
    button,
    choice,
    in_window_words,
    row,
    stack,
    warning,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.encoders.precomputed import PrecomputedEmbedder
    from napari_stem.geometry import Region
    from napari_stem.model.config import ModelConfig
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.slide.slide_panel import SlidePanel

SPECIES = {"": "Not stated", "human": "Human", "mouse": "Mouse"}
HERE, FILE = "Computed here", "From a file…"
FILES = "Embeddings (*.h5 *.hdf5 *.h5ad *.pt *.npz);;All files (*)"
PLACES = "Places of patches (*.h5 *.hdf5 *.npz *.npy);;All files (*)"
AS_FILE_SAYS = "as the file says"


class EmbeddingsDialog(QDialog):
    """One file, and four fields that may stay empty."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Embeddings of this slide, from a file")
        self.path = _line("file, or a folder that ends in .zarr")
        self.encoder = _line(f"{AS_FILE_SAYS}; such as uni")
        self.places = _line(AS_FILE_SAYS)
        self.side_px = _number(
            " px", AS_FILE_SAYS, "Side of a patch in pixels of the slide's finest level"
        )
        self.tolerance_um = _number(
            " µm",
            "a tenth of a patch",
            "How far a patch's centre may lie from the spot it stands for",
        )
        self.folder_button = button(
            "Folder…",
            "LazySlide keeps its results in a folder that ends in .zarr",
            self._ask_for_folder,
        )
        self.buttons = answer_buttons(self, self.path)
        self._lay_out()
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

    def _lay_out(self) -> None:
        form = QFormLayout()
        line = self._with_button(self.path, FILES)
        line.addWidget(self.folder_button)
        form.addRow("File", line)
        form.addRow("Made by", self.encoder)
        form.addRow("Patch side", self.side_px)
        form.addRow("Places", self._with_button(self.places, PLACES))
        form.addRow("Tolerance", self.tolerance_um)
        layout = QVBoxLayout(self)
        layout.addWidget(
            Note(
                "HDF5 of CLAM or TRIDENT, a LazySlide store or AnnData, files of slide2vec. They must come "
                "from the encoder that the model was trained with."
            )
        )
        layout.addLayout(form)
        layout.addWidget(self.buttons)

    def _ask_for_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Choose a .zarr folder", self.path.text())
        if chosen:
            self.path.setText(chosen)

    def _with_button(self, field: QLineEdit, files: str) -> QHBoxLayout:
        def ask() -> None:
            chosen, _ = QFileDialog.getOpenFileName(self, "Choose a file", field.text(), files)
            if chosen:
                field.setText(chosen)

        asking = button("…")
        asking.clicked.connect(ask)
        return row(field, asking, stretched=0)


def _line(placeholder: str) -> QLineEdit:
    field = QLineEdit()
    field.setPlaceholderText(placeholder)
    return field


def _number(suffix: str, empty: str, tip: str) -> QDoubleSpinBox:
    """Make a field for a length; 0 stands for what ``empty`` says."""
    box = QDoubleSpinBox()
    box.setRange(0, 100_000)
    box.setDecimals(1)
    box.setSuffix(suffix)
    box.setSpecialValueText(empty)
    box.setToolTip(tip)
    return box


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


class AboutSlideBox(QWidget):
    """Asks about the active slide, where nothing needs an answer; says what it means for the chosen model.

    Parameters
    ----------
    jobs, slides
        Where embeddings are read, and which slide is active.
    """

    changed = Signal()

    def __init__(self, jobs: Jobs, slides: SlidePanel) -> None:
        super().__init__()
        self._jobs, self._slides = jobs, slides
        self.answers: dict[str, AboutSlide] = {}  # by the slide's fingerprint
        self._source = ""
        self._config: ModelConfig | None = None
        self._read: _Read | None = None
        self.n_patches = 0  # of the file of embeddings, in the regions that were counted last
        self.species = choice(
            SPECIES, "Of the slide; a model of another species does not predict it"
        )
        self.tissue = QLineEdit()
        self.tissue.setPlaceholderText("not stated")
        self.tissue.setToolTip(
            "Of the slide, such as breast; you are warned where a model is of another"
        )
        self.embeddings = QComboBox()
        self.embeddings.addItems([HERE, FILE])
        self.embeddings.setToolTip(
            "Image features of the slide: computed by the encoder, or read from a file of CLAM, TRIDENT, "
            "LazySlide or slide2vec, which needs no encoder here"
        )
        self.embeddings_text, self.warning = Note(), warning()
        self.dialog = EmbeddingsDialog(self)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        form.addRow("Species", self.species)
        form.addRow("Tissue", self.tissue)
        form.addRow("Embeddings", self.embeddings)
        stack(self, form, self.embeddings_text, self.warning)
        self._show_embeddings()
        self.species.currentIndexChanged.connect(self._on_changed)
        self.tissue.editingFinished.connect(self._on_changed)
        self.embeddings.activated.connect(self._choose_embeddings)
        self.dialog.accepted.connect(self._take_file)
        self.dialog.rejected.connect(self._show_embeddings)
        slides.activated.connect(self._refresh)

    def count_patches(self, regions: Sequence[Region]) -> None:
        """Count the patches of the active slide's file in regions."""
        embedder = self.embedder
        self.n_patches = 0
        if embedder is not None and regions:
            area = shapely.union_all([region.polygon for region in regions])
            shapely.prepare(area)
            patches = embedder.patches
            self.n_patches = int(shapely.contains_xy(area, patches.x_px, patches.y_px).sum())

    @property
    def stated_species(self) -> str:
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

    def use_embeddings(self, path: Path | None, stated: Stated | None) -> None:
        """Take the active slide's embeddings from a file; None: the encoder looks."""
        self.answers[self._key()] = replace(self._answer(), path=path, stated=stated)
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
        if key and key not in self.answers:
            self.answers[key] = _remembered(key)
        return self.answers.get(key, AboutSlide())

    def _asked(self) -> tuple[str, str, AboutSlide]:
        return self._key(), self._source, replace(self._answer(), species="", tissue="")

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

    def _choose_embeddings(self, index: int) -> None:
        if index:
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
        is_read = self._read is not None and self._read.asked == self._asked()
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
        text, embedder = "", self.embedder
        if embedder is not None:
            patches = embedder.patches
            text = (
                f"{patches.path.name}: {len(patches.x_px):,} patches of {patches.encoder}, "
                f"{patches.side_um:.0f} µm wide; predicted is where they lie."
            )
            notes = () if self._read is None else self._read.notes
            text = "\n".join((text, *notes))
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
