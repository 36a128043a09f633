"""Tables for people, of what ``--json`` says to programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from napari_stem.cli.terminal import say
from napari_stem.metrics import flat
from napari_stem.texts import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MEANINGS = {
    "n_spots": "spots compared",
    "n_genes": "genes compared",
    "pcc_10": "correlation over spots, mean of the best 10 genes (1 is perfect)",
    "pcc_50": "the same, best 50 genes",
    "pcc_200": "the same, best 200 genes",
    "pcc_mean": "the same, all genes",
    "pcc_mean_zeroed": "the same, a gene without a correlation (constant) counted as 0",
    "pcc_undefined": "genes left out of pcc_mean: constant in the truth or the prediction",
    "mse": "mean squared error (lower is better)",
    "mae": "mean absolute error (lower is better)",
    "crps": "error of the whole distribution (lower is better)",
    "energy_score": "the same, of all genes of a spot at once",
    "variogram_score": "error of how far genes of a spot lie apart (lower: correlations are right)",
    "coverage 50": "share of the truth inside the 50% interval, ties broken at random (should be .50)",
    "coverage 80": "the same for 80% (should be .80)",
    "coverage 90": "the same for 90% (should be .90)",
    "coverage 95": "the same for 95% (should be .95)",
    "interval_width_90": "mean width of the 90% interval (narrower is better if coverage holds)",
    "rvd_mean": "how far the mean's variance over spots is off, per gene (0 is right)",
    "rvd_draw": "the same for single samples",
    "gsc_mean": "agreement of gene-gene correlations, predicted mean (1 is perfect)",
    "gsc_draw": "the same for single samples",
    "ssc_mean": "agreement of spot-spot correlations, predicted mean (1 is perfect)",
    "ssc_draw": "the same for single samples",
}


def say_figures(columns: Mapping[str, Mapping[str, Any]], title: str, unit: str) -> None:
    """Print metrics, one column per prediction, with a line on what each means."""
    table = _of_metrics(f"{title}; errors in {unit}", columns)
    table.add_column("what it says", overflow="fold")
    values = [flat(figures) for figures in columns.values()]
    for key, meaning in MEANINGS.items():
        table.add_row(*_cells(key, *(_shown(v.get(key)) for v in values), meaning))
    _print(table)


def say_aggregates(aggregates: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """Print mean [least, largest] of every metric, one column per predictor."""
    table = _of_metrics(title, aggregates)
    for key in MEANINGS:
        ranges = [_ranged(metrics.get(key)) for metrics in aggregates.values()]
        if any(each != "–" for each in ranges):
            table.add_row(*_cells(key, *ranges))
    _print(table)


def _of_metrics(title: str, names: Iterable[str]) -> Table:
    table = Table(title=_cells(title)[0], title_justify="left")
    table.add_column("metric")
    for name in names:
        table.add_column(*_cells(name), justify="right", overflow="fold")
    return table


def say_list(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], title: str | None = None
) -> None:
    """Print some of what ``rows`` say, ``columns`` being key -> heading."""
    table = Table(title=title, title_justify="left")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*_cells(*(_shown(row.get(key)) for key in columns)))
    _print(table)


def say_slide(facts: Mapping[str, Any]) -> None:
    """Print what ``info`` knows of a slide."""
    mpp = facts["mpp"]
    size = f"{facts['width_px']} x {facts['height_px']} px"
    if mpp is not None:
        height_mm, width_mm = mpp[0] * facts["height_px"] / 1e3, mpp[1] * facts["width_px"] / 1e3
        size += f", {width_mm:.2f} x {height_mm:.2f} mm"
    sources = facts.get("mpp_sources", [])
    lines = [
        ("size", size),
        ("pixel size", _pixel_size(mpp, sources[0]["source"] if sources else None)),
        *(("", f"({_pixel_size(s['mpp_um'], s['source'])})") for s in sources[1:]),
    ]
    if facts.get("mpp_conflict"):
        lines.append(("note", facts["mpp_conflict"]))
    if "scale_check" in facts:
        lines.append(("nuclei", facts["scale_check"]["told"]))
    lines += [
        ("levels", ", ".join(f"{v['width_px']} x {v['height_px']}" for v in facts["levels"])),
        ("colour", str(facts["properties"].get("colour", "as stored"))),
        ("other images", ", ".join(each["name"] for each in facts.get("associated", [])) or "none"),
        ("vendor", facts["vendor"]),
        ("reader", facts["reader"]),
    ]
    for name, why in facts.get("readers", {}).items():
        lines.append((f"reader {name}", why or "can open it"))
    for name, text in lines:
        say(f"{name:<16} {plain(text)}")


def _cells(*values: object) -> list[Text]:
    """Texts for a table, in which neither control characters nor rich's markup does anything."""
    return [Text(plain(value)) for value in values]


def _print(table: Table) -> None:
    """Print a table on stdout; a file or pipe gets it unwrapped."""
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def _pixel_size(mpp: Sequence[float] | None, source: str | None) -> str:
    if mpp is None:
        return "unknown; state it with --mpp"
    size = f"{mpp[1]:.4g} x {mpp[0]:.4g} um (x, y)"
    return size if source is None else f"{size}, {source}"


def _ranged(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "–"
    if found["n"] == 1:
        return f"{found['mean']:.3f}"
    return f"{found['mean']:.3f} [{found['min']:.3f}, {found['max']:.3f}]"


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
