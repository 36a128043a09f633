"""Fields: made by magicgui from frozen settings, whose docstrings say what each is for, and plain ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from magicgui.widgets import create_widget
from qtpy.QtCore import QLocale, Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QFormLayout, QLineEdit, QSlider

from napari_stem.settings import settings_of
from napari_stem.widgets.common.parts import labelled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from magicgui.widgets.bases import ValueWidget

Settings = TypeVar("Settings")
LARGEST_INT = 2**31 - 1  # that Qt's field holds


class Form(Generic[Settings]):
    """Fields for some attributes of a dataclass of settings.

    Bounds and tooltips are those of `napari_stem.settings.settings_of`. By attribute ``options`` are what else
    magicgui's widget takes (``choices``, ``label``, …; a narrower ``max``), and ``suffix``, such as a unit.
    """

    def __init__(self, kind: type[Settings], **options: Mapping[str, Any]) -> None:
        self._kind = kind
        self._widgets: dict[str, ValueWidget[Any]] = {}
        self._laid_out: set[str] = set()
        for name, asked in options.items():
            setting = settings_of(kind)[name]  # type: ignore[arg-type]
            given: dict[str, Any] = {"tooltip": setting.help}
            if (bounds := setting.bounds) is not None:
                given |= {"min": bounds.least, "max": min(bounds.most, LARGEST_INT)}
            given |= asked
            suffix, label = given.pop("suffix", ""), given.pop("label", "")
            made = create_widget(
                setting.default, annotation=setting.kind, name=name, label=label, options=given
            )
            self._widgets[name] = made
            if isinstance(made.native, QCheckBox):
                made.native.setText("")  # the row has the label
            if suffix:
                made.native.setSuffix(suffix)

    def __getitem__(self, name: str) -> Any:
        """Return the Qt widget of an attribute."""
        return self._widgets[name].native

    def settings(self, **others: Any) -> Settings:
        """Return the settings as chosen; ``others`` are attributes that have no field."""
        chosen = {name: widget.value for name, widget in self._widgets.items()}
        return self._kind(**chosen, **others)

    def restore(self, values: Mapping[str, Any]) -> None:
        """Show values by attribute; what has no field or is none of its choices is left out."""
        for name in self._widgets.keys() & values.keys():
            field = self[name]
            if isinstance(field, QCheckBox):
                field.setChecked(bool(values[name]))
            elif not isinstance(field, QComboBox):
                field.setValue(values[name])  # or the nearest that it takes
            elif (place := field.findData(values[name])) >= 0:
                field.setCurrentIndex(place)

    def when_changed(self, act: Callable[[], object]) -> None:
        """Call a function whenever a field shows something else."""
        for widget in self._widgets.values():
            widget.changed.connect(lambda _: act())

    def rows(self, *names: str, below: QFormLayout | None = None) -> QFormLayout:
        """Lay out the fields of attributes with their labels; without names, all that are left.

        ``below`` are rows that come before them, for the eye and for the Tab key.
        """
        names = names or tuple(name for name in self._widgets if name not in self._laid_out)
        self._laid_out.update(names)
        layout = labelled({}) if below is None else below
        for name in names:
            layout.addRow(self._widgets[name].label, self[name])
        return layout


class DecimalField(QDoubleSpinBox):
    """Has a decimal point in every language, as all of the dock has, and takes a comma for one.

    Qt takes the one that is not the language's own for a mark of thousands, and makes 5 of 0,5.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setLocale(QLocale.c())

    def validate(self, text: str, at: int) -> object:
        """Look at what was typed or pasted, for Qt."""
        return super().validate(text.replace(",", "."), at)


def number(
    limits: tuple[float, float],
    value: float,
    tip: str = "",
    *,
    decimals: int = 0,
    suffix: str = "",
    step: float = 1.0,
    empty: str = "",
) -> QDoubleSpinBox:
    """Make a field for a number; ``empty`` is what its lowest stands for, where that is no number."""
    # of lengths and counts in whole numbers or nearly so, either mark may well be one of thousands
    has_thousands = decimals < 2 and limits[1] >= 1000
    box = QDoubleSpinBox() if has_thousands else DecimalField()
    box.setDecimals(decimals)
    box.setRange(*limits)
    box.setSingleStep(step)
    box.setSuffix(suffix)
    box.setSpecialValueText(empty)
    box.setValue(value)
    box.setToolTip(tip)
    return box


def slider(limits: tuple[int, int], value: int, tip: str) -> QSlider:
    """Make a slider from left to right."""
    made = QSlider(Qt.Orientation.Horizontal)
    made.setRange(*limits)
    made.setValue(value)
    made.setToolTip(tip)
    return made


def line(placeholder: str, tip: str = "", *, is_search: bool = False) -> QLineEdit:
    """Make a field for a word; one to search with can be cleared by a click."""
    field = QLineEdit()
    field.setPlaceholderText(placeholder)
    field.setClearButtonEnabled(is_search)
    field.setToolTip(tip)
    return field
