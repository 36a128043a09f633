"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_stem.settings import SamplingSettings

DEFAULT_MODEL = "her2st-breast"
DEFAULTS = SamplingSettings()

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
MppOption = Annotated[
    float | None,
    typer.Option(
        "--mpp", min=0.01, max=100, help="Micrometres per pixel, if the file does not say."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")]
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
        "--patch-px", min=1, help="Side of their patches in level-0 px, if the file does not say."
    ),
]
ToleranceUm = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        min=0.01,
        help="Um from a spot to its patch's centre at the most; default: a tenth of the patch.",
    ),
]
SlideArgument = Annotated[
    Path,
    typer.Argument(
        help="SVS, TIFF and its kin (NDPI, SCN, OME-TIFF ...), OME-Zarr, JPEG, PNG; with pip's extra "
        "'openslide' also DICOM, MRXS and VMS, with 'czi' CZI.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(help="Of everything random: the same seed, the same numbers.")]


def listed(words: str | None) -> tuple[str, ...]:
    """Split at commas; each once, in the order given."""
    return tuple(dict.fromkeys(w.strip() for w in (words or "").split(",") if w.strip()))
