"""The course of a training: one row now and then, as CSV or for TensorBoard."""

from __future__ import annotations

import csv
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_stem.errors import OutputError, require_extra
from napari_stem.io import unwritable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


LogKind = Literal["csv", "tensorboard", "none"]


# Steps made; seconds taken, earlier runs included; means since the last row (the variational bound ``vb`` in
# bits per gene, None for ``edm``); learning rate; spots per second since the last row, over all processes.
COLUMNS = ("step", "seconds", "loss", "mse", "vb", "lr", "spots_per_second")
Row = dict[str, float | None]


@dataclass(frozen=True)
class Logs:
    """Where the rows of all denoisers of one training go: one file or run for each; no folder keeps nothing.

    Raises
    ------
    OutputError
        TensorBoard is asked for and not installed.
    """

    folder: Path | None = None
    kind: LogKind = "csv"

    def __post_init__(self) -> None:
        """Find out before the training what would fail in it."""
        if self.kind == "tensorboard":
            require_extra("tensorboard", "tensorboard", "A log for TensorBoard", OutputError)

    @contextmanager
    def open(self, stage: str, after_step: int = 0) -> Iterator[Callable[[Row], None]]:
        """Write the rows of one denoiser; those past ``after_step``, which a resumed run makes again, go."""
        if self.folder is None or self.kind == "none":
            yield lambda _row: None
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        opened = _csv if self.kind == "csv" else _tensorboard
        with opened(self.folder, stage, after_step) as write:
            yield write


@contextmanager
def _csv(folder: Path, stage: str, after_step: int) -> Iterator[Callable[[Row], None]]:
    path = folder / f"{stage}.csv"
    earlier = []
    if after_step and path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            earlier = [row for row in csv.DictReader(file) if int(row["step"]) <= after_step]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(earlier)

        def write(row: Row) -> None:
            table.writerow(row)
            file.flush()  # so that one can watch, and a kill loses nothing

        yield write


@contextmanager
def _tensorboard(folder: Path, stage: str, after_step: int) -> Iterator[Callable[[Row], None]]:
    from torch.utils.tensorboard import SummaryWriter

    purge_step = after_step + 1 if after_step else None
    with SummaryWriter(log_dir=str(folder / stage), purge_step=purge_step) as writer:

        def write(row: Row) -> None:
            for name, value in row.items():
                if name != "step" and value is not None:
                    writer.add_scalar(name, value, row["step"])
            writer.flush()

        yield write
