"""A folder with weights -> a network, by timm, by transformers, or by the repository's own code.

Weights are read from safetensors, or from pickles as bare numbers (`weights_only`); they must fit the published
architecture to the last tensor, so that a wrong file or a wrong fact ends in words, not in wrong numbers.
"""

from __future__ import annotations

import importlib
import pickle
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from napari_stem.encoders.hub import weights_file
from napari_stem.errors import EncoderError, ModelError
from napari_stem.foreign import read_tensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_stem.encoders.catalogue import EncoderFacts

    Weights = dict[str, torch.Tensor]

_HEADS = 8
_MISSING_OPERATOR = re.compile(r"operator torchvision::(\w+) does not exist")
_MOST_OPERATORS = 8
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_libraries: list[Any] = []


def import_timm() -> Any:
    """Import timm; RuntimeError where torchvision is broken in a way that is not known here.

    timm imports torchvision for its transforms alone. A torchvision wheel that was compiled for another build
    of torch (CUDA beside a CPU-only torch, a common mix) stops that import with "operator torchvision::nms
    does not exist", although no encoder uses that operator: declare it and go on.
    """
    for _ in range(_MOST_OPERATORS):
        try:
            return importlib.import_module("timm")
        except RuntimeError as error:
            missing = _MISSING_OPERATOR.search(str(error))
            if missing is None:
                raise
            library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
            library.define(f"{missing[1]}{_SIGNATURE}")  # type: ignore[no-untyped-call]
            _libraries.append(library)  # once garbage-collected it takes its operators along
    return importlib.import_module("timm")


