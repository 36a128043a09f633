"""The report: one file, readable, honest, and safe to open whatever the names in it."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapely
from PIL import Image

from napari_stem.exporting.options import ExportOptions
from napari_stem.exporting.report import write_report
from napari_stem.exporting.selection import Selection
from napari_stem.geometry import Region
from napari_stem.model.card import CALIBRATION, DOMAIN
from napari_stem.model.genes import BY_CHANCE
from napari_stem.texts import NOTICE

if TYPE_CHECKING:
    from pathlib import Path

    from napari_stem.results import Prediction

GENES = ("SCD", "GNAS")
ONE = GENES[:1]  # a map less to draw
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Tags, attributes, table rows and text of a page; fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if self._open and self._open[-1] in ("td", "th") and data.strip():
            self.rows[-1][-1] += data

    def row(self, heading: str) -> list[str]:
        """Cells of the last row of that heading."""
        return [row for row in self.rows if row and row[0] == heading][-1][1:]


def page_of(selection: Selection, folder: Path, **options) -> Page:
    write_report(selection, folder / "r.html", ExportOptions(**options))
    return Page((folder / "r.html").read_text(encoding="utf-8"))


def test_nothing_comes_from_elsewhere(prediction: Prediction, regions, tmp_path: Path) -> None:
    page = page_of(Selection.of(prediction, GENES, regions), tmp_path)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "a"}
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(sources) == 1 + len(GENES)
    for source in sources:
        assert source.startswith("data:image/jpeg;base64,")
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))
        assert min(image.shape[:2]) > 250
        assert image.std() > 15
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"(src|href|url\()\s*=?\s*[\"']?https?:", text)
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_names_are_text_whatever_they_hold(altered, regions, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>.svs"
    prediction = altered(slide=evil, model="<img src=x onerror=alert(1)>")
    page = page_of(Selection.of(prediction, GENES, regions), tmp_path)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "b" in {tag for tag, _ in page.tags}  # our own emphasis
    assert evil in page.text
    assert regions[0].name in page.text
    assert page.row("Model") == ["<img src=x onerror=alert(1)>"]


def test_the_notice_stands_first_and_last(prediction: Prediction, tmp_path: Path) -> None:
    text = page_of(Selection.of(prediction, ONE), tmp_path).text.strip()
    body = text.split("C5.jpg", 1)[1].strip()  # after the title of the window
    assert body.startswith(NOTICE)
    assert body.endswith(NOTICE)


def test_regions_and_genes_in_numbers(prediction: Prediction, regions, tmp_path: Path) -> None:
    page = page_of(Selection.of(prediction, GENES, regions), tmp_path)
    area, n_spots, unlike = page.row(regions[0].name)
    assert float(area) == pytest.approx(0.64, abs=0.01)
    assert int(n_spots) > 0
    assert unlike.endswith("%)")
    assert page.row("glass") == ["0.08", "0", "–"]
    mean, spread, sd, width, pcc, *_ = page.row("SCD")
    assert float(mean) == pytest.approx(prediction.values("SCD").mean(), abs=0.006)
    assert float(sd) == pytest.approx(prediction.values("SCD", "sd").mean(), abs=0.006)
    assert " to " in spread
    assert float(width) > 0
    known = prediction.gene_accuracy.loc["SCD"]
    assert pcc == f"{known['pcc']:.2f} ({known['pcc_low']:.2f} to {known['pcc_high']:.2f})"
    by_region = next(row for row in page.rows if row and row[0] == "GNAS")
    assert re.fullmatch(r"\d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\)", by_region[1])
    assert by_region[2] == "–"
    assert ("within each sample" in page.text) == bool(prediction.n_kept_draws)
    assert ("erred in the same way" in page.text) == (not prediction.n_kept_draws)


def test_on_paper_tables_stay_whole(prediction: Prediction, tmp_path: Path, monkeypatch) -> None:
    """The page's own head, repeated on every page, is the notice; long tables alone may be cut."""
    monkeypatch.setattr("napari_stem.exporting.report.map_image", lambda *_: "")
    squares = [Region(shapely.box(0, 0, 900, 900), f"nest {number}") for number in range(9)]
    genes = prediction.genes[:40]
    page = page_of(Selection.of(prediction, genes, squares), tmp_path)
    sections = [attributes.get("class") for tag, attributes in page.tags if tag == "section"]
    assert sections == [
        None,  # how to read
        *["gene"] * 40,
        None,  # nine regions
        *["long"] * 3,  # forty genes in four, four and one of the regions
        "long",  # forty genes
        None,  # the model
        None,  # how it was made
    ]
    assert [len(row) for row in page.rows if row and row[0] == genes[0]] == [5, 5, 2, 8]
    headed = [tag for tag, _ in page.tags if tag in ("table", "thead")]
    assert (
        headed == ["table", "thead"] * 6 + ["table"] * 2
    )  # the last two have headings at the side
    style = (tmp_path / "r.html").read_text(encoding="utf-8").split("</style>")[0]
    whole = style.index("section, section table, section tr { break-inside: avoid; }")
    assert whole < style.index("section.long, section.long table { break-inside: auto; }")


