"""Files of tensors from others: torch pickles and safetensors, read without running anything in them."""

from __future__ import annotations

import pickle
import re
from typing import TYPE_CHECKING, Any

from napari_stem.errors import ModelError
from napari_stem.foreign import require_held, require_own_zip
from napari_stem.io import DAMAGE
from napari_stem.texts import reason_of

if TYPE_CHECKING:
    from pathlib import Path


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
    except (*DAMAGE, MemoryError, SafetensorError) as error:
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
