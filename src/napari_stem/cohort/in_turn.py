"""Predict slides one after another in this process, as the window does: the same results, without a cluster."""

from __future__ import annotations

import functools
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_stem.cohort.outcomes import seconds_left
from napari_stem.device import torch_device
from napari_stem.errors import StemError
from napari_stem.model import load_model
from napari_stem.model.serving import encoder_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_stem.cohort.outcomes import Outcome
    from napari_stem.encoders.base import Encoder
    from napari_stem.model.bundle import Model
    from napari_stem.predict import PredictionProgress


def predict_in_turn(
    outcomes: Sequence[Outcome],
    stop: Callable[[], bool],
    watch: Callable[[float | None], None],
) -> None:
    """Predict slides, and note in ``outcomes`` what becomes of each; one that fails leaves the others alone.

    Results that are there are gone on with. ``stop`` is polled; once true nothing more is done, and what is
    finished stays. ``watch`` is told the seconds left after every step.
    """
    began, n_before = time.monotonic(), 0

    @functools.lru_cache(maxsize=1)  # slides of a list mostly want the same
    def loaded(name: str, device: str) -> tuple[Model, Encoder]:
        model = load_model(name)
        return model, encoder_of(model, device)

    def told() -> None:
        n_filled = sum(each.n_done for each in outcomes) - n_before
        watch(seconds_left(outcomes, n_filled, time.monotonic() - began))

    for outcome in outcomes:
        if stop():
            break
        outcome.status = "running"
        told()
        try:
            n_before += _predict(outcome, loaded, stop, told)
        except StemError as error:
            outcome.fail(error)
        told()


def _predict(
    outcome: Outcome,
    loaded: Callable[[str, str], tuple[Model, Encoder]],
    stop: Callable[[], bool],
    told: Callable[[], None],
) -> int:
    """Predict one slide; gives how many of its spots were finished before."""
    order, began, notes = outcome.order, time.monotonic(), list[str]()
    n_before: list[int] = []

    def watch(step: PredictionProgress) -> None:
        n_before.append(step.n_done)
        outcome.n_done, outcome.n_spots = step.n_done, step.n_spots
        outcome.seconds = time.monotonic() - began
        told()

    with order.open() as slide:
        model, encoder = loaded(order.model, torch_device(order.settings.device))
        job = replace(order.job(slide, model, notes.append), encoder=encoder)
        notes.append(job.doubt(stop) or "")
        if stop():
            return 0
        prediction = job.run(order.out, resume=order.out.exists(), stop=stop, watch=watch)
    outcome.notes = tuple(filter(None, notes))
    outcome.n_genes, outcome.unit = len(prediction.genes), prediction.unit
    outcome.n_unlike = int(prediction.ood.sum())
    if prediction.done.all():
        outcome.status = "done"
    return n_before[0]
