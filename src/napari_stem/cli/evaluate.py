"""``evaluate``: a prediction against what was measured."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from napari_stem.cli.app import app
from napari_stem.cli.terminal import answer, tell
from napari_stem.texts import count


@app.command()
def evaluate(
    prediction: Annotated[Path, Argument(help="What 'predict' wrote.", show_default=False)],
    truth: Annotated[Path, Option(help=".h5ad with raw counts.", show_default=False)],
    allow_partial: Annotated[
        bool,
        Option(
            "--allow-partial", help="Even if less than half of the spots match in place or name."
        ),
    ] = False,
) -> None:
    """Compare a prediction with measured counts of the same section."""
    from napari_stem.evaluation import comparison

    figures = comparison.evaluate(prediction, truth, allow_partial=allow_partial)
    tell(
        f"{count(figures['n_spots'], 'spot')} matched by {figures['matched_by']}, of "
        f"{figures['n_predicted']} predicted and {figures['n_truth']} measured."
    )
    if comparison.is_too_few(figures["n_matched"], figures["n_predicted"], figures["n_truth"]):
        tell("These are less than half of either table: the figures say little of the section.")
    if left_out := figures["genes_left_out"]:
        tell(
            f"Not measured, and left out: {count(len(left_out), 'predicted gene')}, "
            f"{', '.join(left_out[:5])}{' …' if len(left_out) > 5 else ''}."
        )
    if figures["crps"] is None:
        tell("What needs the samples is left out; predict with --keep-draws to have it.")
    answer(figures, partial(_say, f"{prediction.name} against {truth.name}"))


def _say(title: str, figures: dict[str, Any]) -> None:
    from napari_stem.cli.tables import say_figures

    say_figures({"predicted": figures}, title, figures["unit"])
