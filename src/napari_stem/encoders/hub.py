"""Where published weights lie on this machine, and how they get there.

Weights are looked for in a folder of the user's (``$NAPARI_STEM_ENCODERS``: FOLDER/NAME/..., for hospitals
without internet), then in Hugging Face's own cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stem.errors import EncoderError
from napari_stem.hub import FOLDER_VARIABLE, HubRequest, encoder_folder, in_clear_words, reporting
from napari_stem.io import free_bytes, sha256

if TYPE_CHECKING:
    from napari_stem.encoders.catalogue import EncoderFacts
    from napari_stem.hub import BytesProgress

_CODE_AND_CONFIG = (".json", ".py", ".txt")


def locate(facts: EncoderFacts) -> Path | None:
    """Find the folder with an encoder's weights; asks no network."""
    own = encoder_folder()
    if own is not None and _complete(facts, own / facts.name):
        return own / facts.name
    from huggingface_hub import try_to_load_from_cache

    for name in facts.weights:
        cached = try_to_load_from_cache(facts.hub_id, name)
        if isinstance(cached, str) and _complete(facts, Path(cached).parent):
            return Path(cached).parent
    return None


def encoders_in(folder: Path) -> tuple[str, ...]:
    """Names of the encoders that a user's folder holds whole, as FOLDER/NAME/..."""
    from napari_stem.encoders.catalogue import CATALOGUE

    return tuple(name for name, facts in CATALOGUE.items() if _complete(facts, folder / name))


def weights_file(facts: EncoderFacts, folder: Path) -> Path:
    """Return the file with the weights, the preferred one if there are several; EncoderError where none is."""
    for name in facts.weights:
        if (folder / name).is_file():
            return folder / name
    raise EncoderError(
        f"{folder} holds no weights of encoder '{facts.name}'; put {' or '.join(facts.weights)} there."
    )


def _complete(facts: EncoderFacts, folder: Path) -> bool:
    has_weights = any((folder / name).is_file() for name in facts.weights)
    return has_weights and (not facts.is_of_transformers or (folder / "config.json").is_file())


def download(
    facts: EncoderFacts, to: Path | None = None, progress: BytesProgress | None = None
) -> Path:
    """Download an encoder, and return its folder; what is there already is not fetched again.

    Files go to ``to``/NAME, or Hugging Face's cache. ``progress`` is told (bytes so far, of how many) of all
    files together, and may raise to cancel; None: bars on stderr. EncoderError: refused, no network, no
    space, a file that does not match its checksum.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.constants import HF_HUB_CACHE

    if to is not None and facts.architecture == "return_conch":
        raise EncoderError(
            f"The code of encoder '{facts.name}' reads Hugging Face's cache only; download it without --to."
        )
    place = to / facts.name if to is not None else None
    request = HubRequest(
        what=f"encoder '{facts.name}'",
        page=facts.page,
        otherwise=f"or copy the files of {facts.page} into a folder '{facts.name}' of ${FOLDER_VARIABLE}",
        elsewhere="choose another place with --to",
        error=EncoderError,
    )
    with in_clear_words(request):
        siblings = HfApi().model_info(facts.hub_id, files_metadata=True).siblings or []
        wanted = _wanted(facts, siblings)
        n_bytes, n_before = sum(s.size or 0 for s in wanted), 0
        free, ancestor = free_bytes(place or Path(HF_HUB_CACHE))
        if n_bytes > free:
            raise EncoderError(
                f"Encoder '{facts.name}' needs {n_bytes / 1e6:.0f} MB, and {ancestor} has {free / 1e6:.0f} MB "
                f"free; make room, or choose another place with --to."
            )
        for sibling in wanted:
            options = (
                {} if progress is None else {"tqdm_class": reporting(progress, n_before, n_bytes)}
            )
            path = Path(
                hf_hub_download(facts.hub_id, sibling.rfilename, local_dir=place, **options)
            )
            n_before += sibling.size or 0
            if sibling.lfs is not None:
                _check(facts, path, sibling.lfs.sha256)
    return place if place is not None else path.parent


def _wanted(facts: EncoderFacts, siblings: list[Any]) -> list[Any]:
    """Choose the files to fetch, the weights last: a folder with weights is a whole one."""
    by_name = {sibling.rfilename: sibling for sibling in siblings}
    weights = next((name for name in facts.weights if name in by_name), None)
    if weights is None:
        raise EncoderError(
            f"{facts.page} offers none of {', '.join(facts.weights)}; its files may have been renamed: "
            f"download it by hand into a folder NAME of ${FOLDER_VARIABLE}."
        )
    extra = [
        sibling
        for name, sibling in by_name.items()
        if facts.is_of_transformers and name.endswith(_CODE_AND_CONFIG) and "/" not in name
    ]
    if facts.library == "remote" and "model.safetensors" in by_name:
        extra.append(by_name["model.safetensors"])
    return [*(s for s in extra if s.rfilename != weights), by_name[weights]]


def _check(facts: EncoderFacts, path: Path, stated: str) -> None:
    """Compare a file with the checksum that the hub states; a wrong one is removed."""
    if sha256(path) != stated:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise EncoderError(
            f"{path.name} of encoder '{facts.name}' arrived damaged (its checksum is wrong) and was removed; "
            f"download it again."
        )
