"""Names of slides that say nothing of patients, and that those who hold the key can trace back."""

from __future__ import annotations

import hashlib
import os
import secrets
from typing import TYPE_CHECKING

from napari_stem.errors import OutputError
from napari_stem.io import unwritable

if TYPE_CHECKING:
    from pathlib import Path

KEY_BYTES = 32  # of entropy; BLAKE2b takes up to 64


def read_key(path: Path) -> tuple[bytes, bool]:
    """Read a key, or make one that only its owner can read; returned with whether it was made now.

    OutputError where the file cannot be read or made, or is too short or long for a key.
    """
    try:
        if not path.exists():
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(opened, "w") as file:
                file.write(secrets.token_hex(KEY_BYTES))
            return path.read_bytes(), True
        key = path.read_bytes().strip()
    except OSError as error:
        raise unwritable(path, error) from error
    if not 16 <= len(key) <= 64:
        raise OutputError(f"{path} is no key of 16 to 64 bytes; name a file that is not there yet.")
    return key, False


def pseudonym(name: str, key: bytes) -> str:
    """Name that stands for a slide's file name: BLAKE2b of it, keyed, so that nobody without the key finds out.

    The same name and key give the same pseudonym.
    """
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), key=key, digest_size=6)
    return f"slide-{digest.hexdigest()}"
