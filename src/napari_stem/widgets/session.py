"""The session file: what was open and how it was looked at, as JSON that people can read too.

Slides are named by path and fingerprint, so that a slide that was moved beside its session file is found
and another slide of the same name is not taken for it. Predictions stay where they are.
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
VERSION = 1


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
    """

    path: str
    fingerprint: str
    name: str = ""
    mpp_um: tuple[float, float] | None = None
    regions: dict[str, Any] = field(default_factory=dict)
    predictions: tuple[str, ...] = ()
    gene: str = ""


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
        What the map showed: ``mean``, ``sd`` or ``none``.
    camera
        ``center`` (y, x in um) and ``zoom``.
    """

    slides: tuple[SlideEntry, ...] = ()
    active: str = ""
    view: str = "mean"
    camera: dict[str, Any] = field(default_factory=dict)


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
        "camera": session.camera,
        "slides": [
            {**vars(slide), "relative_path": _relative(slide.path, path)}
            for slide in session.slides
        ],
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
        return Session(slides, str(told["active"]), str(told["view"]), dict(told["camera"]))
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        msg = f"{path} cannot be read as a session ({error}); choose another file."
        raise SessionError(msg) from error


def _slide(entry: dict[str, Any], session_path: Path) -> SlideEntry:
    mpp = entry["mpp_um"]
    beside = session_path.parent / str(entry["relative_path"])
    stored = str(entry["path"])
    return SlideEntry(
        path=stored if Path(stored).exists() or not beside.exists() else str(beside.resolve()),
        fingerprint=str(entry["fingerprint"]),
        name=str(entry["name"]),
        mpp_um=None if mpp is None else (float(mpp[0]), float(mpp[1])),
        regions=dict(entry["regions"]),
        predictions=tuple(str(p) for p in entry["predictions"]),
        gene=str(entry["gene"]),
    )


def _relative(slide_path: str, session_path: Path) -> str:
    try:
        return os.path.relpath(slide_path, session_path.parent)
    except ValueError:  # on another drive
        return Path(slide_path).name
