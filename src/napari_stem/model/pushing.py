"""A model as a repository on Hugging Face: what would be sent, and sending it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_stem.errors import ModelError
from napari_stem.hub import HUB_PAGE, HubRequest, in_clear_words
from napari_stem.model.card import UNKNOWN, licence_fields, licence_id
from napari_stem.model.config import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from napari_stem.model.sources import others, require_files
from napari_stem.texts import quoted

if TYPE_CHECKING:
    from pathlib import Path

    from huggingface_hub import ModelCard

_ADDRESS = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


@dataclass(frozen=True)
class Upload:
    """What would be sent to a repository."""

    repository: str  # ``org/name``
    folder: Path  # where the model lies
    # config, card: text of ``config.json`` and ``README.md`` as they would be sent
    config: str
    card: str
    licence: str  # as the model states it
    n_metrics: int  # figures in the card's front matter
    left_out: tuple[str, ...]  # files of the folder that stay here

    @property
    def page(self) -> str:
        """Address of the repository."""
        return HUB_PAGE + self.repository

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file that would be sent."""
        return {
            CONFIG_FILE: len(self.config.encode()),
            WEIGHTS_FILE: (self.folder / WEIGHTS_FILE).stat().st_size,
            CARD_FILE: len(self.card.encode()),
        }


def prepared(folder: Path, repository: str, licence: str | None = None) -> Upload:
    """Prepare a model folder for the hub; sends nothing, changes nothing on disk.

    Parameters
    ----------
    folder, repository
        Of the model, and ``org/name``.
    licence
        Under which it is published, where the model does not say or says so wrongly.

    Raises
    ------
    ModelError
        The folder is damaged or lacks a file, the card is no valid one, or there is no licence.
    """
    from napari_stem.model.bundle import load_folder

    if _ADDRESS.fullmatch(repository) is None:
        raise ModelError(f"'{repository}' is no address of a repository; write org/name.")
    require_files(folder)
    config = load_folder(folder).config  # what cannot be loaded here cannot be loaded by others
    stated = config.card.get("licence")
    text = (folder / CARD_FILE).read_text(encoding="utf-8")
    card = read_card(folder / CARD_FILE, text)
    if licence is not None and licence != stated:
        config = replace(config, card={**config.card, "licence": licence})
        for key in ("license", "license_name"):
            card.data.__dict__.pop(key, None)
        for key, value in licence_fields(licence).items():
            card.data[key] = value
        card.text = card.text.replace(f"- Licence: {stated or UNKNOWN}", f"- Licence: {licence}")
        text = f"---\n{card.data.to_yaml()}\n---\n{card.text}"
    _require_licence(folder, config.card.get("licence"), card)
    return Upload(
        repository=repository,
        folder=folder,
        config=config.to_json(),
        card=text,
        licence=config.card["licence"],
        n_metrics=len(card.data.eval_results or ()),
        left_out=tuple(others(folder)),
    )


def read_card(path: Path, text: str | None = None) -> ModelCard:
    """Read a card as the hub does.

    ModelError: its front matter is no YAML, or there is none.
    """
    from huggingface_hub import ModelCard
    from yaml import YAMLError  # type: ignore[import-untyped, unused-ignore]

    text = path.read_text(encoding="utf-8") if text is None else text
    if not text.startswith("---"):
        raise ModelError(f"{path} has no front matter; begin it with --- and a licence.")
    try:
        return ModelCard(text)
    except (ValueError, TypeError, YAMLError) as error:
        raise ModelError(
            f"The front matter of {path} cannot be read ({quoted(error, 150)}); mend it."
        ) from error


def _require_licence(folder: Path, licence: str | None, card: ModelCard) -> None:
    if licence_id(licence) == UNKNOWN:
        raise ModelError(
            f"The model in {folder} states no licence, so nobody could use it; state the one that its training "
            f"data allow with --licence, such as --licence cc-by-4.0."
        )
    if card.data.get("license") != licence_id(licence):
        raise ModelError(
            f"{folder / CARD_FILE} names licence '{card.data.get('license')}' and {CONFIG_FILE} '{licence}'; "
            f"say which holds with --licence."
        )


def push(upload: Upload, *, private: bool = False) -> str:
    """Send a model; the repository is made where there is none, other files in it are left alone.

    Returns
    -------
    Address of the commit.

    Raises
    ------
    ModelError
        Refused, or no network: the text says what to do.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    contents: dict[str, bytes | Path] = {
        WEIGHTS_FILE: upload.folder / WEIGHTS_FILE,
        CONFIG_FILE: upload.config.encode(),
        CARD_FILE: upload.card.encode(),
    }
    request = HubRequest(
        what=f"model '{upload.repository}'",
        page=upload.page,
        otherwise="or give the .zip of 'napari-stem models pack' to whom it is for",
        elsewhere="choose another repository with --repo",
        error=ModelError,
        uploading=True,
    )
    with in_clear_words(request):
        api = HfApi()
        api.create_repo(upload.repository, private=private, exist_ok=True)
        commit = api.create_commit(
            upload.repository,
            [CommitOperationAdd(name, content) for name, content in contents.items()],
            commit_message=f"Model of napari-stem, licence {upload.licence}",
        )
    return str(commit.commit_url)
