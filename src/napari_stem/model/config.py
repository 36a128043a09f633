"""``config.json``: everything about a model that is not an array."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari_stem.errors import ModelError
from napari_stem.foreign import are_texts, is_size, read_json
from napari_stem.texts import quoted, reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.settings import Objective

FORMAT_VERSION = 5
MAX_CONFIG_BYTES = 50_000_000  # 20,000 genes with what is known of each take 3 MB
CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "model.safetensors", "README.md"
_NUMBERS = re.compile(r"\[\n\s+(-?\d[^\]\"]*?)\n\s+\]")  # a list of them
Precision = Literal["float16", "float32"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything about a model that is not an array; ``config.json`` as it stands."""

    format_version: int = FORMAT_VERSION
    name: str  # what users read
    genes: tuple[str, ...]  # panel, in the order of the outputs
    # unit of the values, a key of `napari_stem.spatial.normalise.NORMALISATIONS`
    normalisation: str
    encoder: str  # what makes the embeddings
    encoder_version: str | None  # None where it was not recorded
    # sides of the patches it looks at; None for the encoder's own
    fields_of_view_um: tuple[float, ...] | None = None
    pitch_um: float  # distance between the spots it was trained on
    # median library size (counts of all genes) of the training spots; the library size is then one more gene,
    # after the panel's. None where it is not known
    depth: float | None = None
    # ``edm``: a mean, and a Gaussian copula of the residual, which a network trained as in EDM may correct (the
    # packaged model has none). ``published``: Stem's own chain on the values
    objective: Objective
    # `DenoiserConfig.to_dict`; empty where the residual's Gaussian is not corrected
    denoiser: dict[str, Any]
    # whether the draws' spread was calibrated on spots that the model had not seen
    calibrated: bool = False
    # of the denoiser's stored weights: half is enough, but does not repeat a published figure
    precision: Precision = "float16"
    # range of noise levels when sampling, in standard deviations of what is generated
    sigma_min: float = 0.02
    sigma_max: float = 20.0
    # of ``model.safetensors``, written when the model is saved; empty before
    weights_sha256: str = ""
    # facts for people: tissue, species, licence, sections, metrics, limits, and how well each gene is predicted
    # (`napari_stem.model.genes.gene_accuracy`). The model card of the hub, ``README.md``, is written of them
    # (`napari_stem.model.card`)
    card: dict[str, Any]

    def to_json(self) -> str:
        """Return the text of ``config.json``: an entry a line, and lists of numbers in one."""
        text = json.dumps(asdict(self), indent=1)
        return _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def read_config(folder: Path) -> ModelConfig:
    """Read ``config.json`` alone; loads no torch.

    ModelError: it is missing, is no JSON, lacks a field or is of another format version.
    """
    path = folder / CONFIG_FILE
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ModelError(
                f"{path} has {path.stat().st_size / 1e6:.0f} MB, and {MAX_CONFIG_BYTES / 1e6:.0f} MB are "
                f"allowed; copy the model folder again."
            )
        values = read_json(path.read_text(encoding="utf-8"))
        _require_format(values.get("format_version"), path)
        unknown = set(values) - {f.name for f in fields(ModelConfig)}
        if unknown:
            raise ModelError(f"{path} has unknown entries: {quoted(', '.join(sorted(unknown)))}.")
        sides_um = values.get("fields_of_view_um")
        tuples = {
            "genes": tuple(values["genes"]),
            "fields_of_view_um": None if sides_um is None else tuple(sides_um),
        }
        return _sound(ModelConfig(**{**values, **tuples}))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{path} cannot be read ({reason_of(error)}); copy the model folder again."
        ) from error


def _sound(config: ModelConfig) -> ModelConfig:
    """Return a config that something can be predicted from; ValueError names the entries that are wrong."""
    genes, sides_um = config.genes, config.fields_of_view_um
    is_sound = {
        "genes": bool(genes)
        and all(isinstance(gene, str) and gene.strip() == gene != "" for gene in genes)
        and len(set(genes)) == len(genes),
        "pitch_um": is_size(config.pitch_um),
        "depth": config.depth is None or is_size(config.depth),
        "fields_of_view_um": sides_um is None or (bool(sides_um) and all(map(is_size, sides_um))),
        "sigma_min, sigma_max": is_size(config.sigma_min)
        and is_size(config.sigma_max)
        and config.sigma_min < config.sigma_max,
        "calibrated": isinstance(config.calibrated, bool),
        "precision": config.precision in get_args(Precision),
        "denoiser": isinstance(config.denoiser, dict),
        "encoder_version": isinstance(config.encoder_version, str | None),
        **{
            key: isinstance(getattr(config, key), str)
            for key in ("name", "normalisation", "encoder", "objective", "weights_sha256")
        },
        **_sound_card(config.card),
    }
    wrong = [key for key, is_so in is_sound.items() if not is_so]
    if wrong:
        repeated = next((gene for gene, n in Counter(map(str, genes)).items() if n > 1), None)
        more = "" if repeated is None else f": gene '{quoted(repeated, 50)}' comes more than once"
        raise ValueError(f"it says wrongly: {'; '.join(wrong)}{more}")
    return config


def _sound_card(card: object) -> dict[str, bool]:
    """Say which entries of a card are of the kind that they must be."""
    if not isinstance(card, dict):
        return {"card": False}
    texts = ("tissue", "species", "licence", "source", "attribution")
    genes = ("genes_not_measured", "genes_not_reported")
    lists = ("limits", "notes", "sections", "patients", *genes)
    rows = {"gene_pcc": 3, "gene_share_pcc": 3, "gene_ceiling": 1}
    return {
        **{f"card {key}": isinstance(card.get(key), str | None) for key in texts},
        **{f"card {key}": are_texts(card.get(key, [])) for key in lists},
        "card metrics": isinstance(card.get("metrics"), dict | None),
        **{f"card {key}": _are_known(card.get(key), n) for key, n in rows.items()},
        "card genes_by_chance": card.get("genes_by_chance") is None
        or are_texts(card["genes_by_chance"]),
        "card mpp_um": card.get("mpp_um") is None or is_size(card["mpp_um"]),
    }


def _are_known(stored: object, n: int) -> bool:
    """Whether it is nothing, or says of genes nothing or n numbers each: one bare, or a mean and its ends."""
    if not isinstance(stored, dict | None):
        return False
    rows = [row if n > 1 else [row] for row in (stored or {}).values() if row is not None]
    return all(
        isinstance(row, list | tuple)
        and len(row) == n
        and all(type(value) in (int, float) and isfinite(value) for value in row)
        and row[n // 2] <= row[-1]  # low and high, where there are any
        for row in rows
    )


def _require_format(version: object, path: Path) -> None:
    if version == FORMAT_VERSION:
        return
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ModelError(
            f"{path} is of format version {version}, this program reads {FORMAT_VERSION}; update napari-stem."
        )
    raise ModelError(
        f"{path} is of format version {version}, which this program cannot read (it reads "
        f"{FORMAT_VERSION}); train or convert the model again."
    )
