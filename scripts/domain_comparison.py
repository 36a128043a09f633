"""How well spots unlike the training data are told: what was altered on purpose, and what was left out.

    python scripts/domain_comparison.py DATASET C2 C3 C4 C5 [--slide OTHER.svs]

DATASET in HEST layout. One section at a time is left out; the others fit the score, as training does. Of the
section left out, all spots as they are give the false alarms, every eighth one altered the rest: area under
the ROC curve against the spots as they are (mean over sections, and the least), share of spots flagged on each
section, and how many slides are asked about before a run. ``--slide`` is tissue of another kind.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely
from scipy.ndimage import gaussian_filter
from skimage.color import hed2rgb, rgb2hed
from sklearn.metrics import roc_auc_score

from napari_stem.encoders.embed import Embedder
from napari_stem.encoders.registry import load_encoder
from napari_stem.geometry import Mpp, Spots, lattice
from napari_stem.model.head import domain_warning, evenly, unexplained
from napari_stem.slide import open_slide
from napari_stem.slide.patches import PatchReader
from napari_stem.slide.tissue import find_tissue
from napari_stem.spatial.dataset import Dataset
from napari_stem.spatial.spot_choice import choose_spots
from napari_stem.training.head_fit import fit_domain
from napari_stem.training.mean import standards

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_stem.encoders.base import Encoder
    from napari_stem.slide import Slide
    from napari_stem.spatial.dataset import Section

EVERY = 8
OTHER_PITCH_UM, GLASS_PITCH_UM = 150.0, 400.0


def blurred(patch: NDArray[np.uint8], um_px: float, sigma_um: float) -> NDArray[np.uint8]:
    """Defocus by a Gaussian."""
    sigma_px = sigma_um / um_px
    return gaussian_filter(patch.astype(np.float32), (sigma_px, sigma_px, 0)).astype(np.uint8)


def stained(patch: NDArray[np.uint8], haematoxylin: float, eosin: float) -> NDArray[np.uint8]:
    """Scale the stains as scikit-image unmixes them."""
    rgb = hed2rgb(rgb2hed(patch) * (haematoxylin, eosin, 1))
    return (255 * rgb.clip(0, 1)).round().astype(np.uint8)


def cast(patch: NDArray[np.uint8], *gains: float) -> NDArray[np.uint8]:
    """Another white balance, or ink over everything."""
    return (patch * np.array(gains)).clip(0, 255).astype(np.uint8)


def grey(patch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """No colour."""
    return np.repeat(patch.mean(-1, keepdims=True), 3, -1).astype(np.uint8)


ALTERED: dict[str, Callable[[NDArray[np.uint8], float], NDArray[np.uint8]]] = {
    "blur of 2 um": lambda p, um_px: blurred(p, um_px, 2.0),
    "haematoxylin x0.7, eosin x1.3": lambda p, _: stained(p, 0.7, 1.3),
    "haematoxylin x1.3, eosin x0.7": lambda p, _: stained(p, 1.3, 0.7),
    "yellow cast (blue x0.85)": lambda p, _: cast(p, 1, 0.97, 0.85),
    "blue cast (red x0.85)": lambda p, _: cast(p, 0.85, 0.97, 1),
    "green ink": lambda p, _: cast(p, 0.4, 0.8, 0.5),
    "no colour": lambda p, _: grey(p),
}


def altered(section: Section, encoder: Encoder, name: str) -> NDArray[np.float32]:
    """(n, W) embeddings of every eighth spot of a section, seen through an alteration."""
    fields = [um / encoder.patch.side_px for um in encoder.patch.fields_of_view_um]
    with open_slide(section.slide_path, section.mpp) as slide:
        patches = PatchReader(slide, encoder.patch).read(some(section.spots()))
    change = ALTERED[name]
    changed = [[change(p, um) for p, um in zip(s, fields, strict=True)] for s in patches]
    return encoder.encode(np.array(changed))


def embedded(
    path: Path, mpp: Mpp | None, encoder: Encoder, choose: Callable[[Slide], Spots]
) -> NDArray[np.float32]:
    """(n, W) embeddings of some spots of a slide; the cache keeps them."""
    with open_slide(path, mpp) as slide:
        return Embedder(slide, encoder).embed(choose(slide))


def some(spots: Spots) -> Spots:
    """Take every eighth."""
    return spots.take(np.arange(len(spots)) % EVERY == 0)


def glass(slide: Slide) -> Spots:
    """Choose spots whose widest patch holds no tissue."""
    spots = lattice(slide.size, slide.require_mpp(), GLASS_PITCH_UM)
    tissue = shapely.union_all([r.polygon for r in find_tissue(slide).regions])
    reach_px = GLASS_PITCH_UM / slide.require_mpp().x_um
    off = shapely.distance(shapely.points(spots.x_px, spots.y_px), tissue) > reach_px
    inside = (spots.x_px > reach_px) & (spots.x_px < slide.size.width_px - reach_px)
    return some(spots.take(off & inside))


def looks_of(section: Section, encoder: Encoder) -> dict[str, NDArray[np.float32]]:
    """Name of the alteration -> embeddings of a section; "" are all spots as they are."""
    path, mpp, spots = section.slide_path, section.mpp, section.spots()
    found = {"": embedded(path, mpp, encoder, lambda _: spots)}
    for name in ALTERED:
        found[name] = altered(section, encoder, name)
    for factor in (0.5, 2.0):
        wrong = Mpp.square(mpp.x_um * factor)
        found[f"pixel size x{factor:g}"] = embedded(path, wrong, encoder, lambda _: some(spots))
    found["bare glass"] = embedded(path, mpp, encoder, glass)
    return found


def other_tissue(path: Path, encoder: Encoder) -> NDArray[np.float32]:
    """Embed the tissue of another slide."""
    return embedded(path, None, encoder, lambda s: choose_spots(s, pitch_um=OTHER_PITCH_UM))


def distances(
    looks: dict[str, dict[str, NDArray[np.float32]]], held: str, n_fields: int
) -> dict[str, NDArray[np.float32]]:
    """Name of the alteration -> distance of each spot of a section that the others tell."""
    rest = [own[""].astype(float) for i, own in looks.items() if i != held]
    x, group = np.concatenate(rest), np.repeat(np.arange(len(rest)), [len(r) for r in rest])
    components, spread, limit = fit_domain(x, group, n_fields)
    centre, scale = standards(x)
    return {
        name: unexplained((own - centre) / scale, components, spread) / limit
        for name, own in looks[held].items()
    }


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("sections", nargs="+")
    parser.add_argument("--slide", type=Path, help="tissue of another kind")
    asked = parser.parse_args()
    dataset, encoder = Dataset(asked.dataset), load_encoder("bundled", "cpu")
    looks = {i: looks_of(dataset.section(i), encoder) for i in asked.sections}
    if asked.slide is not None:
        other = other_tissue(asked.slide, encoder)
        for own in looks.values():
            own[f"other tissue ({asked.slide.stem})"] = other
    n_fields = len(encoder.patch.fields_of_view_um)
    found = {held: distances(looks, held, n_fields) for held in looks}
    print("| what | AUROC, mean and least | spots flagged | slides asked about |")
    print("| --- | --- | --- | --- |")
    for name in next(iter(found.values())):
        of = {held: own[name] for held, own in found.items()}
        flags = " ".join(f"{(d > 1).mean():.3f}" for d in of.values())
        n_asked = sum(domain_warning(d[evenly(len(d))], "") is not None for d in of.values())
        auroc = [_auroc(found[held][""], d) for held, d in of.items()]
        area = f"{np.mean(auroc):.3f}, {min(auroc):.3f}" if name else ""
        print(f"| {name or 'as they are'} | {area} | {flags} | {n_asked} of {len(of)} |")


def _auroc(like: NDArray[np.float32], unlike: NDArray[np.float32]) -> float:
    truth = np.repeat([0, 1], [len(like), len(unlike)])
    return float(roc_auc_score(truth, np.concatenate([like, unlike])))


if __name__ == "__main__":
    main()
