"""What a user loads: denoiser, panel, encoder, normalisation, calibration and card, in one folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from napari_stem.errors import ModelError, StemError, UnknownGeneError
from napari_stem.model.calibration import spread
from napari_stem.model.head import Head
from napari_stem.model.sampling import (
    noise_of_step,
    published_walk,
    residual_walk,
    torch_device,
)
from napari_stem.spatial.normalise import normalisation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from napari_stem.geometry import Spots
    from napari_stem.settings import SamplingSettings

FORMAT_VERSION = 1
CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "model.safetensors", "README.md"
Objective = Literal["edm", "published"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything about a model that is not an array; ``config.json`` as it stands.

    Attributes
    ----------
    name
        What users read.
    genes
        Panel, in the order of the outputs.
    normalisation
        Unit of the values, a key of `napari_stem.spatial.normalise.NORMALISATIONS`.
    encoder, encoder_version
        What makes the embeddings.
    pitch_um
        Distance between the spots it was trained on.
    objective
        ``edm``: linear mean and diffusion of the residual. ``published``: Stem's own chain on the values.
    denoiser
        `DenoiserConfig.to_dict`.
    sigma_min, sigma_max
        Range of noise levels when sampling, in standard deviations of the residual.
    card
        Facts for people: tissue, species, licence, sections, metrics, limits, gene_pcc.
    """

    format_version: int = FORMAT_VERSION
    name: str
    genes: tuple[str, ...]
    normalisation: str
    encoder: str
    encoder_version: str
    pitch_um: float
    objective: Objective
    denoiser: dict[str, Any]
    sigma_min: float = 0.02
    sigma_max: float = 20.0
    card: dict[str, Any]


class Model:
    """A trained model, ready to draw. See `ModelConfig` for what it knows of itself."""

    def __init__(
        self,
        config: ModelConfig,
        head: Head,
        spread_factor: NDArray[np.float32],
        network: nn.Module,
        weights_hash: str = "",
    ) -> None:
        self.config = config
        self.head = head
        self.spread_factor = spread_factor
        self.network = network.eval()
        self.weights_hash = weights_hash
        self.name = config.name
        self.genes = config.genes
        self.unit = normalisation(config.normalisation).label
        self.pitch_um = config.pitch_um
        self.card = config.card
        self.encoder_name = config.encoder

    def provenance(self) -> dict[str, Any]:
        """Return what a prediction records of its model."""
        return {
            "model": self.name,
            "model_weights_sha256": self.weights_hash,
            "encoder": self.config.encoder,
            "encoder_version": self.config.encoder_version,
            "normalisation": self.config.normalisation,
            "unit": self.unit,
        }

    def require_genes(self, genes: tuple[str, ...]) -> None:
        """Check that all genes can be predicted.

        Raises
        ------
        UnknownGeneError
            One cannot; the message offers names that are alike.
        """
        import difflib

        by_upper = {gene.upper(): gene for gene in self.genes}
        for gene in genes:
            if gene in self.genes:
                continue
            alike = difflib.get_close_matches(gene.upper(), by_upper, n=3)
            hint = f" Did you mean {' or '.join(by_upper[a] for a in alike)}?" if alike else ""
            raise UnknownGeneError(
                f"Model '{self.name}' does not predict '{gene}'; it knows {len(self.genes)} genes "
                f"(napari-stem models --genes {self.name}).{hint}"
            )

    def sample(
        self,
        embedding: NDArray[np.float32],
        spots: Spots,
        settings: SamplingSettings,
        callback: Callable[[int, int, Any], None] | None = None,
    ) -> NDArray[np.float32]:
        """Draw calibrated expression for some spots.

        Parameters
        ----------
        embedding
            (n, width) of the model's encoder.
        spots
            The n spots, whose centres key the noise.
        settings
            Draws, steps, sampler, seed, device.
        callback
            Called after every denoising step; may raise to cancel.

        Returns
        -------
        (n, genes, draws) float32 in the model's unit, never negative: counts are not.
        """
        drawn = spread(self.raw_draws(embedding, spots, settings, callback), self.spread_factor)
        clipped: NDArray[np.float32] = drawn.clip(min=0)
        return clipped

    def raw_draws(
        self,
        embedding: NDArray[np.float32],
        spots: Spots,
        settings: SamplingSettings,
        callback: Callable[[int, int, Any], None] | None = None,
    ) -> NDArray[np.float32]:
        """(n, genes, draws) before calibration; parameters as in `sample`."""
        import torch

        device = torch_device(settings.device)
        mean = self.head.mean(embedding)
        told = torch.from_numpy(self.head.condition(embedding, mean)).to(device)
        condition = told.repeat_interleave(settings.n_draws, 0)  # (n * draws, C)
        network = self.network.to(device)
        shape = (len(spots), settings.n_draws, len(self.genes))
        walk = published_walk if self.config.objective == "published" else residual_walk
        x = walk(
            self.config,
            network,
            condition,
            partial(noise_of_step, spots, settings, shape),
            settings,
            callback,
        )
        drawn: NDArray[np.float32] = x.reshape(shape).float().cpu().numpy().transpose(0, 2, 1)
        if self.config.objective == "published":
            return drawn
        values: NDArray[np.float32] = mean[:, :, None] + drawn * self.head.residual_scale[:, None]
        return values

    def save(self, folder: Path) -> None:
        """Write ``config.json``, ``model.safetensors`` (float16) and ``README.md``.

        Raises
        ------
        ModelError
            The folder cannot be written.
        """
        import torch
        from safetensors.torch import save_file

        from napari_stem.model.card import card_text

        half = {
            k: v.detach().cpu().half().contiguous() for k, v in self.network.state_dict().items()
        }
        tensors = {f"denoiser.{k}": v for k, v in half.items()}
        arrays = {**self.head.to_arrays(), "spread_factor": self.spread_factor}
        tensors |= {f"head.{k}": torch.from_numpy(np.asarray(v)).float() for k, v in arrays.items()}
        tensors["head.weights"] = tensors["head.weights"].half()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, folder / WEIGHTS_FILE)
            config = json.dumps(asdict(self.config), indent=1)
            (folder / CONFIG_FILE).write_text(config + "\n", encoding="utf-8")
            (folder / CARD_FILE).write_text(card_text(self.config), encoding="utf-8")
        except OSError as error:
            raise ModelError(
                f"The model cannot be written to {folder} ({error.strerror or error})."
            ) from error


