"""What a prediction on disk says: of a gene at all spots, of spots with all genes, of single draws."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakValueDictionary

import numpy as np

from napari_stem.errors import PredictionError, SpotError, UnknownGeneError
from napari_stem.foreign import are_texts, is_size, read_h5ad, read_json
from napari_stem.geometry import Mpp, Spots
from napari_stem.io import DAMAGE
from napari_stem.model.genes import offered
from napari_stem.results.empty import FORMAT, LIBRARY, PROVENANCE_KEY, UNLIKE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import anndata
    from numpy.typing import NDArray

Field = Literal["mean", "sd", "q05", "q95"]
FIELDS: tuple[Field, ...] = ("mean", "sd", "q05", "q95")
KEPT_BYTES = 128_000_000  # of values that were asked for, in case they are asked for again
READ_AHEAD_BYTES = 16_000_000  # genes that lie in one chunk are read together, up to this
_Block = tuple[Field, int, int]  # the first of some adjacent genes, and the one after the last


def damaged(path: Path, error: Exception) -> PredictionError:
    """Say in one sentence that a prediction cannot be read."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return PredictionError(
        f"{path} is not a prediction of napari-stem, or is damaged ({reason}); run 'predict' again."
    )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Tell whatever breaks the reading of a prediction off as its damage, and likewise if it is gone."""
    try:
        yield
    except (*DAMAGE, SpotError) as error:
        require_there(path)
        raise damaged(path, error) from error
    require_there(path)  # where nothing is stored, zarr gives NaN


def require_there(path: Path) -> None:
    """Check that there is something at a path; PredictionError where there is nothing."""
    try:
        is_there = path.exists()
    except OSError:  # a folder above it is closed to us, a share is away, or the name is too long
        is_there = False
    if not is_there:
        raise PredictionError(f"There is no prediction {path}; check the path.")


# What a prediction's provenance holds, where it says it: anything else is refused before it is used.
_TEXTS = (
    *("version", "model", "model_weights_sha256", "encoder", "encoder_version", "normalisation"),
    *("domain", "sampler", "slide", "slide_fingerprint", "mpp_source", "notice"),
)
_SIZES = ("pitch_um", "spot_diameter_um")


def read_provenance(text: object, path: Path) -> dict[str, Any]:
    """Read how a prediction at a path was made from the JSON that it stores.

    PredictionError: it was written by an earlier or later version. TypeError, ValueError: it is no JSON object,
    lacks unit or sizes, or one of its entries is of a wrong kind.
    """
    found = read_json(str(text))
    if not isinstance(found, dict):
        raise TypeError("its provenance is no JSON object")
    if (written_as := found.get("format", 1)) != FORMAT:
        raise PredictionError(
            f"{path} is a prediction of format {str(written_as)[:20]}, written by napari-stem "
            f"{str(found.get('version', 'of unknown version'))[:40]}, and this version reads format {FORMAT}; "
            f"run 'predict' again."
        )
    mpp = found.get("mpp")
    is_sound = {
        **{key: isinstance(found.get(key, ""), str) for key in _TEXTS},
        **{key: is_size(found.get(key)) for key in _SIZES},
        "unit": isinstance(found.get("unit"), str),
        "mpp": isinstance(mpp, list) and len(mpp) == 2 and all(map(is_size, mpp)),
        **{key: are_texts(found.get(key, [])) for key in ("limits", "genes_not_measured")},
    }
    wrong = [key for key, is_so in is_sound.items() if not is_so]
    if wrong:
        raise ValueError(f"its provenance does not say, or says wrongly: {', '.join(wrong)}")
    Mpp(*map(float, found["mpp"]))  # plausible?
    return found


def read_exported(path: Path) -> anndata.AnnData:
    """Read an ``.h5ad`` as ``napari-stem export`` and ``predict`` write it; errors as of `Prediction.open`.

    PredictionError: there is none, it is damaged or no prediction, or one of another format.
    """
    with reading(path):
        table = read_h5ad(path)
        read_provenance(table.uns[PROVENANCE_KEY]["json"], path)
        _ = table.obs["done"], *(table.layers[name] for name in FIELDS[1:])  # all there?
        return table


def read_texts(node: Any) -> list[str]:
    """Read texts as AnnData keeps them: an array, or from version 0.13 on a group of values and a mask."""
    return [str(text) for text in (node["values"] if hasattr(node, "keys") else node)[:]]


def read_ood(group: Any) -> NDArray[np.bool_]:
    """(n,) bool: which spots of a prediction's Zarr group are marked as unlike the training data."""
    codes = group["obs"]["ood"]["codes"][:]
    names = read_texts(group["obs"]["ood"]["categories"])
    return (
        np.asarray(codes == names.index(UNLIKE)) if UNLIKE in names else np.zeros(len(codes), bool)
    )


