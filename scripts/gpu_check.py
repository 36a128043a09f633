"""What a GPU gives, and whether its numbers are those of the processor: one command, a table and one JSON.

    python scripts/gpu_check.py --out gpu_check.json
    python scripts/gpu_check.py --device cpu --quick

Layers run in turn, each where its packages are: the first four need torch and numpy alone, ``prediction`` what
predicting needs, ``encoder`` timm besides. What lacks packages, fails or comes too late says so in the table.
``--quick`` takes a small network, so that every layer can be tried on a processor.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

if find_spec("lazy_loader") is None:  # without the package's public names its rooms can be imported
    bare = ModuleType("napari_stem")
    bare.__path__ = [str(Path(__file__).parents[1] / "src" / "napari_stem")]
    sys.modules["napari_stem"] = bare

WIDTH = 1053  # of the condition: the bundled encoder's
OUR_STEPS, N_DRAWS = 16, 8
LAYERS = ("speed", "memory", "training", "draws", "prediction", "encoder")


class Finding(NamedTuple):
    """One line of the table; ``bound`` is "<= 0.1" or ">= 2", or nothing was promised."""

    what: str
    value: float | str
    unit: str = ""
    bound: str = ""


@dataclass
class Check:
    """Where and how large; the network is random until the layer ``training`` has trained it."""

    device: str
    is_quick: bool
    config: Any
    network: nn.Module
    rows: tuple[int, ...]
    train_seconds: float
    n_spots: int
    n_patches: int
    published_steps: int


def check_of(device: str, *, is_quick: bool) -> Check:
    """Choose the sizes: the published network, or a small one."""
    from napari_stem.diffusion.denoiser import DenoiserConfig, build_denoiser

    config = DenoiserConfig.published(12 if is_quick else 200, WIDTH)
    if is_quick:
        config = replace(config, hidden=32, depth=2, heads=4)
    torch.manual_seed(0)
    network = build_denoiser(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        if not parameter.any():  # layers that begin as zeros would hide the others
            nn.init.normal_(parameter, std=0.02)
    sizes = ((8, 16), 4.0, 12, 2, 100) if is_quick else ((82, 164, 328, 656), 60.0, 40, 768, 1000)
    return Check(device, is_quick, config, network.to(device), *sizes)


def is_cuda(check: Check) -> bool:
    return torch.device(check.device).type == "cuda"


def wait(check: Check) -> None:
    if is_cuda(check):
        torch.cuda.synchronize()


def best_seconds(check: Check, call: Callable[[], object], seconds: float = 1.0) -> float:
    """Fastest of the calls made in some time, after two that warm up."""
    call(), call()
    best, end = float("inf"), time.perf_counter() + (0.2 if check.is_quick else seconds)
    while True:
        wait(check)
        begin = time.perf_counter()
        call()
        wait(check)
        now = time.perf_counter()
        best = min(best, now - begin)
        if now > end:
            return best


def apart(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference, in standard deviations of what is expected."""
    found, expected = found.double().cpu(), expected.double().cpu()
    return float((found - expected).square().mean().sqrt() / expected.std())


