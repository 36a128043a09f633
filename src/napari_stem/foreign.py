"""Files of strangers: what they hold counts, not what they claim or point to.

A file that leads out of itself, or claims far more than it holds, is refused before it is read: with a
ValueError, which whoever reads tells as damage (`napari_stem.io.DAMAGE`).
"""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import tokenize
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stem.errors import ModelError
from napari_stem.io import DAMAGE
from napari_stem.texts import quoted, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import h5py
    from numpy.typing import NDArray

MAX_ROWS = 10_000_000  # spots or genes: ten times what the largest section has
MAX_RATIO = 500  # values over what a file holds: counts of which 99.9% are zero, well compressed, come to 300
FREE_BYTES = 1 << 28  # may be claimed whatever a file holds: that much memory is always there
MAX_DIGITS = 300  # of a whole number: any longer is beyond a float, and its reading takes time
MAX_SIZE = 1e6  # um: no spot or patch is a metre wide; px: nor has a slide a million in a row


def read_json(text: str | bytes, **options: Any) -> Any:
    """Read JSON: as ``json.loads``, and a ValueError is all that it raises; halves of characters become "?".

    ValueError: it is no JSON, nests brackets too deeply, or holds a number of more than 300 digits.
    """
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text))
    try:
        found = json.loads(text, parse_int=_whole_number, **options)
        if "\\ud" in text.lower():
            found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError:
        raise ValueError("it nests brackets more deeply than can be read") from None
    return found


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"it holds a number of {len(digits)} digits, and {MAX_DIGITS} are allowed")
    return int(digits)


def is_size(value: object) -> bool:
    """Whether what a file says is a positive number, as of something on a slide."""
    return isinstance(value, int | float) and value is not True and 0 < value < MAX_SIZE


def are_texts(value: object) -> bool:
    """Whether what a file says is a list of texts."""
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


@contextmanager
def opened_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, once `require_own_hdf5` has passed it.

    ValueError: as of `require_own_hdf5`. OSError, RuntimeError: it is damaged or no HDF5.
    """
    import h5py

    with h5py.File(path, "r") as file:
        require_own_hdf5(file, path.stat().st_size)
        yield file


def read_h5ad(path: Path, **options: Any) -> Any:
    """``anndata.read_h5ad``, once `require_own_hdf5` has passed the file; it raises what both raise."""
    import anndata

    with opened_hdf5(path):
        pass
    with elements_known():
        return anndata.read_h5ad(path, **options)


@contextmanager
def elements_known() -> Iterator[None]:
    """Turn what anndata raises on parts that it does not know, an error of no other kind, into a ValueError."""
    from anndata._io.specs.registry import IORegistryError  # not public

    try:
        yield
    except IORegistryError as error:
        raise ValueError(str(error)) from error


def require_own_hdf5(file: h5py.File, n_bytes: int) -> None:
    """Check that all of an HDF5 file lies in it, and that it claims no more than so many bytes can hold.

    ValueError: it has external links, virtual data sets or raw data in other files, or claims too much.
    """
    import h5py

    claimed, links = 0, list[tuple[Any, Any]]()
    try:
        file.visititems_links(lambda name, link: links.append((name, link)))
    except SystemError:  # what h5py makes of it
        raise ValueError("it holds a name that is no UTF-8") from None
    for name, link in links:
        where = _shown(name)
        node = None if isinstance(link, h5py.ExternalLink) else file.get(name)
        if node is None and not isinstance(link, h5py.SoftLink):
            raise ValueError(_leads_out(where))
        if isinstance(node, h5py.Group):
            if isinstance(link, h5py.SoftLink) or h5py.h5o.get_info(node.id).rc > 1:
                raise ValueError(
                    f"its group '{where}' lies at more than one place; write it without links"
                )
        elif isinstance(node, h5py.Dataset):
            _require_own_data(node, where)
            claimed += node.size * node.dtype.itemsize if node.shape is not None else 0
            require_held(claimed, n_bytes, where)


def _require_own_data(data: h5py.Dataset, where: str) -> None:
    if data.external or (
        data.is_virtual and any(source.file_name != "." for source in data.virtual_sources())
    ):
        raise ValueError(_leads_out(where))
    is_column = data.dtype.kind == "O" or data.parent.attrs.get("encoding-type") == "dataframe"
    if data.shape and (is_column or where in ("obs", "var")):
        require_rows(data.shape[0], where)


def require_rows(n_rows: int, where: str) -> None:
    """Check a number of spots, genes or texts; ValueError where no section has so many."""
    if n_rows > MAX_ROWS:
        raise ValueError(f"'{_shown(where)}' claims {n_rows:,} rows, and {MAX_ROWS:,} are allowed")


def require_held(claimed: int, held: int, where: str) -> None:
    """Check the bytes that are claimed against those that are there; ValueError where they cannot hold them."""
    most = FREE_BYTES + MAX_RATIO * held
    if claimed > most:
        raise ValueError(
            f"with '{_shown(where)}' it claims {claimed / 1e6:,.0f} MB, and its {held / 1e6:,.2f} MB hold "
            f"{most / 1e6:,.0f} MB at most ({MAX_RATIO} times as much)"
        )


def dense(matrix: Any) -> NDArray[Any]:
    """Array of a matrix; ValueError where a sparse one has far more places than values."""
    import numpy as np

    if not hasattr(matrix, "toarray"):
        return np.asarray(matrix)
    require_held(math.prod(matrix.shape) * matrix.dtype.itemsize, matrix.data.nbytes, "X")
    found: NDArray[Any] = matrix.toarray()
    return found


def require_own_zip(path: Path) -> None:
    """Check that no member of a zip file claims more than its bytes can hold.

    ValueError: one does. BadZipFile, OSError: it is damaged or no zip file.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            require_held(member.file_size, member.compress_size, member.filename)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of a NumPy file by name, of a plain ``.npy`` under the name ``""``; no pickle is read.

    ValueError: it claims more than it holds, or needs pickle. BadZipFile, EOFError, OSError: it is damaged.
    """
    import numpy as np

    if path.suffix == ".npz":
        require_own_zip(path)
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"": found}
        with found as arrays:
            return {name: arrays[name] for name in arrays.files}
    except MemoryError as error:
        raise ValueError(f"it claims more than there is memory for ({error})") from error
    except tokenize.TokenError as error:  # NumPy takes a damaged header for one of Python 2
        raise ValueError(f"an array's header is damaged ({error})") from error


def read_tensors(path: Path) -> Any:
    """Content of a torch pickle or a safetensors file, told apart by how it begins.

    Of a pickle, plain containers, numbers, NumPy arrays and numbers, and dense tensors on the CPU only.
    ModelError: it is neither, is damaged, or is a pickle that wants to run code.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[8:] == b"{":
            return load_file(path)
        if start[:2] == b"PK":
            require_own_zip(path)
        if start[:2] == b"PK" or start[:1] == b"\x80":
            with torch.serialization.safe_globals(_arrays()):
                return _dense(torch.load(path, weights_only=True, map_location="cpu"), path)
    except pickle.UnpicklingError as error:
        raise _refused(path, error) from error
    except (*DAMAGE, SafetensorError) as error:
        raise _damaged(path, error) from error
    raise ModelError(f"{path} is no checkpoint: it is neither a pickle of torch's nor safetensors.")


