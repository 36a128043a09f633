"""How this program stands to Hugging Face: a folder of the user's, working offline, and the user's token.

The token is huggingface_hub's affair alone: it is handed to its store and never kept, read or logged here.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_stem.errors import EncoderError

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


def has_token() -> bool:
    """Whether huggingface_hub knows a token of this user."""
    from huggingface_hub import get_token

    return get_token() is not None


def store_token(token: str) -> None:
    """Have Hugging Face check a token, and huggingface_hub keep it.

    Raises
    ------
    EncoderError
        Hugging Face does not know it or cannot be reached, or it cannot be stored; the text never holds it.
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

    Raises
    ------
    EncoderError
        It comes from the environment, where only the user can take it away.
    """
    import huggingface_hub

    with suppress(OSError):  # a token in the environment, or no git to forget it too
        huggingface_hub.logout()
    if has_token():
        raise EncoderError(
            "The stored token is forgotten, but another one comes from the environment variable HF_TOKEN; "
            "unset that."
        )