class AttentionPool(nn.Module):
    """A learned query attends to tokens; ``width`` is that of query and result."""

    def __init__(self, width: int, token_width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, width))
        self.attn = nn.MultiheadAttention(
            width, _HEADS, kdim=token_width, vdim=token_width, batch_first=True
        )
        self.ln_q = nn.LayerNorm(width)
        self.ln_k = nn.LayerNorm(token_width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, tokens, token_width) -> (n, 1, width)."""
        keys = self.ln_k(tokens)
        queries = self.ln_q(self.query).expand(len(tokens), -1, -1)
        return cast("torch.Tensor", self.attn(queries, keys, keys, need_weights=False)[0])


class AttentionPooled(nn.Module):
    """A vision transformer of timm without a head, its tokens pooled by attention to an embedding."""

    def __init__(self, trunk: Any, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.attn_pool_contrast = AttentionPool(width, trunk.num_features)
        self.ln_contrast = nn.LayerNorm(width)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, side, side) -> tokens (n, 1 + patches, token_width)."""
        return cast("torch.Tensor", self.trunk.forward_features(x))

    def pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens -> (n, width): before the projection that compares with text, and not normalised."""
        return cast("torch.Tensor", self.ln_contrast(self.attn_pool_contrast(tokens)[:, 0]))


_WRAPPERS = ("state_dict", "model", "teacher")
_PREFIXES = ("module.", "backbone.")
_TRAINING_ONLY = ("mask_token", "dino_head.", "ibot_head.", "head.")


@dataclass(frozen=True)
class Network:
    """A network in evaluation mode."""

    module: torch.nn.Module
    # (n, 3, side, side) -> (n, prefix + patches, width), after the last normalisation
    tokens: Callable[[torch.Tensor], torch.Tensor]
    # tokens -> (n, width), where the network has a pooling of its own
    pooled: Callable[[torch.Tensor], torch.Tensor] | None = None


def load_network(facts: EncoderFacts, folder: Path) -> Network:
    """Load a network from a folder with its weights.

    EncoderError: the weights are damaged, contain code, or are another network's.
    """
    if facts.library == "transformers":
        return _from_transformers(facts, folder)
    if facts.library == "remote":
        return _from_repository_code(facts, folder)
    with torch.device("meta"):  # no memory, no random numbers: the weights are put in their place
        module = build(facts, weight_init="skip")
    _fill(module, read_weights(facts, weights_file(facts, folder)), facts, folder)
    module = module.float().eval()
    return Network(module, module.forward_features, getattr(module, "pooled", None))


def build(facts: EncoderFacts, weight_init: str = "") -> Any:
    """Build a network of timm, with attentional pooling where the facts say so, with random weights.

    ``weight_init`` is timm's: "skip" spares the drawing where all weights are put in their place anyway.
    """
    timm = import_timm()
    layers = {"mlp_layer": timm.layers, "act_layer": nn}  # which the facts state by name
    arguments = {
        key: getattr(layers[key], value) if key in layers else value
        for key, value in facts.arguments.items()
    }
    trunk = timm.create_model(
        facts.architecture, num_classes=0, weight_init=weight_init, **arguments
    )
    if facts.library != "attention-pool":
        return trunk
    return AttentionPooled(trunk, facts.width(("pooled",)))


def read_weights(facts: EncoderFacts, path: Path) -> Weights:
    """Read the tensors of a file that belong to the network, by their names in it.

    EncoderError: the file is damaged or contains code.
    """
    try:
        with warnings.catch_warnings():  # of old pickle protocols
            warnings.simplefilter("ignore", UserWarning)
            return _own_tensors(facts, read_tensors(path))
    except ModelError as error:
        if isinstance(error.__cause__, pickle.UnpicklingError):
            raise EncoderError(
                f"{path} holds more than numbers, or is damaged, and was not opened: a pickle can run code. "
                f"Download '{facts.name}' again, or ask its authors for safetensors."
            ) from error
        raise _unreadable(facts, path, error.__cause__ or error) from error


def _own_tensors(facts: EncoderFacts, found: Any) -> Weights:
    """Unwrap a checkpoint and leave aside what serves training or another half of the model."""
    for wrapper in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    weights = {}
    for key, tensor in found.items() if isinstance(found, dict) else ():
        name = str(key)
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        if not name.startswith(facts.keep):
            continue
        name = name.removeprefix(facts.keep)
        if isinstance(tensor, torch.Tensor) and not name.startswith((*_TRAINING_ONLY, *facts.drop)):
            weights[name] = tensor
    return weights


def _fill(module: torch.nn.Module, weights: Weights, facts: EncoderFacts, folder: Path) -> None:
    """Put weights in their place; every tensor of the network must be there, and none besides."""
    wanted = module.state_dict()
    wrong = [
        *(f"no {name}" for name in wanted if name not in weights),
        *(f"an unknown {name}" for name in weights if name not in wanted),
        *(
            f"{name} of shape {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in wanted.items()
            if name in weights and weights[name].shape != tensor.shape
        ),
    ]
    if wrong:
        raise _not_this_network(facts, folder, wrong)
    module.load_state_dict(weights, strict=True, assign=True)


def _from_transformers(facts: EncoderFacts, folder: Path) -> Network:
    """Load by transformers' own class, from `config.json` and the weights beside it; runs no other code."""
    from safetensors import SafetensorError, safe_open

    transformers = _import_transformers(facts)
    weights = weights_file(facts, folder)
    try:
        # transformers would tell of a cut one in another language
        if weights.suffix == ".safetensors":
            with safe_open(weights, framework="pt"):
                pass
        module, report = getattr(transformers, facts.architecture).from_pretrained(
            folder,
            local_files_only=True,
            output_loading_info=True,
            use_safetensors=weights.suffix == ".safetensors",
            **facts.arguments,
        )
    except (SafetensorError, OSError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        raise _unreadable(facts, weights, error) from error
    wrong = [f"no {name}" for name in sorted(report["missing_keys"]) if "mask_token" not in name]
    if module.config.hidden_size != facts.token_width:
        wrong.append(f"width {module.config.hidden_size} instead of {facts.token_width}")
    if wrong:
        raise _not_this_network(facts, folder, wrong)
    module = module.float().eval()
    return Network(module, lambda x: module(pixel_values=x).last_hidden_state)


def _from_repository_code(facts: EncoderFacts, folder: Path) -> Network:
    """Load by the code in the repository; called on the user's explicit consent alone."""
    transformers = _import_transformers(facts)
    try:
        model = transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, trust_remote_code=True
        )
        if facts.architecture == "return_conch":
            model = model.return_conch()[0]
    except (
        OSError, ValueError, RuntimeError, ImportError, AttributeError, LookupError, TypeError,
    ) as error:  # fmt: skip
        raise EncoderError(
            f"The code in {folder} cannot load encoder '{facts.name}' ({first_line(error)}); it may need "
            f"other versions of its libraries, such as transformers below 5 ({transformers.__version__} is "
            f"installed): see {facts.page}."
        ) from error
    module = model.float().eval()
    if facts.architecture != "return_conch":
        return Network(module, lambda x: module(pixel_values=x).last_hidden_state)
    return Network(
        module,
        lambda x: module.trunk(x, return_all_tokens=True),
        lambda tokens: module.ln_contrast(module.attn_pool_contrast(tokens)[:, 0]),
    )


def _import_transformers(facts: EncoderFacts) -> Any:
    import_timm()  # mends a torchvision that does not fit torch, which transformers imports too
    try:
        import transformers
    except ImportError as error:
        raise EncoderError(
            f"Encoder '{facts.name}' needs the package transformers: pip install 'napari-stem[encoders]'."
        ) from error
    return transformers


def _unreadable(facts: EncoderFacts, path: Path, error: BaseException) -> EncoderError:
    return EncoderError(
        f"The weights of encoder '{facts.name}' ({path}) cannot be read ({first_line(error)}); "
        f"remove the file and download it again: napari-stem encoders download {facts.name}."
    )


def _not_this_network(facts: EncoderFacts, folder: Path, wrong: list[str]) -> EncoderError:
    some = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
    return EncoderError(
        f"The weights in {folder} are not those of encoder '{facts.name}': {some}; "
        f"download them again from {facts.page}."
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, cut where it runs on."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:150].rstrip(".:; ")
