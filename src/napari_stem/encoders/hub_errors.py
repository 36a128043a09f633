"""What goes wrong between this machine and Hugging Face, in one sentence that says what to do."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_stem.errors import StemError

LOGIN = "`hf auth login`"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was asked of the hub, in the words that its errors are told in.

    Attributes
    ----------
    what
        Such as ``encoder 'uni'``.
    page
        Its address.
    otherwise
        How to have it without the hub, beginning with "or"; empty where there is no way.
    elsewhere
        How to choose another place on this machine.
    error
        What is raised.
    uploading
        Whether it was to be sent there.
    """

    what: str
    page: str
    otherwise: str
    elsewhere: str
    error: type[StemError]
    uploading: bool = False

    @property
    def subject(self) -> str:
        """``what`` at the beginning of a sentence."""
        return self.what[:1].upper() + self.what[1:]


@contextmanager
def in_clear_words(asked: Asked) -> Iterator[None]:
    """Turn what huggingface_hub raises within the block into ``asked.error``."""
    from huggingface_hub import errors

    http_error: Any = errors.HTTPError  # type: ignore[attr-defined, unused-ignore]
    done = "uploaded" if asked.uploading else "downloaded"
    way_out = f", {asked.otherwise}." if asked.otherwise else "."
    unreachable = (
        f"huggingface.co cannot be reached, so {asked.what} was not {done}; try again{way_out}"
    )
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise asked.error(
            f"{asked.subject} is not {'there' if asked.uploading else 'on this machine'}, and HF_HUB_OFFLINE "
            f"forbids {'uploads' if asked.uploading else 'downloads'}; unset it{way_out}"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise asked.error(unreachable) from error
    except errors.HFValidationError as error:
        raise asked.error(f"{asked.page} is no address of a repository; write org/name.") from error
    except errors.HfHubHTTPError as error:
        raise asked.error(_refusal(asked, error)) from error
    except (http_error, OSError) as error:
        raise asked.error(_trouble(asked, error) or unreachable) from error


def _trouble(asked: Asked, error: Any) -> str | None:
    """Say what is wrong with the disk, if it is the disk."""
    if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}:
        return f"The disk became full while {asked.what} came; make room and go on."
    if isinstance(error, PermissionError | FileExistsError | NotADirectoryError):
        return f"{asked.subject} cannot be written ({error.strerror}: {error.filename}); {asked.elsewhere}."
    return None


def _refusal(asked: Asked, error: Any) -> str:
    """Say why the hub said no."""
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    status = getattr(error.response, "status_code", None)
    is_gated = isinstance(error, GatedRepoError)  # a kind of RepositoryNotFoundError
    if asked.uploading and status in {401, 403}:
        return (
            f"Hugging Face does not let you write to {asked.page}: log in with {LOGIN} and a token that may "
            f"write, as a member of that organisation."
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{asked.page} has no such revision; name a branch, tag or commit that it has."
    if is_gated and status != 401:
        return (
            f"{asked.subject} is given to those who accept its terms: do so on {asked.page} with your "
            f"account, wait for approval where it is asked for, then try again."
        )
    if status == 401 and isinstance(error, RepositoryNotFoundError) and not is_gated:
        return (
            f"There is no {asked.page}, or Hugging Face does not show it to you (no token, or an expired one): "
            f"check the name, then log in with {LOGIN}."
        )
    if status == 401:
        return (
            f"Hugging Face does not know you (no token, or an expired one), and {asked.what} asks "
            f"who you are: accept its terms on {asked.page}, then log in with {LOGIN}."
        )
    if isinstance(error, RepositoryNotFoundError):
        return f"{asked.page} does not exist any more, or is hidden from your account."
    return f"Hugging Face answers {status} for {asked.what}; try again later."