def inputs(check: Check, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Values, time steps and conditions of n rows."""
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, check.config.n_genes, generator=generator)
    told = torch.randn(n, WIDTH, generator=generator)
    return x.to(check.device), (x[:, 0].abs() * 300).to(check.device), told.to(check.device)


def in_bf16(check: Check, network: Callable[..., Tensor], *given: Tensor) -> Tensor:
    with torch.autocast(torch.device(check.device).type, torch.bfloat16):
        return network(*given)


def operations(check: Check, *, is_training: bool) -> float:
    """Floating point operations of a row, forward or both ways; attention as plain products."""
    given = [torch.zeros(2, check.config.n_genes), torch.zeros(2), torch.zeros(2, WIDTH)]
    network = copy.deepcopy(check.network).cpu().requires_grad_(is_training)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = network(*given)
        if is_training:
            out.sum().backward()
    return counter.get_total_flops() / 2


def achievable(check: Check, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product."""
    side = 512 if check.is_quick else 8192
    a = torch.randn(side, side, device=check.device, dtype=dtype)
    return 2 * side**3 / best_seconds(check, lambda: a @ a)


@torch.no_grad()
def speed(check: Check) -> Iterator[Finding]:
    """Rows per second of the network: float32, bf16, compiled, with CUDA graphs."""
    flop, n = operations(check, is_training=False), check.rows[-2]
    yield Finding("operations of a row", flop / 1e9, "GFLOP")
    limit = {kind: achievable(check, getattr(torch, kind)) for kind in ("float32", "bfloat16")}
    for kind, found in limit.items():
        yield Finding(f"large matrix product, {kind}", found / 1e12, "TFLOP/s")
    calls = [("float32", n, check.network)]
    calls += [("bfloat16", rows, partial(in_bf16, check, check.network)) for rows in check.rows]
    if is_cuda(check):
        for mode in ("default", "reduce-overhead"):  # the latter records CUDA graphs
            compiled = torch.compile(check.network, mode=mode, dynamic=False)
            calls.append((f"bfloat16, compiled ({mode})", n, partial(in_bf16, check, compiled)))
    shares = []
    for name, rows, call in calls:
        given = inputs(check, rows)
        rate = rows / best_seconds(check, partial(call, *given))
        shares.append(rate * flop / limit[name.partition(",")[0]])
        yield Finding(f"{name}, {rows} at once", rate, f"rows/s ({shares[-1]:.0%} of a product)")
    bound = ">= 0.5" if is_cuda(check) else ""
    yield Finding("best share of a product in bf16", max(shares[1:]), "", bound)


@torch.no_grad()
def memory(check: Check) -> Iterator[Finding]:
    """Precision against the CPU, rows alone and together, parts halved where memory is full."""
    from napari_stem.diffusion.slices import RowSlices

    n = check.rows[-1]
    given = inputs(check, n)
    few = [value[:8] for value in given]
    expected = copy.deepcopy(check.network).cpu()(*(value.cpu() for value in few))
    yield Finding("float32", apart(check.network(*few), expected), "sd from the CPU", "<= 1e-4")
    found = in_bf16(check, check.network, *few)
    yield Finding("bf16", apart(found, expected), "sd from the CPU's float32", "<= 0.03")
    sliced = RowSlices(check.network, n // 2, is_half=True, pads=True)
    whole = sliced(*given)
    alone = torch.cat([sliced(*(v[i : i + 3] for v in given)) for i in range(0, 9, 3)])
    yield Finding("rows by three", apart(alone, whole[:9]), "sd from all at once", "<= 1e-6")
    with capped(check, given, n // 4) as network:
        halved = RowSlices(network, n, is_half=True, pads=True)
        found = halved(*given)
    yield Finding(f"{n} rows in a capped memory", halved.rows_at_once, "at once", f"<= {n // 2}")
    yield Finding("these rows", apart(found, whole), "sd from those that fitted", "<= 0.01")


@contextmanager
def capped(check: Check, given: tuple[Tensor, ...], n_fit: int) -> Iterator[nn.Module]:
    """Yield the network in a memory for some rows and not twice as many; a CPU's is pretended."""

    def pretended(*values: Tensor) -> Tensor:
        if len(values[0]) > n_fit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return check.network(*values)

    if not is_cuda(check):
        yield pretended
        return
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    in_bf16(check, check.network, *(value[:n_fit] for value in given))
    room = before + 1.3 * (torch.cuda.max_memory_reserved() - before)
    torch.cuda.empty_cache()
    share = room / torch.cuda.get_device_properties(check.device).total_memory
    torch.cuda.set_per_process_memory_fraction(share)
    try:
        yield check.network
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def made_up(check: Check, n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(n, genes) values, whose mean eight numbers of their (n, WIDTH) embeddings tell."""
    world, rng, n_genes = (
        np.random.default_rng(0),
        np.random.default_rng(seed),
        check.config.n_genes,
    )
    to_mean, together = world.normal(size=(2, 8, n_genes)) / 8**0.5
    embedding = rng.normal(size=(n, WIDTH))
    noise = 0.5 * rng.normal(size=(n, 8)) @ together + 0.3 * rng.normal(size=(n, n_genes))
    values = embedding[:, :8] @ to_mean + noise
    return values.astype(np.float32), embedding.astype(np.float32)


def training(check: Check) -> Iterator[Finding]:
    """Train on made-up spots as ``napari-stem train`` does; what follows uses the network."""
    from napari_stem.training.batches import TrainingData
    from napari_stem.training.denoiser_fit import Trainee
    from napari_stem.training.options import TrainingOptions, fit_settings
    from napari_stem.training.team import Team

    options = TrainingOptions(objective="published", size="full", device=check.device, ema=0.99)
    settings = replace(
        fit_settings(options, (check.config.n_genes, WIDTH), 1),
        denoiser=check.config,
        batch=64 if check.is_quick else 256,
        learning_rate=3e-3 if check.is_quick else 3e-4,
    )
    trainee = Trainee(TrainingData(*made_up(check, 4096, 1)), settings, Team(check.device))
    taken, end = [], time.perf_counter() + check.train_seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        losses, _ = trainee.step(len(taken) + 1, (False, False))
        wait(check)
        taken.append(time.perf_counter() - begin)
    rate, half = settings.batch / float(np.median(taken)), settings.precision == "bf16"
    limit = achievable(check, torch.bfloat16 if half else torch.float32)
    share = rate * operations(check, is_training=True) / limit
    unit = f"rows/s ({settings.precision}, {share:.0%} of a product)"
    yield Finding(f"steps of {settings.batch} rows", rate, unit)
    yield Finding(f"squared error after {len(taken)} steps", float(losses[1]), "", "<= 1")
    check.network = trainee.averaged


def drawn(
    network: nn.Module,
    told: Tensor,
    n_draws: int,
    sampler: str,
    steps: int,
    *,
    is_located: bool = True,
) -> Tensor:
    """(n, draws, genes) of spots with (n, WIDTH) embeddings; else than located, noise is the device's own."""
    from napari_stem.model.sampling import noise_of_step, sample_network
    from napari_stem.settings import SamplingSettings

    settings = SamplingSettings(n_draws=n_draws, n_steps=steps, sampler=sampler)
    place = np.arange(len(told)) * 100.0
    shape = (len(told), n_draws, getattr(network, "network", network).config.n_genes)

    def noise(step: int) -> Tensor:
        if not is_located:
            return torch.randn((shape[0] * shape[1], shape[2]), device=told.device)
        spots = SimpleNamespace(x_px=place, y_px=place)
        return noise_of_step(spots, settings, shape, told.device, step)

    rows = told.repeat_interleave(n_draws, 0)
    objective = SimpleNamespace(objective="published")
    drawn = sample_network(objective, network, rows, noise(0), noise, settings, None)
    return drawn.reshape(shape)


def draws(check: Check) -> Iterator[Finding]:
    """Compare our few steps with the published chain in float32: numbers, draws per second, CRPS."""
    from napari_stem.diffusion.slices import RowSlices, stoppable
    from napari_stem.metrics import crps

    values, embedding = made_up(check, check.n_spots, 2)
    told = torch.from_numpy(embedding).to(check.device)
    ours, few = stoppable(check.network, check.device), partial(drawn, n_draws=2, steps=8)
    there = copy.deepcopy(check.network).cpu()
    for sampler in ("dpmpp-2m", "ancestral"):
        expected = few(there, told[:3].cpu(), sampler=sampler)
        for name, network, bound in (("float32", check.network, 1e-3), ("ours", ours, 0.05)):
            found = apart(few(network, told[:3], sampler=sampler), expected)
            yield Finding(f"8 steps {sampler}, {name}", found, "sd from the CPU", f"<= {bound}")
    published = RowSlices(check.network, 320)
    rates, scores = [], []
    for network, sampler, steps in (
        (published, "ancestral", check.published_steps),
        (ours, "dpmpp-2m", OUR_STEPS),
    ):
        draw = partial(drawn, network, told, N_DRAWS, sampler, is_located=sampler != "ancestral")
        draw(2)  # warms up
        begin = time.perf_counter()
        found = draw(steps).cpu().numpy().transpose(0, 2, 1)
        rates.append(check.n_spots * N_DRAWS / (time.perf_counter() - begin))
        scores.append(
            [crps(v[None].astype(float), f[None]) for v, f in zip(values, found, strict=True)]
        )
        unit = f"draws/s (CRPS {np.mean(scores[-1]):.4f})"
        yield Finding(f"{steps} steps {sampler}", rates[-1], unit)
    bound = ">= 300" if is_cuda(check) else ""
    yield Finding("as many draws", rates[1] / rates[0], "times the published", bound)
    more = np.subtract(scores[1], scores[0])
    sure = more.mean() / (more.std(ddof=1) / len(more) ** 0.5)
    yield Finding("CRPS more than published", float(more.mean()), f"({sure:+.1f} standard errors)")


def prediction(check: Check) -> Iterator[Finding]:
    """Predict spots of C5 with the bundled encoder: whole, stopped and resumed, on the CPU."""
    import napari_stem
    from napari_stem.encoders.embed import Embedder
    from napari_stem.encoders.registry import load_encoder
    from napari_stem.model.bundle import Model
    from napari_stem.model.config import ModelConfig
    from napari_stem.model.head import EmbeddingHead
    from napari_stem.prediction_job import PredictionJob
    from napari_stem.progress import Stopped
    from napari_stem.sample_data import sample_path
    from napari_stem.settings import SamplingSettings
    from napari_stem.spatial.spot_choice import choose_spots

    slide = napari_stem.open_slide(sample_path())
    spots = choose_spots(slide, pitch_um=200.0).take(np.arange(8 if check.is_quick else 16))
    genes = tuple(f"GENE{i}" for i in range(check.config.n_genes))
    about = {"normalisation": "log2_counts", "encoder": "bundled", "encoder_version": None}
    config = ModelConfig(
        name="checked", genes=genes, pitch_um=200.0, objective="published", card={},
        denoiser=check.config.to_dict(), **about,
    )  # fmt: skip
    seen = Embedder(slide, load_encoder("bundled", "cpu")).embed(spots)
    head = replace(EmbeddingHead.as_is(WIDTH), centre=seen.mean(0), scale=seen.std(0) + 0.01)
    model = Model(config, head, np.ones(len(genes), np.float32), check.network)

    def begun(name: str, device: str) -> tuple[Any, Callable[..., Any]]:
        os.environ["NAPARI_STEM_CACHE"] = f"{folder}/cache-{name}"  # each looks for itself
        settings = SamplingSettings(n_draws=2, n_steps=8, device=device, spots_per_block=4)
        path = Path(folder) / f"{name}.zarr"
        job = PredictionJob(slide=slide, spots=spots, model=model, settings=settings)
        made = job.create_or_resume(path, resume=False)
        return made, partial(job.steps, made, write_every_s=0)

    def finished(made: Any, steps: Callable[..., Any]) -> Tensor:
        return torch.from_numpy((list(steps()), made.to_anndata().X)[1])

    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        whole = finished(*begun("whole", check.device))
        yield Finding(f"{len(spots)} spots, 2 draws, 8 steps", time.perf_counter() - begin, "s")
        made, steps = begun("stopped", check.device)

        def poll(*_: object) -> None:
            if made.done.sum() >= 4:
                raise Stopped

        list(steps(poll=poll))
        found = finished(made, steps)
        yield Finding("stopped and resumed", apart(found, whole), "sd from whole", "<= 1e-6")
        if is_cuda(check):
            found = finished(*begun("cpu", "cpu"))
            yield Finding("as predicted", apart(whole, found), "sd from the CPU", "<= 0.05")


def encoder(check: Check) -> Iterator[Finding]:
    """Feed a ViT-L of UNI's size, of random weights, from section C5."""
    import napari_stem
    from napari_stem.encoders.catalogue import CATALOGUE
    from napari_stem.encoders.embed import Embedder
    from napari_stem.encoders.networks import Network, build
    from napari_stem.encoders.published import PublishedEncoder
    from napari_stem.sample_data import sample_path
    from napari_stem.slide.patches import PatchReader
    from napari_stem.spatial.spot_choice import choose_spots

    # Without its layer scale, which untrained lets nothing of the image through.
    facts = replace(CATALOGUE["uni"], arguments={"dynamic_img_size": True})
    if check.is_quick:
        small = {"architecture": "vit_tiny_patch16_224", "token_width": 192}
        facts = replace(facts, **small, arguments={"dynamic_img_size": True, "depth": 1})
    torch.manual_seed(0)
    untrained = build(facts).eval()

    def made(precision: str = "auto") -> PublishedEncoder:
        module = copy.deepcopy(untrained)  # an encoder casts its own
        network = Network(module, module.forward_features)
        return PublishedEncoder(facts, network, device=check.device, precision=precision)

    slide = napari_stem.open_slide(sample_path())
    spots = choose_spots(slide, pitch_um=50.0).take(np.arange(check.n_patches))
    usual = made()
    begin = time.perf_counter()
    patches = PatchReader(slide, usual.patch).read(spots)[:64]
    yield Finding("reading alone", len(spots) / (time.perf_counter() - begin), "patches/s")
    features = []
    for precision in ("float32", "bfloat16"):
        look = partial(made(precision).encode, patches)
        features.append(torch.from_numpy(look()))
        rate = len(patches) / best_seconds(check, look)
        yield Finding(f"{facts.architecture}, {precision}", rate, "patches/s")
    yield Finding("bf16", apart(features[1], features[0]), "sd from float32", "<= 0.1")
    alone = len(patches) / best_seconds(check, partial(usual.encode, patches))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_STEM_CACHE"] = folder
        begin = time.perf_counter()
        Embedder(slide, usual).embed(spots)
        fed = len(spots) / (time.perf_counter() - begin)
    bound = ">= 0.9" if is_cuda(check) else ""
    yield Finding("fed from the slide", fed, "patches/s")
    yield Finding("share of its own speed", fed / alone, "", bound)


def verdict(finding: Finding) -> str:
    """Say whether what was promised is kept."""
    sign, _, bound = finding.bound.partition(" ")
    if sign not in ("<=", ">="):
        return finding.bound
    more = float(finding.value) - float(bound)
    return "ok" if (more <= 0 if sign == "<=" else more >= 0) else "MISSED"


def findings(check: Check, layer: str) -> Iterator[Finding]:
    """Run a layer; what it lacks, or where it fails, is a finding: such a machine is rare."""
    begin = time.perf_counter()
    try:
        yield from globals()[layer](check)
    except ImportError as error:
        yield Finding("not run", f"{error.name} cannot be imported")
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        traceback.print_exc()
        yield Finding("not run", " ".join(str(error).split())[:100], bound="FAILED")
    yield Finding("took", time.perf_counter() - begin, "s")


def main() -> int:
    """Run the layers, print their findings at once and write them; 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="a small network, to try it")
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=LAYERS)
    parser.add_argument("--seconds", type=float, default=400.0, help="no layer begins later")
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"))
    asked = parser.parse_args()
    end, found = time.perf_counter() + asked.seconds, []
    check = check_of(asked.device, is_quick=asked.quick)
    name = (
        torch.cuda.get_device_name() if is_cuda(check) else f"{torch.get_num_threads()} CPU threads"
    )
    print(
        f"{name}, torch {torch.__version__}\n\n| layer | what | found | bound | |\n|{' --- |' * 5}"
    )
    for layer in asked.layers:
        late = [Finding("not run", f"{asked.seconds:g} s were over")]
        for one in findings(check, layer) if time.perf_counter() < end else late:
            found.append({"layer": layer, **one._asdict(), "verdict": verdict(one)})
            value = one.value if isinstance(one.value, str) else f"{one.value:.4g} {one.unit}"
            print(f"| {layer} | {one.what} | {value} | {one.bound} | {verdict(one)} |", flush=True)
    report = {"device": name, "torch": torch.__version__, "quick": asked.quick, "found": found}
    asked.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(any(one["verdict"] in ("MISSED", "FAILED") for one in found))


if __name__ == "__main__":
    sys.exit(main())
