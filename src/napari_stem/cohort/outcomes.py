"""What has become of each slide of a cohort, and how long the others will take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_stem.texts import sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.cohort.orders import Order


@dataclass
class Outcome:
    """What has become of one slide.

    Attributes
    ----------
    order
        What was asked for.
    status
        ``waiting`` (nothing was done for it in this run), ``running``, ``done`` or ``failed``.
    n_spots, n_done, n_unlike
        All; finished; of these, unlike the training data.
    n_genes, unit
        Of its values.
    seconds
        That workers spent on it in this run.
    notes, error
        What to know before trusting the figures; why it failed.
    """

    order: Order
    status: Literal["waiting", "running", "done", "failed"] = "waiting"
    n_spots: int = 0
    n_done: int = 0
    n_unlike: int = 0
    n_genes: int = 0
    unit: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: str = ""

    @property
    def name(self) -> str:
        """By which people know the slide."""
        return self.order.name

    @property
    def share(self) -> float:
        """How much of its work is over; of one that failed nothing is left."""
        if self.has_ended:
            return 1.0
        return self.n_done / self.n_spots if self.n_spots else 0.0

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in ("done", "failed")

    def fail(self, error: BaseException) -> None:
        """Give it up."""
        killed = "Its workers were ended again and again, perhaps for want of memory."
        is_kill = type(error).__name__ == "KilledWorker"
        self.status = "failed"
        self.error = killed if is_kill else sentence(error) or type(error).__name__


def seconds_left(outcomes: Sequence[Outcome], n_filled: int, seconds: float) -> float | None:
    """Time left, slides that nobody has looked at counted as large as the others.

    ``n_filled`` spots were predicted in so many seconds.
    """
    known = [each for each in outcomes if each.n_spots]
    if not n_filled or not known:
        return None
    mean = sum(each.n_spots for each in known) / len(known)
    unknown = sum(not each.n_spots and not each.has_ended for each in outcomes)
    left = mean * unknown + sum(each.n_spots - each.n_done for each in known if not each.has_ended)
    return left * seconds / n_filled
