"""Several processes that train one denoiser: the same weights as one alone."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from napari_stem.training.denoiser_fit import fit_denoiser
from napari_stem.training.team import Team

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

MEMBER = """
import pickle, sys
from pathlib import Path
from accelerate import PartialState
from napari_stem.errors import ModelError
from napari_stem.training.denoiser_fit import fit_denoiser
from napari_stem.training.denoiser_fit import TrainingRun
from napari_stem.training.team import Team

folder, team = Path(sys.argv[1]), Team.gathered("cpu")
data, both = pickle.loads((folder / "task").read_bytes())

def eval_callback(network):
    return network.final_layer.linear.weight.numpy().copy()

def fail():
    raise ModelError("said to all")

fits = [fit_denoiser(data, settings, eval_callback, TrainingRun(team)) for settings in both]
try:
    team.share(fail)
except ModelError as error:
    heard = str(error)
done = {
    "size": team.size,
    "device": team.device,
    "weights": [fitted.network.state_dict() for fitted in fits],
    "looks": [sorted(fitted.looks) for fitted in fits],
    "shared": team.share(lambda: team.rank),
    "heard": heard,
}
(folder / f"done-{team.rank}").write_bytes(pickle.dumps(done))
PartialState().wait_for_everyone()
"""


def environment(rank: int, port: int) -> dict[str, str]:
    """What a launcher tells a process."""
    launched = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    return {**os.environ, **{k: str(v) for k, v in (launched | meeting).items()}}


def furthest(one: nn.Module, other: dict[str, torch.Tensor]) -> float:
    """Return the largest difference between two sets of weights."""
    state = one.state_dict()
    assert state.keys() == other.keys()
    return max(float((state[name] - other[name]).abs().max()) for name in state)


def test_two_processes_end_where_one_does(data, both, tmp_path: Path) -> None:
    """Both objectives, dropout included, 20 steps; gradients are summed through gloo."""
    (tmp_path / "task").write_bytes(pickle.dumps((data, both)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-c", MEMBER, str(tmp_path)]
    members = [subprocess.Popen(command, env=environment(rank, port)) for rank in range(2)]
    alone = [fit_denoiser(data, settings) for settings in both]
    assert [member.wait(timeout=300) for member in members] == [0, 0]
    done = [pickle.loads((tmp_path / f"done-{rank}").read_bytes()) for rank in range(2)]  # noqa: S301
    for said in done:
        assert (said["size"], said["shared"], said["heard"]) == (2, 0, "said to all")
        assert (
            said["device"] == "cpu"
        )  # as the bundled encoder knows it, whose graph needs no torch
        for fitted, state in zip(alone, said["weights"], strict=True):
            assert furthest(fitted.network, state) < 1e-5
    assert [said["looks"] for said in done] == [[[5, 10, 15, 20]] * 2, [[], []]]


def test_shares_cover_the_batch_once() -> None:
    for size, batch in ((1, 7), (2, 7), (3, 256), (4, 3)):
        shares = [Team("cpu", size, rank).share_of(batch) for rank in range(size)]
        covered = [row for share in shares for row in range(share.start, share.stop)]
        assert covered == list(range(batch))


def test_small_batches_leave_a_process_without_a_row(data, both) -> None:
    """The second of two processes, one spot a step: it has nothing to do and its gradient is zero."""
    from dataclasses import replace

    from napari_stem.training.denoiser_fit import Trainee

    class Mute(Team):
        def sum_in_place(self, tensor: torch.Tensor) -> None:
            assert not tensor[:-2].any()

    team = Mute("cpu", 2, 0)
    assert len(range(1)[team.share_of(1)]) == 0
    for settings in both:
        means, flags = Trainee(data, replace(settings, batch=1), team).step(1, (True, False))
        assert not means.any()
        assert flags == (True, False)
