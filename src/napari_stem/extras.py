"""Packages that serve one optional thing, and so come with an extra of pip's."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_stem.errors import StemError


def require_extra(package: str, extra: str, purpose: str, error: type[StemError]) -> None:
    """Check that a package can be imported; imports nothing.

    Parameters
    ----------
    package
        Name to import, of the top level.
    extra
        Extra of ours that brings it.
    purpose
        What needs it, as the beginning of a sentence.
    error
        What to raise.

    Raises
    ------
    StemError
        It is not installed; of the type ``error``.
    """
    if find_spec(package) is None:
        raise error(
            f"{purpose} needs the package {package}: run pip install 'napari-stem[{extra}]'."
        )