def load_folder(folder: Path) -> Model:
    """Load a model folder.

    Raises
    ------
    ModelError
        A file is missing, damaged or of another format version.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise ModelError(f"Model folder {folder} lacks {name}; copy the whole folder again.")
    from safetensors import SafetensorError

    config = read_config(folder)
    try:
        return _assemble(config, folder / WEIGHTS_FILE)
    except StemError as error:
        raise ModelError(f"{folder / CONFIG_FILE} cannot be used: {error}") from error
    except (SafetensorError, OSError, LookupError, ValueError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{folder / WEIGHTS_FILE} does not fit {CONFIG_FILE} or is damaged ({reason}); "
            f"copy the folder again."
        ) from error


def read_config(folder: Path) -> ModelConfig:
    """Read ``config.json`` alone; loads no torch.

    Raises
    ------
    ModelError
        It is missing, is no JSON, lacks a field or is of another format version.
    """
    path = folder / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.get("format_version") != FORMAT_VERSION:
            raise ModelError(
                f"{path} is of format version {values.get('format_version')}, this program reads "
                f"{FORMAT_VERSION}; update napari-stem or train the model again."
            )
        unknown = set(values) - {f.name for f in fields(ModelConfig)}
        if unknown:
            raise ModelError(f"{path} has unknown entries: {', '.join(sorted(unknown))}.")
        return ModelConfig(**{**values, "genes": tuple(values["genes"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{path} cannot be read ({error}); copy the model folder again."
        ) from error


def _assemble(config: ModelConfig, weights: Path) -> Model:
    from safetensors.torch import load_file

    from napari_stem.diffusion.denoiser import DenoiserConfig, build_denoiser

    tensors = {k: v.float() for k, v in load_file(weights).items()}
    arrays = {
        k.removeprefix("head."): v.numpy() for k, v in tensors.items() if k.startswith("head.")
    }
    objective_of(config.objective)
    head = Head.from_arrays(arrays)
    if len(config.genes) != len(head.intercept):
        raise ModelError(
            f"It names {len(config.genes)} genes and the weights predict {len(head.intercept)}; "
            f"copy the folder again."
        )
    network = build_denoiser(DenoiserConfig.from_dict(config.denoiser))
    network.load_state_dict(_under("denoiser.", tensors))
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return Model(config, head, arrays["spread_factor"], network, digest)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def objective_of(name: str) -> Objective:
    """Check an objective's name.

    Raises
    ------
    ModelError
        There is no such objective.
    """
    if name not in ("edm", "published"):
        raise ModelError(f"There is no objective '{name}'; choose edm or published.")
    return cast("Objective", name)
