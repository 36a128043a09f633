"""The list of genes: found, sorted, starred, doubted, taken from lists; on real predictions and on 20,000."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from map_screen import on_screen
from napari.components import ViewerModel
from numpy.testing import assert_allclose
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QInputDialog

from napari_stem.geometry import Mpp, SizePx, lattice
from napari_stem.model.genes import BY_CHANCE, MARK, gene_accuracy
from napari_stem.progress import go_on
from napari_stem.widgets.common.table import GREY, Column, Table, TableView, marked
from napari_stem.widgets.genes.active_prediction import spatial_autocorrelation
from napari_stem.widgets.genes.gene_table import (
    CLUSTERING,
    GENE,
    MEAN_COLUMN,
    RELIABILITY,
    SPREAD,
    STAR,
    GeneSearch,
    GeneTable,
    names_in,
)
from napari_stem.widgets.genes.genes_panel import GenesPanel

pytestmark = pytest.mark.gui

FEW = ("FASN", "ERBB2", "MUC1", "KRT8", "CD3E", "MUC16")
CARD = {
    "gene_pcc": {
        "FASN": [0.5, 0.4, 0.6],
        "ERBB2": [0.9, 0.8, 0.95],
        "MUC1": None,
        "KRT8": [0.1, 0, 0.2],
        "CD3E": [0.95, 0.9, 0.97],
    },
    "gene_share_pcc": {
        "FASN": [0.3, 0.2, 0.4],
        "ERBB2": [0.4, 0.3, 0.5],
        "CD3E": [0.11, -0.1, 0.3],
    },
    "gene_ceiling": {"ERBB2": 0.92},
    "genes_by_chance": ["CD3E"],
}


@pytest.fixture
def panel(qtbot) -> GenesPanel:
    panel = GenesPanel()
    qtbot.addWidget(panel)
    panel.show_genes(gene_accuracy(CARD, FEW), "log2(count + 1)", ("ESR1", "PGR"))
    return panel


@pytest.fixture
def screen(c5_prediction, qtbot):
    yield from on_screen(ViewerModel(), c5_prediction, qtbot)


def chosen_on(panel: GenesPanel) -> list[str]:
    """Genes that are chosen from now on, as they are told."""
    chosen: list[str] = []

    def note(names: frozenset[str]) -> None:
        if "gene" in names:
            chosen.append(panel.settings.gene)

    panel.settings.changed.connect(note)
    return chosen


def listed(panel: GenesPanel) -> list[str]:
    return [panel.table.key(row) for row in range(panel.table.rowCount())]


def cell(table: GeneTable, gene: str, column: int, role=Qt.ItemDataRole.DisplayRole):
    return table.index(table.row_of(gene), column).data(role)


def test_typing_finds_prefixes_first_then_other_names_then_parts():
    search = GeneSearch(("KRT8", "CD8A", "ERBB2", "MUC1", "XERX"))
    ranks, aliases = search.ranks("er")
    assert [search.genes[i] for i in np.argsort(ranks, kind="stable")[:2]] == ["ERBB2", "XERX"]
    ranks, aliases = search.ranks("her2")
    assert [search.genes[i] for i in np.flatnonzero(ranks < 9)] == ["ERBB2"]
    assert aliases == {2: "HER2"}


def test_her2_finds_erbb2_and_says_why(panel):
    panel.search.setText("her2")
    assert listed(panel) == ["ERBB2"]
    assert panel.table.index(0, GENE).data() == "ERBB2 (HER2)"
    assert panel.table.index(0, GENE).data(Qt.ItemDataRole.UserRole) == "ERBB2"
    panel.search.returnPressed.emit()
    assert panel.settings.gene == "ERBB2"


def test_a_search_in_vain_says_what_to_try(panel):
    panel.search.setText("fasm")
    assert listed(panel) == []
    assert not panel.not_found.isHidden()
    assert "FASN" in panel.not_found.text()
    panel.search.setText("PDL1")
    assert "another name of CD274" in panel.not_found.text()
    panel.search.setText("esr1")
    assert "ESR1 was not measured" in panel.not_found.text()
    panel.search.setText("KRT5")
    assert panel.not_found.text().endswith("Similar: KRT8.")  # of its family
    panel.search.setText("ERBB2, FASN")
    assert "“Paste a list …”" in panel.not_found.text()
    panel.search.setText("fas")
    assert panel.not_found.isHidden()


def test_genes_are_stepped_through_as_listed_and_stay_chosen_while_hidden(panel):
    chosen = chosen_on(panel)
    assert panel.choose("FASN")
    for _ in range(6):
        panel.step(1)  # stays at the end
    assert chosen == list(FEW)
    panel.search.setText("b2")
    assert listed(panel) == ["ERBB2"]
    assert panel.settings.gene == "MUC16"
    panel.search.clear()
    assert panel.view.currentIndex().data() == "MUC16"
    assert chosen == list(FEW)  # nothing was chosen by filtering


def test_a_gene_that_is_not_listed_can_be_chosen_from_elsewhere(panel):
    chosen = chosen_on(panel)
    panel.choose("ERBB2")
    panel.search.setText("b2")
    assert panel.choose("FASN")  # from another table, or a session
    assert not panel.choose("NOSUCHGENE")
    assert panel.settings.gene == "FASN"
    assert not panel.view.currentIndex().isValid()
    panel.step(1)
    assert chosen == ["ERBB2", "FASN", "ERBB2"]
    panel.choose("FASN")
    panel.search.clear()
    assert panel.view.currentIndex().data() == "FASN"


def test_sorting_puts_unknown_values_last_either_way(panel):
    panel.view.sortByColumn(RELIABILITY, Qt.SortOrder.DescendingOrder)
    unknown = ["MUC1", "CD3E", "MUC16"]  # by chance
    assert listed(panel) == ["ERBB2", "FASN", "KRT8", *unknown]
    panel.view.sortByColumn(RELIABILITY, Qt.SortOrder.AscendingOrder)
    assert listed(panel) == ["KRT8", "FASN", "ERBB2", *unknown]
    panel.view.sortByColumn(GENE, Qt.SortOrder.AscendingOrder)
    assert listed(panel) == sorted(FEW)
    panel.search.setText("mu")
    assert listed(panel) == ["MUC1", "MUC16"]


def test_unreliable_genes_are_grey_and_say_why(panel):
    role = Qt.ItemDataRole
    doubts = {"KRT8": "hardly followed", "MUC1": "has not been measured", "CD3E": BY_CHANCE}
    for gene, why in doubts.items():
        assert cell(panel.table, gene, GENE, role.ForegroundRole) == GREY
        assert why in cell(panel.table, gene, GENE, role.ToolTipRole)
        panel.choose(gene)
        assert not panel.doubt.isHidden()
        assert why in panel.doubt.text()
    assert cell(panel.table, "ERBB2", GENE, role.ForegroundRole) is None
    panel.choose("ERBB2")
    assert panel.doubt.isHidden()
    tip = cell(panel.table, "ERBB2", GENE, role.ToolTipRole)
    assert "PCC of shares of counts (CP10k): 0.40 (95% interval 0.30 to 0.50)" in tip
    assert "Noise ceiling: 0.92" in tip
    shown = {gene: cell(panel.table, gene, RELIABILITY) for gene in FEW}
    expected = {"FASN": "0.30", "ERBB2": "0.40", "KRT8": "0.10", "CD3E": MARK}
    assert shown == {"MUC1": "–", "MUC16": "–"} | expected


def test_rows_of_which_none_is_listed_change_without_a_word_of_qt(qapp):
    told = []
    table = Table([Column("value", "Value", "")])
    frame = pd.DataFrame({"value": [1.0]}, index=["ERBB2"])
    table.fill(frame)
    table.filter("no such gene")
    table.dataChanged.connect(lambda first, last: told.append((first, last)))
    table.fill(frame + 1)
    assert told == []  # of views, Qt warns of places that are none
    table.filter("")
    assert table.index(0, 0).data() == "2.0"


@pytest.mark.parametrize("view", ["measured", "difference", "domains"])
def test_whoever_asks_for_several_genes_sees_them_in_place_of_a_map_of_one(panel, view):
    panel.settings.update(view=view)
    panel.choose_arrangement("one")
    assert panel.settings.view == view
    panel.choose_arrangement("beside")
    assert panel.settings.view == "mean"


def test_tables_of_genes_mark_those_by_chance():
    table = Table((Column("gene", "Gene"), Column("value", "Value", "", ".1f")))
    table.fill(marked(pd.DataFrame({"value": [1.0, 2.0]}, index=["ERBB2", "CD3E"]), {"CD3E"}))
    cells = [table.index(row, 0) for row in range(2)]
    assert [one.data() for one in cells] == ["ERBB2", f"CD3E ({MARK})"]
    role = Qt.ItemDataRole
    assert [one.data(role.ForegroundRole) for one in cells] == [None, GREY]
    assert cells[1].data(role.UserRole) == "CD3E"


def test_chosen_rows_are_copied_as_spreadsheets_take_them(qtbot):
    table = Table((Column("name", "Name"), Column("value", "Value", "", "+.1f")))
    view = TableView(table)
    qtbot.addWidget(view)
    table.fill(pd.DataFrame({"name": ["=1+1", "b"], "value": [1.25, -2.0]}, index=["a", "b"]))
    for row, line in enumerate(("'=1+1\t+1.2", "b\t-2.0")):
        view.selectRow(row)
        qtbot.keyClick(view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
        assert QApplication.clipboard().text() == f"Name\tValue\n{line}"
    view.setSelectionMode(view.SelectionMode.ExtendedSelection)
    view.selectAll()
    qtbot.keyClick(view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    copied = "Name\tValue\n'=1+1\t+1.2\nb\t-2.0"
    assert QApplication.clipboard().text() == copied
    view.selectionModel().clear()
    qtbot.keyClick(view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QApplication.clipboard().text() == copied  # nothing was chosen


def test_genes_by_chance_are_marked_among_those_picked(panel):
    panel.settings.update(picked=("ERBB2", "CD3E"), arrangement="beside")
    assert [b.text() for b in panel.picked.buttons] == ["ERBB2  ×", f"CD3E ({MARK})  ×"]


def test_favourites_are_starred_by_click_and_key_and_remembered(panel, qtbot):
    table = panel.table
    panel.view.clicked.emit(table.index(table.row_of("MUC1"), STAR))
    panel.choose("FASN")
    qtbot.keyClick(panel.view, Qt.Key.Key_F)
    assert cell(table, "FASN", STAR) == cell(table, "MUC1", STAR) == "★"
    panel.sets.choose("favourites")
    assert listed(panel) == ["FASN", "MUC1"]
    later = GenesPanel()
    qtbot.addWidget(later)
    later.show_genes(gene_accuracy({}, FEW))
    assert cell(later.table, "MUC1", STAR) == "★"
    panel.view.clicked.emit(table.index(table.row_of("MUC1"), STAR))
    assert listed(panel) == ["FASN"]


def test_a_published_set_lists_its_genes_and_names_the_missing(panel):
    panel.sets.choose("set:pam50")
    assert listed(panel) == ["ERBB2"]
    text = panel.sets.message.text()
    assert text.startswith("This model predicts 1 of 50 genes; not measured in the training data: ")
    assert "ESR1" in text
    assert "PGR" in text
    assert "43 more" not in text
    assert "41 more" in text
    panel.sets.choose("all")
    assert listed(panel) == list(FEW)
    assert panel.sets.message.isHidden()


def test_sets_say_how_many_genes_there_are_and_empty_ones_cannot_be_chosen(panel):
    choice = panel.sets.choice
    place, vain = (choice.findData(f"set:{name}") for name in ("breast-clinical", "mmr"))
    assert choice.itemText(place) == "breast-clinical (1 of 8)"
    assert choice.model().item(place).isEnabled()
    assert not choice.model().item(vain).isEnabled()
    assert "predicts none" in choice.itemData(vain, Qt.ItemDataRole.ToolTipRole)
    panel.show_genes(gene_accuracy({}, ("MLH1",)))
    assert choice.itemText(vain) == "mmr (1 of 4)"
    assert choice.model().item(vain).isEnabled()


def test_a_pasted_list_may_use_other_names_and_case(panel, monkeypatch):
    answer = "her2, fasn;MUC1\nMUC11"
    monkeypatch.setattr(QInputDialog, "getMultiLineText", lambda *_: (answer, True))
    choice = panel.sets.choice
    choice.setCurrentIndex(choice.findData("paste"))
    choice.activated.emit(choice.currentIndex())
    assert listed(panel) == ["FASN", "ERBB2", "MUC1"]
    assert "not predicted: MUC11 (similar: MUC1" in panel.sets.message.text()
    assert panel.sets.name() == "Pasted list"


def test_lists_are_read_from_gmt_and_csv_files(panel, tmp_path, monkeypatch):
    gmt = tmp_path / "sets.gmt"
    gmt.write_text("A\tfirst\tFASN\tKRT8\nB\tsecond\tMUC1\n")
    monkeypatch.setattr(QInputDialog, "getItem", lambda *_: ("A", True))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(gmt), ""))
    choice = panel.sets.choice
    choice.setCurrentIndex(choice.findData("load"))
    choice.activated.emit(choice.currentIndex())
    assert panel.sets.name() == "A"
    assert listed(panel) == ["FASN", "KRT8"]
    csv = tmp_path / "mine.csv"
    csv.write_text("gene,weight\nMUC16,0.5\nERBB2,1\n")
    panel.sets.load(csv)
    assert listed(panel) == ["ERBB2", "MUC16"]


def test_a_file_that_is_no_list_ends_in_one_sentence(panel, tmp_path):
    path = tmp_path / "empty.txt"
    path.write_text("\n")
    panel.sets.load(path)
    assert "names no gene" in panel.sets.message.text()
    assert listed(panel) == list(FEW)


def test_pasted_names_are_told_apart():
    assert names_in('"A", B;C\tD\n E|A') == ["A", "B", "C", "D", "E"]


def test_twenty_thousand_genes_make_no_widgets_and_few_questions(qtbot):
    panel = GenesPanel()
    qtbot.addWidget(panel)
    names = [f"GENE{i}" for i in range(20_000)]
    panel.show()
    asked = []
    real = panel.table.data
    panel.table.data = lambda index, role=0: asked.append(index.row()) or real(index, role)
    panel.show_genes(gene_accuracy({"gene_pcc": {"GENE7": [0.4, 0.3, 0.5]}}, names))
    panel.table.fill_columns({"mean": np.arange(20_000)[::-1]})
    panel.view.sortByColumn(MEAN_COLUMN, Qt.SortOrder.AscendingOrder)
    qtbot.wait(50)
    assert panel.table.index(0, GENE).data(Qt.ItemDataRole.UserRole) == "GENE19999"
    panel.search.setText("gene1999")
    assert panel.table.rowCount() == 11
    qtbot.wait(50)
    assert len(set(asked)) < 200  # only rows in sight
    panel.search.clear()
    assert panel.choose("GENE12345")


@pytest.mark.slow
def test_columns_fill_with_what_the_prediction_says(screen):
    screen.wait(lambda: "clustering" in screen.shown.columns)
    prediction, table = screen.prediction, screen.genes.table
    table_mean = {gene: prediction.values(gene).mean(dtype=float) for gene in prediction.genes}
    for gene in prediction.genes[:5]:
        values = prediction.values(gene).astype(float)
        assert cell(table, gene, MEAN_COLUMN) == f"{values.mean():.2f}"
        assert cell(table, gene, SPREAD) == f"{values.std():.2f}"
        assert cell(table, gene, CLUSTERING) == f"{morans_by_hand(prediction, values):.2f}"
        assert cell(table, gene, RELIABILITY) == f"{screen.reliability[gene]:.2f}"
    screen.genes.view.sortByColumn(MEAN_COLUMN, Qt.SortOrder.DescendingOrder)
    means = [table_mean[gene] for gene in listed(screen.genes)]
    assert_allclose(means, sorted(means, reverse=True), rtol=1e-5)
    assert prediction.unit in table.headerData(MEAN_COLUMN, Qt.Orientation.Horizontal, 3)


def morans_by_hand(prediction, values: np.ndarray) -> float:
    """Moran's I by its formula, four neighbours, weights of a spot adding up to one."""
    spots = prediction.spots
    apart = np.abs(np.subtract.outer(spots.array_row, spots.array_row)) + np.abs(
        np.subtract.outer(spots.array_col, spots.array_col)
    )
    weights = (apart == 1) / (apart == 1).sum(axis=1, keepdims=True)
    z = values - values.mean()
    return float(z @ weights @ z / (z @ z) * len(z) / weights.sum())


@pytest.mark.slow
def test_what_is_computed_is_given_up_when_the_prediction_goes(screen):
    older = screen.shown
    older.stop()
    older.columns.clear()
    screen.show()
    assert screen.shown is not older
    screen.wait(lambda: "clustering" in screen.shown.columns)
    assert "clustering" not in older.columns


def test_of_few_spots_side_by_side_nothing_is_said_to_cluster():
    spots = lattice(SizePx(8000, 8000), Mpp.square(0.5), 200.0)
    done = (spots.array_row % 2 == 0) & (spots.array_col % 2 == 0)  # as of a run cancelled early
    done[1] = True
    by_gene = np.random.default_rng(1).normal(size=(5, len(spots))).astype(np.float32)
    assert np.isnan(spatial_autocorrelation(by_gene, spots, done, go_on)).all()
    done[: len(spots) // 2] = True
    assert np.isfinite(spatial_autocorrelation(by_gene, spots, done, go_on)).all()
