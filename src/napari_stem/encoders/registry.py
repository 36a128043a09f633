"""Encoders by name: which there are, whether they can be used, and how they are loaded."""

from __future__ import annotations

import logging
import os
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from napari_stem.encoders.catalogue import CATALOGUE
from napari_stem.encoders.hub import locate
from napari_stem.encoders.names import BUNDLED, Part, parse_name
from napari_stem.errors import EncoderError
from napari_stem.hub import FOLDER_VARIABLE

if TYPE_CHECKING:
    from napari_stem.encoders.base import Encoder
    from napari_stem.encoders.facts import EncoderFacts

logger = logging.getLogger(__name__)

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

    Parameters
    ----------
    name
        ``bundled``, ``uni``, ``uni+conch`` (side by side), ``h-optimus-0@cls+centre`` (another pooling).
    device
        torch device.
    fields_of_view_um
        Sides of the patches in um; None: what each encoder was made for.
    precision
        ``auto`` (half precision where the device is made for it), ``float32``, ``float16`` or ``bfloat16``.

    Raises
    ------
    EncoderError
        There is none of that name, or it is not ready: the text says what to do.
    """
    if fields_of_view_um is not None and not all(field_um > 0 for field_um in fields_of_view_um):
        raise EncoderError("A field of view must be larger than 0 um.")
    fields_um = None if not fields_of_view_um else tuple(float(f) for f in fields_of_view_um)
    parts = parse_name(name)
    # all at once: the second may be missing, and the first takes a minute to load
    for part in parts:
        _require_ready(part)
    logger.info("Encoder '%s' is loaded to %s.", name, device)
    encoders = [_load(part, device, fields_um, precision) for part in parts]
    if len(encoders) == 1:
        return encoders[0]
    from napari_stem.encoders.published import CombinedEncoder

    return CombinedEncoder(encoders)


def encoder_width(name: str, n_fields: int | None = None) -> int:
    """Width of an encoder's embedding of one spot; loads neither weights nor torch.

    Parameters
    ----------
    name
        As for `load_encoder`.
    n_fields
        Number of fields of view; None: as many as each encoder has by itself (bundled 3, others 1).

    Raises
    ------
    EncoderError
        There is none of that name.
    """
    from napari_stem.encoders.bundled import FIELD_WIDTH, BundledEncoder

    width = 0
    for part in parse_name(name):
        if part.name == BUNDLED:
            width += n_fields * FIELD_WIDTH if n_fields else BundledEncoder.width
        else:
            facts = CATALOGUE[part.name]
            width += facts.width(part.pooling or facts.pooling) * (n_fields or 1)
    return width


def fields_of_view_of(name: str) -> tuple[float, ...] | None:
    """Fields of view in um that an encoder has by itself; None where that is not known, or parts differ."""
    from napari_stem.encoders.bundled import BundledEncoder

    if name == BUNDLED:
        return BundledEncoder.patch.fields_of_view_um
    words = (word.partition("@")[0] for word in name.split("+"))
    sides = {CATALOGUE[word].field_of_view_um for word in words if word in CATALOGUE}
    return tuple(sides) if len(sides) == 1 else None


def list_encoders() -> list[dict[str, Any]]:
    """List known encoders; loads no torch, asks no network.

    Each with `name`, `status` (ready, needs download, gated, not installed, not allowed), `ready`, `why_not`,
    `packaged`, `licence`, `description`, `width`, `size_mb`, `gate` (open, terms), `page`, `mpp`, `px`,
    `poolings`, `reference`, `unconfirmed`.
    """
    bundled: dict[str, Any] = {
        "name": BUNDLED,
        "status": "ready",
        "ready": True,
        "why_not": None,
        "packaged": True,
        "licence": "Apache-2.0",
        "description": "ImageNet EfficientNet-Lite0 texture and stain statistics at 150, 300 and 600 um",
        "width": encoder_width(BUNDLED),
        "size_mb": 0,
        "gate": "open",
        "page": None,
        "mpp": None,
        "px": 224,
        "poolings": [],
        "reference": "docs/bundled-encoder.md",
        "unconfirmed": None,
    }
    return [bundled, *(_row(facts) for facts in CATALOGUE.values())]


def _row(facts: EncoderFacts) -> dict[str, Any]:
    status, why_not = readiness(facts)
    return {
        "name": facts.name,
        "status": status,
        "ready": status == "ready",
        "why_not": why_not,
        "packaged": False,
        "licence": facts.licence,
        "description": facts.description,
        "width": facts.width(facts.pooling),
        "size_mb": facts.size_mb,
        "gate": "terms" if facts.gated else "open",
        "page": facts.page,
        "mpp": facts.mpp,
        "px": facts.side_px,
        "poolings": list(facts.poolings),
        "reference": facts.reference,
        "unconfirmed": facts.unconfirmed or None,
    }


def readiness(facts: EncoderFacts) -> tuple[str, str | None]:
    """Tell whether a published encoder can be used: its status, and what to do if it cannot."""
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


def _require_ready(part: Part) -> None:
    if part.name == BUNDLED:
        return
    _, why_not = readiness(CATALOGUE[part.name])
    if why_not is not None:
        raise EncoderError(
            f"Encoder '{part.name}' is not ready: {why_not}. (Without internet: ${FOLDER_VARIABLE}.)"
        )


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