def _dense(content: Any, path: Path) -> Any:
    """Content with tensors that lie in memory as their shapes say; ValueError where a file cannot hold one."""
    import torch

    if isinstance(content, torch.Tensor):
        # one number can be said to stand for any shape: such a tensor costs memory once it is used
        require_held(content.numel() * content.element_size(), path.stat().st_size, "a tensor")
        return content.detach().to_dense()
    if isinstance(content, dict):
        return {key: _dense(value, path) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(_dense(value, path) for value in content)
    return content


def _arrays() -> list[Any]:
    """List what pickled numbers of NumPy and arrays of them are put together from; it runs nothing."""
    import numpy as np

    codes = "?SU" + np.typecodes["AllInteger"] + np.typecodes["AllFloat"]
    made_by: dict[str, Any] = {
        "_reconstruct": np.zeros(0).__reduce__()[0],
        "scalar": np.float64(0).__reduce__()[0],
    }
    rooms = ("numpy.core.multiarray", "numpy._core.multiarray")  # of NumPy 1 and 2
    return [
        *((made_by[name], f"{room}.{name}") for room in rooms for name in made_by),
        np.ndarray,
        np.dtype,
        *{type(np.dtype(code)) for code in codes},
    ]


def _refused(path: Path, error: pickle.UnpicklingError) -> ModelError:
    asked_for = re.search(r"(?:GLOBAL|class) (\S+)", str(error))
    if asked_for is None:
        return _damaged(path, error)
    return ModelError(
        f"{path}: this file contains code, not only weights ({asked_for[1]}), and was not run; ask its "
        f"author for safetensors."
    )


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{path} is damaged or no checkpoint ({reason_of(error)}); copy or download it again."
    )


def require_own_zarr(folder: Path, *, may_lack_values: bool = False) -> None:
    """Check that all of a Zarr folder lies in it, and that it claims no more than it can hold.

    ``may_lack_values``: arrays may be large and empty whose missing values are NaN, as those of a prediction
    that grows.

    ValueError: a link in it leads elsewhere, or it claims too much. OSError: it cannot be read.
    """
    held, arrays = 0, []
    for place, folders, files in os.walk(folder, onerror=_raise):
        for name in (*folders, *files):
            entry = Path(place, name)
            if entry.is_symlink():
                raise ValueError(_leads_out(_shown(entry.relative_to(folder))))
            if name in files:
                held += entry.stat().st_size
            if name in ("zarr.json", ".zarray", ".zmetadata"):
                arrays.append(entry)
    claimed: dict[str, int] = {}
    for entry in arrays:
        for where, about in _arrays_in(entry, folder):
            n_bytes = _claimed_bytes(about, where, may_lack_values=may_lack_values)
            claimed[where] = max(n_bytes, claimed.get(where, 0))
            require_held(n_bytes, held, where)
    require_held(sum(claimed.values()), held, folder.name)


def _arrays_in(entry: Path, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and metadata of what a metadata file describes: its own group or array, and those it repeats."""
    about, own = read_json(entry.read_bytes()), entry.parent.relative_to(folder)
    yield own.as_posix(), about
    repeated = about.get("consolidated_metadata") or about
    for name, other in (repeated.get("metadata") or {}).items():
        yield (own / name).as_posix().removesuffix("/.zarray"), other


def _claimed_bytes(about: dict[str, Any], where: str, *, may_lack_values: bool) -> int:
    """Bytes of an array by its metadata; 0 of a group."""
    shape = about.get("shape")
    if shape is None:
        return 0
    if shape and {"obs", "var"} & set(where.split("/")):
        require_rows(int(shape[0]), where)
    if may_lack_values and about.get("fill_value") == "NaN":
        return 0
    return 8 * math.prod(map(int, shape))  # few values are wider


def _raise(error: OSError) -> None:
    raise error


def _shown(name: object) -> str:
    return quoted(name.decode("utf-8", "replace") if isinstance(name, bytes) else name)


def _leads_out(where: str) -> str:
    return f"its part '{where}' lies in another file, and links are not followed; write one that holds all"
