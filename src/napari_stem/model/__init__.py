"""Models: find, load, save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_stem.errors import StemError
from napari_stem.model.sources import PACKAGED, find_model
from napari_stem.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.model.bundle import Model

__all__ = ["DEFAULT_MODEL", "PACKAGED", "find_model", "list_models", "load_model"]


def load_model(source: str | Path = DEFAULT_MODEL) -> Model:
    """Load a model: a packaged one by name, a folder, a ``.zip``, or ``org/name`` on Hugging Face.

    ModelError: there is none of that name, it cannot be had, or it is damaged.
    """
    from napari_stem.model.bundle import load_folder

    return load_folder(find_model(source))


def list_models() -> list[dict[str, Any]]:
    """List packaged models, JSON-ready; loads no torch.

    Each has name, ready, why_not and packaged, and where its ``config.json`` can be read tissue, species,
    n_genes, encoder, licence, normalisation, unit and calibrated.
    """
    return [_to_dict(folder) for folder in sorted(PACKAGED.iterdir()) if folder.is_dir()]


def _to_dict(folder: Path) -> dict[str, Any]:
    from napari_stem.model.config import WEIGHTS_FILE, read_config
    from napari_stem.spatial.normalise import normalisation

    try:
        config = read_config(folder)
        unit = normalisation(config.normalisation).label
    except StemError as error:
        return {"name": folder.name, "ready": False, "why_not": str(error), "packaged": True}
    ready = (folder / WEIGHTS_FILE).is_file()
    return {
        "name": config.name,
        "ready": ready,
        "why_not": None if ready else f"{WEIGHTS_FILE} is missing; install napari-stem again",
        "packaged": True,
        "tissue": config.card.get("tissue"),
        "species": config.card.get("species"),
        "n_genes": len(config.genes),
        "encoder": config.encoder,
        "licence": config.card.get("licence"),
        "normalisation": config.normalisation,
        "unit": unit,
        "calibrated": config.calibrated,
    }
