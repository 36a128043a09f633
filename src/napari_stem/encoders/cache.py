"""Embeddings kept on disk, by slide content, encoder, spot and turn: a spot is looked at once.

One SQLite file for each slide and encoder: safe against a kill and against two processes, and a region that
overlaps an earlier one finds what it shares.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.caches import CACHES, keep_bounded, touch

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.encoders.base import Encoder
    from napari_stem.geometry import Mpp, Spots
    from napari_stem.slide.base import Slide

_log = logging.getLogger(__name__)
_KEYS_PER_PX = 16  # spot centres are told apart to 1/16 px, as the noise tells them apart
_TABLE = (
    "CREATE TABLE IF NOT EXISTS embedded "
    "(x INTEGER, y INTEGER, turn INTEGER, v BLOB, PRIMARY KEY (x, y, turn))"
)
_READ = "SELECT v FROM embedded WHERE x = ? AND y = ? AND turn = ?"
_WRITE = "INSERT OR REPLACE INTO embedded (x, y, turn, v) VALUES (?, ?, ?, ?)"


class EmbeddingCache:
    """Embeddings of one slide by one encoder; a cache that cannot be used is empty and stays so.

    Values are float16 on disk; `rounded` gives what a later reading will return.
    """

    def __init__(self, slide: Slide, encoder: Encoder) -> None:
        self._width = encoder.width
        name = f"{_key(slide, slide.require_mpp(), encoder)}.sqlite"
        path = CACHES["embeddings"].folder / name
        self._path: Path | None = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connect().close()
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)
        touch(path)
        keep_bounded("embeddings", keep=[path])

    def get(self, spots: Spots, transform: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(n, width) embeddings of one of the 8 turns (NaN where unknown) and (n,) whether known."""
        found = np.full((len(spots), self._width), np.nan, np.float32)
        known = np.zeros(len(spots), bool)
        if self._path is None:
            return found, known
        try:
            with closing(self._connect()) as connection:
                for i, key in enumerate(_keys(spots, transform)):
                    row = connection.execute(_READ, key).fetchone()
                    if row is not None and len(row[0]) == 2 * self._width:
                        found[i], known[i] = np.frombuffer(row[0], np.float16), True
        except sqlite3.Error as error:
            self._give_up(error)
        return found, known

    def put(self, spots: Spots, embedding: NDArray[np.float32], transform: int) -> None:
        """Keep (n, width) embeddings of one of the 8 turns."""
        if self._path is None:
            return
        rows = [
            (*key, vector.astype(np.float16).tobytes())
            for key, vector in zip(_keys(spots, transform), embedding, strict=True)
        ]
        try:
            with closing(self._connect()) as connection, connection:
                connection.executemany(_WRITE, rows)
        except sqlite3.Error as error:
            self._give_up(error)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(str(self._path), timeout=10)
        try:
            connection.execute(_TABLE)  # each time: the file may have been removed meanwhile
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _give_up(self, error: Exception) -> None:
        _log.warning("Embeddings are not kept: %s cannot be used (%s).", self._path, error)
        self._path = None


def rounded(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """Embedding as the cache returns it, so that a first run gives the numbers of a second one."""
    return embedding.astype(np.float16).astype(np.float32)


def _key(slide: Slide, mpp: Mpp, encoder: Encoder) -> str:
    pixel = f"{mpp.y_um:.6f}-{mpp.x_um:.6f}"
    return f"{slide.fingerprint[:32]}-{pixel}-{encoder.name}-{encoder.version}"


def _keys(spots: Spots, transform: int) -> list[tuple[int, int, int]]:
    x, y = (np.round(px * _KEYS_PER_PX).astype(int).tolist() for px in (spots.x_px, spots.y_px))
    return [(*place, transform) for place in zip(x, y, strict=True)]
