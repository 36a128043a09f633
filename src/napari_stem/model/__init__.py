"""Models: find, load, save."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stem.errors import ModelError

if TYPE_CHECKING:
    from napari_stem.model.bundle import Model

PACKAGED = Path(__file__).parents[1] / "data" / "models"
DEFAULT_MODEL = "her2st-breast"


def load_model(name_or_path: str | Path = DEFAULT_MODEL) -> Model:
    """Load a packaged model by name, or a model folder.

    Raises
    ------
    ModelError
        There is none of that name, or its folder is damaged.
    """
    from napari_stem.model.bundle import load_folder

    return load_folder(find_model(name_or_path))


def find_model(name_or_path: str | Path) -> Path:
    """Folder of a packaged model by name, or the model folder itself. Loads no torch.

    Raises
    ------
    ModelError
        There is none of that name.
    """
    folder = Path(name_or_path)
    packaged = PACKAGED / str(name_or_path)
    if folder.is_dir():
        return folder
    if packaged.is_dir():
        return packaged
    known = ", ".join(sorted(path.name for path in PACKAGED.iterdir() if path.is_dir()))
    raise ModelError(f"There is no model '{name_or_path}'; name a model folder or one of: {known}.")


def list_models() -> list[dict[str, Any]]:
    """List packaged models: name, ready, why_not, packaged, tissue, species, n_genes, encoder, licence, unit.

    Loads no torch.
    """
    return [_told(folder) for folder in sorted(PACKAGED.iterdir()) if folder.is_dir()]


def _told(folder: Path) -> dict[str, Any]:
    from napari_stem.model.bundle import WEIGHTS_FILE, read_config

    try:
        config = read_config(folder)
    except ModelError as error:
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
    }
