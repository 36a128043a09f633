"""What workers do of a cohort: create a slide's prediction, fill some of its spots, sum up its regions.

A task fills whole chunks of the Zarr, and writes each once: no two tasks share a chunk, and a task that is done
twice (its worker was lost, or only thought to be) writes the same bytes again. That its spots are done is
written last.
"""

from __future__ import annotations

import functools
import os
import threading
import time
import warnings
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import dask
import numpy as np

from napari_stem.device import torch_device
from napari_stem.errors import OutputError, PredictionError, SlideError
from napari_stem.geometry import regions_named
from napari_stem.model import load_model
from napari_stem.model.serving import embedder_of, encoder_of
from napari_stem.prediction_blocks import draw_blocks, join_blocks, split_blocks, spots_at_once
from napari_stem.results import Prediction
from napari_stem.results.empty import spots_per_chunk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from napari_stem.cohort.orders import Order
    from napari_stem.encoders.base import EmbedsSpots, Encoder
    from napari_stem.model.bundle import Model
    from napari_stem.prediction_job import PredictionJob
    from napari_stem.slide.base import Slide

WAITS_S = (5.0, 15.0, 30.0, 60.0)  # a share that is away for a minute comes back within these
Result = TypeVar("Result")
_ONE = threading.Lock()  # a worker with several threads has one model, and one GPU, all the same


_closing = ExitStack()  # the slide that this worker has open, one at most


def create(order: Order) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """Choose the spots of a slide and create its prediction, or open what an earlier run left.

    Returns
    -------
    Figures as of `Outcome`, of what an earlier run finished; and (start, stop) of the rows that tasks have to
    fill, chunk by chunk.

    Raises
    ------
    StemError
        The slide, its pixel size, the model, the regions or the place do not do.
    """

    def work() -> tuple[dict[str, Any], list[tuple[int, int]]]:
        notes: list[str] = []
        with order.open() as slide:
            job = job_of(order, slide, notes)
            prediction = job.create_or_resume(order.out, resume=order.out.exists())
            # of a finished one too: it is in no file but the summary
            notes.append(job.domain_warning() or "")
        bounds = _chunks(prediction)
        todo = [(a, b) for a, b in bounds if not prediction.done[a:b].all()]
        whole = [prediction.ood[a:b] for a, b in bounds if (a, b) not in todo]
        known = {
            "n_spots": len(prediction.spots),
            "n_done": sum(map(len, whole)),
            "n_unlike": sum(int(part.sum()) for part in whole),
            "n_genes": len(prediction.genes),
            "unit": prediction.unit,
            "notes": tuple(filter(None, notes)),
        }
        return known, todo

    return _with_retries(work, order, is_known=False)


def job_of(order: Order, slide: Slide, notes: list[str]) -> PredictionJob:
    """Check what is asked for of the opened slide; its model and encoder stay loaded for the next."""
    job = order.job(slide, _model(order.model), notes.append)
    return replace(job, encoder=_encoder(order.model, order.settings.device))


def _chunks(prediction: Prediction) -> list[tuple[int, int]]:
    """Bounds of the rows of each chunk."""
    n_spots, size = len(prediction.spots), spots_per_chunk(len(prediction.genes))
    return [(start, min(start + size, n_spots)) for start in range(0, n_spots, size)]


def fill(order: Order, run: str, start: int, stop: int) -> tuple[int, int, float]:
    """Predict the spots of the rows from ``start`` to ``stop`` and write them, in whole chunks.

    ``run`` names this run: what a worker has open of an earlier one does not serve it. Gives how many spots it
    finished, how many of them are unlike the training data, and the seconds that took.

    StemError: the slide, the disk or the share failed, and after some minutes does so still.
    """

    def work() -> tuple[int, int, float]:
        began, rows = time.monotonic(), np.arange(start, stop)
        prediction, model, embedder = _opened(order, run)
        parts = split_blocks(rows, spots_at_once(model, order.settings))
        drawn = draw_blocks(prediction, parts, embedder, model, order.settings)
        values = join_blocks([values for _, values in drawn])
        prediction.write_block(rows, **values)
        n_unlike = int((values["ood_distance"] > 1).sum())
        return len(rows), n_unlike, time.monotonic() - began

    return _with_retries(work, order, is_known=True)


def region_means(path: Path) -> pd.DataFrame:
    """Means over the spots of each region of a prediction.

    Returns
    -------
    By region ("all" where none was asked for): ``n_spots``, ``n_unlike``, then a column per gene, in the unit
    of the prediction. A spot in two regions counts in both, as in `compare`.
    """
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prediction = Prediction.open(path)
        held = [regions_named(joined or "all") for joined in prediction.region_names]
        names = sorted({name for of_spot in held for name in of_spot})
        code = {name: place for place, name in enumerate(names)}
        sums = np.zeros((len(names), len(prediction.genes)))
        n, n_unlike = np.zeros(len(names), int), np.zeros(len(names), int)
        for start, stop in _chunks(prediction):
            rows = start + np.flatnonzero(prediction.done[start:stop])
            values, unlike = prediction.rows(rows), prediction.ood[rows]
            pairs = [(i, code[name]) for i, row in enumerate(rows) for name in held[row]]
            i, codes = np.array(pairs, int).reshape(-1, 2).T
            np.add.at(sums, codes, values[i])
            np.add.at(n, codes, 1)
            np.add.at(n_unlike, codes, unlike[i])
    with np.errstate(invalid="ignore"):
        table = pd.DataFrame(sums / n[:, None], index=names, columns=list(prediction.genes))
    table.insert(0, "n_spots", n)
    table.insert(1, "n_unlike", n_unlike)
    return table


def _with_retries(work: Callable[[], Result], order: Order, *, is_known: bool) -> Result:
    """Work; where a disk or share is away or full, wait and do so again.

    ``is_known``: the slide was read before, so that whatever fails now may be better later.
    """
    # dask's arrays (tissue, levels) are computed here: given to the cluster, they would wait for this very task
    with _ONE, dask.config.set(scheduler="threads"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # third parties' mean nothing to users
        for wait_s in WAITS_S:
            try:
                return work()
            except (SlideError, OutputError, PredictionError, OSError):
                close()
                folders = (order.slide.absolute().parent, order.out.absolute().parent)
                if not is_known and all(map(os.path.isdir, folders)):
                    raise
            time.sleep(wait_s)
        return work()


@functools.lru_cache(maxsize=1)
def _opened(order: Order, _run: str) -> tuple[Prediction, Model, EmbedsSpots]:
    """Open the slide of a task, ready to be predicted, in place of the one before."""
    close()  # and forget it: opening this one may fail
    model, device = _model(order.model), order.settings.device
    slide = _closing.enter_context(order.open())
    embedder = embedder_of(slide, model, device, _encoder(order.model, device))
    return Prediction.open(order.out), model, embedder


def close() -> None:
    """Let go of the slide that is open."""
    _opened.cache_clear()
    _closing.close()


def forget_models() -> None:
    """Let go of the models and the encoder that are loaded."""
    _model.cache_clear()
    _encoder.cache_clear()


@functools.lru_cache(maxsize=2)
def _model(name: str) -> Model:
    return load_model(name)


@functools.lru_cache(maxsize=1)
def _encoder(model: str, device: str) -> Encoder:
    return encoder_of(_model(model), torch_device(device))
