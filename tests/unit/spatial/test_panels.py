"""Gene panels: the published selection reproduced, HEST-bench's, and panels from files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from napari_stem.errors import DatasetError
from napari_stem.spatial.dataset import Dataset
from napari_stem.spatial.panels import hmhvg, parse_panel, read_panel, top_hvg

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def four_sections(her2st_source: Path) -> list[anndata.AnnData]:
    """Full counts of C2 to C5, for the genes measured in all four."""
    with np.load(her2st_source / "counts_c2_c5.npz") as stored:
        counts = (stored["low"] + 256 * stored["high"].astype(np.uint16)).T.astype(np.float32)
        genes = stored["genes"].tobytes().decode().split("\n")
        ends = np.cumsum(stored["n_spots"])
    sections = []
    for block in np.split(counts, ends[:-1]):
        names = [str(i) for i in range(len(block))]
        sections.append(
            anndata.AnnData(
                csr_matrix(block), obs=pd.DataFrame(index=names), var=pd.DataFrame(index=genes)
            )
        )
    return sections


@pytest.fixture
def two_sections(her2st_dataset: Path) -> list[anndata.AnnData]:
    """C2 and C3 with 250 genes."""
    dataset = Dataset(her2st_dataset)
    return [dataset.section(section_id).counts for section_id in dataset.sections]


def test_hmhvg_reproduces_the_published_panel(
    four_sections: list[anndata.AnnData], her2st_source: Path
) -> None:
    golden = json.loads((her2st_source / "hmhvg_c2_c5.json").read_text())
    assert four_sections[0].n_vars == golden["n_common"]
    assert list(hmhvg(four_sections, 200)) == golden["genes"]


def test_hmhvg_sees_the_training_sections_only(four_sections: list[anndata.AnnData]) -> None:
    training = hmhvg(four_sections[:3], 200)
    assert len(training) == len(set(training)) == 200
    assert training != hmhvg(four_sections, 200)


def test_a_smaller_hmhvg_panel_is_part_of_a_larger(two_sections: list[anndata.AnnData]) -> None:
    assert set(hmhvg(two_sections, 20)) < set(hmhvg(two_sections, 21))


def test_the_order_of_sections_does_not_matter(two_sections: list[anndata.AnnData]) -> None:
    assert hmhvg(two_sections, 50) == hmhvg(two_sections[::-1], 50)


def test_selecting_leaves_the_counts_as_they_were(two_sections: list[anndata.AnnData]) -> None:
    before = [section.X.toarray() for section in two_sections]
    hmhvg(two_sections, 20)
    top_hvg(two_sections, 20)
    for section, counts in zip(two_sections, before, strict=True):
        np.testing.assert_array_equal(section.X.toarray(), counts)


def test_top_hvg_prefers_genes_that_vary(two_sections: list[anndata.AnnData]) -> None:
    genes = top_hvg(two_sections, 50)
    assert len(genes) == 50
    for section in two_sections:  # the recipe's floor: a tenth of the spots of every section
        assert ((section[:, list(genes)].X > 0).mean(axis=0) >= 0.1).all()
    # Immunoglobulins mark the plasma cell islands of this patient; ribosomal genes are everywhere.
    assert "IGLC7" in genes
    assert not [gene for gene in genes if gene.startswith("RPL")]


@pytest.mark.parametrize("recipe", [hmhvg, top_hvg])
@pytest.mark.parametrize("n", [0, 100_000])
def test_panels_of_impossible_size_are_told(
    two_sections: list[anndata.AnnData], recipe: object, n: int
) -> None:
    with pytest.raises(DatasetError, match=f"A panel of {n} "):
        recipe(two_sections, n)  # type: ignore[operator]


@pytest.mark.parametrize("recipe", [hmhvg, top_hvg])
def test_panels_need_a_section(recipe: object) -> None:
    with pytest.raises(DatasetError, match="at least one training section"):
        recipe([])  # type: ignore[operator]


def test_parse_panel_knows_both_recipes(two_sections: list[anndata.AnnData]) -> None:
    assert parse_panel("hmhvg:30")(two_sections) == hmhvg(two_sections, 30)
    assert parse_panel("hvg:30")(two_sections) == top_hvg(two_sections, 30)


def test_parse_panel_reads_a_file_in_its_order(
    two_sections: list[anndata.AnnData], tmp_path: Path
) -> None:
    path = tmp_path / "panel.txt"
    path.write_text("# markers\nERBB2\n\nCD3D\n  FASN \n")
    assert parse_panel(str(path))(two_sections) == ("ERBB2", "CD3D", "FASN")


def test_a_panel_that_was_not_measured_is_told(
    two_sections: list[anndata.AnnData], tmp_path: Path
) -> None:
    path = tmp_path / "panel.txt"
    path.write_text("ERBB2\nNOSUCHGENE\n")
    with pytest.raises(DatasetError, match=r"1 of the panel's 2 genes .*\(NOSUCHGENE\)"):
        parse_panel(str(path))(two_sections)


@pytest.mark.parametrize("spec", ["hmhvg", "hmhvg:", "hmhvg:-3", "top:50", "nowhere.txt", ""])
def test_words_that_are_no_panel_are_told(spec: str) -> None:
    with pytest.raises(DatasetError, match="is no gene panel"):
        parse_panel(spec)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "names no gene"),
        (b"# nothing\n", "names no gene"),
        (b"ERBB2\nERBB2\n", "names ERBB2 more than once"),
        (b"ERBB2, CD3D\n", "one gene a line"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_broken_panel_files_are_told(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "panel.txt"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_panel(path)
