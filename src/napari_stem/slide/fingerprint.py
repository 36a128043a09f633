"""A digest that tells one slide's content from another's, whatever its name, place or date."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

N_PIECES = 16
PIECE_BYTES = 256 * 1024


def fingerprint(path: Path) -> str:
    """Digest of a file's length and of pieces spread evenly over it, head and tail among them.

    Files up to 4 MiB are hashed whole; of larger ones 4 MiB are read, so that a slide of many
    gigabytes on a network share takes no longer than a small one.

    Returns
    -------
    32 hexadecimal digits.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    n_bytes = path.stat().st_size
    digest = hashlib.blake2b(str(n_bytes).encode(), digest_size=16)
    with path.open("rb") as file:
        if n_bytes <= N_PIECES * PIECE_BYTES:
            digest.update(file.read())
        else:
            for piece in range(N_PIECES):
                file.seek((n_bytes - PIECE_BYTES) * piece // (N_PIECES - 1))
                digest.update(file.read(PIECE_BYTES))
    return digest.hexdigest()
