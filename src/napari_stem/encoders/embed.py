"""Slide and spots -> embeddings, by slide content, encoder, spot and turn: a spot is looked at once.

What was seen is kept in one SQLite file for each slide and encoder: safe against a kill and against two
processes, and a region that overlaps an earlier one finds what it shares.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.caches import CACHES, keep_bounded, touch
from napari_stem.slide.patches import Look, PatchReader, along_tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_stem.encoders.base import Encoder
    from napari_stem.geometry import Mpp, Spots
    from napari_stem.slide.base import Slide

    Seen = dict[Look, NDArray[np.float32]]  # what the encoder gave: (transforms, width of a look)

logger = logging.getLogger(__name__)

N_TRANSFORMS = 8  # of a square: the dihedral group
_N_KEPT = 4096  # looks that spots share
KEYS_PER_PX = 16  # spot centres are told apart to 1/16 px, as the noise tells them apart
_TABLE = (
    "CREATE TABLE IF NOT EXISTS embedded "
    "(x INTEGER, y INTEGER, turn INTEGER, v BLOB, PRIMARY KEY (x, y, turn))"
)
_READ = "SELECT v FROM embedded WHERE x = ? AND y = ? AND turn = ?"
_WRITE = "INSERT OR REPLACE INTO embedded (x, y, turn, v) VALUES (?, ?, ?, ?)"


def turned(patches: NDArray[np.uint8], transform: int) -> NDArray[np.uint8]:
    """Turn patches, (n, fields of view, side_px, side_px, 3), as one can turn a square; contiguous.

    ``transform`` 0 leaves them as they are; 1 to 3 are quarter turns counterclockwise; 4 mirrors left to
    right; 5 to 7 are quarter turns of the mirrored patch.
    """
    mirrored = patches[:, :, :, ::-1] if transform >= 4 else patches
    return np.ascontiguousarray(np.rot90(mirrored, transform % 4, axes=(2, 3)))


class Embedder:
    """Embeds spots of one slide with one encoder; what was embedded before comes from the cache."""

    def __init__(self, slide: Slide, encoder: Encoder) -> None:
        self._encoder = encoder
        self.field_of_view_um = max(encoder.patch.fields_of_view_um)  # the widest
        self._cache = EmbeddingCache(slide, encoder)
        self._patches = PatchReader(slide, encoder.patch)  # one: it keeps tiles for the next spots
        self._seen: dict[tuple[int, ...], Seen] = {}  # by transforms: what the next spots may share

    def embed(self, spots: Spots, step: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Embed n spots, (n, width) float32.

        ``step`` is told after every batch how many of them are embedded; it may raise to cancel.
        """
        return self._embed(spots, range(1), step)[:, 0].copy()

    def embed_turned(
        self, spots: Spots, step: Callable[[int], None] | None = None
    ) -> NDArray[np.float16]:
        """Embed all 8 transforms of each patch, which is read once: (n, 8, width) float16.

        ``[:, 0]`` is what `embed` gives. Else as that.
        """
        return self._embed(spots, range(N_TRANSFORMS), step).astype(np.float16)

    def _embed(
        self,
        spots: Spots,
        transforms: range,
        step: Callable[[int], None] | None,
    ) -> NDArray[np.float32]:
        """(n, transforms, width), from the cache or by looking."""
        cached = [self._cache.get(spots, transform) for transform in transforms]
        found = np.stack([embedding for embedding, _ in cached], axis=1)
        known = np.stack([whether for _, whether in cached], axis=1)  # (n, transforms)
        wanted = np.flatnonzero(~known.all(axis=0)).tolist()  # transforms, by their place
        turns = tuple(transforms[place] for place in wanted)
        missing = np.flatnonzero(~known.all(axis=1))
        logger.debug("%d of %d spots must be embedded.", len(missing), len(spots))
        missing = missing[along_tiles(spots.x_px[missing], spots.y_px[missing])]
        looks = self._patches.looks(spots.take(missing))
        at_once = self._encoder.spots_at_once
        batches = [slice(start, start + at_once) for start in range(0, len(missing), at_once)]
        seen = dict(self._seen.get(turns, {}))
        new = _unseen([looks[batch] for batch in batches], seen)
        n_done = len(spots) - len(missing)
        for batch, fresh, patches in zip(batches, new, self._patches.read_ahead(new), strict=True):
            if fresh:
                seen.update(zip(fresh, self._see(patches, turns), strict=True))
            index, rows = missing[batch], [[seen[look] for look in each] for each in looks[batch]]
            found[index[:, None], wanted] = [np.concatenate(row, axis=1) for row in rows]
            for place, turn in zip(wanted, turns, strict=True):
                self._cache.put(spots.take(index), found[index, place], turn)
            if step is not None:
                n_done += len(index)
                step(n_done)
        shared = [look for look in seen if look.is_shared]
        self._seen[turns] = {look: seen[look] for look in shared[-_N_KEPT:]}
        return found

    def _see(self, patches: NDArray[np.uint8], turns: Sequence[int]) -> list[NDArray[np.float32]]:
        """Embed looks: (turns, width of a look) each, in memory of its own."""
        new = [rounded(self._encoder.encode(turned(patches, turn))) for turn in turns]
        return [np.array(of_look) for of_look in zip(*new, strict=True)]


def _unseen(batches: Sequence[Sequence[tuple[Look, ...]]], seen: Seen) -> list[list[Look]]:
    """Per batch of spots, the looks that neither ``seen`` nor an earlier batch holds."""
    coming, new = set(seen), []
    for batch in batches:
        looks = dict.fromkeys(look for of_spot in batch for look in of_spot)
        new.append([look for look in looks if look not in coming])
        coming.update(looks)
    return new


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
        logger.warning("Embeddings are not kept: %s cannot be used (%s).", self._path, error)
        self._path = None


def rounded(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """Embedding as the cache returns it, so that a first run gives the numbers of a second one."""
    return embedding.astype(np.float16).astype(np.float32)


def _key(slide: Slide, mpp: Mpp, encoder: Encoder) -> str:
    pixel = f"{mpp.y_um:.6f}-{mpp.x_um:.6f}"
    return f"{slide.fingerprint[:32]}-{pixel}-{encoder.name}-{encoder.version}"


def _keys(spots: Spots, transform: int) -> list[tuple[int, int, int]]:
    x, y = (np.round(px * KEYS_PER_PX).astype(int).tolist() for px in (spots.x_px, spots.y_px))
    return [(*place, transform) for place in zip(x, y, strict=True)]
