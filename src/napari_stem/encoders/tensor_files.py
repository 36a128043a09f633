"""Files of tensors from others: torch pickles and safetensors, read without running anything in them."""

from __future__ import annotations

import pickle
import re
from typing import TYPE_CHECKING, Any

from napari_stem.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path


def read_tensors(path: Path) -> Any:
    """Content of a torch pickle or a safetensors file, told apart by how it begins.

    Returns
    -------
    Whatever the file holds: of a pickle, plain containers, numbers, NumPy arrays of numbers and tensors on the
    CPU only.

    Raises
    ------
    ModelError
        It is neither, is damaged, or is a pickle that wants to run code.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[8:] == b"{":
            return load_file(path)
        if start[:2] == b"PK" or start[:1] == b"\x80":
            with torch.serialization.safe_globals(_arrays()):
                return torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise _refused(path, error) from error
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError) as error:
        raise _damaged(path, error) from error
    except SafetensorError as error:
        raise _damaged(path, error) from error
    raise ModelError(f"{path} is no checkpoint: it is neither a pickle of torch's nor safetensors.")


def _arrays() -> list[Any]:
    """List what pickled arrays of numbers, as TRIDENT saves them, are put together from; it runs nothing."""
    import numpy as np

    rebuild = np.zeros(0).__reduce__()[0]
    return [
        rebuild,
        (rebuild, "numpy.core.multiarray._reconstruct"),  # written with NumPy 1
        np.ndarray,
        np.dtype,
        *(type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8")),
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
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return ModelError(f"{path} is damaged or no checkpoint ({reason}); copy or download it again.")
