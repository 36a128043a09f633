"""A model as one ``.zip`` file: three files in, three files out, and nothing else is ever looked at."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from napari_stem.caches import CACHES, keep_bounded, touch
from napari_stem.errors import ModelError, OutputError
from napari_stem.foreign import require_own_zip
from napari_stem.io import free_bytes, require_free, sha256, written_whole
from napari_stem.model.config import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from napari_stem.settings import cache_dir

FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE)
NEEDED = (CONFIG_FILE, WEIGHTS_FILE)
# The earliest that a zip can hold: the same model gives the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_READ_ALL = 0o644 << 16
_CHUNK = 1 << 22
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)


def pack(folder: Path, out: Path) -> Path:
    """Write a model folder as one ``.zip``, whole or not at all; other files of the folder stay behind.

    Raises
    ------
    ModelError
        The folder lacks a file.
    OutputError
        The place is taken or cannot be written.
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
            about = zipfile.ZipInfo(f"{out.stem}/{name}", _EPOCH)
            about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, _READ_ALL
            with (folder / name).open("rb") as source, archive.open(about, "w") as sink:
                shutil.copyfileobj(source, sink, _CHUNK)
    return out


def require_files(folder: Path) -> None:
    """Check that a folder holds a whole model, card and all.

    Raises
    ------
    ModelError
        It lacks a file.
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
    """Folder with the model of a ``.zip``, in the cache by the file's content.

    Members are found by their names at the top or in one folder, and written under those names: nothing lands
    anywhere else.

    Raises
    ------
    ModelError
        The file is damaged or holds no model, or there is no room for it.
    """
    try:
        folder = CACHES["models"].folder / sha256(path)[:32]
        if all((folder / name).is_file() for name in NEEDED):
            touch(folder)
            return folder
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path)
            require_own_zip(path)
            _require_room(path, sum(member.file_size for member in members.values()))
            folder.mkdir(parents=True, exist_ok=True)
            for name in reversed(FILES):  # config.json last: a folder with all is a whole one
                if name in members:
                    _extract(archive, members[name], folder / name)
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


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, to: Path) -> None:
    partial = to.with_name(to.name + ".partial")
    with archive.open(member) as source, partial.open("wb") as sink:
        shutil.copyfileobj(source, sink, _CHUNK)
    partial.replace(to)
