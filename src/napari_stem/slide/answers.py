"""What the user said of a slide, kept for the next time: one small file per slide, known by its content."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from typing import TYPE_CHECKING, Any

from napari_stem.caches import CACHES, entries, shrink

if TYPE_CHECKING:
    from pathlib import Path

_writing = threading.Lock()
logger = logging.getLogger(__name__)


def answers_of(fingerprint: str) -> dict[str, Any]:
    """Give all answers for the slide with this content, by what they answer; empty where there are none."""
    try:
        told = json.loads(_file(fingerprint).read_text(encoding="utf-8"))
        return dict(told)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        logger.warning("What was said of slide %s is not used: %s", fingerprint, error)
        return {}


def keep_answers(fingerprint: str, **answers: Any) -> None:
    """Keep JSON-ready answers beside those that are there; None forgets one.

    Renamed into place: safe against another process and a kill. A cache folder that cannot be
    written loses the answers with a warning, no more.
    """
    with _writing:
        told = answers_of(fingerprint) | answers
        told = {key: value for key, value in told.items() if value is not None}
        file = _file(fingerprint)
        try:
            if not told:
                file.unlink(missing_ok=True)
                return
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(f".{uuid.uuid4().hex[:8]}.partial")
            partial.write_text(json.dumps(told), encoding="utf-8")
            partial.replace(file)
            shrink(entries(["answers"]), CACHES["answers"].limit_bytes, keep=[file])
        except OSError as error:
            logger.warning("What was said of a slide cannot be remembered: %s", error)


def _file(fingerprint: str) -> Path:
    return CACHES["answers"].folder / f"{fingerprint}.json"
