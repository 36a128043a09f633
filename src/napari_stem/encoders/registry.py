"""Encoders by name (``uni+conch``, ``h-optimus-0@cls+centre``): whether they can be used, and how they load.

`load_encoder` splits a name into parts. Each is a `BundledEncoder`, or a `PublishedEncoder` that runs what
`networks.load_network` builds by the facts of the catalogue; several are a `CombinedEncoder`.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from napari_stem.encoders.catalogue import BUNDLED_FACTS, CATALOGUE, POOLINGS
from napari_stem.encoders.hub import locate
from napari_stem.errors import EncoderError
from napari_stem.hub import FOLDER_VARIABLE

if TYPE_CHECKING:
    from napari_stem.encoders.base import Encoder
    from napari_stem.encoders.catalogue import EncoderFacts, Pooling

logger = logging.getLogger(__name__)

BUNDLED = BUNDLED_FACTS.name


@dataclass(frozen=True)
class Part:
    """One encoder of a (possibly combined) name: ``bundled`` or one of the catalogue.

    ``pooling`` is what follows ``@``; None where nothing does: what the card recommends.
    """

    name: str
    pooling: tuple[Pooling, ...] | None = None

    def __str__(self) -> str:
        """Write it as it is read."""
        return self.name if self.pooling is None else f"{self.name}@{'+'.join(self.pooling)}"


def parse_name(name: str) -> tuple[Part, ...]:
    """Read a name; EncoderError where it has an unknown encoder or pooling, or names one twice.

    Encoders are joined by ``+``; ``@`` begins a list of poolings, joined by ``+`` too: what is a pooling
    (cls, mean, centre, pooled) belongs to the encoder before it, what is not is the next encoder.
    """
    parts: list[Part] = []
    for word in name.strip().lower().split("+"):
        if word in POOLINGS and parts and parts[-1].pooling is not None:
            before = parts.pop()
            parts.append(Part(before.name, (*(before.pooling or ()), word)))
            continue
        encoder, at, pooling = word.partition("@")
        parts.append(Part(encoder.strip(), (cast("Pooling", pooling.strip()),) if at else None))
    for part in parts:
        _check(part)
    if len(set(parts)) < len(parts):
        raise EncoderError(f"'{name}' names an encoder twice; name each once.")
    return tuple(parts)


def _facts() -> dict[str, EncoderFacts]:
    """Facts of all encoders by name, the bundled one first."""
    return {BUNDLED: BUNDLED_FACTS, **CATALOGUE}


def _check(part: Part) -> None:
    if part.name not in _facts():
        near = get_close_matches(part.name, _facts(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else "`napari-stem encoders` lists those known."
        raise EncoderError(f"There is no encoder '{part.name}'; {hint}")
    if part.pooling is None:
        return
    known = _facts()[part.name].poolings
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


TRUST_VARIABLE = "NAPARI_STEM_TRUST_REMOTE_CODE"
_EXTRA = "pip install 'napari-stem[encoders]'"


def load_encoder(
    name: str,
    device: str = "cpu",
    fields_of_view_um: tuple[float, ...] | None = None,
    *,
    precision: str = "auto",
) -> Encoder:
    """Load an encoder; asks no network.

    It is called ``bundled``, ``uni``, ``uni+conch`` (side by side), ``h-optimus-0@cls+centre`` (another
    pooling); the device is torch's. ``fields_of_view_um`` are sides of the patches in um; None: what each
    encoder was made for. ``precision`` is ``auto`` (half precision where the device is made for it),
    ``float32``, ``float16`` or ``bfloat16``.

    EncoderError: there is none of that name, or it is not ready: the text says what to do.
    """
    if fields_of_view_um is not None and not all(field_um > 0 for field_um in fields_of_view_um):
        raise EncoderError("A field of view must be larger than 0 um.")
    fields_um = None if not fields_of_view_um else tuple(float(f) for f in fields_of_view_um)
    parts = parse_name(name)
    # all at once: the second may be missing, and the first takes a minute to load
    for part in parts:
        _, why_not = readiness(_facts()[part.name])
        if why_not is not None:
            raise EncoderError(
                f"Encoder '{part.name}' is not ready: {why_not}. (Without internet: ${FOLDER_VARIABLE}.)"
            )
    logger.info("Encoder '%s' is loaded to %s.", name, device)
    encoders = [_load(part, device, fields_um, precision) for part in parts]
    if len(encoders) == 1:
        return encoders[0]
    from napari_stem.encoders.published import CombinedEncoder

    return CombinedEncoder(encoders)


def encoder_width(name: str, n_fields: int | None = None) -> int:
    """Width of an encoder's embedding of one spot; loads neither weights nor torch.

    ``n_fields`` is the number of fields of view; None: as many as each encoder has by itself (bundled 3,
    others 1). Name and errors are as of `load_encoder`.
    """
    width = 0
    for part in parse_name(name):
        facts = _facts()[part.name]
        own = facts.width(part.pooling or facts.pooling)
        width += own * (n_fields or len(facts.fields_of_view_um))
    return width


def fields_of_view_of(name: str) -> tuple[float, ...] | None:
    """Fields of view in um that an encoder has by itself; None where that is not known, or parts differ."""
    known, words = _facts(), (word.partition("@")[0] for word in name.split("+"))
    fields_um = {known[word].fields_of_view_um for word in words if word in known}
    return fields_um.pop() if len(fields_um) == 1 else None


def list_encoders() -> list[dict[str, Any]]:
    """List known encoders; loads no torch, asks no network.

    Each with `name`, `status` (ready, needs download, gated, not installed, not allowed), `ready`, `why_not`,
    `packaged`, `licence`, `description`, `width`, `size_mb`, `gate` (open, terms), `page`, `mpp`, `px`,
    `poolings`, `reference`, `unconfirmed`.
    """
    return [_row(facts) for facts in _facts().values()]


def _row(facts: EncoderFacts) -> dict[str, Any]:
    status, why_not = readiness(facts)
    return {
        "name": facts.name,
        "status": status,
        "ready": status == "ready",
        "why_not": why_not,
        "packaged": not facts.hub_id,
        "licence": facts.licence,
        "description": facts.description,
        "width": encoder_width(facts.name),
        "size_mb": facts.size_mb,
        "gate": "terms" if facts.gated else "open",
        "page": facts.page if facts.hub_id else None,
        "mpp": facts.mpp if facts.hub_id else None,
        "px": facts.side_px,
        "poolings": list(facts.poolings),
        "reference": facts.reference,
        "unconfirmed": facts.unconfirmed or None,
    }


def readiness(facts: EncoderFacts) -> tuple[str, str | None]:
    """Tell whether an encoder can be used: its status, and what to do if it cannot."""
    if facts.library == "packaged":
        return "ready", None
    if facts.is_of_transformers and find_spec("transformers") is None:
        return "not installed", f"the package transformers is not installed: {_EXTRA}"
    if facts.library == "remote":
        refusal = _why_no_remote_code(facts)
        if refusal is not None:
            return refusal
    if locate(facts) is not None:
        return "ready", None
    get = f"napari-stem encoders download {facts.name}"
    if facts.gated:
        return "gated", f"accept its terms on {facts.page}, then: hf auth login; {get}"
    return "needs download", f"{facts.size_mb} MB to download: {get}"


def _why_no_remote_code(facts: EncoderFacts) -> tuple[str, str] | None:
    """Tell why the code in a repository may or can not run; None if it may and can."""
    if os.environ.get(TRUST_VARIABLE) != "1":
        return "not allowed", (
            f"it runs code from {facts.page}: read that, then allow it with {TRUST_VARIABLE}=1"
        )
    version = metadata.version("transformers")
    if int(version.split(".")[0]) >= 5:
        return "not installed", (
            f"its code was written for transformers 4, and {version} is installed: "
            f"pip install 'transformers<5'"
        )
    return None


def _load(part: Part, device: str, fields_um: tuple[float, ...] | None, precision: str) -> Encoder:
    if part.name == BUNDLED:
        from napari_stem.encoders.bundled import BundledEncoder

        return BundledEncoder(device, fields_um)
    from napari_stem.encoders.networks import load_network
    from napari_stem.encoders.published import PublishedEncoder

    facts = CATALOGUE[part.name]
    found = locate(facts)
    if found is None:
        raise EncoderError(f"The weights of encoder '{part.name}' have gone; download them again.")
    return PublishedEncoder(
        facts,
        load_network(facts, found),
        name=str(part),
        pooling=part.pooling,
        fields_of_view_um=fields_um,
        device=device,
        precision=precision,
    )
