"""Named gene sets and aliases: what comes with the package is whole, and the command shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.errors import DatasetError
from napari_stem.spatial.checks import ENSEMBL_ID
from napari_stem.spatial.gene_sets import (
    as_measured,
    ensembl_ids,
    gene_set,
    gene_sets,
    synonyms,
)
from napari_stem.spatial.panels import read_panel

if TYPE_CHECKING:
    from click.testing import Result

# Sizes as the publications state them.
SIZES = {
    "pam50": 50,
    "oncotype21": 21,
    "tls": 12,
    "tls-imprint": 29,
    "gep18": 18,
    "cytolytic": 2,
    "danaher": 60,
    "mmr": 4,
    "cell-cycle-s": 43,
    "cell-cycle-g2m": 54,
}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("name", sorted(gene_sets()))
def test_every_set_says_what_it_is(name: str) -> None:
    found = gene_set(name)
    assert found.name == name
    assert re.fullmatch(r"[a-z0-9-]+", name)  # a plus, colon or # would break a panel's grammar
    assert all((found.title, found.source, found.licence, found.note))
    assert re.fullmatch(r"10\.\d{4,}/\S+", found.doi)
    assert all(re.fullmatch(r"[A-Z0-9][A-Za-z0-9-]*", gene) for gene in found.genes)
    assert len(set(found.genes)) == len(found.genes) == SIZES.get(name, len(found.genes))


def test_the_published_sets_are_there() -> None:
    assert set(SIZES) | {"breast-clinical", "her2st-shown"} == set(gene_sets())
    assert {"ERBB2", "ESR1", "PGR", "MKI67"} < set(gene_set("breast-clinical").genes)


def test_the_docs_describe_every_set() -> None:
    page = (Path(__file__).parents[3] / "docs" / "gene-sets.md").read_text(encoding="utf-8")
    assert [name for name in gene_sets() if f"`{name}`" not in page] == []


def test_sets_use_the_names_of_today() -> None:
    for found in gene_sets().values():
        for gene in found.genes:
            assert synonyms().get(gene, (gene,))[0] == gene


def test_ensembl_ids_are_found_by_names_of_today_and_earlier() -> None:
    asked = ["ERBB2", "HER2", "IGKC", "MALAT1", "ENSG00000141736", "AP000769.1", "Erbb2"]
    assert ensembl_ids(asked) == [
        "ENSG00000141736",
        "ENSG00000141736",
        "ENSG00000211592",
        "ENSG00000251562",
        "ENSG00000141736",
        "",
        "",
    ]
    in_sets = sorted({gene for each in gene_sets().values() for gene in each.genes})
    found = ensembl_ids(in_sets)
    assert all(ENSEMBL_ID.fullmatch(each) for each in found if each)
    assert [gene for gene, each in zip(in_sets, found, strict=True) if not each] == []


def test_no_alias_means_two_genes() -> None:
    genes = set(synonyms().values())
    names = [name for gene in genes for name in gene]
    assert len(names) == len(set(names))
    assert all(len(gene) > 1 for gene in genes)


def test_no_alias_hides_a_gene_that_a_real_data_set_holds_beside_it(her2st_source: Path) -> None:
    with np.load(her2st_source / "counts_c2_c5.npz") as stored:
        measured = set(stored["genes"].tobytes().decode().split("\n"))
    for gene in set(synonyms().values()):
        assert len(measured & set(gene)) <= 1


@pytest.mark.parametrize(
    ("gene", "measured", "name"),
    [
        ("HER2", {"ERBB2"}, "ERBB2"),
        ("ERBB2", {"HER2"}, "HER2"),
        ("MS4A1", {"CD20", "MS4A1"}, "MS4A1"),
        ("JPT1", {"HN1"}, "HN1"),
        ("FASN", {"ERBB2"}, None),
        ("erbb2", {"ERBB2"}, None),  # a mouse gene is another gene
    ],
)
def test_a_gene_is_found_under_its_other_names(
    gene: str, measured: set[str], name: str | None
) -> None:
    assert as_measured(gene, measured) == name


def test_an_unknown_set_is_told_with_those_there_are() -> None:
    with pytest.raises(DatasetError, match=r"no gene set 'nosuch'; there are .*pam50"):
        gene_set("nosuch")


# the command


def test_sets_are_listed() -> None:
    rows = json.loads(run("genes", "--json").stdout)["sets"]
    assert {row["name"]: row["n_genes"] for row in rows}.items() >= SIZES.items()
    assert run("genes", "--sets", "--json").stdout == run("genes", "--json").stdout
    assert "Parker" in run("genes").stdout


def test_a_set_is_printed_and_written_as_a_panel(tmp_path: Path) -> None:
    out = tmp_path / "new" / "pam50.txt"
    result = run("genes", "--set", "pam50", "--out", out)
    assert result.exit_code == 0, result.stderr
    assert tuple(result.stdout.split()) == gene_set("pam50").genes == read_panel(out)
    assert "Parker" in result.stderr
    assert json.loads(run("genes", "--set", "mmr", "--json").stdout)["genes"][0] == "MLH1"


def test_a_panel_is_chosen_without_the_held_out_section(
    her2st_dataset: Path, tmp_path: Path
) -> None:
    spec, out = "hmhvg:30+set:breast-clinical", tmp_path / "panel.txt"
    choose = ("genes", "--dataset", her2st_dataset, "--genes", spec)
    result = run(*choose, "--hold-out", "C3", "--out", out, "--json")
    told = json.loads(result.stdout)
    assert (told["sections"], told["held_out"], told["spec"]) == (["C2"], ["C3"], spec)
    assert told["n_genes"] == len(told["genes"]) > 30
    assert tuple(told["genes"]) == read_panel(out)
    assert any("left out" in note for note in told["notes"])
    assert "left out" in result.stderr
    plain = run(*choose)
    assert plain.stdout.split() != told["genes"]  # both sections give another panel
    assert "must not be chosen on a section it is tested on" in plain.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (("--genes", "hmhvg:20"), 2),
        (("--dataset", "nowhere"), 2),
        (("--sets", "--set", "pam50"), 2),
        (("--hold-out", "C5"), 2),
        (("--out", "x.txt"), 2),
        (("--set", "nosuch"), 1),
        (("--dataset", "nowhere", "--genes", "hmhvg:20"), 1),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], exit_code: int) -> None:
    result = run("genes", *arguments)
    assert result.exit_code == exit_code
    assert result.stdout == ""


def test_sections_that_do_not_exist_or_leave_none_are_told(her2st_dataset: Path) -> None:
    choose = ("genes", "--dataset", her2st_dataset, "--genes", "hmhvg:20", "--hold-out")
    assert "no section 'Z9'" in run(*choose, "Z9").stderr
    assert "All sections" in run(*choose, "C2,C3").stderr


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("genes", "--set", "mmr", "--out", tmp_path / "file" / "panel.txt")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
