"""Hugging Face, as this program meets it: working offline, the user's token, progress, and clear errors.

The token is huggingface_hub's affair alone: it is handed to its store and never kept, read or logged here.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stem.errors import EncoderError, StemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    BytesProgress = Callable[[int, int], None]

HUB_PAGE = "https://huggingface.co/"
LOGIN = "`hf auth login`"
FOLDER_VARIABLE = "NAPARI_STEM_ENCODERS"
OFFLINE_VARIABLE = "HF_HUB_OFFLINE"
TOKEN_PAGE = "https://huggingface.co/settings/tokens"  # noqa: S105 - an address


def encoder_folder() -> Path | None:
    """Folder of the user's with encoders, if there is one: ``$NAPARI_STEM_ENCODERS``."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return Path(chosen).expanduser() if chosen else None


def use_encoder_folder(folder: Path | None) -> None:
    """Look for encoders in a folder from now on, here and in processes started from here; None: no more."""
    if folder is None:
        os.environ.pop(FOLDER_VARIABLE, None)
    else:
        os.environ[FOLDER_VARIABLE] = str(folder)


def is_offline() -> bool:
    """Whether huggingface_hub is told to ask no network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def work_offline(*, is_wanted: bool) -> None:
    """Tell huggingface_hub, here and in processes started from here, to ask no network, or that it may."""
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = is_wanted  # it reads its variable but once
    if is_wanted:
        os.environ[OFFLINE_VARIABLE] = "1"
    else:
        os.environ.pop(OFFLINE_VARIABLE, None)


def cached_repository(repository: str) -> Path:
    """Where huggingface_hub keeps what is downloaded of a repository."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def has_token() -> bool:
    """Whether huggingface_hub knows a token of this user."""
    from huggingface_hub import get_token

    return get_token() is not None


def store_token(token: str) -> None:
    """Have Hugging Face check a token, and huggingface_hub keep it.

    EncoderError: Hugging Face does not know it or cannot be reached, or it cannot be stored; the text never
    holds it.
    """
    import huggingface_hub
    from huggingface_hub import errors

    http_error: Any = errors.HTTPError  # type: ignore[attr-defined, unused-ignore]
    unreachable = (
        "huggingface.co cannot be reached, so the token was not checked or stored; try again."
    )
    # `from None` throughout: what huggingface_hub raises may hold the request, and that the token
    try:
        huggingface_hub.login(token=token.strip())
    except errors.OfflineModeIsEnabled:
        raise EncoderError(
            f"A token must be checked by Hugging Face, and {OFFLINE_VARIABLE} forbids asking; unset it."
        ) from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        raise EncoderError(
            f"Hugging Face does not accept this token (expired? not whole?); copy it again from {TOKEN_PAGE}."
            if status in {401, 403}
            else f"Hugging Face answers {status}, so the token was not stored; try again later."
        ) from None
    except ValueError:
        raise EncoderError(
            f"This is no token of a person; make one that may read on {TOKEN_PAGE}."
        ) from None
    except http_error:
        raise EncoderError(unreachable) from None
    except OSError as error:
        raise EncoderError(
            f"The token cannot be stored ({error.strerror})." if error.errno else unreachable
        ) from None


def forget_token() -> None:
    """Have huggingface_hub forget the token.

    EncoderError: it comes from the environment, where only the user can take it away.
    """
    import huggingface_hub

    with suppress(OSError):  # a token in the environment, or no git to forget it too
        huggingface_hub.logout()
    if has_token():
        raise EncoderError(
            "The stored token is forgotten, but another one comes from the environment variable HF_TOKEN; "
            "unset that."
        )


@dataclass(frozen=True, kw_only=True)
class HubRequest:
    """What was asked of the hub, in the words that its errors are told in."""

    what: str  # such as "encoder 'uni'"
    page: str  # its address
    otherwise: str  # how to have it without the hub; empty where there is no way
    elsewhere: str  # how to choose another place on this machine
    error: type[StemError]  # what is raised
    uploading: bool = False  # else it was to be downloaded

    @property
    def subject(self) -> str:
        """``what`` at the beginning of a sentence."""
        return self.what[:1].upper() + self.what[1:]


