"""What huggingface_hub's bars count, told to a function instead of a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[int, int], None]


def reporting(progress: Progress, n_before: int = 0, n_all: int | None = None) -> type[Any]:
    """Make a bar class for huggingface_hub that tells a function.

    Parameters
    ----------
    progress
        Told (bytes so far, of how many); never fewer than before. May raise to cancel.
    n_before
        Bytes of the files that came before.
    n_all
        Of all files; None: as huggingface_hub counts.
    """
    from huggingface_hub import utils

    bar: Any = utils.tqdm  # type: ignore[attr-defined, unused-ignore]
    most = n_before

    class Reporting(bar):  # type: ignore[misc]
        """Counts by itself: a bar that somebody switched off does not."""

        def __init__(self, *args: Any, **options: Any) -> None:
            self._written = self._received = int(options.get("initial") or 0)
            self._counts_bytes = options.get("unit") == "B"  # others count files
            super().__init__(*args, **{**options, "file": _Silent()})

        def update(self, n: float | None = 1) -> bool | None:
            self._written += int(n or 0)
            self._tell()
            shown: bool | None = super().update(n)
            return shown

        def update_transfer(self, n: float | None = 1) -> None:
            """Bytes that have come, and may not be on disk yet; huggingface_hub looks for this name."""
            self._received += int(n or 0)
            self._tell()

        def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None:
            """Leave the rate of transfer aside."""

        def _tell(self) -> None:
            nonlocal most
            if not self._counts_bytes:
                return
            total = int(self.total or 0)
            done = max(self._written, self._received)
            so_far = n_before + (min(done, total) if total else done)
            if so_far > most:
                most = so_far
                progress(most, n_all or total)

    return Reporting


class _Silent:
    """A file that takes everything and keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass
