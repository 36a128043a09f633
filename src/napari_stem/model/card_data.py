"""The card's front matter, as Hugging Face reads it: licence, tags, metrics."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_stem.model.config import ModelConfig

UNKNOWN = "unknown"
TAGS = ("spatial-transcriptomics", "pathology", "gene-expression", "diffusion")
# The licences among https://huggingface.co/docs/hub/repositories-licenses that data and models come under;
# any other one is written as the hub wants it: "other", with its name.
_LICENCES = """
    apache-2.0 mit bsd-2-clause bsd-3-clause gpl-3.0 agpl-3.0 lgpl-3.0 mpl-2.0 openrail
    cc0-1.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0
    cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
"""
LICENCES = frozenset(_LICENCES.split())
# Key in the card's metrics -> type and name on the hub.
_METRICS = {
    "pcc_10": ("pearsonr", "PCC, best 10 genes"),
    "pcc_50": ("pearsonr", "PCC, best 50 genes"),
    "pcc_mean": ("pearsonr", "PCC, all genes"),
    "mse": ("mse", "MSE"),
    "mae": ("mae", "MAE"),
    "crps": ("crps", "CRPS"),
}
_OURS = "napari-stem"


def licence_id(licence: str | None) -> str:
    """Licence as the hub writes it: ``CC BY 4.0`` is ``cc-by-4.0``; ``other`` or ``unknown``."""
    slug = _slug(licence or UNKNOWN)
    return slug if slug in LICENCES or slug == UNKNOWN else "other"


def licence_fields(licence: str | None) -> dict[str, str]:
    """Entries of the front matter that name a licence."""
    name = licence_id(licence)
    return {"license": name} | ({"license_name": _slug(licence or "")} if name == "other" else {})


def front_matter(config: ModelConfig) -> str:
    """YAML between two lines of dashes, without the last line's end."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="gene-expression-prediction",
            task_name="Gene expression from H&E images",
            dataset_type=_slug(str(config.card.get("tissue") or "sections")),
            dataset_name=f"held-out section {section}",
            metric_type=kind,
            metric_name=name,
            metric_value=value,
        )
        for section, kind, name, value in _metrics(config.card)
    ]
    tags = [
        *TAGS,
        *(_slug(word) for key in ("tissue", "species") if (word := config.card.get(key))),
    ]
    data = ModelCardData(
        library_name="napari-stem",
        tags=tags,
        model_name=config.name if results else None,
        eval_results=results or None,
        **licence_fields(config.card.get("licence")),
    )
    return f"---\n{data.to_yaml()}\n---"


def _metrics(card: Mapping[str, Any]) -> Iterator[tuple[str, str, str, float]]:
    for section, figures in card.get("metrics", {}).items():
        ours = figures.get(_OURS, {})
        for key, (kind, name) in _METRICS.items():
            if ours.get(key) is not None:
                yield section, kind, name, round(float(ours[key]), 4)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-") or UNKNOWN
