"""Text from outside: read whatever its bytes are, and harmless to terminals, logs and pages."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

RESEARCH = "For research use only, not for diagnosis."
NOTICE = f"Predicted from the H&E image, not measured. {RESEARCH}"
MOST_UNPACKED_BYTES = 512 * 1024**2  # a thousand times what a hand outlines; a bomb unpacks to more
QUOTED_CHARS = 200  # enough to recognise what is meant, too few to drown the sentence around it
MOST_CHARS = 1000
_BLANKS_AND_QUOTES = " \"'\u201c\u201d\u2018\u2019"
_VERSION = re.compile(r"(ENS[A-Z]*[GT]\d{6,})\.\d+(_PAR_Y)?")
# Escape sequences of terminals (colours, titles, cursor); then whatever else moves or hides text.
_SEQUENCES = re.compile(r"\x1b\].*?(?:\x07|\x1b\\|$)|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]", re.DOTALL)
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_NO_TEXT = re.compile("[\x00-\x08\x0e-\x1f]")


def read_text(path: Path) -> str:
    """Read a text, also gzipped, with a byte order mark, in UTF-16 or in the code page of Western Windows.

    Its lines end in a newline, whatever they end in on disk.

    OSError, ValueError: it cannot be read, is no text, or unpacks to more than `MOST_UNPACKED_BYTES`.
    """
    content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(path) as file:
                content = file.read(MOST_UNPACKED_BYTES + 1)
        except (EOFError, zlib.error) as error:
            raise ValueError(str(error)) from error
        if len(content) > MOST_UNPACKED_BYTES:
            raise ValueError(f"it unpacks to more than {MOST_UNPACKED_BYTES // 1024**2} MB")
    encoding = json.detect_encoding(content)
    try:
        text = content.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError:
        text = content.decode("cp1252")
    if _NO_TEXT.search(text):
        raise ValueError("it is no text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def clean_name(name: object) -> str:
    """Name of a gene without marks, blanks and quotes around it, nor the version of an Ensembl id."""
    bare = plain(name).strip(_BLANKS_AND_QUOTES)
    return _VERSION.sub(r"\1\2", bare) if _VERSION.fullmatch(bare) else bare


def visible(text: str) -> str:
    """Text, line by line, without what a terminal or viewer would obey or hide."""
    shown = text.encode("utf-8", "backslashreplace").decode()  # file names that are not UTF-8
    return "\n".join(_UNSEEN.sub(" ", _SEQUENCES.sub(" ", line)) for line in shown.split("\n"))


def plain(text: object) -> str:
    """Visible text on one line."""
    return " ".join(visible(str(text)).split())


def quoted(text: object, most: int = QUOTED_CHARS) -> str:
    """Plain text, shortened in its middle."""
    shown = plain(text)
    if len(shown) <= most:
        return shown
    return f"{shown[: most // 2]} ... {shown[-(most - most // 2 - 5) :]}"


def reason_of(error: BaseException) -> str:
    """Say what an error of a library says, or else what it is."""
    return quoted(error) or type(error).__name__


def sentence(text: object) -> str:
    """Plain text in which no word and no list takes over."""
    words = (quoted(word) for word in plain(text).split(" "))
    return quoted(" ".join(words), MOST_CHARS)


def count(number: int, thing: str, verb: str = "", verbs: str = "") -> str:
    """Say a number with its noun, and the verb of one or of more: ``1 spot is``, ``2,000 spots are``."""
    one_or_more = f"{thing} {verb}" if number == 1 else f"{thing}s {verbs}"
    return f"{number:,} {one_or_more.strip()}"


def few(names: Iterable[str]) -> str:
    """List five names at the most: ``A, B, C, D, E, ...``."""
    every = list(names)
    return ", ".join([*every[:5], *(["..."] if len(every) > 5 else [])])


def separator(text: str) -> str:
    """Say which of comma, semicolon and tab, in this order, the first line of a table has between its cells."""
    head = text.partition("\n")[0]
    return next((mark for mark in ",;\t" if mark in head), ",")


def own_names(names: Iterable[str], taken: Iterable[object]) -> list[str]:
    """Give each name as it is, or with a number behind it where it is taken: ``Tumor (2)``."""
    used, numbers, found = {str(name) for name in taken}, dict[str, int](), []
    for name in names:
        own = name
        while own in used:
            numbers[name] = numbers.get(name, 1) + 1
            own = f"{name} ({numbers[name]})"
        used.add(own)
        found.append(own)
    return found


def ways_to_write(word: str) -> set[str]:
    """Give a name as it is, as `visible` and `plain` show it, and as Python quotes it."""
    return {word, visible(word), plain(word), repr(word)[1:-1]} - {""}


def without(text: str, words: Iterable[str], instead: str) -> str:
    """Text with something else in place of words that stand alone, the longest first."""
    found = sorted((word for word in words if word in text), key=len, reverse=True)
    if not found:
        return text
    ends = (re.escape(word) + (r"(?![^\W_])" if word[-1].isalnum() else "") for word in found)
    return re.sub(rf"(?<![^\W_])(?<!--)(?:{'|'.join(ends)})", lambda _: instead, text)
