"""Download of HEST-1k, or parts of it, from Hugging Face.

The data set is gated: one accepts its terms on its page once, and logs in with ``hf auth login``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_stem.errors import DatasetError
from napari_stem.hub import Asked, in_clear_words, reporting
from napari_stem.io import free_bytes
from napari_stem.spatial.dataset import METADATA, SLIDES, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

HEST = "MahmoodLab/hest"
PAGE = f"https://huggingface.co/datasets/{HEST}"
ASK_ABOVE_BYTES = 20_000_000_000


@dataclass(frozen=True)
class Plan:
    """What a download will bring: patterns of the files, as the shell writes them, and all that match.

    ``n_bytes_missing`` are those not yet there.
    """

    patterns: tuple[str, ...]
    n_files: int
    n_bytes: int
    n_bytes_missing: int

    def __str__(self) -> str:
        """Sizes in words."""
        there = self.n_bytes - self.n_bytes_missing
        so_far = f", of which {gigabytes(there)} are there" if there else ""
        return f"{self.n_files} files, {gigabytes(self.n_bytes)}{so_far}"


def gigabytes(n_bytes: int) -> str:
    """Size as people read it."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"


def patterns_for(sections: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """File patterns of a request: those given, and of sections (``INT1``) image, table and metadata.

    The far larger rest (patches, cells, transcripts) is left out. With neither, the three parts of every
    section.
    """
    parts = (SLIDES, TABLES, METADATA)
    of_sections = tuple(f"{part}/{name}.*" for name in sections for part in parts)
    return (*of_sections, *patterns) or tuple(f"{part}/*" for part in parts)


def plan_download(out: Path, patterns: Sequence[str]) -> Plan:
    """Ask how much a download will bring; what is in the folder already is not counted as missing.

    DatasetError: no file is so called, access is refused, or there is no network.
    """
    files = _snapshot(out, patterns, dry_run=True)
    if not files:
        raise DatasetError(
            f"HEST-1k has no file called like {', '.join(patterns[:5])}; its sections are listed "
            f"on {PAGE}."
        )
    return Plan(
        patterns=tuple(patterns),
        n_files=len(files),
        n_bytes=sum(file.file_size or 0 for file in files),
        n_bytes_missing=sum(file.file_size or 0 for file in files if file.will_download),
    )


def download(
    out: Path,
    plan: Plan,
    *,
    agreed: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Download what was planned; files that are there stay, so that a broken-off download goes on.

    ``out`` is a data set in HEST layout afterwards. ``agreed``: more than 20 GB may be downloaded.
    ``progress`` is told (bytes so far, of how many); None: bars on stderr. DatasetError: it is large and not
    agreed to, does not fit on the disk, access is refused, or the network fails.
    """
    if plan.n_bytes_missing > ASK_ABOVE_BYTES and not agreed:
        raise DatasetError(
            f"This would download {plan}; name fewer with --sections or --pattern, or add --yes."
        )
    _require_space(out, plan.n_bytes_missing)
    bars = None if progress is None else reporting(progress, n_all=plan.n_bytes_missing)
    _snapshot(out, plan.patterns, tqdm_class=bars)


def _require_space(out: Path, n_bytes: int) -> None:
    free, _ = free_bytes(out)
    if n_bytes > free:
        raise DatasetError(
            f"{out} needs {gigabytes(n_bytes)} more, but only {gigabytes(free)} are free there; "
            f"choose another disk, or name fewer sections."
        )


def _snapshot(out: Path, patterns: Sequence[str], **options: Any) -> Any:
    """Call huggingface_hub's own, and turn what it raises into a sentence."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError

    asked = Asked(
        what="HEST-1k",
        page=PAGE,
        otherwise="the same command goes on where it stopped",
        elsewhere=f"choose another folder than {out}",
        error=DatasetError,
    )
    with in_clear_words(asked):
        try:
            return snapshot_download(
                HEST, repo_type="dataset", local_dir=out, allow_patterns=list(patterns), **options
            )
        except DryRunError as error:
            raise error.__cause__ or error from None
