"""How long work tells how far it is: a bar in terminals and notebooks, or a function of the caller's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tqdm.auto import tqdm

Progress = Callable[[str, int, int], None]  # what is being done, done so far, in all


def silent(_text: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


@contextmanager
def shown(progress: bool | Progress) -> Iterator[Progress]:
    """Offer a function that work can tell its progress.

    Parameters
    ----------
    progress
        True: a bar (tqdm's) for each kind of work, on stderr or in the notebook. False: nothing is shown. A
        function is told itself; what it raises breaks the work off.
    """
    if not isinstance(progress, bool):
        yield progress
    elif not progress:
        yield silent
    else:
        bars = _Bars()
        try:
            yield bars
        finally:
            bars.close()


class _Bars:
    """One bar at a time; work goes on with something else once it is done."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._text = ""

    def __call__(self, text: str, done: int, total: int) -> None:
        if self._bar is None or text != self._text:
            from tqdm.auto import tqdm

            self.close()
            self._bar, self._text = tqdm(total=total, desc=text), text
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Leave the last bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
