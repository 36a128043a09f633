"""What the file of a slide does not say and a model may ask; a warning where its pixel size is odd."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import shapely
from napari.utils.notifications import show_warning
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QDialog, QFileDialog, QHBoxLayout, QLineEdit, QWidget

from napari_stem.encoders.precomputed import PatchEmbeddings, read_embeddings
from napari_stem.errors import StemError
from napari_stem.model import load_model
from napari_stem.model.serving import require_fit, require_species, tissue_warning
from napari_stem.settings import Stated
from napari_stem.slide.pixel_size import answers_of, keep_answers
from napari_stem.slide.scale_check import ScaleCheck, known_check
from napari_stem.widgets.common import parts
from napari_stem.widgets.common.form import line, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.geometry import Mpp, Region
    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.model.model_choice import ModelChoice
    from napari_stem.widgets.slide.slide_panel import SlidePanel

    SizedSlide = tuple[str, Mpp]  # fingerprint of the slide, pixel size
    # slide and model, file of embeddings and what it does not say
    Asked = tuple[str, str, Path, Stated]

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
        self.folder_button = parts.button(
            "Folder…",
            "LazySlide keeps its results in a folder that ends in .zarr",
            self._ask_for_folder,
        )
        self.buttons = parts.answer_buttons(self, self.path)
        fields = {
            "File": parts.row(self._with_button(self.path, FILES), self.folder_button, stretched=0),
            "Made by": self.encoder,
            "Patch side": self.side_px,
            "Places": self._with_button(self.places, PLACES),
            "Tolerance": self.tolerance_um,
        }
        told = parts.Note(
            "HDF5 of CLAM or TRIDENT, a LazySlide store or AnnData, files of slide2vec. They must come "
            "from the encoder that the model was trained with."
        )
        parts.stack(self, told, parts.labelled(fields), self.buttons, is_window=True)
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

        return parts.row(field, parts.button("…", act=ask), stretched=0)


@dataclass(frozen=True)
class AboutSlide:
    """What the user said of one slide, as `napari_stem.model.serving` compares it; empty where not stated."""

    species: str = ""
    tissue: str = ""


class AboutSlideBox(QWidget):
    """Asks about the active slide, where nothing needs an answer; says what it means for the chosen model."""

    changed = Signal()

    def __init__(self, jobs: Jobs, slides: SlidePanel, models: ModelChoice) -> None:
        super().__init__()
        self._jobs, self._slides, self._models = jobs, slides, models
        # by the slide's fingerprint; files of embeddings that stand in place of the encoder
        self.answers: dict[str, AboutSlide] = {}
        self._files: dict[str, tuple[Path, Stated]] = {}
        # as asked for: embeddings, and what is to be said of them, or why they cannot be read
        self._read: tuple[Asked, PatchEmbeddings | None, str] | None = None
        self.species = parts.choice(
            SPECIES, "Of the slide; a model of another species does not predict it"
        )
        self.tissue = line(
            "not stated", "Of the slide, such as breast; you are warned where a model is of another"
        )
        self.embeddings = parts.choice(
            EMBEDDINGS,
            "Image features of the slide: computed by the encoder, or read from a file of CLAM, TRIDENT, "
            "LazySlide or slide2vec, which needs no encoder here",
            self._choose_embeddings,
        )
        self.embeddings_text, self.warning = parts.Note(), parts.warning()
        self.dialog = EmbeddingsDialog(self)
        asked = {"Species": self.species, "Tissue": self.tissue, "Embeddings": self.embeddings}
        form = parts.labelled(asked)
        form.setFieldGrowthPolicy(form.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        parts.stack(self, form, self.embeddings_text, self.warning)
        self._show_embeddings()
        self.species.currentIndexChanged.connect(self._on_changed)
        self.tissue.editingFinished.connect(self._on_changed)
        self.dialog.accepted.connect(lambda: self.use_embeddings(*self.dialog.chosen()))
        self.dialog.rejected.connect(self._show_embeddings)
        slides.activated.connect(self.refresh)

    def count_patches(self, regions: Sequence[Region]) -> int:
        """Count the patches of the active slide's file in regions."""
        if (embedder := self.embedder) is None:
            return 0
        area = shapely.union_all([region.polygon for region in regions])
        shapely.prepare(area)
        return int(shapely.contains_xy(area, embedder.xy_px).sum())

    @property
    def stated_species(self) -> str:
        """Of the active slide; empty where not stated."""
        return self._answer().species

    @property
    def embedder(self) -> PatchEmbeddings | None:
        """What stands in place of the encoder for the active slide and the chosen model."""
        return self._found()[0]

    @property
    def has_embeddings(self) -> bool:
        """Whether a file of embeddings was chosen for the active slide."""
        return self._fingerprint() in self._files

    def use_embeddings(self, path: Path, stated: Stated) -> None:
        """Take the active slide's embeddings from a file."""
        self._files[self._fingerprint()] = path, stated
        self.refresh()

    def missing(self) -> str:
        """Say why the chosen model cannot predict the active slide; empty where it can."""
        embedder, told = self._found()
        return self._refusal() or (told if embedder is None else "")

    def _fingerprint(self) -> str:
        slide = self._slides.slide
        return "" if slide is None else slide.fingerprint

    def _answer(self) -> AboutSlide:
        key = self._fingerprint()
        if key and key not in self.answers:
            told = answers_of(key)  # in an earlier session; a file edited by hand may hold anything
            known = {name: told.get(name) for name in ("species", "tissue")}
            texts = {name: text for name, text in known.items() if isinstance(text, str)}
            self.answers[key] = AboutSlide(**texts)
        return self.answers.get(key, AboutSlide())

    def _asked(self) -> Asked | None:
        """Return what is to be read; None where the encoder looks."""
        key = self._fingerprint()
        return (key, self._models.name(), *self._files[key]) if key in self._files else None

    def _found(self) -> tuple[PatchEmbeddings | None, str]:
        """Return embeddings as they are asked for now, once they are read, and what is to be said of them."""
        if self._read is not None and self._read[0] == self._asked():
            return self._read[1:]
        return None, "The embeddings are being read …" if self.has_embeddings else ""

    def _refusal(self) -> str:
        if (config := self._models.config()) is None:
            return ""
        try:
            require_species(config, self.stated_species or None)
        except StemError as error:
            return str(error)
        return ""

    def _on_changed(self) -> None:
        species, tissue = str(self.species.currentData()), self.tissue.text().strip()
        key = self._fingerprint()
        self.answers[key] = AboutSlide(species, tissue)
        if key:  # at once: of two jobs the first might write last
            keep_answers(key, species=species or None, tissue=tissue or None)
        self.refresh()

    def _choose_embeddings(self, source: str) -> None:
        if source == "file":
            self.dialog.open()
        elif self._files.pop(self._fingerprint(), None) is not None:
            self.refresh()

    def refresh(self) -> None:
        """Show the answers for the active slide and the chosen model, and read its embeddings where need be."""
        answer, slide, asked = self._answer(), self._slides.slide, self._asked()
        config = self._models.config()
        with QSignalBlocker(self.species):
            self.species.setCurrentIndex(max(0, self.species.findData(answer.species)))
        self.tissue.setText(answer.tissue)
        self.setEnabled(slide is not None)
        of_tissue = config and tissue_warning(config, answer.tissue or None)
        self.warning.say(self._refusal() or of_tissue or "")
        self._show_embeddings()
        is_read = self._read is not None and self._read[0] == asked
        if asked is not None and slide is not None and config is not None and not is_read:
            self._jobs.start(_read, slide, *asked[1:], done=partial(self._take, asked))
        self.changed.emit()

    def _show_embeddings(self) -> None:
        """Say where the embeddings come from, and what does not quite fit."""
        self.embeddings.setCurrentIndex(int(self.has_embeddings))
        self.embeddings_text.say(self._found()[1])

    def _take(self, asked: Asked, read: tuple[PatchEmbeddings | None, str]) -> None:
        if asked == self._asked():
            self._read = asked, *read
            self._show_embeddings()
            self.changed.emit()


