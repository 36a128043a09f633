"""What every encoder offers: patches in, embeddings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from napari_stem.device import in_parts
from napari_stem.geometry import PatchSpec  # noqa: TC001 - encoders and their patches go together

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_stem.geometry import Spots

PRECISION_MARK = "~"  # in a version: what stands after it is the precision of the arithmetic


@runtime_checkable
class Encoder(Protocol):
    """Turns the patches round a spot into one vector."""

    name: str  # as registered ("bundled", "uni", "h-optimus-0@cls+centre", "uni+conch")
    # changes whenever the numbers would (weights, pooling, fields of view, precision); part of every cache key,
    # and safe in a file name
    version: str
    patch: PatchSpec  # what it looks at
    width: int  # length of the embedding of one spot, all fields of view together
    # how many it is best shown at a time: enough to keep it busy, few enough to stop soon
    spots_at_once: int

    def encode(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed spots, (n, width) float32, of patches (n, fields of view, side_px, side_px, 3) uint8 RGB.

        Where ``patch.steps_um`` are given, patches of one field of view are shown alone, whichever it is, and
        its part of the width is returned.
        """
        ...


class ByPatch:
    """An `Encoder` that embeds each patch by itself, as many at a time as the memory holds."""

    width: int
    _at_once: int  # patches

    def encode(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed spots: see `Encoder.encode`."""
        n, n_fields = patches.shape[:2]
        flat = patches.reshape(n * n_fields, *patches.shape[2:])
        parts, self._at_once = in_parts(
            lambda rows: self.encode_flat(flat[rows]), len(flat), self._at_once, "use --device cpu"
        )
        return np.concatenate(parts).reshape(n, -1) if n else np.empty((0, self.width), np.float32)

    def encode_flat(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, side_px, side_px, 3) patches of whichever field of view -> (n, width of one)."""
        raise NotImplementedError


class EmbedsSpots(Protocol):
    """Gives the embeddings of a slide's spots: by looking, or from a file."""

    @property
    def field_of_view_um(self) -> float:
        """Side of the widest patch that is looked at round a spot."""
        ...

    def embed(self, spots: Spots, step: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """(n, width) float32 of n spots; ``step`` is told how many are done, and may raise to cancel."""
        ...


def same_features(version: str, other: str) -> bool:
    """Whether a model trained on one version's embeddings can be used on the other's.

    Versions that differ in nothing but precision give the same features within half precision's rounding
    (cosine above .999): a model trained on a GPU must serve on a laptop. Caches keep them apart all the same.
    """
    return version.partition(PRECISION_MARK)[0] == other.partition(PRECISION_MARK)[0]


def fields_text(fields_of_view_um: tuple[float, ...]) -> str:
    """Fields of view as a part of a version: ``112`` or ``112x224``."""
    return "x".join(f"{field_um:g}" for field_um in fields_of_view_um)
