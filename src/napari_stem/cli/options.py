"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_stem.settings import MAX_SEED, SamplingSettings
from napari_stem.texts import clean_name

DEFAULTS = SamplingSettings()

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
MppOption = Annotated[
    float | None,
    typer.Option(
        "--mpp", min=0.01, max=100, help="Micrometres per pixel, if the file does not say."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ModelName = Annotated[str | None, typer.Option(help="Name of the model; default: the folder's.")]
OverwriteModel = Annotated[bool, typer.Option("--overwrite", help="Replace a model.")]
Device = Annotated[
    str,
    typer.Option(
        help="Where to compute: auto, cpu, cuda, cuda:1, mps ...",
        autocompletion=lambda: ["auto", "cpu", "cuda", "mps"],
    ),
]
Embeddings = Annotated[
    Path | None,
    typer.Option(
        help="Embeddings made elsewhere: .h5 (CLAM, TRIDENT), .zarr store or .h5ad (LazySlide), .pt or .npz "
        "(slide2vec). The encoder need not be installed."
    ),
]
PatchPx = Annotated[
    float | None,
    typer.Option(
        "--patch-px",
        min=1,
        help="Side of the embeddings' patches in level-0 px, if the file does not say.",
    ),
]
ToleranceUm = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        min=0.01,
        help="Most um from a spot to the centre of its patch; default: a tenth of the patch.",
    ),
]
SlidesArgument = Annotated[
    list[Path],
    typer.Argument(
        help="Slides as 'info' reads them; several, 'slides/*.svs', a folder, or a manifest (.csv).",
        show_default=False,
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same numbers.")
]


def model_names() -> list[str]:
    """Name the packaged models, for completion; a shell completes folders by itself."""
    from napari_stem.model import PACKAGED

    return sorted(folder.name for folder in PACKAGED.iterdir() if folder.is_dir())


def encoder_names(incomplete: str) -> list[str]:
    """Name encoders, for completion; also the next part of a combined one."""
    from napari_stem.encoders.catalogue import CATALOGUE
    from napari_stem.encoders.registry import BUNDLED

    before, plus, _ = incomplete.rpartition("+")
    return [before + plus + name for name in (BUNDLED, *CATALOGUE)]


def gene_set_names() -> list[str]:
    """Name the gene sets, for completion."""
    from napari_stem.spatial.gene_sets import gene_sets

    return list(gene_sets())


def listed(words: str | None) -> tuple[str, ...]:
    """Split at commas; each once, in the order given."""
    names = (clean_name(word) for word in (words or "").split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def refuse_if(is_wrong: bool, msg: str) -> None:
    """Refuse the command line."""
    if is_wrong:
        raise typer.BadParameter(msg)
