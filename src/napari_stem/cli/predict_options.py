"""What ``predict`` can be asked: its options as one frozen value, and which exclude each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from typer import Option

from napari_stem.cli.app import MppOption, model_names, refuse_if
from napari_stem.cli.terminal import tell
from napari_stem.settings import DEFAULT_MODEL, MAX_DEPTH, SamplingSettings, Stated, TissueSettings

if TYPE_CHECKING:
    from napari_stem.cohort.orders import Order


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Every option of ``predict``: those of settings, and the command's own."""

    out: Annotated[
        Path,
        Option(
            help="Result to write, .zarr or .h5ad; of several slides a folder.", show_default=False
        ),
    ]
    model: Annotated[
        str,
        Option(
            help="Name (see 'models'), folder, .zip, or org/name on Hugging Face.",
            autocompletion=model_names,
        ),
    ] = DEFAULT_MODEL
    spots: Annotated[
        Path | None,
        Option(help="Predict at these spots: .csv (x_px,y_px[,name]) or .h5ad (obsm spatial)."),
    ] = None
    regions: Annotated[
        Path | None,
        Option(help="Predict inside these regions: GeoJSON in level-0 px, or LazySlide store."),
    ] = None
    tissue: Annotated[bool, Option(help="Predict all tissue (default).")] = False
    whole_slide: Annotated[bool, Option("--all", help="Predict the whole slide, glass too.")] = (
        False
    )
    looked_for: Annotated[
        TissueSettings | None,
        {"sensitivity": "--tissue-sensitivity", "min_area_mm2": "--min-tissue-mm2"},
    ] = None
    pitch_um: Annotated[
        float | None,
        Option("--pitch", min=1, help="Distance between spots in um; default: the model's."),
    ] = None
    sampling: Annotated[
        SamplingSettings,
        {"n_draws": "--draws", "n_steps": "--steps", "depth": None, "spots_per_block": None},
    ]
    depth: Annotated[
        str | None,
        Option(
            help="Counts per spot that the slide would be sequenced to, or a table of measured counts (.h5ad) "
            "whose median is taken; default: as deep as the training sections. With "
            "--quantity share, shares are of counts as deep."
        ),
    ] = None
    mpp: MppOption = None
    genes: Annotated[str | None, Option(help="Write only these genes, separated by commas.")] = None
    allow_missing_genes: Annotated[
        bool,
        Option(help="Genes that the model lacks become NaN, not an error."),
    ] = False
    embeddings: Annotated[
        Path | None,
        Option(
            help="Embeddings made elsewhere: .h5 (CLAM, TRIDENT), .zarr store or .h5ad (LazySlide), .pt or "
            ".npz (slide2vec). The encoder need not be installed."
        ),
    ] = None
    stated: Annotated[Stated, {"tolerance_um": "--tolerance"}]
    species: Annotated[
        str | None, Option(help="Species of the slide; a model of another one is refused.")
    ] = None
    tissue_type: Annotated[
        str | None,
        Option(help="Tissue of the slide, such as breast; a model of another one warns."),
    ] = None
    keep_draws: Annotated[bool, Option(help="Store every sample, not only their summary.")] = False
    pseudonym: Annotated[
        Path | None,
        Option(
            help="Name slides in all that is written by a hash with the key in this file, made if need be."
        ),
    ] = None
    resume: Annotated[bool, Option(help="Go on where the same command stopped.")] = False
    yes: Annotated[
        bool, Option(help="Do not ask, even if the slide looks unlike the training.")
    ] = False
    workers: Annotated[
        int | None,
        Option(
            min=1, help="Processes that share several slides; default: one per GPU, else per core."
        ),
    ] = None
    scheduler: Annotated[
        str | None,
        Option(help="Use the dask cluster at this address, such as tcp://host:8786."),
    ] = None
    cohort_table: Annotated[
        Path | None,
        Option(help="Of several slides, also write means of all regions to this .h5ad."),
    ] = None

    @property
    def wants_cluster(self) -> bool:
        """Whether work is to be shared out even where there is one slide."""
        return any(each is not None for each in (self.workers, self.scheduler, self.cohort_table))

    def named(self, orders: list[Order]) -> list[Order]:
        """Have the slides named as is asked for."""
        if self.pseudonym is None:
            return orders
        from napari_stem.slide.pseudonym import read_key

        key, is_new = read_key(self.pseudonym)
        if is_new:
            tell(
                f"A new key is in {self.pseudonym}: keep it secret, and keep it; only it tells slides again."
            )
        return [order.under_pseudonym(key) for order in orders]

    def require_consistent(self) -> None:
        """Refuse options that exclude each other."""
        elsewhere = [self.spots is not None, self.regions is not None, self.whole_slide]
        refuse_if(
            sum([*elsewhere, self.tissue]) > 1,
            "choose one of --spots, --regions, --tissue and --all.",
        )
        refuse_if(
            self.looked_for is not None and (any(elsewhere) or self.embeddings is not None),
            "--tissue-sensitivity and --min-tissue-mm2 belong to --tissue.",
        )
        refuse_if(
            self.stated != Stated() and self.embeddings is None,
            "--encoder, --patch-px, --coordinates and --tolerance belong to --embeddings.",
        )
        refuse_if(
            self.embeddings is not None and self.pitch_um is not None and self.spots is None,
            "--pitch does not go with --embeddings: the patches are the spots.",
        )
        refuse_if(
            self.allow_missing_genes and self.genes is None,
            "--allow-missing-genes belongs to --genes.",
        )

    def require_for_several(self) -> None:
        """Refuse what is of one slide where there are several."""
        for name, instead in OF_ONE_SLIDE.items():
            refuse_if(getattr(self, name) is not None, f"--{name} is of one slide; {instead}")
        refuse_if(self.out.suffix.lower() in ENDINGS, "of several slides --out is a folder.")
        table = self.cohort_table
        refuse_if(
            table is not None and table.suffix.lower() != ".h5ad",
            "--cohort-table takes an .h5ad file.",
        )

    def order(self, slide: Path, out: Path) -> Order:
        """Say what is asked for of one slide, whose Zarr grows at ``out``."""
        from napari_stem.cohort.orders import Order

        depth = 0.0 if self.depth is None else _depth(self.depth)
        return Order(
            slide=slide,
            out=out,
            model=self.model,
            settings=replace(self.sampling, depth=depth),
            mpp=self.mpp,
            spots=self.spots,
            regions=self.regions,
            whole_slide=self.whole_slide,
            tissue=self.looked_for,
            pitch_um=self.pitch_um,
            species=self.species,
            tissue_type=self.tissue_type,
            keep_draws=self.keep_draws,
        )


ENDINGS = (".zarr", ".h5ad")
OF_ONE_SLIDE = {
    "spots": "predict slides with spots of their own one by one.",
    "regions": "give each slide's in the column 'regions' of a manifest.",
    "embeddings": "predict slides with embeddings of their own one by one.",
    "genes": "predictions of several hold all, and 'export' takes some.",
}


def _depth(asked: str) -> float:
    """Read counts per spot, a number or the median of a table."""
    try:
        depth = float(asked)
    except ValueError:
        from napari_stem.spatial.table_files import library_sizes, row_blocks

        depth = float(np.median(library_sizes(row_blocks(Path(asked)))))
    refuse_if(
        not 0 < depth <= MAX_DEPTH,
        f"--depth takes a number above 0 (at most {MAX_DEPTH:g}), or a table.",
    )
    return depth