def read_spots(group: Any, provenance: Mapping[str, Any]) -> Spots:
    """Read the spots of a prediction's Zarr group."""
    obs, xy_px = group["obs"], group["obsm"]["spatial"][:]
    return Spots(
        x_px=xy_px[:, 0],
        y_px=xy_px[:, 1],
        array_row=obs["array_row"][:],
        array_col=obs["array_col"][:],
        pitch_um=float(provenance["pitch_um"]),
        diameter_um=float(provenance["spot_diameter_um"]),
        names=tuple(read_texts(obs["_index"])),
        mpp=Mpp(*map(float, provenance["mpp"])),
    )


def arrays_of(group: Any, n_spots: int, n_genes: int) -> dict[str, Any]:
    """Open the arrays of a prediction's Zarr group: `FIELDS`, and ``draws`` if kept; ValueError, KeyError."""
    layers, draws = group["layers"], group["obsm"].get("draws")
    arrays: dict[str, Any] = {"mean": group["X"], **{name: layers[name] for name in FIELDS[1:]}}
    if draws is not None:
        arrays["draws"] = draws
    for name, array in arrays.items():
        if array.shape[:2] != (n_spots, n_genes):
            raise ValueError(
                f"'{name}' is of shape {array.shape}, and there are {n_spots} spots and {n_genes} genes"
            )
    return arrays


