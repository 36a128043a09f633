"""What a file that is dropped onto the dock is: judged by name and its first lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from napari_stem.widgets.session import FORMAT

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal["slide", "prediction", "regions", "model", "session"]
HEAD_BYTES = 400


def kind_of(path: Path) -> Kind:
    """Say how a file or folder is to be opened; what is nothing else may be a slide."""
    if path.is_dir():
        if (path / "config.json").is_file():
            return "model"
        is_prediction = (path / "uns" / "napari_stem").is_dir()
        return "prediction" if is_prediction else "slide"
    suffix = path.suffix.lower()
    if suffix == ".geojson":
        return "regions"
    if suffix == ".json":
        return "session" if _is_session(path) else "regions"
    return "slide"


def _is_session(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES).decode("utf-8", "ignore")
    except OSError:
        return False
    return json.dumps(FORMAT) in head
