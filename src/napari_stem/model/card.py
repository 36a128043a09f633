"""The card that goes with every model: what it is, what it may be used for, how good it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_stem.model.bundle import ModelConfig

LIMITS = (
    "Predicted, not measured. For research use only; not for diagnosis or treatment.",
    "Values are log2(count + 1) at the sequencing depth of the training sections: compare places within a "
    "slide, not absolute values between slides or patients.",
    "Trained on the tissue, stain and scanner named here; on anything else the maps may be wrong in ways that "
    "the stated uncertainty does not cover. Spots unlike the training data are marked.",
    "Intervals were calibrated on left-out sections of the same patients: expect them too narrow on others.",
)


def most_reliable(gene_pcc: Mapping[str, float | None]) -> str | None:
    """Gene that was predicted best on left-out training sections; None where none is known."""
    known = {gene: value for gene, value in gene_pcc.items() if value is not None}
    return max(known, key=lambda gene: known[gene], default=None)


def card_text(config: ModelConfig) -> str:
    """Markdown with YAML front matter, as model hubs read it."""
    card = config.card
    lines = [
        "---",
        f"license: {card.get('licence', 'unknown').lower().replace(' ', '-')}",
        "library_name: napari-stem",
        "tags: [spatial-transcriptomics, pathology, gene-expression, diffusion]",
        "---",
        "",
        f"# {config.name}",
        "",
        f"Predicts {len(config.genes)} genes ({config.normalisation}) from H&E images of "
        f"{card.get('species')} {card.get('tissue')}, by napari-stem.",
        "",
        f"- Trained on: {', '.join(card.get('sections', []))} ({card.get('source')})",
        f"- Licence: {card.get('licence')} — {card.get('attribution')}",
        f"- Encoder: {config.encoder} (version {config.encoder_version}), spots {config.pitch_um:g} um apart",
        f"- Objective: {config.objective}; trained with seed {card.get('seed')}, "
        f"{card.get('training_steps')} steps chosen on left-out sections",
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in card.get("limits", LIMITS)),
    ]
    for section, figures in card.get("metrics", {}).items():
        lines += ["", f"## Held-out section {section}", "", *_table(figures)]
    return "\n".join(lines) + "\n"


def _table(figures: dict[str, Any]) -> list[str]:
    columns = list(figures)
    keys = list(figures[columns[0]])
    rows = [
        f"| {key} | " + " | ".join(_shown(figures[c].get(key)) for c in columns) + " |"
        for key in keys
    ]
    return ["| metric | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns), *rows]


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(
            f"{k}%: {v:.2f}" if v is not None else f"{k}%: -" for k, v in value.items()
        )
    return f"{value:.3f}" if isinstance(value, float) else str(value)