class StoredValues:
    """Values of a prediction's Zarr group, laid out as `napari_stem.results.empty.write_zarr` does.

    The same array serves all who ask for a gene while it grows.
    """

    def __init__(
        self, path: Path, group: Any, arrays: Mapping[str, Any], genes: tuple[str, ...]
    ) -> None:
        self.path, self._group, self._arrays, self.genes = path, group, arrays, genes
        self._column = {gene: i for i, gene in enumerate(genes)}
        # Blocks (genes, spots): the latest ones, and all whose values somebody still holds.
        self._recent: OrderedDict[_Block, NDArray[np.float32]] = OrderedDict()
        self._live: WeakValueDictionary[_Block, NDArray[np.float32]] = WeakValueDictionary()
        self._lock = threading.Lock()  # a viewer reads values while its worker writes blocks

    def values(self, gene: str, field: Field = "mean") -> NDArray[np.float32]:
        """(n,) float32 of one gene, NaN where not done; the array is live, and cannot be written to.

        UnknownGeneError: the prediction has no such gene. PredictionError: the values are damaged or gone, or
        there is no such field.
        """
        (column,) = self.columns([gene])
        stored, (start, stop) = self._stored(field), self._read_together(column)
        wanted = (field, start, stop)
        with self._lock:
            block = self._live.get(wanted)
            if block is None:
                with reading(self.path):
                    block = np.array(stored[:, start:stop].T, np.float32, order="C")
                self._live[wanted] = block
            self._recent[wanted] = block
            self._recent.move_to_end(wanted)
            while (
                len(self._recent) > 1 and sum(b.nbytes for b in self._recent.values()) > KEPT_BYTES
            ):
                self._recent.popitem(last=False)
        values: NDArray[np.float32] = block[column - start]
        values.flags.writeable = False
        return values

    def _follow(self, rows: NDArray[np.int64], fields: Mapping[str, NDArray[np.float32]]) -> None:
        """Tell what was just written; every array that was given out and is still in use follows."""
        with self._lock:
            for (field, start, stop), block in list(self._live.items()):
                block[:, rows] = fields[field][:, start:stop].T

    def rows(
        self,
        spots: NDArray[np.int64] | slice,
        field: Field = "mean",
        genes: Sequence[str] | None = None,
    ) -> NDArray[np.float32]:
        """Read some spots from disk, of all genes or some: (k, genes) float32, NaN where not done.

        PredictionError: the values are damaged or gone, or there is no such field. UnknownGeneError: the
        prediction has no such gene. IndexError: there is no such spot.
        """
        spots, columns = self._places(spots), slice(None) if genes is None else self.columns(genes)
        with reading(self.path):
            return np.asarray(self._stored(field).oindex[spots, columns], np.float32)

    @property
    def n_kept_draws(self) -> int:
        """Draws kept of every spot and gene; 0 where only their summary was."""
        return int(self._arrays["draws"].shape[2]) if "draws" in self._arrays else 0

    def draws(
        self,
        spots: NDArray[np.int64] | slice,
        genes: Sequence[str] | None = None,
        which: slice = slice(None),
    ) -> NDArray[np.float16]:
        """Read draws from disk, of some spots and genes only.

        Parameters
        ----------
        spots
            (k,) which spots, or a slice of them.
        genes
            Which genes; None for all.
        which
            Which of the draws.

        Returns
        -------
        (k, genes, draws) float16, NaN where not done.

        Raises
        ------
        PredictionError
            Draws were not kept, or are damaged or gone.
        UnknownGeneError, IndexError
            The prediction has no such gene, or no such spot.
        """
        if not self.n_kept_draws:
            raise PredictionError(
                f"{self.path} holds no single samples, only their summary; predict again and keep them."
            )
        spots, columns = self._places(spots), slice(None) if genes is None else self.columns(genes)
        with reading(self.path):
            return np.asarray(self._arrays["draws"].oindex[spots, columns, which], np.float16)

    def overview(self) -> tuple[NDArray[np.uint8], float]:
        """Small image of the whole slide, (height, width, 3) uint8, and its level-0 px per pixel.

        PredictionError: it is damaged or gone.
        """
        with reading(self.path):
            stored = self._group["uns"]["spatial"][LIBRARY]
            scale = float(stored["scalefactors"]["tissue_hires_scalef"][()])
            return np.asarray(stored["images"]["hires"][:]), 1 / scale

    def columns(self, genes: Sequence[str]) -> list[int]:
        """Places of genes among all; UnknownGeneError offers names that are like one that is not there."""
        for gene in genes:
            if gene not in self._column:
                alike = " or ".join(offered(gene, self.genes))
                known = f"It has {len(self.genes)} genes, such as {self.genes[0]}."
                hint = f"Did you mean {alike}?" if alike else known
                raise UnknownGeneError(f"This prediction has no gene '{gene}'. {hint}")
        return [self._column[gene] for gene in genes]

    def _places(self, spots: NDArray[np.int64] | slice) -> NDArray[np.int64] | slice:
        """Places of spots from 0 on: what is no spot's is the caller's slip, and no damage of the file."""
        n_spots = self._arrays["mean"].shape[0]
        return spots if isinstance(spots, slice) else np.arange(n_spots)[spots]

    def _stored(self, field: Field) -> Any:
        if field not in FIELDS:
            raise PredictionError(
                f"A prediction holds no '{field}'; ask for one of {', '.join(FIELDS)}."
            )
        return self._arrays[field]

    def _read_together(self, column: int) -> tuple[int, int]:
        """Bounds of the genes to read with this one: its chunk's, or a share where spots are many."""
        stored = self._arrays["mean"]  # the others are divided alike
        n_spots, chunk = stored.shape[0], int(stored.chunks[1])
        n_shares = -(-chunk * n_spots * 4 // READ_AHEAD_BYTES) or 1
        width, chunk_start = -(-chunk // n_shares), column // chunk * chunk
        start = chunk_start + (column - chunk_start) // width * width
        return start, min(start + width, chunk_start + chunk, len(self._column))
