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
from napari_stem.spatial.gene_sets import gene_set
from napari_stem.spatial.panels import hmhvg, parse_panel, read_panel, top_hvg

if TYPE_CHECKING:
    from collections.abc import Sequence
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


def of_counts(counts: Sequence[Sequence[float]], first_gene: int = 0) -> anndata.AnnData:
    table = np.asarray(counts, dtype=np.float32)
    genes = [f"G{first_gene + i}" for i in range(table.shape[1])]
    return anndata.AnnData(csr_matrix(table), var=pd.DataFrame(index=genes))


def test_sections_that_share_no_gene_are_told() -> None:
    counts = np.random.default_rng(0).poisson(2, (20, 30))
    with pytest.raises(DatasetError, match="2 training sections have no gene in common; see that"):
        hmhvg([of_counts(counts), of_counts(counts, first_gene=30)], 5)


@pytest.mark.parametrize("recipe", [hmhvg, top_hvg])
@pytest.mark.parametrize("shape", [(1, 30), (20, 1), (20, 30), (0, 30)])
def test_counts_of_which_none_varies_are_told(recipe: object, shape: tuple[int, int]) -> None:
    with pytest.raises(DatasetError, match=r"highly variable genes|high-variance genes"):
        recipe([of_counts(np.ones(shape))], 2)  # type: ignore[operator]


def test_a_section_without_counts_hides_no_panel() -> None:
    counts = np.random.default_rng(0).poisson(2, (20, 30))
    assert len(hmhvg([of_counts(counts), of_counts(np.zeros((5, 30)))], 2)) == 2


def test_parse_panel_knows_both_recipes(two_sections: list[anndata.AnnData]) -> None:
    assert parse_panel("hmhvg:30")(two_sections).genes == hmhvg(two_sections, 30)
    assert parse_panel("hvg:30")(two_sections).genes == top_hvg(two_sections, 30)


def test_parse_panel_reads_a_file_in_its_order(
    two_sections: list[anndata.AnnData], tmp_path: Path
) -> None:
    path = tmp_path / "panel.txt"
    path.write_text("# markers\nERBB2\n\nCD3D\n  FASN \n")
    assert parse_panel(str(path))(two_sections).genes == ("ERBB2", "CD3D", "FASN")


def test_a_panel_that_was_not_measured_is_told(
    two_sections: list[anndata.AnnData], tmp_path: Path
) -> None:
    path = tmp_path / "panel.txt"
    path.write_text("ERBB2\nNOSUCHGENE\n")
    with pytest.raises(DatasetError, match=r"1 of the panel's 2 genes .*\(NOSUCHGENE\)"):
        parse_panel(str(path))(two_sections)


def renamed(sections: Sequence[anndata.AnnData], names: dict[str, str]) -> list[anndata.AnnData]:
    """The same counts under other gene names."""
    tables = [section.copy() for section in sections]
    for table in tables:
        table.var_names = [names.get(name, name) for name in table.var_names]
    return tables


def test_a_named_set_leaves_out_what_was_not_measured_and_says_so(
    two_sections: list[anndata.AnnData], caplog: pytest.LogCaptureFixture
) -> None:
    measured = set(two_sections[0].var_names) & set(two_sections[1].var_names)
    choice = parse_panel("set:pam50")(two_sections)
    choice.warn()
    assert list(choice.genes) == [gene for gene in gene_set("pam50").genes if gene in measured]
    absent = [gene for gene in gene_set("pam50").genes if gene not in measured]
    (told,) = caplog.messages
    assert told.startswith(f"Gene set 'pam50' of 50 genes: {len(absent)} left out, not measured")
    assert ", ".join(absent) in told


def test_a_union_keeps_each_gene_once_in_the_order_of_its_parts(
    four_sections: list[anndata.AnnData],
) -> None:
    recipe = hmhvg(four_sections, 200)
    union = parse_panel("hmhvg:200+set:breast-clinical+mmr")(four_sections).genes
    assert union[:200] == recipe
    assert "ERBB2" not in recipe  # the reason for unions
    assert set(union) - set(recipe) >= {"ERBB2", "ESR1", "MLH1", "MSH2"}
    assert len(union) == len(set(union))


def test_genes_without_a_count_are_no_use_and_are_told(
    two_sections: list[anndata.AnnData],
) -> None:
    silent = [section.copy() for section in two_sections]
    for section in silent:
        section.X = csr_matrix(
            section.X.toarray() * (np.asarray(section.var_names) != "ERBB2").astype(np.float32)
        )
    choice = parse_panel("set:breast-clinical")(silent)
    assert "ERBB2" in parse_panel("set:breast-clinical")(two_sections).genes
    assert "ERBB2" not in choice.genes
    assert choice.never_seen == {"Gene set 'breast-clinical' of 8 genes": ("ERBB2",)}
    assert any("without a count" in note for note in choice.notes())


