"""The session file: what was open and how it was looked at, as JSON that people can read too.

Slides are named by path and fingerprint, so that another slide of the same name is not taken for it.
Slides, predictions and measured data that were moved together with their session file are found beside it.
Domains lie beside their prediction and come back with it.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_stem.errors import OutputError, StemError

FORMAT = "napari-stem session"
VERSION = 2


class SessionError(StemError):
    """A session file cannot be used."""


@dataclass(frozen=True)
class SlideEntry:
    """One slide of a session.

    Attributes
    ----------
    path, fingerprint
        Where it was, and its content.
    name
        Of its layer.
    mpp_um
        (y, x), where the user stated it by hand; None where the file did.
    regions
        GeoJSON FeatureCollection in level-0 px.
    predictions
        Folders, the one on screen last.
    gene
        On the map; empty where none was.
    measured
        File or folder of measured data; empty where none were loaded.
    """

    path: str
    fingerprint: str
    name: str = ""
    mpp_um: tuple[float, float] | None = None
    regions: dict[str, Any] = field(default_factory=dict)
    predictions: tuple[str, ...] = ()
    gene: str = ""
    measured: str = ""


@dataclass(frozen=True)
class Session:
    """What was open.

    Attributes
    ----------
    slides
        In the order of the layer list.
    active
        Fingerprint of the active one.
    view
        How the active one was looked at, as `SessionView` tells it.
    """

    slides: tuple[SlideEntry, ...] = ()
    active: str = ""
    view: dict[str, Any] = field(default_factory=dict)


def write_session(session: Session, path: Path) -> None:
    """Write a session file, whole or not at all.

    Raises
    ------
    OutputError
        The place cannot be written.
    """
    told = {
        "format": FORMAT,
        "version": VERSION,
        "active": session.active,
        "view": session.view,
        "slides": [_told(slide, path) for slide in session.slides],
    }
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        msg = f"{path} cannot be written ({error.strerror or error}); choose another place."
        raise OutputError(msg) from error


def read_session(path: Path) -> Session:
    """Read a session file; paths are those of the slides as they are found now.

    Raises
    ------
    SessionError
        It cannot be read, or is of another format or version.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told.get("format") != FORMAT or told.get("version") != VERSION:
            msg = f"{path} is no session of this version of napari-stem; save the session again."
            raise SessionError(msg)
        slides = tuple(_slide(entry, path) for entry in told["slides"])
        return Session(slides, str(told["active"]), dict(told["view"]))
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        msg = f"{path} cannot be read as a session ({error}); choose another file."
        raise SessionError(msg) from error


def _told(slide: SlideEntry, session_path: Path) -> dict[str, Any]:
    """Entry as it is written, with every path also as seen from the session file."""
    paths = [slide.path, *slide.predictions, *([slide.measured] if slide.measured else [])]
    return {**vars(slide), "relative": {path: _relative(path, session_path) for path in paths}}


def _slide(entry: dict[str, Any], session_path: Path) -> SlideEntry:
    mpp, beside = entry["mpp_um"], dict(entry["relative"])

    def found(stored: object) -> str:
        near = session_path.parent / str(beside.get(str(stored), ""))
        is_moved = stored and not Path(str(stored)).exists() and str(stored) in beside
        return str(near.resolve()) if is_moved and near.exists() else str(stored)

    return SlideEntry(
        path=found(entry["path"]),
        fingerprint=str(entry["fingerprint"]),
        name=str(entry["name"]),
        mpp_um=None if mpp is None else (float(mpp[0]), float(mpp[1])),
        regions=dict(entry["regions"]),
        predictions=tuple(found(p) for p in entry["predictions"]),
        gene=str(entry["gene"]),
        measured=found(entry["measured"]),
    )


def _relative(path: str, session_path: Path) -> str:
    try:
        return os.path.relpath(path, session_path.parent)
    except ValueError:  # on another drive
        return Path(path).name
