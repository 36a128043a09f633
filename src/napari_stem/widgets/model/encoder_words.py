"""What the dock says of encoders; rows are those of `napari_stem.encoders.registry.list_encoders`."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from napari_stem.widgets.common.parts import link

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Row = Mapping[str, Any]

BUNDLED = "bundled"
GETTABLE = ("needs download", "gated")


def names_of(encoder: str) -> tuple[str, ...]:
    """Name the encoders that a (possibly combined) name asks for, each once.

    Raises
    ------
    EncoderError
        One is unknown.
    """
    from napari_stem.encoders.names import parse_name

    return tuple(dict.fromkeys(part.name for part in parse_name(encoder)))


def unknown(encoder: str) -> Row:
    """Row of an encoder that is none of ours, as of a model that was trained on somebody's embeddings."""
    reason = "read the slide's embeddings from a file (“Embeddings” below)"
    return {"name": encoder, "status": "not known here", "why_not": reason, "page": "", "gate": ""}


def size(row: Row) -> str:
    """Size of the download."""
    return f"{row['size_mb']:,} MB"


def state(row: Row) -> str:
    """State in a word or two, as the command line has it."""
    if row["status"] == "needs download":
        return f"needs download ({size(row)})"
    if row["status"] == "gated":
        return f"gated ({size(row)})"
    return str(row["status"])


def told(row: Row) -> str:
    """State and what to do, as rich text with addresses to click."""
    name = escape(str(row["name"]))
    if row["status"] == "ready":
        return f"Encoder: {name}, ready"
    if row["status"] == "needs download":
        return f"Encoder: {name} needs a download of {size(row)} from {link(str(row['page']), 'its page')}."
    if row["status"] == "gated":
        terms = link(str(row["page"]), "accept its terms here")
        return (
            f"Encoder: {name} is gated: {terms} with your account at Hugging Face, enter your token, "
            f"then download {size(row)}."
        )
    reason = escape(str(row["why_not"]))
    if row["page"]:
        reason = reason.replace(escape(str(row["page"])), link(str(row["page"])))
    return f"Encoder: {name} is {row['status']}: {reason}."


def missing(rows: Iterable[Row]) -> str:
    """Say what has to be done before a run, in a sentence; empty where all are ready."""
    lacking = [row for row in rows if row["status"] != "ready"]
    if not lacking:
        return ""
    first = lacking[0]
    name = f"encoder “{first['name']}”"
    if first["status"] == "gated":
        return f"Accept the terms of {name} and download it first (see above)."
    if first["status"] == "needs download":
        return f"Download {name} first (see above)."
    return f"The model needs {name}, which is {first['status']} (see above)."