def test_older_and_newer_names_are_one_gene(
    two_sections: list[anndata.AnnData], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "panel.txt"
    path.write_text("HER2\nCD3D\n")  # the data set says ERBB2
    choice = parse_panel(str(path))(two_sections)
    choice.warn()
    assert choice.genes == ("ERBB2", "CD3D")
    assert "HER2 is ERBB2" in caplog.text
    old = renamed(two_sections, {"ERBB2": "HER2"})  # and the other way about
    assert "HER2" in parse_panel("set:breast-clinical")(old).genes


def test_two_names_of_one_gene_make_one_column(
    two_sections: list[anndata.AnnData], tmp_path: Path
) -> None:
    path = tmp_path / "panel.txt"
    path.write_text("HER2\nERBB2\n")
    assert parse_panel(str(path))(two_sections).genes == ("ERBB2",)


def test_measured_takes_those_of_a_file_that_are(
    two_sections: list[anndata.AnnData], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "panel.txt"
    path.write_text("ERBB2\nNOSUCHGENE\nCD3D\n")
    choice = parse_panel(f"measured:{path}")(two_sections)
    choice.warn()
    assert choice.genes == ("ERBB2", "CD3D")
    assert "NOSUCHGENE" in caplog.text


def test_another_species_is_told(two_sections: list[anndata.AnnData]) -> None:
    mouse = renamed(two_sections, {name: name.title() for name in two_sections[0].var_names})
    with pytest.raises(DatasetError, match=r"None of the 4 genes of Gene set 'mmr'.*species"):
        parse_panel("set:mmr")(mouse)


def test_gmt_files_hold_sets(two_sections: list[anndata.AnnData], tmp_path: Path) -> None:
    path = tmp_path / "two.gmt"
    path.write_text("A_SET\thttp://x\tERBB2\tCD3D\n\nB_SET\tna\tFASN\n")
    assert read_panel(path, "A_SET") == ("ERBB2", "CD3D")
    assert parse_panel(f"{path}#B_SET+{path}#A_SET")(two_sections).genes == (
        "FASN",
        "ERBB2",
        "CD3D",
    )
    (tmp_path / "one.gmt").write_text("ONLY\tna\tFASN\tERBB2\n")
    assert read_panel(tmp_path / "one.gmt") == ("FASN", "ERBB2")


def test_a_file_name_may_hold_a_plus(two_sections: list[anndata.AnnData], tmp_path: Path) -> None:
    path = tmp_path / "tumour+stroma.txt"
    path.write_text("FASN\n")
    assert parse_panel(str(path))(two_sections).genes == ("FASN",)


def test_json_files_are_lists_or_hest_panels(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('["ERBB2", "CD3D"]')
    (tmp_path / "var_50genes.json").write_text('{"genes": ["ERBB2", "CD3D"]}')
    assert read_panel(tmp_path / "list.json") == ("ERBB2", "CD3D")
    assert read_panel(tmp_path / "var_50genes.json") == ("ERBB2", "CD3D")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("set:nosuch", "no gene set 'nosuch'; there are .*pam50"),
        ("set:pam50+nosuch", "'nosuch' in 'set:pam50.nosuch' is no gene panel"),
        ("hmhvg:20+pam50", "'pam50' in .* is no gene panel"),  # a set is named as one
        ("hmhvg:20+", "'' in 'hmhvg:20.' is no gene panel"),
        (",".join(f"GENE{i}" for i in range(2000)), "is no gene panel"),
    ],
)
def test_parts_that_are_none_are_told(spec: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        parse_panel(spec)


@pytest.mark.parametrize("spec", ["hmhvg", "hmhvg:", "hmhvg:-3", "top:50", "nowhere.txt", ""])
def test_words_that_are_no_panel_are_told(spec: str) -> None:
    with pytest.raises(DatasetError, match="is no gene panel"):
        parse_panel(spec)


@pytest.mark.parametrize(
    ("name", "content", "set_name", "message"),
    [
        ("p.txt", b"", None, "names no gene"),
        ("p.txt", b"# nothing\n", None, "names no gene"),
        ("p.txt", b"ERBB2\nERBB2\n", None, "names ERBB2 more than once"),
        ("p.txt", b"ERBB2, CD3D\n", None, "one gene a line"),
        ("p.csv", b"ERBB2;CD3D\n", None, "one gene a line"),
        ("p.txt", b"\xff\xfe\x00", None, "cannot be read"),
        ("p.txt", b"ERBB2\n", "A", "no .gmt file, so it has no set 'A'"),
        ("p.gmt", b"A\tna\tX\nB\tna\tY\n", None, r"holds 2 sets \(A, B\); write .*#NAME"),
        ("p.gmt", b"A\tna\tX\n", "C", r"has no set 'C'; it holds 1 sets \(A\)"),
        ("p.gmt", b"ERBB2\n", None, "line 'ERBB2' without genes"),
        ("p.gmt", b"", None, "holds 0 sets"),
        ("p.json", b"{", None, "as JSON"),
        ("p.json", b"3", None, "must hold a JSON list"),
        ("p.json", b'{"genes": [1]}', None, "must hold a JSON list"),
        ("p.json", b"[]", None, "names no gene"),
    ],
)
def test_broken_panel_files_are_told(
    tmp_path: Path, name: str, content: bytes, set_name: str | None, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_panel(path, set_name)


def test_a_panel_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"There is no gene panel .*none.txt; check the path"):
        read_panel(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", b'\xef\xbb\xbf"CD74"\r\n FASN \r\nENSG00000141736.14\r\n'),
        ("p.txt", "CD74\nFASN\nENSG00000141736\n".encode("utf-16")),
        ("p.gmt", b'\xef\xbb\xbfset\tabout\t"CD74"\t FASN\tENSG00000141736.14\t\t\r\n'),
        ("p.json", b'\xef\xbb\xbf{"genes": ["CD74", " FASN", "ENSG00000141736.14"]}'),
    ],
)
def test_lists_are_cleaned(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_panel(tmp_path / name) == ("CD74", "FASN", "ENSG00000141736")


def test_repeats_that_differ_in_dress_are_told(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text('CD74\n"CD74" \n')
    with pytest.raises(DatasetError, match="names CD74 more than once"):
        read_panel(tmp_path / "p.txt")
