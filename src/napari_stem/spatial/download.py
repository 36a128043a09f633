"""Download of HEST-1k, or parts of it, from Hugging Face.

The data set is gated: one accepts its terms on its page once, and logs in with ``hf auth login``.
"""

from __future__ import annotations

import errno
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_stem.errors import DatasetError
from napari_stem.hub import reporting
from napari_stem.spatial.dataset import METADATA, SLIDES, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

HEST = "MahmoodLab/hest"
PAGE = f"https://huggingface.co/datasets/{HEST}"
ASK_ABOVE_BYTES = 20_000_000_000


@dataclass(frozen=True)
class Plan:
    """What a download will bring.

    Attributes
    ----------
    patterns
        Of the files, as the shell writes them.
    n_files, n_bytes
        All that match.
    n_bytes_missing
        Those not yet there.
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
    """File patterns of a request.

    Parameters
    ----------
    sections
        Names, as ``INT1``: their image, table and metadata, not the far larger rest (patches, cells,
        transcripts).
    patterns
        As given, besides. With neither, the three parts of every section.
    """
    parts = (SLIDES, TABLES, METADATA)
    of_sections = tuple(f"{part}/{name}.*" for name in sections for part in parts)
    return (*of_sections, *patterns) or tuple(f"{part}/*" for part in parts)


def plan_download(out: Path, patterns: Sequence[str]) -> Plan:
    """Ask how much a download will bring.

    Parameters
    ----------
    out
        Folder to fill; what is there already is not counted as missing.
    patterns
        From `patterns_for`.

    Raises
    ------
    DatasetError
        No file is so called, access is refused, or there is no network.
    """
    from huggingface_hub import snapshot_download

    with _told(out):
        files = snapshot_download(
            HEST,
            repo_type="dataset",
            local_dir=out,
            allow_patterns=list(patterns),
            dry_run=True,
        )
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

    Parameters
    ----------
    out
        Folder to fill; afterwards a data set in HEST layout.
    plan
        From `plan_download`.
    agreed
        Whether more than 20 GB may be downloaded.
    progress
        Told (bytes so far, of how many). None: bars on stderr.

    Raises
    ------
    DatasetError
        It is large and not agreed to, does not fit on the disk, access is refused, or the network
        fails.
    """
    if plan.n_bytes_missing > ASK_ABOVE_BYTES and not agreed:
        raise DatasetError(
            f"This would download {plan}; name fewer with --sections or --pattern, or add --yes."
        )
    _require_space(out, plan.n_bytes_missing)
    from huggingface_hub import snapshot_download

    options: dict[str, Any] = {}
    if progress is not None:
        options["tqdm_class"] = reporting(progress, n_all=plan.n_bytes_missing)
    with _told(out):
        snapshot_download(
            HEST, repo_type="dataset", local_dir=out, allow_patterns=list(plan.patterns), **options
        )


def _require_space(out: Path, n_bytes: int) -> None:
    place = out.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if n_bytes > free:
        raise DatasetError(
            f"{out} needs {gigabytes(n_bytes)} more, but only {gigabytes(free)} are free there; "
            f"choose another disk, or name fewer sections."
        )


@contextmanager
def _told(out: Path) -> Iterator[None]:
    """Turn what huggingface_hub raises into a sentence."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise DatasetError(_in_words(error, out)) from error
    except Exception as error:
        # The HTTP library's own errors share no base class over huggingface_hub's versions.
        if not type(error).__module__.startswith(("httpx", "requests", "urllib3")):
            raise
        raise DatasetError(_NO_NETWORK) from error


_NO_NETWORK = (
    "Hugging Face cannot be reached; check the network, and run the command again: it goes on where "
    "it stopped."
)


def _in_words(error: BaseException, out: Path) -> str:
    from huggingface_hub.errors import (
        DryRunError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
    )

    if isinstance(error, DryRunError) and error.__cause__ is not None:
        return _in_words(error.__cause__, out)
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, GatedRepoError | LocalTokenNotFoundError) or status in (401, 403):
        return (
            f"HEST-1k is open only to those who accepted its terms: log in on {PAGE}, accept them, "
            f"then run 'hf auth login' here with a token of that account."
        )
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return f"Hugging Face knows no data set {HEST}; look at {PAGE}, it may have moved."
    if status is not None:
        return f"Hugging Face answers with error {status}; try again later, what is there is kept."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk of {out} is full; make room and run the command again, it goes on then."
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{out} cannot be written ({error.strerror}); choose another folder."
    if isinstance(error, OSError) and error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{out} is not a folder; choose another."
    return _NO_NETWORK
