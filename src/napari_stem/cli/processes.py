"""Several processes of this machine that train one model together (many machines: ``accelerate launch``)."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_stem.cli.terminal import MANNER, Interrupted, speak, speaking
from napari_stem.errors import StemError, require_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.queues import SimpleQueue

    from napari_stem.cli.terminal import Manner


def run_together(
    n_processes: int, train: Callable[..., Any], *args: Any, **kwargs: Any
) -> dict[str, Any]:
    """Have 2 or more processes call a function, which they import anew; the first one's outcome is the outcome.

    Raises
    ------
    StemError
        What any of them raised.
    Interrupted
        By Ctrl-C, which reaches them all.
    """
    from napari_stem.training.team import ACCELERATE

    require_extra(*ACCELERATE, StemError)
    from torch.multiprocessing import get_context
    from torch.multiprocessing.spawn import ProcessException, start_processes

    outcomes: SimpleQueue[tuple[str, Any]] = get_context("spawn").SimpleQueue()
    arguments = (n_processes, _free_port(), outcomes, replace(MANNER), train, args, kwargs)
    failed: Exception | None = None
    with _left_to_children():
        try:
            start_processes(_work, arguments, n_processes, start_method="spawn")  # type: ignore[no-untyped-call]
        except ProcessException as error:
            failed = error
    while not outcomes.empty():
        kind, what = outcomes.get()
        if kind == "done" and failed is None:
            result: dict[str, Any] = what
            return result
        if kind == "failed":
            raise StemError(what)
        if kind == "interrupted":
            raise Interrupted(what)
    reason = str(failed).strip().splitlines()[-1]
    raise StemError(
        f"One of the {n_processes} processes was ended ({reason}); run the command again with --resume."
    )


def _work(
    rank: int,
    n_processes: int,
    port: int,
    outcomes: SimpleQueue[tuple[str, Any]],
    manner: Manner,
    train: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """Be one of them: what a launcher says through the environment, then the same command."""
    import warnings

    warnings.simplefilter("ignore")
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(n_processes),
        "LOCAL_WORLD_SIZE": str(n_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    signal.signal(signal.SIGINT, signal.default_int_handler)
    result: Any
    try:
        with speaking():
            speak(manner.verbosity, manner.log_file if rank == 0 else None)
            result = train(*args, **kwargs)
    except StemError as error:
        outcomes.put(("failed", str(error)))
        raise SystemExit(1) from error
    except Interrupted as stopped:
        result, kind = str(stopped), "interrupted"
    else:
        kind = "done"
    if rank == 0:
        outcomes.put((kind, result))


@contextmanager
def _left_to_children() -> Iterator[None]:
    """Ctrl-C reaches every process of the terminal: this one waits for what the others make of it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
