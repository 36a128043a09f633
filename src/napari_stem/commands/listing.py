"""``models`` and ``encoders``: what can be used, and why not."""

from __future__ import annotations

from typing import Any

from napari_stem.commands.tables import say_list


def model_rows() -> list[dict[str, Any]]:
    """List models as JSON holds them."""
    from napari_stem.model import list_models

    return list_models()


def say_models() -> None:
    """Print the models as a table."""
    columns = {
        "name": "model",
        "ready": "ready",
        "tissue": "tissue",
        "species": "species",
        "n_genes": "genes",
        "encoder": "encoder",
        "licence": "licence",
        "why_not": "why not",
    }
    say_list(model_rows(), columns, "Models (or give --model a model folder)")


def panel_of(name: str) -> list[str]:
    """Genes of a packaged model, or of a model folder.

    Raises
    ------
    ModelError
        There is none of that name, or its ``config.json`` is damaged.
    """
    from napari_stem.model import find_model
    from napari_stem.model.bundle import read_config

    return list(read_config(find_model(name)).genes)


def encoder_rows() -> list[dict[str, Any]]:
    """List encoders as JSON holds them."""
    from napari_stem.encoders.registry import list_encoders

    return list_encoders()


def say_encoders() -> None:
    """Print the encoders as a table."""
    columns = {
        "name": "encoder",
        "ready": "ready",
        "licence": "licence",
        "description": "what it is",
        "why_not": "why not",
    }
    say_list(encoder_rows(), columns, "Encoders")
