"""``models push``, ``models pack`` and ``models check``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from napari_stem.commands.terminal import tell
from napari_stem.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.model.pushing import Upload


def run_push(
    folder: Path, repository: str, *, licence: str | None, private: bool, yes: bool
) -> dict[str, Any] | None:
    """Send a model to Hugging Face, after showing what goes.

    Returns
    -------
    JSON-ready: ``repository, page, commit, private, licence, files (name: bytes), left_out``. None where the
    user, asked, did not agree.

    Raises
    ------
    ModelError
        The model is damaged or has no licence, or the hub refuses.
    OutputError
        Nobody can be asked, and ``yes`` was not given.
    """
    from napari_stem.model.pushing import prepared, push

    upload = prepared(folder, repository, licence)
    _show(upload, private=private)
    if not yes:
        if not sys.stdin.isatty():
            msg = "Nothing was sent: nobody is there to be asked; add --yes to send it."
            raise OutputError(msg)
        import typer

        if not typer.confirm("Send it?", err=True):
            tell("Nothing was sent.")
            return None
    commit = push(upload, private=private)
    return {
        "repository": upload.repository,
        "page": upload.page,
        "commit": commit,
        "private": private,
        "licence": upload.licence,
        "files": upload.sizes,
        "left_out": list(upload.left_out),
    }


def _show(upload: Upload, *, private: bool) -> None:
    """Say what would be sent, and to whom."""
    seen_by = "seen by you and its members alone, if it is new" if private else "seen by everybody"
    tell(f"To {upload.page} ({seen_by}), under licence {upload.licence}:")
    for name, size in upload.sizes.items():
        tell(f"  {name}  {size / 1e6:.2f} MB")
    if not upload.n_metrics:
        tell(
            "The card holds no figures of held-out sections: nobody can tell how good the model is."
        )
    if upload.left_out:
        tell(f"Not sent: {', '.join(upload.left_out)}.")


def run_pack(folder: Path, out: Path) -> dict[str, Any]:
    """Write a model as one ``.zip``. Returns JSON-ready ``out, bytes, left_out``."""
    from napari_stem.model.bundle import load_folder
    from napari_stem.model.packing import others, pack

    load_folder(folder)  # what cannot be loaded here cannot be loaded by others
    pack(folder, out)
    return {"out": str(out), "bytes": out.stat().st_size, "left_out": others(folder)}


def run_check(source: str) -> dict[str, Any]:
    """Load a model as predicting would, verify its weights, and look at its card and encoder.

    Returns
    -------
    JSON-ready: ``name, folder, format_version, weights_sha256, n_genes, unit, licence, tissue, species,
    encoder, encoder_ready, encoder_why_not, card_why_not, not_read``.

    Raises
    ------
    ModelError
        It cannot be used: the text says why.
    """
    from napari_stem.model import find_model
    from napari_stem.model.bundle import load_folder
    from napari_stem.model.config import CARD_FILE
    from napari_stem.model.packing import others

    folder = find_model(source)
    model = load_folder(folder)
    why_not = _encoder_why_not(model.encoder_name)
    return {
        "name": model.name,
        "folder": str(folder),
        "format_version": model.config.format_version,
        "weights_sha256": model.weights_hash,
        "n_genes": len(model.genes),
        "unit": model.unit,
        "licence": model.card.get("licence"),
        "tissue": model.card.get("tissue"),
        "species": model.card.get("species"),
        "encoder": model.encoder_name,
        "encoder_ready": why_not is None,
        "encoder_why_not": why_not,
        "card_why_not": _card_why_not(folder / CARD_FILE),
        "not_read": others(folder),
    }


def _encoder_why_not(name: str) -> str | None:
    from napari_stem.encoders.names import parse_name
    from napari_stem.encoders.registry import list_encoders
    from napari_stem.errors import EncoderError

    rows = {row["name"]: row for row in list_encoders()}
    try:
        reasons = [rows[part.name]["why_not"] for part in parse_name(name)]
    except EncoderError as error:
        return f"{error} Give embeddings with --embeddings."
    return next((reason for reason in reasons if reason), None)


def _card_why_not(path: Path) -> str | None:
    from napari_stem.errors import ModelError
    from napari_stem.model.pushing import read_card

    if not path.is_file():
        return f"{path.name} is missing"
    try:
        read_card(path)
    except ModelError as error:
        return str(error)
    return None
