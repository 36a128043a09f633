"""Several encoders as one: their embeddings side by side, as published Stem joins UNI and CONCH."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from napari_stem.encoders.base import PRECISION_MARK
from napari_stem.geometry import PatchSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_stem.encoders.base import Encoder


class CombinedEncoder:
    """Encoders that look at the same spots.

    Patches are read once, at the largest side that any part takes, and resampled (bicubic, antialiased) for
    the others. Each part sees its own fields of view. Published Stem crops 224 px and enlarges them to 256
    for CONCH, which enlarges them to 448; here the slide is resampled to 448 px of the same tissue directly.

    Parameters
    ----------
    parts
        Two or more encoders.
    """

    def __init__(self, parts: Sequence[Encoder]) -> None:
        self._parts = tuple(parts)
        fields_um = sorted({f for part in parts for f in part.patch.fields_of_view_um})
        self.name = "+".join(part.name for part in parts)
        self.patch = PatchSpec(tuple(fields_um), max(part.patch.side_px for part in parts))
        self.width = sum(part.width for part in parts)
        self.version = _version(parts)
        self._fields = [
            [fields_um.index(f) for f in part.patch.fields_of_view_um] for part in parts
        ]

    def encode(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed spots: see ``Encoder.encode``.

        Returns (n, width) float32: per encoder, in the order of the name, what it gives alone.
        """
        from napari_stem.encoders.tensors import resized

        return np.concatenate(
            [
                part.encode(resized(patches[:, fields], part.patch.side_px))
                for part, fields in zip(self._parts, self._fields, strict=True)
            ],
            axis=1,
        )


def _version(parts: Sequence[Encoder]) -> str:
    """One version out of several; precision stays readable behind its mark."""
    bare, precisions = zip(*(p.version.partition(PRECISION_MARK)[::2] for p in parts), strict=True)
    names = "\n".join(f"{p.name}={version}" for p, version in zip(parts, bare, strict=True))
    digest = hashlib.sha256(names.encode()).hexdigest()[:16]
    return f"{digest}{PRECISION_MARK}{'+'.join(p or 'fp32' for p in precisions)}"