def _read(
    slide: Slide, source: str, path: Path, stated: Stated
) -> tuple[PatchEmbeddings | None, str]:
    try:
        model, mpp = load_model(source), slide.require_mpp()
        found = read_embeddings(path, slide.size, mpp, stated, wanted=model.encoder_name)
        notes = require_fit(found, model)
    except StemError as error:
        return None, parts.in_window_words(str(error))
    told = (
        f"{found.path.name}: {len(found.xy_px):,} patches of {found.encoder}, "
        f"{found.field_of_view_um:.0f} µm wide; predicted is where they lie."
    )
    return found, "\n".join((told, *notes))


MEASURE_AFTER_MS = 4000  # the slide's first pictures come before, and its tissue


class ScaleWarning(parts.Note):
    """Warns once of each slide and pixel size, and goes on saying it as long as it holds."""

    def __init__(self, jobs: Jobs, slides: SlidePanel) -> None:
        super().__init__()
        self.setObjectName("warning")
        self.setVisible(False)
        self._jobs, self._slides = jobs, slides
        # the warning; empty while measured, or where all is well
        self._found: dict[SizedSlide, str] = {}
        self._timer = parts.one_shot(jobs, MEASURE_AFTER_MS, self._measure)
        slides.activated.connect(self._on_activated)

    def _on_activated(self, slide: Slide | None) -> None:
        key = _sized(slide)
        self.say("" if key is None else self._found.get(key, ""))
        if key is not None and key not in self._found:
            self._timer.start()

    def _measure(self) -> None:
        slide, key = self._slides.slide, _sized(self._slides.slide)
        if slide is None or key is None or key in self._found:
            return
        self._found[key] = ""
        done, failed = partial(self._tell, key), partial(self._found.pop, key)
        self._jobs.start(known_check, slide, done=done, failed=failed)

    def _tell(self, key: SizedSlide, found: ScaleCheck) -> None:
        if found.warning is None:
            return
        warning = parts.in_window_words(found.warning)
        self._found[key] = warning
        if key == _sized(self._slides.slide):
            self.say(warning)
        show_warning(warning)


def _sized(slide: Slide | None) -> SizedSlide | None:
    return None if slide is None or slide.mpp is None else (slide.fingerprint, slide.mpp)
