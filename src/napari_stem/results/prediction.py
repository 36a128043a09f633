"""A prediction on disk: at every moment a valid AnnData Zarr, filled block by block."""

from __future__ import annotations

import hashlib
import os
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_stem.caches import CACHES, make_folder_of_copy, owner_of_copy
from napari_stem.errors import OutputError, PredictionError
from napari_stem.foreign import elements_known, require_own_zarr
from napari_stem.geometry import Mpp, Region, Spots, region_names
from napari_stem.io import DAMAGE, written_whole
from napari_stem.model.genes import NUMBERS, best_first
from napari_stem.results.empty import (
    FORMAT,
    LIBRARY,
    LIKE,
    PROVENANCE_KEY,
    UNKNOWN,
    UNLIKE,
    knows_domain,
    region_column,
    stored_provenance,
    write_regions,
    write_zarr,
)
from napari_stem.results.stored import (
    FIELDS,
    StoredValues,
    arrays_of,
    read_exported,
    read_ood,
    read_provenance,
    read_spots,
    read_texts,
    reading,
    require_there,
)
from napari_stem.spatial.normalise import normalisation
from napari_stem.texts import count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import anndata
    import pandas as pd
    from numpy.typing import NDArray


class Prediction(StoredValues):
    """Predicted expression of every spot and gene, growing on disk.

    The format is AnnData's (``anndata.read_zarr`` opens it): ``X`` mean, ``layers`` ``sd``, ``q05``, ``q95``;
    ``obs`` ``array_row``, ``array_col``, ``done``, ``ood``, ``ood_distance``, where regions were given
    ``region``; ``var`` ``gene_ids``, ``unit``, and what `gene_accuracy` reads; ``obsm["spatial"]`` (x, y) in
    level-0 px; optional ``obsm["draws"]`` (spots, genes, draws) float16; ``uns["spatial"]`` as squidpy reads
    it; ``uns["napari_stem"]`` provenance. What is not predicted yet is NaN. ``docs/python.md`` has it as a
    table.

    It is a path: two that are opened at the same path see the same files, and it pickles as its path.

    Attributes
    ----------
    path
        The Zarr folder.
    genes
        Ordered names.
    spots
        All spots, done or not.
    done
        (n,) bool, live.
    ood
        (n,) bool, live: spots unlike anything the model was trained on.
    provenance
        How it was made, JSON-ready.
    """

    def __init__(self, path: Path) -> None:
        import zarr

        with reading(path):
            require_own_zarr(path, may_lack_values=True)
            group = zarr.open_group(path, mode="r+", use_consolidated=False)
            self.provenance = read_provenance(group["uns"][PROVENANCE_KEY]["json"][()], path)
            self.spots = read_spots(group, self.provenance)
            genes = tuple(read_texts(group["var"]["_index"]))
            # what is written of a block are values: to compare all with NaN takes longer than to write them
            with zarr.config.set({"array.write_empty_chunks": True}):
                arrays = arrays_of(group, len(self.spots), len(genes))
            super().__init__(path, group, arrays, genes)
            self._obs = {name: group["obs"][name] for name in ("ood_distance", "ood/codes", "done")}
            self.done: NDArray[np.bool_] = self._obs["done"][:]
            self.ood: NDArray[np.bool_] = read_ood(group)

    def __repr__(self) -> str:
        """Say what it is, in words."""
        about, done = self.provenance, int(self.done.sum())
        kept = count(self.n_kept_draws, "sample") if self.n_kept_draws else "no samples"
        genes = ", ".join(self.genes[:3]) + (", …" if len(self.genes) > 3 else "")
        return (
            f"Prediction of {about.get('slide')} by model {about.get('model')}\n"
            f"    predicted, not measured; for research use only\n"
            f"    {done} of {count(len(self.spots), 'spot')} done, {self.spots.pitch_um:g} µm apart\n"
            f"    {len(self.genes)} genes ({genes}) in {about.get('unit')}\n"
            f"    {kept} kept per spot and gene\n"
            f"    {self.path}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it as the path that it is."""
        return type(self), (self.path.absolute(),)

    @classmethod
    def open(cls, path: str | Path) -> Prediction:
        """Open what an earlier run left.

        Parameters
        ----------
        path
            The ``.zarr`` folder, or an ``.h5ad`` made from it, which is unpacked into the cache folder.

        Raises
        ------
        PredictionError
            There is none, it is damaged, or of another format.
        """
        path = Path(path)
        require_there(path)
        if path.suffix.lower() == ".h5ad":
            path = unpacked(path)
        if not path.is_dir():
            raise PredictionError(f"{path} is no prediction (.zarr or .h5ad); check the path.")
        return cls(path)

    @classmethod
    def resumed(
        cls, path: Path, spots: Spots, provenance: Mapping[str, Any], regions: Sequence[Region]
    ) -> Prediction:
        """Open what a run left that stopped; its ``regions`` may be called by other names than then.

        PredictionError: what is there came from another slide, model, spots or settings.
        """
        found = cls.open(path)
        stored, there = found.provenance, found.spots
        # no embeddings are recorded where the encoder looked; the notice's words may have changed since
        asked = {"embeddings": None, **provenance, "notice": stored.get("notice")}
        differing = [key for key, value in asked.items() if stored.get(key) != value]
        if there.names != spots.names or not np.allclose(
            [there.x_px, there.y_px], [spots.x_px, spots.y_px]
        ):
            differing.append("spots")
        if differing:
            plain = (re.sub("_(um|sha256)$", "", key).replace("_", " ") for key in differing)
            words = ", ".join(dict.fromkeys(plain))
            raise PredictionError(
                f"{path} was begun with something else: {words}; resume it with the same, or choose "
                f"another place."
            )
        for unfinished in path.rglob("*.partial"):  # a chunk under way when the run was killed
            unfinished.unlink()
        found._name_regions(regions)
        return found

    @classmethod
    def create(
        cls,
        path: Path,
        spots: Spots,
        genes: pd.DataFrame | Sequence[str],
        provenance: Mapping[str, Any],
        *,
        regions: Sequence[Region] = (),
        image: NDArray[np.uint8],
        image_scale: float,
        spot_diameter_px: float,
        n_kept_draws: int = 0,
    ) -> Prediction:
        """Write an empty prediction: all NaN, nothing done.

        Parameters
        ----------
        path
            New Zarr folder.
        spots, genes, provenance
            What will be predicted, and how; genes by name, or as `napari_stem.results.empty.gene_table`.
        regions
            Whose names the spots get.
        image
            (height, width, 3) uint8 overview of the slide.
        image_scale
            Pixels of ``image`` per level-0 px.
        spot_diameter_px
            In level-0 px.
        n_kept_draws
            Draws to keep per spot and gene; 0 keeps none.

        Raises
        ------
        OutputError
            The place exists or cannot be written.
        """
        import anndata
        import pandas as pd

        provenance = {"format": FORMAT, **provenance}
        scales = {"tissue_hires_scalef": image_scale, "spot_diameter_fullres": spot_diameter_px}
        overview = {"images": {"hires": image}, "scalefactors": scales}  # as squidpy reads it
        if path.exists():
            raise OutputError(
                f"{path} exists already; choose another name, resume it, or remove it first."
            )
        shape = (len(spots), len(genes))
        kinds = [LIKE, UNLIKE] if knows_domain(provenance) else [UNKNOWN]
        obs = pd.DataFrame(
            {
                "array_row": spots.array_row,
                "array_col": spots.array_col,
                "done": np.zeros(len(spots), bool),
                "ood": pd.Categorical.from_codes(np.full(len(spots), -1, np.int8), kinds),
                "ood_distance": np.full(len(spots), np.nan, np.float32),
            },
            index=list(spots.names),
        )
        if regions:
            obs["region"] = region_column(spots, regions)
        # all NaN and without size in memory: what `write_block` will fill
        nothing = np.broadcast_to(np.float32(np.nan), shape)
        obsm = {"spatial": np.column_stack([spots.x_px, spots.y_px])}
        if n_kept_draws:
            obsm["draws"] = np.broadcast_to(np.float16(np.nan), (*shape, n_kept_draws))
        table = anndata.AnnData(
            nothing,
            obs=obs,
            var=genes if isinstance(genes, pd.DataFrame) else pd.DataFrame(index=list(genes)),
            layers=dict.fromkeys(FIELDS[1:], nothing),
            obsm=obsm,
            uns={"spatial": {LIBRARY: overview}, PROVENANCE_KEY: stored_provenance(provenance)},
        )
        if "normalisation" in provenance:  # scanpy looks there before it computes with X
            table.uns["log1p"] = {"base": normalisation(provenance["normalisation"]).log_base}
        with written_whole(path) as fresh:
            write_zarr(table, fresh)
        begun = cls(path)
        if isinstance(genes, pd.DataFrame):
            begun.gene_accuracy = genes[[*NUMBERS, "by_chance"]]
        return begun

    def write_block(
        self,
        index: NDArray[np.int64],
        *,
        mean: NDArray[np.float32],
        sd: NDArray[np.float32],
        q05: NDArray[np.float32],
        q95: NDArray[np.float32],
        ood_distance: NDArray[np.float32],
        draws: NDArray[np.float16] | None = None,
    ) -> None:
        """Store the spots of one block; they count as done once everything else is on disk.

        Parameters
        ----------
        index
            (k,) which spots, ascending.
        mean, sd, q05, q95
            (k, genes) float32.
        ood_distance
            (k,) above 1 is out of the training domain.
        draws
            (k, genes, draws) float16, where draws are kept.

        Raises
        ------
        OutputError
            The disk is full or went away, or the folder was removed: nothing is done any more then.
        """
        if not (self.path / "zarr.json").exists():
            self.done[:] = False  # and zarr would make a folder with nothing but this block
            raise OutputError(f"{self.path} was removed or moved during the run; run it again.")
        ood, fields = ood_distance > 1, {"mean": mean, "sd": sd, "q05": q05, "q95": q95}
        written = fields if draws is None else {**fields, "draws": draws}
        try:
            for name, values in written.items():
                self._arrays[name].oindex[index] = values
            self._obs["ood_distance"].oindex[index] = ood_distance
            self._obs["ood/codes"].oindex[index] = ood.astype(np.int8)
            self._obs["done"].oindex[index] = True
        except OSError as error:
            raise OutputError(
                f"Writing to {self.path} failed ({error.strerror or error}); what was finished is kept: "
                f"make room and resume."
            ) from error
        self.done[index], self.ood[index] = True, ood
        self._follow(index, fields)

    def was_unpacked_from(self, path: Path) -> bool:
        """Whether it is what `open` made of this ``.h5ad``, as that is now."""
        return path.is_file() and _unpacked_folder(path).resolve() == self.path.resolve()

    @property
    def mpp(self) -> Mpp:
        """Pixel size of its slide."""
        return Mpp(*map(float, self.provenance["mpp"]))

    @property
    def unit(self) -> str:
        """Unit of all values, as users read it."""
        return str(self.provenance["unit"])

    @property
    def knows_domain(self) -> bool:
        """Whether the model could tell which spots are unlike its training data: else ``ood`` says nothing."""
        return knows_domain(self.provenance)

    @cached_property
    def gene_accuracy(self) -> pd.DataFrame:
        """How well each gene is predicted, as the model said: see `napari_stem.model.genes.gene_accuracy`.

        PredictionError: it is damaged or gone.
        """
        import pandas as pd

        with reading(self.path):
            var = self._group["var"]
            known = {
                name: np.asarray(var[name][:], np.float64) if name in var else np.nan
                for name in NUMBERS
            }
            flags = var.get("by_chance")
            known["by_chance"] = False if flags is None else np.asarray(flags[:], bool)
            return pd.DataFrame(known, index=list(self.genes))

    @property
    def reliability(self) -> dict[str, float]:
        """PCC on left-out training sections by gene, best first, without those that cannot be told from chance.

        Of shares of counts where known, as in counts sequencing depth helps every gene; else of counts.
        """
        return best_first(self.gene_accuracy)

    @property
    def region_names(self) -> list[str]:
        """Per spot, the name of the region that was asked for ("A; B" in both); empty outside of all.

        PredictionError where it is damaged or gone.
        """
        with reading(self.path):
            column = self._group["obs"].get("region")
            if column is None:
                return [""] * len(self.spots)
            names = [*read_texts(column["categories"]), ""]
            return [names[code] for code in column["codes"][:]]

    def to_anndata(self) -> anndata.AnnData:
        """Read the whole prediction into memory; PredictionError where it is damaged or gone."""
        import anndata

        with reading(self.path), elements_known():
            return anndata.read_zarr(self.path)

    def _name_regions(self, regions: Sequence[Region]) -> None:
        """Name the regions of a run that goes on as they are called by now."""
        if regions and region_names(self.spots, regions) != self.region_names:
            write_regions(self._group, region_column(self.spots, regions))


def unpacked(path: Path) -> Path:
    """Unpack such a file into a folder that can be opened; the same file only once.

    PredictionError: as of `read_exported`, or the folder cannot be written.
    """
    require_there(path)
    try:
        folder = _unpacked_folder(path)
        if folder.is_dir():
            return folder
        table = read_exported(path)
        with written_whole(folder, overwrite=True) as fresh:
            make_folder_of_copy(fresh, path)
            write_zarr(table, fresh)
    except (*DAMAGE, OutputError) as error:
        raise PredictionError(
            f"{path} cannot be unpacked ({error}); open the .zarr folder it was made from."
        ) from error
    return folder


def _unpacked_folder(path: Path) -> Path:
    """Where `unpacked` puts a file, as it is now: once for each user, where not everybody may read it."""
    stat = path.stat()
    digest = hashlib.blake2b(digest_size=6)
    content = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {owner_of_copy(path)}"
    digest.update(os.fsencode(content))
    return CACHES["predictions"].folder / f"{path.stem}-{digest.hexdigest()}.zarr"
