"""One download at a time: started, shown as a bar with the time it takes, broken off within a second."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton, QWidget

from napari_stem.errors import StemError
from napari_stem.model.sources import Kind, download_in_subprocess
from napari_stem.widgets.common import parts
from napari_stem.widgets.common.worker import Jobs, StoppableJob

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_stem.progress import Poll, Progress


BYTES_PER_MB = 1e6
CANCELLED = "The download of {} is cancelled; what had come of it is removed."


class DownloadRow(QWidget):
    """Shows one download at a time; hidden while there is nothing to say."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = parts.ProgressBar()
        self.bar.setTextVisible(False)
        self.cancel_button = QPushButton("Cancel download")
        self.text = parts.Note()
        parts.stack(self, parts.row(self.bar, self.cancel_button, stretched=0), self.text)
        self.say("")

    def say(self, text: str, share: tuple[int, int] | None = None) -> None:
        """Say how far it is, of how much (0 while that is not known), or how it ended; no text: say nothing."""
        self.bar.show_share(*(share or (0, 0)))
        self.bar.setVisible(share is not None)
        self.cancel_button.setVisible(share is not None)
        self.text.setText(text)
        self.setVisible(bool(text))


class DownloadControl:
    """Downloads encoders or a model, and shows it in rows that all say the same.

    ``ended`` is called when a download has ended, however that came.
    """

    def __init__(
        self, jobs: Jobs, rows: Sequence[DownloadRow], ended: Callable[[], object]
    ) -> None:
        self._rows, self._ended = list(rows), ended
        self._downloading = StoppableJob(jobs, self._show_progress)
        self._began: tuple[str, int, float] | None = None  # what, bytes then, when
        for each in rows:
            each.cancel_button.clicked.connect(self.cancel)

    @property
    def is_busy(self) -> bool:
        """Whether a download is on its way."""
        return self._downloading.is_running

    def start(self, kind: Kind, names: Sequence[str], done: Callable[[Path], None]) -> None:
        """Download one after the other; ignored while a download is on its way.

        ``kind`` and ``names`` are as `napari_stem.model.sources.download_in_subprocess` takes them; ``done``
        is called in the window's thread with the folder of the last, once all are there.
        """
        if self.is_busy or not names:
            return
        self._began = None
        self._show_progress(names[0], 0, 0)
        self._downloading.start(
            _download,
            kind,
            tuple(names),
            done=partial(self._finish, names, done),
            failed=partial(self._finish, names, done, "The download broke down."),
        )

    def cancel(self) -> None:
        """End the download."""
        self._downloading.stop()

    def show_message(self, text: str) -> None:
        """Say something in its rows while nothing is on its way."""
        if not self.is_busy:
            for each in self._rows:
                each.say(text)

    def _show_progress(self, name: str, n_bytes: int, n_all: int) -> None:
        now_s = time.monotonic()
        if n_all and (self._began is None or self._began[0] != name):
            self._began = (name, n_bytes, now_s)
        whole, done = round(n_all / BYTES_PER_MB), round(n_bytes / BYTES_PER_MB)
        text = f"{name}: {done:,} of {whole:,} MB" if n_all else f"{name}: asking Hugging Face …"
        if self._began is not None and n_bytes > self._began[1]:
            left_s = (n_all - n_bytes) * (now_s - self._began[2]) / (n_bytes - self._began[1])
            text += f", {parts.duration(left_s)} left"
        for each in self._rows:
            each.say(text, (min(done, whole), whole))

    def _finish(
        self, names: Sequence[str], done: Callable[[Path], None], result: Path | str | None
    ) -> None:
        if result is None:
            self.show_message(CANCELLED.format(" and ".join(names)))
        elif isinstance(result, str):
            self.show_message(parts.in_window_words(result))
        else:
            self.show_message("")
            done(result)
        self._ended()


def _download(
    kind: Kind,
    names: tuple[str, ...],
    poll: Poll,
    progress: Progress,
) -> Path | str:
    """Download; returns the last folder, or why it cannot be had."""
    try:
        folders = [download_in_subprocess(kind, name, poll, progress) for name in names]
        return folders[-1]
    except StemError as error:
        return str(error)
