"""What every encoder offers: patches in, embeddings out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class PatchSpec:
    """The patches that an encoder looks at.

    Attributes
    ----------
    fields_of_view_um
        Sides in um of the concentric patches round a spot.
    side_px
        Side in px to which each is resampled.
    """

    fields_of_view_um: tuple[float, ...]
    side_px: int


@runtime_checkable
class Encoder(Protocol):
    """Turns the patches round a spot into one vector.

    Attributes
    ----------
    name
        As registered ("bundled").
    version
        Changes whenever the numbers would; part of every cache key.
    patch
        What it looks at.
    width
        Length of the embedding of one spot, all fields of view together.
    """

    name: str
    version: str
    patch: PatchSpec
    width: int

    def encode(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed spots.

        Parameters
        ----------
        patches
            (n, fields of view, side_px, side_px, 3) uint8 RGB.

        Returns
        -------
        (n, width) float32.
        """
        ...
