"""``import``: measured data into data set folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_stem.cli.app import FAILED, Group, importing
from napari_stem.cli.options import Json, listed
from napari_stem.commands.terminal import say, say_json

downloading = Group(no_args_is_help=True, help="Download public data.")
importing.add_typer(downloading, name="download")

Out = Annotated[Path, typer.Option(help="Data set folder to write.", show_default=False)]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Import sections again that are there already.")
]
Drop = Annotated[
    bool,
    typer.Option(
        "--drop-bad-spots", help="Leave out spots off the image, repeated or not numbers."
    ),
]
Image = Annotated[
    Path | None,
    typer.Option(help="The image Space Ranger was run on, if it does not lie beside its output."),
]
Name = Annotated[str | None, typer.Option(help="Name of the section; default: its folder's.")]
SpaceRanger = Annotated[
    list[Path],
    typer.Argument(help="Space Ranger's outs folder, or several.", show_default=False),
]
Sections = Annotated[str | None, typer.Option(help="These alone, such as INT1,INT2.")]


@importing.command()
def her2st(
    source: Annotated[
        Path,
        typer.Argument(
            help="Zenodo record 4751624, unpacked, or github.com/almaan/her2st.", show_default=False
        ),
    ],
    out: Out,
    overwrite: Overwrite = False,
    drop: Drop = False,
    as_json: Json = False,
) -> None:
    """Import HER2-positive breast cancer sections (Andersson 2021)."""
    _import("her2st", source, out, as_json=as_json, overwrite=overwrite, drop=drop)


@importing.command()
def visium(
    source: SpaceRanger,
    out: Out,
    image: Image = None,
    name: Name = None,
    overwrite: Overwrite = False,
    drop: Drop = False,
    as_json: Json = False,
) -> None:
    """Import 10x Visium sections from Space Ranger's output."""
    options = {"image": image, "name": name, "overwrite": overwrite, "drop": drop}
    _import("visium", source, out, as_json=as_json, **options)


@importing.command(name="visium-hd")
def visium_hd(
    source: SpaceRanger,
    out: Out,
    bin_um: Annotated[
        int, typer.Option("--bin", min=2, max=512, help="Side of the bins in um, as written.")
    ] = 16,
    image: Image = None,
    name: Name = None,
    overwrite: Overwrite = False,
    drop: Drop = False,
    as_json: Json = False,
) -> None:
    """Import 10x Visium HD sections from Space Ranger's output."""
    options = {"image": image, "name": name, "overwrite": overwrite, "drop": drop}
    _import("visium-hd", source, out, as_json=as_json, bin_um=bin_um, **options)


@importing.command()
def hest(
    source: Annotated[
        Path, typer.Argument(help="Folder with wsis, st and metadata.", show_default=False)
    ],
    out: Out,
    sections: Sections = None,
    organ: Annotated[
        str | None, typer.Option(help="This organ alone, as in the metadata: Breast,Kidney.")
    ] = None,
    technology: Annotated[
        str | None, typer.Option(help="This technology alone, as in the metadata: Visium.")
    ] = None,
    species: Annotated[
        str | None, typer.Option(help="This species alone, as in the metadata: Homo sapiens.")
    ] = None,
    overwrite: Overwrite = False,
    drop: Drop = False,
    as_json: Json = False,
) -> None:
    """Choose, check and mend sections of HEST-1k.

    Images and sound tables are linked, not copied.
    """
    options = {
        "sections": listed(sections),
        "organ": listed(organ),
        "technology": listed(technology),
        "species": listed(species),
    }
    _import("hest", source, out, as_json=as_json, overwrite=overwrite, drop=drop, **options)


@importing.command()
def check(
    dataset: Annotated[Path, typer.Argument(help="Data set folder.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Look for what is wrong with a data set.

    Spots, counts, genes and pixel sizes are looked at.
    """
    from napari_stem.commands.importing import run_check, say_findings

    result = run_check(dataset)
    if as_json:
        say_json(result)
    elif result["stops"] + result["warns"]:
        say_findings(result["findings"])
    else:
        say(f"Nothing is wrong with {dataset} (sections: {', '.join(result['sections'])}).")
    if result["stops"]:
        raise typer.Exit(FAILED)


@downloading.callback()
def _downloading() -> None:
    """Download public data."""


@downloading.command(name="hest")
def download_hest(
    out: Annotated[Path, typer.Option(help="Folder to fill.", show_default=False)],
    sections: Sections = None,
    pattern: Annotated[
        list[str] | None,
        typer.Option(help="Also these files, such as 'patches/INT1.*'; may be repeated."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Download even more than 20 GB.")] = False,
    as_json: Json = False,
) -> None:
    """Download HEST-1k, or a part of it, from Hugging Face.

    Accept its terms there first, and log in with 'hf auth login'.
    """
    from napari_stem.commands.importing import run_download

    result = run_download(out, sections=listed(sections), patterns=tuple(pattern or ()), agreed=yes)
    if as_json:
        say_json(result)
    else:
        say(f"{result['n_files']} files are in {out}.")


def _import(
    kind: str, source: Path | list[Path], out: Path, *, as_json: bool, **options: Any
) -> None:
    from napari_stem.commands.importing import run_import

    result = run_import(kind, source, out, **options)
    if as_json:
        say_json(result)
    elif result["sections"]:
        n_kept = len(result["kept"])
        kept = f" (there before: {n_kept}; --overwrite imports again)" if n_kept else ""
        n, names = len(result["sections"]), ", ".join(result["sections"])
        say(f"{n} section{'s are' if n > 1 else ' is'} in {out}: {names}{kept}.")
    if result["failed"]:
        raise typer.Exit(FAILED)
