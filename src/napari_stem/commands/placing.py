"""Where ``predict`` predicts, and whether the slide's pixels are as large as they are said to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_stem.commands.terminal import tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_stem.commands.predicting import PredictRequest
    from napari_stem.encoders.precomputed import PrecomputedEmbedder
    from napari_stem.geometry import Region, Spots
    from napari_stem.model.bundle import Model
    from napari_stem.slide.base import Slide


def choose_places(
    request: PredictRequest, slide: Slide, model: Model, embedder: PrecomputedEmbedder | None
) -> Spots:
    """Spots of a file, of embeddings, in regions, on the whole slide or (none asked for) its tissue.

    Raises
    ------
    RegionError, SpotError, EmbeddingsError
        No spot can be had this way.
    """
    from napari_stem.predict import choose_spots
    from napari_stem.spatial.region_files import read_regions
    from napari_stem.spatial.spot_files import read_spots

    pitch_um = request.pitch_um or model.pitch_um
    if request.spots_file is not None:
        return read_spots(request.spots_file, slide.size, slide.require_mpp(), pitch_um)
    regions: Sequence[Region] | None = None
    if request.regions_file is not None:
        regions = read_regions(request.regions_file)
    if embedder is not None:
        from napari_stem.commands.embeddings import patches_as_spots

        return patches_as_spots(embedder, regions)
    if regions is None and not request.whole_slide:
        from napari_stem.slide.tissue import find_tissue

        found = find_tissue(slide, request.tissue)
        regions = found.regions
        if found.note:
            tell(found.note)
    return choose_spots(slide, pitch_um=pitch_um, regions=regions, whole_slide=request.whole_slide)


def scale_checked(slide: Slide) -> dict[str, Any]:
    """Compare the pixel size with the nuclei, and warn; returns what provenance keeps of it."""
    from napari_stem.slide.scale_check import scale_record

    record = scale_record(slide)
    if record["scale_check"]["warning"] is not None:
        tell(record["scale_check"]["warning"])
    return record
