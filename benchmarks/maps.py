"""How long a change of gene takes, in a viewer model without a window. Run: asv run --quick (asv from PyPI)."""

from __future__ import annotations

import tempfile
from pathlib import Path

N_GENES = 20


class GeneChange:
    """The map of another gene, of a square of spots, from memory and from disk."""

    params = (200, 1000)
    param_names = ("spots_across",)
    timeout = 300

    def setup(self, n_across: int) -> None:
        import numpy as np
        from napari.components import ViewerModel

        from napari_stem.geometry import Mpp, SizePx, lattice
        from napari_stem.layers.placement import SpotGrid
        from napari_stem.layers.values import colour_limits, read_by_gene
        from napari_stem.progress import go_on
        from napari_stem.results import Prediction
        from napari_stem.widgets.genes.layer_queue import MEAN_RANK, LayerQueue
        from napari_stem.widgets.genes.map_layers import ScalarMap

        mpp = Mpp(0.5, 0.5)
        spots = lattice(SizePx(n_across * 100, n_across * 100), mpp, 50.0)
        self.genes = [f"G{i}" for i in range(N_GENES)]
        provenance = {
            "unit": "log2(count + 1)",
            "mpp": [0.5, 0.5],
            "pitch_um": 50.0,
            "spot_diameter_um": 50.0,
        }
        self.folder = tempfile.TemporaryDirectory()
        prediction = Prediction.create(
            Path(self.folder.name) / "p.zarr",
            spots,
            self.genes,
            provenance,
            image=np.zeros((8, 8, 3), np.uint8),
            image_scale=1 / 64,
            spot_diameter_px=100.0,
        )
        values = np.random.default_rng(0).random((len(spots), N_GENES), np.float32)
        nothing = np.zeros(len(spots), np.float32)
        prediction.write_block(
            np.arange(len(spots)),
            mean=values,
            sd=values,
            q05=values,
            q95=values,
            ood_distance=nothing,
        )
        self.prediction = prediction
        by_gene = read_by_gene(prediction, "mean", go_on)
        self.by_gene = dict(zip(self.genes, by_gene, strict=True))
        self.grids = {shape: SpotGrid.of(spots, mpp, shape) for shape in ("square", "circle")}
        self.map = ScalarMap(LayerQueue(ViewerModel()), lambda *_: None, "mean", MEAN_RANK)
        self.colour_limits = colour_limits
        self.turn = 0

    def teardown(self, n_across: int) -> None:
        self.folder.cleanup()

    def next_gene(self) -> str:
        self.turn += 1
        return self.genes[self.turn % N_GENES]

    def show(self, shape: str) -> None:
        from napari_stem.widgets.genes.map_layers import SpotMap

        gene = self.next_gene()
        values = self.by_gene[gene]
        limits = self.colour_limits(values)
        self.map.show(SpotMap("mean", self.grids[shape], values, gene, limits, "viridis"))

    def time_change(self, n_across: int) -> None:
        self.show("square")

    def time_change_of_circles(self, n_across: int) -> None:
        self.show("circle")

    def time_values_from_disk(self, n_across: int) -> None:
        from napari_stem.results import Prediction

        Prediction.open(self.prediction.path).values(self.next_gene())


class LongList:
    """Typing and sorting in a list of 20,000 genes."""

    def setup(self) -> None:
        import numpy as np
        from qtpy.QtCore import Qt

        from napari_stem.model.genes import gene_accuracy
        from napari_stem.widgets.genes.gene_table import MEAN_COLUMN, GeneTable

        self.table, self.column, self.order = GeneTable(), MEAN_COLUMN, Qt.SortOrder.DescendingOrder
        self.table.set_genes(gene_accuracy({}, [f"GENE{i}" for i in range(20_000)]))
        self.table.fill_columns({"mean": np.random.default_rng(0).random(20_000)})

    def time_type(self) -> None:
        self.table.filter("gene1")

    def time_sort(self) -> None:
        self.table.sort(self.column, self.order)
