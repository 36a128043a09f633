"""What a model's card says of its genes, and what is offered for a gene that it lacks."""

from __future__ import annotations

import numpy as np
import pytest

from napari_stem.model.genes import best_first, gene_accuracy, in_words, offered

GENES = ("ERBB2", "CD3E", "GAPDH", "SCD", "XYZ")
CARD = {
    "gene_pcc": {
        "ERBB2": [0.79, 0.7, 0.85],
        "CD3E": [0.3, 0.2, 0.4],
        "GAPDH": [0.81, 0.8, 0.82],
        "SCD": None,
    },
    "gene_share_pcc": {
        "ERBB2": [0.43, 0.4, 0.5],
        "CD3E": [0.11, -0.1, 0.3],
        "GAPDH": [0.2, 0.1, 0.3],
    },
    "gene_ceiling": {"ERBB2": 0.9, "CD3E": None},
    "genes_by_chance": ["CD3E", "elsewhere"],
}


def test_a_card_is_read_gene_by_gene() -> None:
    table = gene_accuracy(CARD, GENES)
    assert list(table.loc["ERBB2"]) == [0.79, 0.7, 0.85, 0.43, 0.4, 0.5, 0.9, False]
    assert table.loc["CD3E", "by_chance"]
    assert table.loc[["SCD", "XYZ"]].drop(columns="by_chance").isna().all(axis=None)
    assert in_words(table.loc["ERBB2"]) == [
        "PCC of log2(count + 1): 0.79 (95% interval 0.70 to 0.85)",
        "PCC of shares of counts (CP10k): 0.43 (95% interval 0.40 to 0.50)",
        "Noise ceiling: 0.90, the highest PCC such counts allow",
    ]
    assert in_words(table.loc["SCD"]) == []


def test_the_best_are_those_that_depth_does_not_help() -> None:
    assert best_first(gene_accuracy(CARD, GENES)) == {"ERBB2": 0.43, "GAPDH": 0.2}
    of_counts = gene_accuracy({"gene_pcc": CARD["gene_pcc"]}, GENES)  # all that an old table says
    assert list(best_first(of_counts)) == ["GAPDH", "ERBB2", "CD3E"]
    nothing = gene_accuracy({}, GENES)
    assert best_first(nothing) == {}
    assert not nothing["by_chance"].any()
    assert nothing.dtypes.eq(gene_accuracy(CARD, GENES).dtypes).all()
    assert np.shape(gene_accuracy({}, ())) == (0, 8)


@pytest.mark.parametrize(
    ("gene", "panel", "expected"),
    [
        ("HER2", ("ERBB3", "ERBB2"), ("ERBB2",)),  # another name of the same gene
        ("her2", ("ERBB2",), ("ERBB2",)),
        ("CD8A", ("CD68", "CD8B", "CD4"), ("CD8B",)),  # family, not spelling
        ("CD8A", ("CD68", "CD14", "CDA"), ()),
        ("KRT5", ("KRT7", "KRTCAP2", "KRT18", "KRT8", "KRT19"), ("KRT7", "KRT18", "KRT8")),
        ("ESR1", ("ESRP1", "ESR2", "ESRRA"), ("ESR2",)),
        ("COL1A2", ("COL1A1", "COL3A1"), ("COL1A1",)),
        ("TMEM14A", ("TMEM14B", "TMEM9"), ()),  # numbered, not related
        ("CD69", ("CD68",), ()),
        ("PGR", ("PGRMC1", "PGS1"), ()),
        ("ERBB22", ("ERBB2", "ERBB3"), ("ERBB2",)),  # no gene: a slip
        ("fasm", ("Fasn", "FAS"), ("FAS", "Fasn")),
        ("GPADH", ("GAPDH",), ("GAPDH",)),  # swapped
        ("GAPHXD", ("GAPDH",), ()),  # two slips
        ("", ("SCD",), ()),
    ],
)
def test_what_is_offered_for_a_gene_that_is_lacking(gene: str, panel, expected) -> None:
    assert offered(gene, panel) == expected
