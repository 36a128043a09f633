"""Checkpoints, which a killed training needs to end as if nothing had happened, and logs of its course.

``checkpoints/training.json`` says what is trained on what; for each denoiser of the training
``STAGE.safetensors`` holds network, average and optimiser, its JSON metadata the step; draws at left-out spots
lie beside it, each written once. Every file is written whole or not at all. A log has one row now and then, as
CSV or for TensorBoard.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.errors import ModelError, OutputError, require_extra
from napari_stem.foreign import read_json
from napari_stem.io import unwritable, write_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_stem.training.options import LogKind
    from napari_stem.training.sections import SectionArrays

_ABOUT = "training.json"
# Steps made; seconds taken, earlier runs included; means since the last row (the variational bound ``vb`` in
# bits per gene, None for ``edm``); learning rate; spots per second since the last row, over all processes.
COLUMNS = ("step", "seconds", "loss", "mse", "vb", "lr", "spots_per_second")
Row = dict[str, float | None]


@dataclass
class StageState:
    """How far one denoiser is."""

    step: int = 0  # optimiser steps made; 0 at the start
    is_finished: bool = False  # whether no more will be made
    seconds: float = 0.0  # time they took
    # what the training loop needs to go on (of a finished one, what it gave)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    # step -> draws at left-out spots
    looks: dict[int, NDArray[np.float32]] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one training, so many minutes apart; without a folder nothing is kept."""

    def __init__(self, folder: Path | None = None, every_minutes: float = 10.0) -> None:
        self.folder = folder
        self._every_seconds = every_minutes * 60
        self._last = time.monotonic()

    def begin(self, about: Mapping[str, Any], *, resume: bool) -> None:
        """Prepare to keep checkpoints: remove those that are there, or go on with them (``resume``).

        ``about`` is whatever the outcome depends on, as JSON can hold it.

        ModelError: those that are there belong to another training. OutputError: the folder cannot be written.
        """
        if self.folder is None:
            return
        now = json.loads(json.dumps(about))
        path = self.folder / _ABOUT
        if resume and path.is_file():
            self._require_same(path, now)
            return
        try:
            if self.folder.exists():
                shutil.rmtree(self.folder)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        write_file(path, json.dumps(now, indent=1))

    def _require_same(self, path: Path, now: dict[str, Any]) -> None:
        try:
            known = read_json(path.read_text(encoding="utf-8"))
            names = sorted(set(known) | set(now))
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(
                f"{path} cannot be read ({error}); start anew without --resume."
            ) from error
        other = [name for name in names if known.get(name) != now.get(name)]
        if other:
            changes = "; ".join(
                "the data" if name == "data" else f"{name} {known.get(name)}, now {now.get(name)}"
                for name in other
            )
            raise ModelError(
                f"The checkpoints in {path.parent} are of another training ({changes}): resume with what it "
                f"was begun with, or start anew without --resume."
            )

    def load(self, stage: str) -> StageState:
        """Read how far a denoiser is; a fresh state where there is none.

        ModelError: a file is damaged.
        """
        if self.folder is None or not (path := self.folder / f"{stage}.safetensors").is_file():
            return StageState()
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                about = read_json((file.metadata() or {})["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            looks = {
                int(look.stem): np.load(look)
                for look in sorted(path.with_suffix("").glob("*.npy"))
                if look.stem.isdigit() and int(look.stem) <= about["step"]
            }
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"Checkpoint {path} cannot be read ({error}); start anew without --resume."
            ) from error
        return StageState(about["step"], about["is_finished"], about["seconds"], tensors, looks)

    def is_due(self) -> bool:
        """Whether it is time for another one."""
        return self.folder is not None and time.monotonic() - self._last >= self._every_seconds

    def save(self, stage: str, state: StageState) -> None:
        """Write how far a denoiser is.

        OutputError: the disk is full, or not writable.
        """
        if self.folder is None:
            return
        from safetensors.torch import save

        about = {"step": state.step, "is_finished": state.is_finished, "seconds": state.seconds}
        for step, draws in state.looks.items():
            look = self.folder / stage / f"{step:09d}.npy"
            if not look.is_file():
                content = io.BytesIO()
                np.save(content, draws)
                write_file(look, content.getvalue())
        write_file(
            self.folder / f"{stage}.safetensors", save(state.tensors, {"state": json.dumps(about)})
        )
        self._last = time.monotonic()


def data_hash(sections: Sequence[SectionArrays], panel: Sequence[str]) -> str:
    """SHA-256 of everything that is trained on."""
    digest = hashlib.sha256("\n".join(panel).encode())
    for section in sections:
        digest.update(section.id.encode())
        arrays = (section.embedding, section.values, section.spots.x_px, section.turned)
        for array in arrays:
            if array is not None:
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Logs:
    """Where the rows of all denoisers of one training go: one file or run for each; no folder keeps nothing.

    OutputError: TensorBoard is asked for and not installed.
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
