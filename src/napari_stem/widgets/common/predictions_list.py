"""The predictions of one slide, of today and of earlier days: choose which one is shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import pandas as pd
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHeaderView, QLabel, QWidget

from napari_stem.widgets.common.parts import Note, stack
from napari_stem.widgets.common.table import IS_GREY, TIP, Column, Role, Table, TableView

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_stem.geometry import Mpp

COLUMNS = (
    Column("model", "Model", "Click a prediction to show it again"),
    Column("spots", "Spots"),
    Column("made", "Made"),
)
MAX_ROWS_SHOWN = 5
OTHERS = "Grey: made with another pixel size than the slide has now ({}); not shown on it."


@dataclass(frozen=True)
class Listed:
    """What the list says of one prediction.

    Attributes
    ----------
    path
        Its folder.
    model
        That made it.
    n_done, n_spots
        Spots predicted, and all.
    made
        Seconds since the epoch at which it was begun.
    details
        For the tooltip.
    mpp
        Pixel size that it was made with.
    """

    path: Path
    model: str
    n_done: int
    n_spots: int
    made: float
    details: str = ""
    mpp: Mpp | None = None

    def spots(self) -> str:
        """Say how many spots there are, and how many of them are predicted where not all are."""
        done = f"{self.n_done:,} of " if self.n_done < self.n_spots else ""
        return f"{done}{self.n_spots:,}"

    def moment(self) -> str:
        """Say when it was made."""
        moment = datetime.fromtimestamp(self.made).astimezone()
        is_today = moment.date() == datetime.now().astimezone().date()
        return f"{moment:%H:%M}" if is_today else f"{moment:%d %b %Y}"


class PredictionsList(QWidget):
    """Lists predictions, newest first; asks for one to be shown."""

    chosen = Signal(object)  # path

    def __init__(self) -> None:
        super().__init__()
        self.table = Table(COLUMNS)
        self.view = TableView(self.table)
        for column in (1, 2):
            self.view.header().setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.others = Note()
        title = QLabel("Predictions of this slide")
        stack(self, title, self.view, self.others).setContentsMargins(0, 6, 0, 0)
        self.view.clicked.connect(lambda index: self.chosen.emit(index.data(Role.UserRole)))
        self.show_predictions((), None)

    def show_predictions(
        self, listed: Sequence[Listed], shown: Path | None, mpp: Mpp | None = None
    ) -> None:
        """List predictions and mark the one that is on screen.

        Parameters
        ----------
        listed, shown
            All of the slide, and the one on screen.
        mpp
            The slide's pixel size: those made with another one are greyed, and say so.
        """
        rows = sorted(listed, key=lambda each: -each.made)
        is_other = [not is_same_size(each.mpp, mpp) for each in rows]
        models, tips = [], []
        for each, differs in zip(rows, is_other, strict=True):
            made = um_per_pixel(each.mpp)
            models.append(f"{each.model} (at {made})" if differs else each.model)
            lost = f"; made at {made}, which the slide has no more" if differs else ""
            tips.append(each.details + lost)
        self.table.fill(
            pd.DataFrame(
                {
                    "model": models,
                    "spots": [each.spots() for each in rows],
                    "made": [each.moment() for each in rows],
                    TIP: tips,
                    IS_GREY: is_other,
                },
                index=pd.Index([each.path for each in rows], dtype=object),
            )
        )
        self.view.choose(shown)
        self.others.setText(OTHERS.format(um_per_pixel(mpp)))
        self.others.setVisible(any(is_other))
        self.setVisible(bool(listed))
        self.view.fit(MAX_ROWS_SHOWN)


def is_same_size(one: Mpp | None, other: Mpp | None) -> bool:
    """Whether two pixel sizes are known and the same."""
    if one is None or other is None:
        return False
    return all(abs(a / b - 1) < 1e-6 for a, b in ((one.y_um, other.y_um), (one.x_um, other.x_um)))


def um_per_pixel(mpp: Mpp | None) -> str:
    """Say a pixel size."""
    return "an unknown pixel size" if mpp is None else f"{mpp.x_um:.3g} µm per pixel"
