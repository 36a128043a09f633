"""The card that goes with every model: what it is, what it may be used for, how good it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from napari_stem.model.residual import DEPTH_PRIOR, PATIENT_PRIOR
from napari_stem.spatial.normalise import normalisation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_stem.model.config import ModelConfig

LIMITS = (
    "Predicted, not measured. For research use only; not for diagnosis or treatment.",
    "Values follow the protocol and sequencing depth of the training sections: compare places within a "
    "slide, not absolute values between slides or patients.",
    "Trained on the tissue, stain and scanner named here; on anything else the maps may be wrong in ways that "
    "the stated uncertainty does not cover.",
)


def genes_note(config: ModelConfig) -> str | None:
    """Say how many genes are told from chance; None where the card does not."""
    if (by_chance := config.card.get("genes_by_chance")) is None:
        return None
    n_genes, n_marked = len(config.genes), len(set(by_chance) & set(config.genes))
    return (
        f"Of {n_genes:,} genes {n_genes - n_marked:,} are told from chance in every left-out section without "
        f"the help of sequencing depth (in shares of counts, CP10k); {n_marked:,} are not, and are marked."
    )


# What intervals rest on, and whether spots unlike the training data can be told.
CALIBRATION = {
    True: "Intervals were calibrated on left-out spots of the training data: expect them too narrow on other "
    "patients.",
    False: "Intervals are NOT calibrated: they show how the model's samples differ, and may hold the truth far "
    "less often than they say.",
}
DOMAIN = {
    True: "Spots that look unlike the training data are marked.",
    False: "This model cannot tell whether spots look unlike its training data.",
}


def limits_of(config: ModelConfig, *, knows_domain: bool) -> tuple[str, ...]:
    """Say what to keep in mind when using a model, one or two sentences each."""
    limits = config.card.get("limits", LIMITS)
    return (*limits, DOMAIN[knows_domain], CALIBRATION[config.calibrated])


def warnings_of(*, calibrated: bool, knows_domain: bool) -> tuple[str, ...]:
    """Of the limits, those that must be in sight wherever figures are: none of a model as ours should be."""
    domain = () if knows_domain else (DOMAIN[False],)
    return domain if calibrated else (*domain, CALIBRATION[False])


def card_text(config: ModelConfig, *, knows_domain: bool) -> str:
    """Markdown with YAML front matter, as model hubs read it."""
    card = config.card
    tissue = " ".join(card[key] for key in ("species", "tissue") if card.get(key))
    lines = [
        *front_matter(config).splitlines(),
        "",
        f"# {config.name}",
        "",
        f"Predicts {len(config.genes)} genes, in {normalisation(config.normalisation).label}, from H&E images "
        f"of {tissue or 'tissue that is not recorded'}, by napari-stem.",
        "",
        *(f"- {fact}" for fact in _facts(config)),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in limits_of(config, knows_domain=knows_domain)),
    ]
    for section, figures in card.get("metrics", {}).items():
        unit = normalisation(config.normalisation).label
        title = f"## Held-out section {section}, errors in {unit}{_of_genes(config, figures)}"
        lines += ["", title, "", *_table(figures)]
    return "\n".join(lines) + "\n"


def _of_genes(config: ModelConfig, figures: dict[str, Any]) -> str:
    """Of which genes a section's figures are, where not of all that the model predicts."""
    n_genes = next(iter(figures.values())).get("n_genes")
    if n_genes == len(config.genes):
        return ""
    untested = config.card.get("genes_not_reported", ())
    which = [] if n_genes == len(config.genes) - len(untested) else ["the HMHVG panel"]
    which += ["as far as measured there"] if untested else []
    return f", {n_genes} genes ({', '.join(which)})"


def _facts(config: ModelConfig) -> Iterator[str]:
    card, sides_um = config.card, config.fields_of_view_um
    sections = ", ".join(card.get("sections", [])) or "sections that are not recorded"
    yield f"Trained on: {sections}" + (f" ({card['source']})" if card.get("source") else "")
    attribution = f" — {card['attribution']}" if card.get("attribution") else ""
    yield f"Licence: {card.get('licence') or 'unknown'}{attribution}"
    version = (
        f"version {config.encoder_version}" if config.encoder_version else "version not recorded"
    )
    patches = (
        "" if sides_um is None else f", patches of {' and '.join(f'{s:g}' for s in sides_um)} um"
    )
    yield f"Encoder: {config.encoder} ({version}){patches}, spots {config.pitch_um:g} um apart"
    steps = card.get("training_steps")
    chosen = " chosen on left-out sections" if card.get("crps_of_steps") else ""
    trained = f"; trained with seed {card.get('seed')}, {steps} steps{chosen}" if steps else ""
    yield f"Objective: {config.objective}{trained}"
    if card.get("energy_gained"):
        gained, low, high = card["energy_gained"]
        kept = f"kept after {steps} steps" if steps else "not kept"
        yield (
            f"Correction of the residual's Gaussian by diffusion: {kept}; on left-out sections it changed the "
            f"energy score by {gained:+.3f} (95% interval {low:+.3f} to {high:+.3f}; lower is better)"
        )
    if config.depth is not None:
        depth = f"{config.depth:,.0f} counts per spot (median)"
        yield f"Sequencing depth: {depth}, which values are of unless asked"
        yield f"Patients: {_patients(card.get('patients', ()))}"
    if note := genes_note(config):
        yield note
    if absent := card.get("genes_not_measured"):
        yield f"Not measured in the training data: {', '.join(absent)}"
    yield from card.get("notes", ())


def _patients(names: Sequence[str]) -> str:
    """Say what is known of how patients differ."""
    is_recorded = bool(names) and all(names)  # models once had "" for patients that nobody stated
    if is_recorded and len(names) > 1:
        return f"{len(names)}; how they differ widens the intervals of a new one"
    return (
        f"{'one' if is_recorded else 'not recorded'}; how others differ was not seen and is assumed for the "
        f"intervals of a new one (standard deviations: a factor of {2**PATIENT_PRIOR:.2g} for a gene, of "
        f"{2**DEPTH_PRIOR:.2g} for the depth)"
    )


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
            dataset_name=f"held-out section {section}{_of_genes(config, figures)}",
            metric_type=kind,
            metric_name=name,
            metric_value=round(float(figures[_OURS][key]), 4),
        )
        for section, figures in config.card.get("metrics", {}).items()
        for key, (kind, name) in _METRICS.items()
        if figures.get(_OURS, {}).get(key) is not None
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


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-") or UNKNOWN
