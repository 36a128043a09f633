"""What a user loads: head, denoiser, panel, encoder, normalisation and card, in one folder."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_stem.device import blas, torch_device
from napari_stem.diffusion.noise import START
from napari_stem.errors import ModelError, StemError
from napari_stem.io import DAMAGE, only_writer, sha256, under, written_whole
from napari_stem.model.calibration import calibrate
from napari_stem.model.card import card_text, limits_of, warnings_of
from napari_stem.model.config import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    ModelConfig,
    read_config,
)
from napari_stem.model.genes import require_known
from napari_stem.model.head import EmbeddingHead, Head
from napari_stem.model.sampling import (
    located_scores,
    noise_of_step,
    require_sampler,
    sample_network,
    shared_scores,
)
from napari_stem.model.units import convert_units, unit_asked
from napari_stem.settings import GAUSSIAN
from napari_stem.spatial.normalise import normalisation
from napari_stem.texts import quoted, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from napari_stem.diffusion.denoiser import AdaLNMLP, StemTransformer
    from napari_stem.geometry import Spots
    from napari_stem.settings import Objective, SamplingSettings

logger = logging.getLogger(__name__)


class Model:
    """A trained model, ready to draw. See `ModelConfig` for what it knows of itself."""

    def __init__(
        self,
        config: ModelConfig,
        head: Head | EmbeddingHead,
        spread_factor: NDArray[np.float32],
        network: nn.Module | None,
    ) -> None:
        self.config = config
        self.head = head
        self.spread_factor = spread_factor
        self.network = None if network is None else network.eval()
        self.weights_hash = config.weights_sha256
        self.name = config.name
        self.genes = config.genes
        self.unit = normalisation(config.normalisation).label
        self.pitch_um = config.pitch_um
        self.card = config.card
        self.encoder_name = config.encoder

    @property
    def limits(self) -> tuple[str, ...]:
        """What to keep in mind when using it, as its card says and as its weights allow."""
        return limits_of(self.config, knows_domain=self.head.knows_domain)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of the limits, those that must be in sight wherever its figures are."""
        return warnings_of(calibrated=self.config.calibrated, knows_domain=self.head.knows_domain)

    def provenance(self, settings: SamplingSettings) -> dict[str, Any]:
        """Return what a prediction records: its model, and of the settings whatever its values depend on."""
        unit, label = unit_asked(self.config, settings)
        return {
            "model": self.name,
            "model_weights_sha256": self.weights_hash,
            "encoder": self.config.encoder,
            "encoder_version": self.config.encoder_version or "not recorded",
            "normalisation": unit,
            "unit": label,
            "quantity": settings.quantity,
            "depth": settings.depth or self.config.depth,
            "patient": settings.patient,
            "calibrated": self.config.calibrated,
            "domain": "known" if self.head.knows_domain else "unknown",
            "limits": list(self.limits),
            "genes_not_measured": list(self.card.get("genes_not_measured", ())),
            "seed": settings.seed,
            "steps": 1 if self.network is None else settings.n_steps,
            "sampler": GAUSSIAN if self.network is None else settings.sampler,
            "draws": settings.n_draws,
        }

    def require_genes(self, genes: tuple[str, ...]) -> None:
        """Check that all genes can be predicted; UnknownGeneError offers names that are alike."""
        require_known(genes, self.genes, self.name)

    def prepare(self, settings: SamplingSettings) -> None:
        """Make ahead what all spots of a run share, which its first block would wait for."""
        import scipy.spatial.distance  # noqa: F401 - the mean needs it

        blas()
        if isinstance(self.head, Head):
            shared_scores(np.empty((0, 2)), settings, self.head.residual)

    def sample(
        self,
        embedding: NDArray[np.float32],
        spots: Spots,
        settings: SamplingSettings,
        callback: Callable[[int, int, Any], None] | None = None,
        poll: Callable[[], None] | None = None,
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
        poll
            Called within long steps too; may raise to cancel.

        Returns
        -------
        (n, genes, draws) float32 in the unit of `unit_asked`: whole counts, none negative, as a measurement
        would give; those of Stem's own objective come as they are generated, as published.

        Raises
        ------
        ModelError
            Another depth or shares are asked for, and the model knows no library sizes.
        """
        drawn = self.raw_draws(embedding, spots, settings, callback, poll)
        if self.config.objective == "published":
            return calibrate(drawn, self.spread_factor)
        effect = cast("Head", self.head).residual.patient_effect
        return convert_units(drawn, effect, self.config, settings, spots)

    def mean(
        self,
        embedding: NDArray[np.float32],
        draws: NDArray[np.float32],
        settings: SamplingSettings,
    ) -> NDArray[np.float32]:
        """Mean of what `sample` drew for spots of these embeddings.

        Of counts as deep as the training sections it is the distribution's own, before counts are whole:
        that of few samples varies from spot to spot. What is assumed of a new patient widens intervals and
        leaves it where it is. Else it is the samples'.

        Parameters
        ----------
        embedding
            (n, width).
        draws
            (n, genes, draws).
        settings
            As `sample` took them.

        Returns
        -------
        (n, genes) float32 in the unit of ``draws``.
        """
        head, is_converted = self.head, settings.depth or settings.quantity == "share"
        if isinstance(head, EmbeddingHead) or self.network is not None or is_converted:
            return np.asarray(draws.mean(-1))
        guess = head.mean(head.along(embedding))
        own: NDArray[np.float32] = np.maximum(guess + head.residual.expected(guess), 0)
        return own[:, : len(self.genes)]

    def raw_draws(
        self,
        embedding: NDArray[np.float32],
        spots: Spots,
        settings: SamplingSettings,
        callback: Callable[[int, int, Any], None] | None = None,
        poll: Callable[[], None] | None = None,
    ) -> NDArray[np.float32]:
        """(n, genes, draws) before what `sample` does with them; a last row is the library size, if known."""
        require_sampler(self.config.objective, settings)
        head = self.head
        if isinstance(head, EmbeddingHead):
            conditions = head.condition(embedding)
            return self._generated(conditions, None, spots, settings, callback, poll)
        along = head.along(embedding)
        mean = head.mean(along)
        scores, own = located_scores(spots, settings, head.residual)
        if self.network is not None:
            conditions = head.condition(embedding, along)
            corrected = self._generated(conditions, scores, spots, settings, callback, poll)
            scores[..., : corrected.shape[1]] = corrected.transpose(0, 2, 1)
        elif callback is not None:
            callback(1, 1, scores)
        return mean[:, :, None] + head.residual.at(mean, head.residual.correlated(scores, own))

    def _generated(
        self,
        conditions: NDArray[np.float32],
        scores: NDArray[np.float32] | None,
        spots: Spots,
        settings: SamplingSettings,
        callback: Callable[[int, int, Any], None] | None,
        poll: Callable[[], None] | None,
    ) -> NDArray[np.float32]:
        """(n, C) condition -> (n, values, draws) of the network: from the leading scores if given, or noise."""
        import torch

        from napari_stem.diffusion.slices import stoppable

        network = cast("nn.Module", self.network)
        device = torch_device(settings.device)
        condition = torch.from_numpy(conditions).to(device).repeat_interleave(settings.n_draws, 0)
        shape = (len(spots), settings.n_draws, int(self.config.denoiser["n_genes"]))
        noise = partial(noise_of_step, spots, settings, shape, device)
        if scores is None:
            start = noise(START)
        else:
            start = torch.tensor(scores[..., : shape[2]]).reshape(-1, shape[2]).to(device)
        network = stoppable(network.to(device), device, poll)
        x = sample_network(self.config, network, condition, start, noise, settings, callback)
        drawn: NDArray[np.float32] = x.reshape(shape).float().cpu().numpy().transpose(0, 2, 1)
        return drawn

    def save(self, folder: Path) -> None:
        """Write ``config.json``, ``model.safetensors`` and ``README.md``.

        OutputError: the folder cannot be written; what was there stays.
        """
        card = card_text(self.config, knows_domain=self.head.knows_domain)
        with (  # each is whole before any is replaced
            only_writer(folder),
            written_whole(folder / CONFIG_FILE, overwrite=True) as config_file,
            written_whole(folder / CARD_FILE, overwrite=True) as card_file,
            written_whole(folder / WEIGHTS_FILE, overwrite=True) as weights_file,
        ):
            weights_file.write_bytes(self._weights())  # by safetensors they were its user's alone
            config = replace(self.config, weights_sha256=sha256(weights_file))
            config_file.write_text(config.to_json(), encoding="utf-8")
            card_file.write_text(card, encoding="utf-8")

    def _weights(self) -> bytes:
        """Denoiser and all matrices as a file holds them: as precise as the config states, vectors in full."""
        import torch
        from safetensors.torch import save

        stored_as = torch.float16 if self.config.precision == "float16" else torch.float32
        weights = {} if self.network is None else self.network.state_dict()
        tensors = {
            _DENOISER + name: value.detach().cpu().to(stored_as).contiguous()
            for name, value in weights.items()
        }
        arrays = self.head.to_arrays()
        if isinstance(self.head, EmbeddingHead) and self.config.calibrated:
            arrays["spread_factor"] = np.asarray(self.spread_factor, np.float32)
        tensors |= {_HEAD + name: torch.from_numpy(value) for name, value in arrays.items()}
        tensors = {k: v.to(stored_as) if v.ndim > 1 else v for k, v in tensors.items()}
        return save(tensors)


def load_folder(folder: Path) -> Model:
    """Load a model folder.

    ModelError: a file is missing, damaged or of another format version.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise ModelError(f"Model folder {folder} lacks {name}; copy the whole folder again.")
    from safetensors import SafetensorError

    config = read_config(folder)
    logger.info("Model '%s' is loaded from %s.", config.name, folder)
    weights = folder / WEIGHTS_FILE
    try:
        digest = sha256(weights)
    except OSError as error:
        raise ModelError(f"{weights} cannot be read ({error.strerror or error}).") from error
    if digest != config.weights_sha256:
        raise ModelError(
            f"{weights} is not the file that {CONFIG_FILE} describes: its SHA-256 is {digest}, and there "
            f"stands {config.weights_sha256 or 'none'}; copy or download the whole model again."
        )
    try:
        if config.objective not in HEADS:
            raise ModelError(
                f"There is no objective '{config.objective}'; choose {' or '.join(HEADS)}."
            )
        return _read_weights(weights, config)
    except StemError as error:
        raise ModelError(f"{folder / CONFIG_FILE} cannot be used: {error}") from error
    except (SafetensorError, *DAMAGE, ArithmeticError) as error:
        raise ModelError(
            f"{weights} does not fit {CONFIG_FILE} or is damaged ({reason_of(error)}); "
            f"copy the folder again."
        ) from error


HEADS: dict[Objective, type[Head | EmbeddingHead]] = {"edm": Head, "published": EmbeddingHead}
_DENOISER, _HEAD = "denoiser.", "head."


def _read_weights(path: Path, config: ModelConfig) -> Model:
    """Read what a model has beside its config; spread factors are 1, and there is no network, where none is.

    ModelError: the file predicts another number of genes than the config names. KeyError, RuntimeError,
    ValueError, SafetensorError: an array is missing, of another shape or holds what is no number, or the file
    is damaged.
    """
    from safetensors.numpy import load_file  # torch would take seconds to come

    stored = {name: value.astype(np.float32) for name, value in load_file(path).items()}
    _require_numbers(stored)
    arrays = under(_HEAD, stored)
    head = HEADS[config.objective].from_arrays(arrays)
    if config.denoiser or isinstance(head, EmbeddingHead):
        network = _network(config, under(_DENOISER, stored))
        n_generated, width = network.config.n_genes, network.config.condition_width
    else:
        network, n_generated, width = None, 0, None
    if isinstance(head, Head):
        n_more = int(config.depth is not None)  # the library size
        n_predicted, n_generated_most = len(head.residual.factor), len(head.residual.directions)
    else:
        n_more, n_predicted, n_generated_most = 0, n_generated, n_generated
    n_genes = len(config.genes)
    if n_genes != n_predicted - n_more:
        raise ModelError(
            f"It names {n_genes} genes and the weights predict {n_predicted - n_more}; copy the folder again."
        )
    head.require_sound(width, n_genes + n_more)
    if n_generated > n_generated_most:
        raise ValueError(f"the denoiser corrects {n_generated} directions, and there are fewer")
    factor = np.ones(n_genes, np.float32)
    if config.calibrated and isinstance(head, EmbeddingHead):
        factor = arrays["spread_factor"]
    if factor.shape != (n_genes,) or (factor < 0).any():
        raise ValueError(
            f"'spread_factor' of shape {factor.shape} must hold one number of 0 or more for each gene"
        )
    return Model(config, head, factor, network)


def _network(
    config: ModelConfig, weights: Mapping[str, NDArray[np.float32]]
) -> StemTransformer | AdaLNMLP:
    import torch

    from napari_stem.diffusion.denoiser import DenoiserConfig, build_denoiser

    denoiser = DenoiserConfig.from_dict(config.denoiser)
    if denoiser.depth > len(weights):  # each block has several
        raise ModelError(f"It claims {denoiser.depth} blocks, and the weights have fewer.")
    with torch.device("meta"):  # no memory for what it claims: the weights must be there
        network = build_denoiser(denoiser)
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    network.load_state_dict(tensors, assign=True)
    return network


def _require_numbers(arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Refuse weights that are no numbers; NaN stands for a domain that is not known."""
    unknown = _HEAD + "domain_limit"
    for name, value in arrays.items():
        is_known_gap = name == unknown and bool(np.isnan(value).all())
        if not (bool(np.isfinite(value).all()) or is_known_gap):
            raise ValueError(f"'{quoted(name, 100)}' holds values that are no numbers or infinite")
