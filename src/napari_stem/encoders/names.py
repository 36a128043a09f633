"""Names of encoders: ``uni``, ``uni+conch``, ``h-optimus-0@cls+centre``, ``uni@cls+mean+conch``."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, cast

from napari_stem.encoders.catalogue import CATALOGUE
from napari_stem.encoders.facts import POOLINGS
from napari_stem.errors import EncoderError

if TYPE_CHECKING:
    from napari_stem.encoders.facts import Pooling

BUNDLED = "bundled"


@dataclass(frozen=True)
class Part:
    """One encoder of a (possibly combined) name.

    Attributes
    ----------
    name
        ``bundled`` or a name of the catalogue.
    pooling
        What follows ``@``; None where nothing does: what the card recommends.
    """

    name: str
    pooling: tuple[Pooling, ...] | None = None

    def __str__(self) -> str:
        """Write it as it is read."""
        return self.name if self.pooling is None else f"{self.name}@{'+'.join(self.pooling)}"


def parse_name(name: str) -> tuple[Part, ...]:
    """Read a name.

    Encoders are joined by ``+``; ``@`` begins a list of poolings, joined by ``+`` too: what is a pooling
    (cls, mean, centre, pooled) belongs to the encoder before it, what is not is the next encoder.

    Raises
    ------
    EncoderError
        An unknown encoder or pooling, or one named twice.
    """
    parts: list[Part] = []
    for word in name.strip().lower().split("+"):
        if word in POOLINGS and parts and parts[-1].pooling is not None:
            before = parts.pop()
            parts.append(Part(before.name, (*(before.pooling or ()), cast("Pooling", word))))
            continue
        encoder, at, pooling = word.partition("@")
        parts.append(Part(encoder.strip(), (cast("Pooling", pooling.strip()),) if at else None))
    for part in parts:
        _check(part)
    if len(set(parts)) < len(parts):
        raise EncoderError(f"'{name}' names an encoder twice; name each once.")
    return tuple(parts)


def _check(part: Part) -> None:
    if part.name not in (BUNDLED, *CATALOGUE):
        near = get_close_matches(part.name, (BUNDLED, *CATALOGUE), n=1)
        hint = f"did you mean '{near[0]}'?" if near else "`napari-stem encoders` lists those known."
        raise EncoderError(f"There is no encoder '{part.name}'; {hint}")
    if part.pooling is None:
        return
    known = () if part.name == BUNDLED else CATALOGUE[part.name].poolings
    wrong = [p for p in part.pooling if p not in known]
    if wrong or len(set(part.pooling)) < len(part.pooling):
        raise EncoderError(
            f"Encoder '{part}' cannot be had: after '{part.name}' "
            + (
                f"@ and one or more of {', '.join(known)} may follow."
                if known
                else "no @ may follow."
            )
        )