@contextmanager
def in_clear_words(request: HubRequest) -> Iterator[None]:
    """Turn what huggingface_hub raises within the block into ``request.error``."""
    from huggingface_hub import errors

    http_error: Any = errors.HTTPError  # type: ignore[attr-defined, unused-ignore]
    done = "uploaded" if request.uploading else "downloaded"
    way_out = f", {request.otherwise}." if request.otherwise else "."
    unreachable = (
        f"huggingface.co cannot be reached, so {request.what} was not {done}; try again{way_out}"
    )
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise request.error(
            f"{request.subject} is not {'there' if request.uploading else 'on this machine'}, and "
            f"HF_HUB_OFFLINE forbids {'uploads' if request.uploading else 'downloads'}; unset it{way_out}"
        ) from error
    except errors.LocalTokenNotFoundError as error:
        raise request.error(_unknown(request)) from error
    except errors.LocalEntryNotFoundError as error:
        raise request.error(unreachable) from error
    except errors.HFValidationError as error:
        raise request.error(
            f"{request.page} is no address of a repository; write org/name."
        ) from error
    except errors.HfHubHTTPError as error:
        raise request.error(_refusal(request, error)) from error
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise request.error(
            f"{request.subject} cannot be written ({error.strerror}: {error.filename}); {request.elsewhere}."
        ) from error
    except (http_error, OSError) as error:
        is_full = getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}
        full = f"The disk became full while {request.what} came; make room and go on."
        raise request.error(full if is_full else unreachable) from error


def _unknown(request: HubRequest) -> str:
    return (
        f"Hugging Face does not know you (no token, or an expired one), and {request.what} asks "
        f"who you are: accept its terms on {request.page}, then log in with {LOGIN}."
    )


def _refusal(request: HubRequest, error: Any) -> str:
    """Say why the hub said no."""
    from huggingface_hub import errors

    status = getattr(error.response, "status_code", None)
    is_gated = isinstance(error, errors.GatedRepoError)  # a kind of RepositoryNotFoundError
    if request.uploading and status in {401, 403}:
        return (
            f"Hugging Face does not let you write to {request.page}: log in with {LOGIN} and a token that may "
            f"write, as a member of that organisation."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{request.page} has no such revision; name a branch, tag or commit that it has."
    if is_gated and status != 401:
        return (
            f"{request.subject} is given to those who accept its terms: do so on {request.page} with your "
            f"account, wait for approval where it is asked for, then try again."
        )
    if status == 401 and isinstance(error, errors.RepositoryNotFoundError) and not is_gated:
        return (
            f"There is no {request.page}, or Hugging Face does not show it to you (no token, or an expired "
            f"one): check the name, then log in with {LOGIN}."
        )
    if status == 401:
        return _unknown(request)
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{request.page} does not exist any more, or is hidden from your account."
    return f"Hugging Face answers {status} for {request.what}; try again later."


def reporting(progress: BytesProgress, n_before: int = 0, n_all: int | None = None) -> type[Any]:
    """Make a bar class for huggingface_hub that tells a function.

    ``progress`` is told (bytes so far, of how many), never fewer than before, and may raise to cancel.
    ``n_before`` are bytes of the files that came before, ``n_all`` those of all; None: as huggingface_hub
    counts.
    """
    from huggingface_hub import utils

    bar: Any = utils.tqdm  # type: ignore[attr-defined, unused-ignore]
    most = n_before

    class Reporting(bar):  # type: ignore[misc]
        """Counts by itself, as a bar that is switched off does not, and shows nothing."""

        def __init__(self, *args: Any, **options: Any) -> None:
            self._written = self._received = int(options.get("initial") or 0)
            self._counts_bytes = options.get("unit") == "B"  # others count files
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self._written += int(n or 0)
            self._tell()

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