def test_words_are_those_of_readers(prediction: Prediction, altered, tmp_path: Path) -> None:
    stated = altered(mpp_source="stated by you", pitch_um=200.0, sampler="dpmpp-2m")
    page = page_of(Selection.of(stated, ONE), tmp_path)
    assert page.row("Image encoder") == ["bundled with napari-stem"]
    assert page.row("How samples were drawn") == ["DPM-Solver++ (2M)"]
    assert page.row("Source of the pixel size") == ["stated by the user"]
    assert page.row("Distance between spots, µm") == ["200"]
    assert (
        "log2(count + 1) at the training depth: one more means about twice as many molecules counted."
        in page.text
    )
    assert "log2_counts" not in page.text


@pytest.mark.parametrize(
    ("asked", "words"), [("new", "a new one: intervals are wider"), ("same", "as in training")]
)
def test_it_says_which_patient_intervals_are_for(altered, tmp_path: Path, asked, words) -> None:
    page = page_of(Selection.of(altered(patient=asked), ONE), tmp_path)
    assert page.row("Patient") == [words]


def test_a_model_without_a_network_names_no_solver(prediction: Prediction, tmp_path: Path) -> None:
    page = page_of(Selection.of(prediction, ONE), tmp_path)
    assert page.row("Steps per sample") == ["1"]
    assert page.row("How samples were drawn") == ["exact draws of a Gaussian copula"]


def test_the_area_is_that_of_the_spots(prediction: Prediction, tmp_path: Path, monkeypatch) -> None:
    """As they are drawn: it was that of squares of their pitch, four times what Visium's spots cover."""
    spots = prediction.spots.take(prediction.done)
    mean_um, n_spots = spots.xy_um.mean(0), len(spots)
    close = (spots.xy_um - mean_um) / 2 + mean_um
    x_px, y_px = close.T / prediction.mpp.x_um
    union = shapely.union_all([shapely.Point(*xy).buffer(100, cap_style="square") for xy in close])
    for altered, area_um2 in (
        ({}, n_spots * 200**2),
        ({"pitch_um": 364.0}, n_spots * np.pi * 100**2),
        ({"pitch_um": 100.0, "x_px": x_px, "y_px": y_px}, union.area),
    ):
        monkeypatch.setattr(prediction, "spots", replace(spots, **altered))
        page = page_of(Selection.of(prediction, ONE), tmp_path, overwrite=True)
        assert f"{area_um2 * 1e-6:.2f} mm² of tissue" in page.text


def test_how_it_was_made(prediction: Prediction, slide, tmp_path: Path) -> None:
    before = datetime.now().astimezone().replace(second=0, microsecond=0)
    page = page_of(Selection.of(prediction, ONE), tmp_path, slide=slide)
    provenance = prediction.provenance
    assert page.row("Model weights, SHA-256") == [provenance["model_weights_sha256"]]
    assert page.row("Fingerprint of the slide's file") == [provenance["slide_fingerprint"]]
    assert page.row("Samples per spot") == ["6"]
    (written,) = page.row("Report written on")
    moment = datetime.strptime(written[:16], "%Y-%m-%d %H:%M").replace(tzinfo=before.tzinfo)
    assert before <= moment <= datetime.now().astimezone()
    assert written[16:] == f" {before.tzname()}"
    assert page.row("Pixel size, µm (x, y)") == ["0.689, 0.689"]
    assert page.row("Source of the pixel size") == ["metadata of the data set"]
    assert page.row("Tissue") == ["breast"]
    assert "Trained on the tissue, stain and scanner" in page.text


def test_it_warns(half_done: Prediction, unlike: Prediction, altered, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    text = page_of(Selection.of(half_done, ONE), tmp_path / "a").text
    n_spots = len(half_done.spots)
    assert f"{n_spots - 10} of {n_spots} spots are not predicted yet" in text
    (tmp_path / "b").mkdir()
    text = page_of(Selection.of(unlike, ONE), tmp_path / "b").text
    assert f"3 of {n_spots} spots ({300 / n_spots:.0f}%) look unlike the training data" in text
    (tmp_path / "c").mkdir()
    selection = Selection.of(altered(domain="unknown", calibrated=False), ONE)
    text = page_of(selection, tmp_path / "c").text
    assert DOMAIN[False] in text
    assert CALIBRATION[False] in text


def test_a_model_that_is_gone(altered, tmp_path: Path) -> None:
    gone = altered(model="elsewhere")
    gone.gene_accuracy.loc["SCD", "by_chance"] = True
    page = page_of(Selection.of(gone, ONE), tmp_path)
    assert "description of the model is not on the computer" in page.text
    assert "compare places within a slide" in page.text  # the prediction knows the limits by itself
    pcc = gone.gene_accuracy.at["SCD", "pcc"]  # it knows how reliable its genes are, too
    assert page.row("SCD (n.s.)")[-3].startswith(f"{pcc:.2f} (")
    assert page.text.count(BY_CHANCE) == 2  # what the mark means, and at the gene
