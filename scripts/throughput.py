"""How fast the published network trains on this machine, against what its arithmetic allows.

    python scripts/throughput.py --size full --device cpu --batch 8 --json

One training step as `napari-stem train` makes it (forward, backward, AdamW, running average) on random spots of
real shapes: 200 genes, a condition of width 1536. Its floating point operations are counted by torch; the limit
is the speed of large matrix products on the same device, dtype and threads, measured in the same run before and
after the steps. Both count by their fastest, so that what else the machine does matters least.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from napari_stem.model.bundle import ModelConfig
from napari_stem.training.batches import TrainingData, draw_batch, loss_sums
from napari_stem.training.options import TrainingOptions, fit_settings
from napari_stem.training.team import Team
from napari_stem.training.trainee import Trainee

if TYPE_CHECKING:
    from napari_stem.training.options import FitSettings

N_GENES, CONDITION_WIDTH, N_SPOTS = 200, 1536, 512


@dataclass(frozen=True)
class Throughput:
    """What was measured: the fastest step, the median one, and the fastest matrix product."""

    size: str
    device: str
    device_name: str
    precision: str
    threads: int
    batch: int
    steps: int
    compiled: bool
    n_parameters: int
    gflop_per_spot: float
    seconds_per_step: float
    spots_per_second: float
    median_spots_per_second: float
    peak_tflops: float
    limit_spots_per_second: float
    share_of_peak: float


def settings_of(args: argparse.Namespace) -> FitSettings:
    """Return the settings of the training command, at the width of UNI and CONCH."""
    config = ModelConfig(
        name="throughput",
        genes=tuple(f"gene{i}" for i in range(N_GENES)),
        normalisation="log2_counts",
        encoder="uni+conch",
        encoder_version=None,
        pitch_um=100.0,
        objective="published",
        denoiser={},
        card={},
    )
    options = TrainingOptions(
        objective="published",
        size=args.size,
        batch=args.batch,
        device=args.device,
        precision=args.precision,
        compile=args.compile,
    )
    return fit_settings(options, config, CONDITION_WIDTH, n_fits=1)


def random_data() -> TrainingData:
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(N_SPOTS, 8, CONDITION_WIDTH)).astype(np.float16)
    target = np.log2(rng.poisson(3, (N_SPOTS, N_GENES)) + 1).astype(np.float32)
    return TrainingData(target, seen)


def finish(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def step_seconds(trainee: Trainee, n_steps: int, device: str) -> tuple[float, float]:
    """Fastest and median step, after one that warms up."""
    taken = []
    for step in range(n_steps + 1):
        finish(device)
        begin = time.perf_counter()
        trainee.step(step + 1, (False, False))
        finish(device)
        taken.append(time.perf_counter() - begin)
    return min(taken[1:]), float(np.median(taken[1:]))


def flop_per_spot(data: TrainingData, settings: FitSettings) -> tuple[float, int]:
    """Operations of forward and backward per spot, and the parameters, counted on two spots."""
    from napari_stem.diffusion.denoiser import build_denoiser

    small = replace(settings, batch=2, device="cpu")
    network = build_denoiser(settings.denoiser)
    # Attention as plain products: what torch's fused kernel for CPUs does is not counted.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss_sums(network, draw_batch(data, small, 1, slice(0, 2)), small)[0].backward()
    return counter.get_total_flops() / 2, sum(p.numel() for p in network.parameters())


def peak_flops(settings: FitSettings, seconds: float) -> float:
    """Operations per second of the best large matrix product within some seconds."""
    kind = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    side = 8192 if torch.device(settings.device).type == "cuda" else 1536
    a, b = (torch.randn(side, side, device=settings.device, dtype=kind) for _ in range(2))
    torch.mm(a, b)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        finish(settings.device)
        begin = time.perf_counter()
        torch.mm(a, b)
        finish(settings.device)
        best = min(best, time.perf_counter() - begin)
    return 2 * side**3 / best


def measured(args: argparse.Namespace) -> Throughput:
    if args.threads:
        torch.set_num_threads(args.threads)
    settings, data = settings_of(args), random_data()
    flop, n_parameters = flop_per_spot(data, settings)
    before = peak_flops(settings, args.peak_seconds)
    trainee = Trainee(data, settings, Team(settings.device))
    step, median = step_seconds(trainee, args.steps, args.device)
    peak = max(before, peak_flops(settings, args.peak_seconds))
    is_cuda = torch.device(args.device).type == "cuda"
    speed = settings.batch / step
    return Throughput(
        size=args.size,
        device=args.device,
        device_name=torch.cuda.get_device_name(args.device) if is_cuda else "CPU",
        precision=settings.precision,
        threads=torch.get_num_threads(),
        batch=settings.batch,
        steps=args.steps,
        compiled=args.compile,
        n_parameters=n_parameters,
        gflop_per_spot=flop / 1e9,
        seconds_per_step=step,
        spots_per_second=speed,
        median_spots_per_second=settings.batch / median,
        peak_tflops=peak / 1e12,
        limit_spots_per_second=peak / flop,
        share_of_peak=speed * flop / peak,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("full", "small"), default="full")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, help="spots per step; default: the size's own")
    parser.add_argument("--precision", choices=("auto", "float32", "bf16"), default="auto")
    parser.add_argument("--compile", action="store_true", help="use torch.compile")
    parser.add_argument("--steps", type=int, default=10, help="steps measured")
    parser.add_argument("--threads", type=int, help="of the CPU; default: torch's own")
    parser.add_argument("--peak-seconds", type=float, default=2.0, help="for each measured peak")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    found = measured(args)
    if args.json:
        print(json.dumps(asdict(found)))
        return
    print(
        f"{found.size}, {found.n_parameters / 1e6:.1f} M parameters, batch {found.batch}, "
        f"{found.precision} on {found.device_name} ({found.threads} CPU threads)\n"
        f"{found.spots_per_second:.2f} spots/s ({found.seconds_per_step:.3f} s a step; "
        f"median {found.median_spots_per_second:.2f} spots/s)\n"
        f"{found.gflop_per_spot:.2f} GFLOP a spot (forward and backward)\n"
        f"{found.peak_tflops:.3f} TFLOP/s in large matrix products: at most "
        f"{found.limit_spots_per_second:.2f} spots/s; {found.share_of_peak:.0%} of that is achieved"
    )


if __name__ == "__main__":
    main()
