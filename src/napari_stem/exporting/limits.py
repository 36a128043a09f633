"""Which values get the first and the last colour of a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Limits:
    """Values that get the first and the last colour of a map.

    Attributes
    ----------
    low, high
        Percentiles of the finished spots, or values in the prediction's unit.
    are_percentiles
        Which of the two.
    """

    low: float = 1.0
    high: float = 99.0
    are_percentiles: bool = True

    @classmethod
    def parse(cls, text: str) -> Limits:
        """Read ``p2,p98`` (percentiles) or ``0,4.5`` (values).

        Raises
        ------
        ValueError
            It is neither, or low is not below high.
        """
        words = [word.strip() for word in text.split(",")]
        marked = [word[:1].lower() == "p" for word in words]
        if len(words) != 2 or marked[0] != marked[1]:
            msg = f"'{text}' is no pair of limits; write p2,p98 or two values such as 0,4.5."
            raise ValueError(msg)
        low, high = (float(word[1:] if marked[0] else word) for word in words)
        if not low < high or (marked[0] and not (low >= 0 and high <= 100)):
            msg = f"The limits '{text}' must rise, and percentiles lie between p0 and p100."
            raise ValueError(msg)
        return cls(low, high, marked[0])

    def of(self, values: NDArray[np.float32]) -> tuple[float, float]:
        """(low, high) for some values, with low < high."""
        if not self.are_percentiles:
            return self.low, self.high
        low, high = (float(v) for v in np.percentile(values, (self.low, self.high)))
        return (low, high) if high > low else (low, low + 1e-6)
