"""``cache``: what the program keeps on disk by itself, and bounding and clearing it."""

from __future__ import annotations

import logging
import re
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from napari_stem.caches import (
    ALL_VARIABLE,
    CACHES,
    Entry,
    entries,
    remove,
    size_on_disk,
    stated_bytes,
    surplus,
)
from napari_stem.cli.app import FAILED, Group, Yes, app, is_alone
from napari_stem.cli.terminal import agreed, answer, say, tell
from napari_stem.hub import cached_repository
from napari_stem.io import DAMAGE
from napari_stem.settings import CACHE_VARIABLE, cache_dir
from napari_stem.texts import count

if TYPE_CHECKING:
    CacheName = str
else:
    CacheName = Literal[tuple(CACHES)]  # as typer offers them
_UNITS = {"": 1e9, "B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_VARIABLES = [
    (CACHE_VARIABLE, "folder of all caches"),
    (ALL_VARIABLE, "most GB of all together (usual: no such limit)"),
    *((c.variable, f"of {c.holds} ({c.limit_gb:g})") for c in CACHES.values()),
]

caching = Group(
    epilog="\b\nVariables of the environment:\n"
    + "\n".join(f"{name:<26} {meaning}" for name, meaning in _VARIABLES)
    + "\n\nThe least recently used goes first where there is too much. What was used within the last hour may "
    "be open in a window, and stays. The window's choices (not a cache) are in napari-stem.ini in the folder "
    "of settings of your system.",
)
app.add_typer(caching, name="cache")

Kind = Annotated[
    CacheName | None, Argument(help="One of the caches; default: all.", show_default=False)
]


@caching.callback(invoke_without_command=True)
def cache(context: typer.Context) -> None:
    """Show what is kept on disk to be quick; bound or clear it."""
    if is_alone(context):
        found = entries()
        answer(_facts(found), partial(_say, found))


def _say(found: list[Entry], facts: dict[str, Any]) -> None:
    hub = facts["hugging_face"]
    say(f"{cache_dir()} (variable {CACHE_VARIABLE})\n")
    say(f"{'':<12} {'number':>6} {'size':>9} {'at most':>9}  last used")
    for each in (*facts["caches"], {"name": "all", **_sums(found, stated_bytes(ALL_VARIABLE))}):
        limit = "" if each["limit_bytes"] is None else _size(each["limit_bytes"])
        days = dict.fromkeys(each[use][:10] for use in ("oldest_use", "newest_use") if each[use])
        used, size = " to ".join(days), _size(each["n_bytes"])
        say(f"{each['name']:<12} {each['n']:>6} {size:>9} {limit:>9}  {used}".rstrip())
    for line in _unfinished(found):
        say(f"\n{line}")
    if half := [entry for entry in found if not entry.is_whole]:
        say(f"\n{len(half)} are half-made, {_size_of(half)}: being written, or left by a kill.")
    say(
        f"\nEncoders from Hugging Face ({hub['n_encoders']}, {_size(hub['n_bytes'])}) lie in {hub['path']}, "
        f"which other programs share: 'hf cache ls' and 'hf cache rm' look after it."
    )


@caching.command()
def limit(
    size: Annotated[
        str, Argument(help="Such as 5GB or 500MB; a bare number is GB.", show_default=False)
    ],
    kind: Kind = None,
    yes: Yes = False,
) -> None:
    """Remove the least recently used until the rest fits a size."""
    n_bytes = _bytes_of(size)
    found = entries() if kind is None else entries([kind])
    doomed = surplus(found, n_bytes)
    total = sum(entry.n_bytes for entry in found)
    kept = [entry for entry in found if entry.may_be_open]
    is_tight = total - sum(entry.n_bytes for entry in doomed) > n_bytes
    _remove(doomed, kept if is_tight else [], yes=yes)
    variable = ALL_VARIABLE if kind is None else CACHES[kind].variable
    tell(f"To hold it there, set {variable}={n_bytes / 1e9:g}.")


@caching.command()
def clear(
    kind: Kind = None,
    force: Annotated[
        bool,
        Option(help="Also what was used within the last hour, perhaps elsewhere."),
    ] = False,
    yes: Yes = False,
) -> None:
    """Remove all, or all of one kind."""
    found = entries() if kind is None else entries([kind])
    kept = [] if force else [entry for entry in found if entry.may_be_open]
    doomed = [entry for entry in found if entry not in kept]
    _remove(doomed, kept, yes=yes)


