"""Where models come from: packaged ones by name, folders, ``.zip`` files, repositories on Hugging Face.

Of whatever source, three files are read: JSON, safetensors, Markdown. None of them is code, and no other file
is fetched, packed, unpacked or opened.

In the window, encoders and models are downloaded in a process of their own: huggingface_hub cannot be asked to
stop, a process can. It keeps whole files and cannot go on with half ones: a process that is ended leaves these
behind, and they are removed.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import zipfile
import zlib
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from napari_stem.caches import CACHES, keep_bounded, make_folder_of_copy, owner_of_copy, touch
from napari_stem.errors import ModelError, OutputError
from napari_stem.foreign import require_own_zip
from napari_stem.hub import HUB_PAGE, HubRequest, cached_repository, in_clear_words, reporting
from napari_stem.io import free_bytes, require_free, sha256, written_whole
from napari_stem.model.config import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from napari_stem.own_process import run_module
from napari_stem.progress import Stopped
from napari_stem.settings import cache_dir
from napari_stem.texts import quoted

if TYPE_CHECKING:
    from napari_stem.hub import BytesProgress
    from napari_stem.progress import Poll, Progress

FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE)
NEEDED = (CONFIG_FILE, WEIGHTS_FILE)
_READ_ALL = 0o644 << 16
_CHUNK = 1 << 22
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)
Kind = Literal["encoder", "model"]
BROKE = "The download broke down; napari's log says more. Try again: files that are whole are kept."
HALF = "*.incomplete"
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

    ModelError: there is none of that name.
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


def fetch(
    repository: str, revision: str | None = None, progress: BytesProgress | None = None
) -> Path:
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

    request = HubRequest(
        what=f"model '{repository}'",
        page=HUB_PAGE + repository,
        otherwise="or give --model a folder or .zip with its files",
        elsewhere="choose another place with $HF_HOME",
        error=ModelError,
    )
    options = {} if progress is None else {"tqdm_class": reporting(progress)}
    with in_clear_words(request):
        folder = Path(
            snapshot_download(repository, revision=revision, allow_patterns=[*FILES], **options)
        )
    lacking = [name for name in NEEDED if not (folder / name).is_file()]
    if lacking:
        raise ModelError(
            f"{request.page} holds no model of this program: it lacks {' and '.join(lacking)}."
        )
    return folder


def pack(folder: Path, out: Path) -> Path:
    """Write a model folder as one ``.zip``, whole or not at all; other files of the folder stay behind.

    ModelError: the folder lacks a file. OutputError: the place is taken or cannot be written.
    """
    require_files(folder)
    if out.suffix != ".zip":
        raise OutputError(f"{out.name} has an ending that is not .zip; choose a name that ends so.")
    require_free(out)
    with (
        written_whole(out) as fresh,
        zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in FILES:
            about = zipfile.ZipInfo(f"{out.stem}/{name}")  # of 1980: the same model, the same bytes
            about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, _READ_ALL
            with (folder / name).open("rb") as source, archive.open(about, "w") as sink:
                shutil.copyfileobj(source, sink, _CHUNK)
    return out


def require_files(folder: Path) -> None:
    """Check that a folder holds a whole model, card and all.

    ModelError: it lacks a file.
    """
    lacking = [name for name in FILES if not (folder / name).is_file()]
    if lacking:
        raise ModelError(
            f"{folder} lacks {' and '.join(lacking)}; give a model folder as 'napari-stem train' writes it."
        )


def others(folder: Path) -> list[str]:
    """Names of what else lies in a model folder: it is not read, sent or packed."""
    return sorted(path.name for path in folder.iterdir() if path.name not in FILES)


def unpacked(path: Path) -> Path:
    """Folder with the model of a ``.zip``, in the cache by the file's content; see `owner_of_copy`.

    Members are found by their names at the top or in one folder, and written under those names: nothing lands
    anywhere else.

    ModelError: the file is damaged or holds no model, or there is no room for it.
    """
    try:
        content = f"{sha256(path)} {owner_of_copy(path)}"
        digest = hashlib.blake2b(content.encode(), digest_size=16)
        folder = CACHES["models"].folder / digest.hexdigest()
        if all((folder / name).is_file() for name in NEEDED):
            touch(folder)
            return folder
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path)
            require_own_zip(path)
            _require_room(path, sum(member.file_size for member in members.values()))
            make_folder_of_copy(folder, path)
            for name in reversed(FILES):  # config.json last: a folder with all is a whole one
                if name in members:
                    partial_file = folder / f"{name}.partial"
                    with archive.open(members[name]) as source, partial_file.open("wb") as sink:
                        shutil.copyfileobj(source, sink, _CHUNK)
                    partial_file.replace(folder / name)
        keep_bounded("models", keep=[folder])
    except _DAMAGE as error:
        raise ModelError(f"{path} is damaged or no .zip ({error}); copy it again.") from error
    except OSError as error:
        raise ModelError(
            f"{path} cannot be unpacked ({error.strerror or error}); make room, or unpack it yourself."
        ) from error
    return folder


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        parts = PurePosixPath(member.filename).parts
        if member.is_dir() or len(parts) > 2 or parts[-1] not in FILES:
            continue
        if parts[-1] in found:
            raise ModelError(f"{path} holds more than one {parts[-1]}; pack one model only.")
        found[parts[-1]] = member
    lacking = [name for name in NEEDED if name not in found]
    if lacking:
        raise ModelError(
            f"{path} holds no model: it lacks {' and '.join(lacking)}; make it with 'napari-stem models pack'."
        )
    return found


def _require_room(path: Path, size: int) -> None:
    free, ancestor = free_bytes(cache_dir())
    if size > free:
        raise ModelError(
            f"{path} holds {size / 1e6:.0f} MB, and {ancestor} has {free / 1e6:.0f} MB free; make room."
        )


def download_in_subprocess(kind: Kind, name: str, poll: Poll, progress: Progress) -> Path:
    """Download an encoder, or a model from Hugging Face.

    Parameters
    ----------
    kind, name
        ``encoder`` and a single name as `napari-stem encoders` lists it; or ``model`` and ``org/name``.
    poll, progress
        As of `run_module`: text is the name, progress in bytes.

    Returns
    -------
    The folder with the files.

    Raises
    ------
    StemError
        It cannot be had: the text says what to do.
    """
    blobs = _blobs(kind, name)
    before = set(blobs.glob(HALF))
    try:
        return Path(run_module(__name__, [f"fetch_{kind}", name], poll, progress, BROKE))
    except Stopped:
        for half in set(blobs.glob(HALF)) - before:
            half.unlink(missing_ok=True)
        raise


def _blobs(kind: Kind, name: str) -> Path:
    """Where huggingface_hub puts the files of a repository."""
    from napari_stem.encoders.catalogue import CATALOGUE

    repository = CATALOGUE[name].hub_id if kind == "encoder" else parse_repository(name)[0]
    return cached_repository(repository) / "blobs"


def fetch_encoder(name: str, progress: Progress) -> str:
    """Download an encoder; gives its folder."""
    from napari_stem.encoders.catalogue import CATALOGUE
    from napari_stem.encoders.hub import download

    return str(download(CATALOGUE[name], progress=partial(progress, name)))


def fetch_model(name: str, progress: Progress) -> str:
    """Download a model; gives its folder."""
    return str(fetch(*parse_repository(name), progress=partial(progress, name)))
