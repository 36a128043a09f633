"""Where models come from: packaged ones by name, folders, ``.zip`` files, repositories on Hugging Face.

Of whatever source, three files are read: JSON, safetensors, Markdown. None of them is code, and no other file
is fetched, unpacked or opened.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from napari_stem.encoders.facts import HUB_PAGE
from napari_stem.errors import ModelError
from napari_stem.hub import Asked, in_clear_words, reporting
from napari_stem.model.packing import FILES, NEEDED, unpacked
from napari_stem.texts import quoted

if TYPE_CHECKING:
    from napari_stem.hub import Progress

PACKAGED = Path(__file__).parents[1] / "data" / "models"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_REPOSITORY = re.compile(rf"(?:hf://|{re.escape(HUB_PAGE)})?({_PART}/{_PART})(?:@(.+))?")


def find_model(source: str | Path) -> Path:
    """Folder of a model; loads no torch.

    Parameters
    ----------
    source
        A model folder, a ``.zip``, the name of a packaged model, or a repository on Hugging Face: ``org/name``,
        ``org/name@revision``. What exists on this machine goes first; ``hf://org/name`` is the hub's in any
        case.

    Raises
    ------
    ModelError
        There is none, or it cannot be had: the text says what to do.
    """
    path = Path(source)
    if path.is_dir():
        return path
    if path.is_file():
        if path.suffix != ".zip":
            raise ModelError(
                f"{path} is no model: give the folder, or a .zip made by 'napari-stem models pack'."
            )
        return unpacked(path)
    if (PACKAGED / str(source)).is_dir():
        return PACKAGED / str(source)
    repository = _REPOSITORY.fullmatch(str(source))
    is_path = path.suffix == ".zip" or (len(path.parts) == 2 and path.parent.is_dir())
    if repository is not None and not is_path:  # a name beside folders that exist is mistyped
        return fetch(repository[1], repository[2])
    known = ", ".join(sorted(found.name for found in PACKAGED.iterdir() if found.is_dir()))
    raise ModelError(
        f"There is no model '{source}'; name a model folder, a .zip, a repository on Hugging Face "
        f"(hf://org/name) or one of: {known}."
    )


def named_in_file(name: object) -> Path:
    """Folder of a packaged model that a file names, such as a prediction its own.

    What a file says is text and nobody's request: it is looked for nowhere else, on this machine or the hub.

    Raises
    ------
    ModelError
        There is none of that name.
    """
    for folder in PACKAGED.iterdir():
        if folder.is_dir() and folder.name == name:
            return folder
    raise ModelError(f"Model '{quoted(name)}' is none that comes with napari-stem.")


def parse_repository(text: str) -> tuple[str, str | None]:
    """Read ``org/name``, ``org/name@revision`` or an address on Hugging Face, else ModelError.

    Returns
    -------
    ``org/name``, and the revision where one is named.
    """
    found = _REPOSITORY.fullmatch(text.strip().rstrip("/"))
    if found is None:
        raise ModelError(
            f"'{text.strip()}' is no repository on Hugging Face; write it as owner/name."
        )
    return found[1], found[2]


def fetch(repository: str, revision: str | None = None, progress: Progress | None = None) -> Path:
    """Download a model from Hugging Face; what is there already is not fetched again.

    Parameters
    ----------
    repository, revision
        ``org/name``, and branch, tag or commit; None: the newest.
    progress
        Told (bytes so far, of how many); may raise to cancel. None: bars on stderr.

    Raises
    ------
    ModelError
        Refused, no network, no space, or no model there.
    """
    from huggingface_hub import snapshot_download

    asked = Asked(
        what=f"model '{repository}'",
        page=HUB_PAGE + repository,
        otherwise="or give --model a folder or .zip with its files",
        elsewhere="choose another place with $HF_HOME",
        error=ModelError,
    )
    options = {} if progress is None else {"tqdm_class": reporting(progress)}
    with in_clear_words(asked):
        folder = Path(
            snapshot_download(repository, revision=revision, allow_patterns=[*FILES], **options)
        )
    lacking = [name for name in NEEDED if not (folder / name).is_file()]
    if lacking:
        raise ModelError(
            f"{asked.page} holds no model of this program: it lacks {' and '.join(lacking)}."
        )
    return folder