def _remove(doomed: list[Entry], kept: list[Entry], *, yes: bool) -> None:
    """Say what goes and what stays, ask, and remove it; OutputError where nobody can be asked."""
    for name, each in CACHES.items():
        if own := [entry for entry in doomed if entry.cache == name]:
            tell(f"{name}: {len(own)}, {_size_of(own)} ({each.holds}; {each.without}).")
    for line in _unfinished(doomed):
        tell(line)
    if kept:
        tell(
            f"{len(kept)} stay, {_size_of(kept)}, as they were used within the last hour or are being written, "
            f"perhaps by a window that is open: {', '.join(str(entry.path) for entry in kept[:5])}"
            f"{' …' if len(kept) > 5 else ''}. 'cache clear --force' removes them too."
        )
    if doomed and not yes and not agreed("Remove this?", "removed", "remove it"):
        doomed = []
    removed = [entry for entry in doomed if remove(entry, logging.ERROR)]
    answer(
        {
            "removed": [str(entry.path) for entry in removed],
            "n_bytes": sum(entry.n_bytes for entry in removed),
            "kept": [str(entry.path) for entry in kept],
        },
        f"Removed {len(removed)}, {_size_of(removed)}." if removed else "Nothing was removed.",
    )
    if len(removed) < len(doomed):  # why has been said
        raise typer.Exit(FAILED)


def _facts(found: list[Entry]) -> dict[str, Any]:
    caches = [
        {
            "name": name,
            "holds": each.holds,
            "path": str(each.folder),
            "variable": each.variable,
            **_sums([entry for entry in found if entry.cache == name], each.limit_bytes),
        }
        for name, each in CACHES.items()
    ]
    of_all = _sums(found, stated_bytes(ALL_VARIABLE))
    return {
        "path": str(cache_dir()),
        "n_bytes": of_all["n_bytes"],
        "limit_bytes": of_all["limit_bytes"],
        "caches": caches,
        "unfinished_predictions": [str(path) for path in _progress_of(found)],
        "hugging_face": _of_hugging_face(),
    }


def _sums(own: list[Entry], limit_bytes: float | None) -> dict[str, Any]:
    used = [datetime.fromtimestamp(entry.used).astimezone() for entry in own]
    dates = [moment.strftime("%Y-%m-%dT%H:%M:%S%z") for moment in used]
    return {
        "n": len(own),
        "n_bytes": sum(entry.n_bytes for entry in own),
        "limit_bytes": None if limit_bytes is None else int(limit_bytes),
        "n_may_be_open": sum(entry.may_be_open for entry in own),
        "oldest_use": dates[0] if dates else None,
        "newest_use": dates[-1] if dates else None,
    }


def _unfinished(found: list[Entry]) -> list[str]:
    return [
        f"{path.name} is unfinished, {n_done:,} of {count(n_spots, 'spot')}: the same run goes on with it."
        for path, (n_done, n_spots) in _progress_of(found).items()
    ]


def _progress_of(found: list[Entry]) -> dict[Path, tuple[int, int]]:
    """Spots that are done, and all, of predictions that are not finished."""
    predictions = [entry.path for entry in found if entry.cache == "predictions" and entry.is_whole]
    unfinished = {}
    if predictions:
        import zarr
    for path in predictions:
        try:
            done = zarr.open_array(path / "obs" / "done", mode="r")[:]
        except DAMAGE:
            continue  # damaged, or just removed
        if not done.all():
            unfinished[path] = int(done.sum()), len(done)
    return unfinished


def _of_hugging_face() -> dict[str, Any]:
    """Say what was downloaded of encoders; it is not ours alone and never touched."""
    from huggingface_hub.constants import HF_HUB_CACHE

    from napari_stem.encoders.catalogue import CATALOGUE

    folders = dict.fromkeys(cached_repository(facts.hub_id) for facts in CATALOGUE.values())
    there = [folder for folder in folders if folder.is_dir()]
    n_bytes = sum(size_on_disk(folder) for folder in there)
    return {"path": HF_HUB_CACHE, "n_encoders": len(there), "n_bytes": n_bytes}


def _size_of(own: list[Entry]) -> str:
    return _size(sum(entry.n_bytes for entry in own))


def _size(n_bytes: float) -> str:
    for unit in ("GB", "MB", "kB"):
        if n_bytes >= _UNITS[unit.upper()]:
            return f"{n_bytes / _UNITS[unit.upper()]:.3g} {unit}"
    return f"{n_bytes:.0f} B"


def _bytes_of(text: str) -> float:
    found = re.fullmatch(r"([0-9.]+)\s*([A-Za-z]*)", text.strip())
    try:
        return float(found[1]) * _UNITS[found[2].upper()]  # type: ignore[index]
    except (TypeError, KeyError, ValueError):
        raise typer.BadParameter(f"'{text}' is no size; write it as 5GB or 500MB.") from None
