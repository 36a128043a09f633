"""One prediction that is asked for: what is checked, recorded and created before it is made, and its making.

The command line, `predict_slide` and the window all build a `PredictionJob` and run it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_stem.caches import CACHES
from napari_stem.device import torch_device
from napari_stem.errors import OutputError, SettingsError
from napari_stem.geometry import Mpp, Region, Spots, shared_tissue
from napari_stem.io import only_writer
from napari_stem.model import DEFAULT_MODEL, load_model
from napari_stem.model.head import domain_warning, evenly
from napari_stem.model.sampling import require_sampler
from napari_stem.model.serving import embedder_of, require_fit, require_species, tissue_warning
from napari_stem.prediction_blocks import (
    Clock,
    PredictionProgress,
    Unwritten,
    draw_blocks,
    order_blocks,
    spots_at_once,
)
from napari_stem.progress import Poll, Progress, Stopped, go_on, shown
from napari_stem.results import Prediction
from napari_stem.results.empty import COMMON_PROVENANCE, gene_table, may_keep_draws
from napari_stem.settings import SamplingSettings
from napari_stem.slide import Slide, open_slide
from napari_stem.slide.pixel_size import conflict
from napari_stem.slide.scale_check import known_check
from napari_stem.spatial.region_files import as_regions
from napari_stem.spatial.spot_choice import choose_spots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import anndata
    import numpy as np
    from numpy.typing import NDArray

    from napari_stem.encoders.base import EmbedsSpots, Encoder
    from napari_stem.encoders.precomputed import PatchEmbeddings
    from napari_stem.model.bundle import Model
    from napari_stem.settings import TissueSettings


@dataclass(frozen=True, eq=False, kw_only=True)
class PredictionJob:
    """A prediction that can be made: `planned` has checked it."""

    slide: Slide  # what is predicted
    model: Model  # with what
    settings: SamplingSettings  # how draws are taken
    spots: Spots  # where
    # their names go into ``obs["region"]``; no value depends on them, and a resumed run may change them
    regions: tuple[Region, ...] = ()
    keep_draws: bool = False  # whether every draw is kept
    # stands in place of the model's encoder; None: that looks at the slide
    embedder: PatchEmbeddings | None = None
    encoder: Encoder | None = None  # the model's, where it is loaded already
    # (x, y) of the place whose surroundings are predicted first, if there is one
    begin_at_um: tuple[float, float] | None = None

    @classmethod
    def planned(
        cls,
        slide: Slide,
        model: Model,
        settings: SamplingSettings,
        *,
        spots: Spots | anndata.AnnData | str | Path | None = None,
        regions: Region | Sequence[Region] | str | Path | None = None,
        whole_slide: bool = False,
        tissue: TissueSettings | None = None,
        pitch_um: float | None = None,
        embedder: PatchEmbeddings | None = None,
        encoder: Encoder | None = None,
        begin_at_um: tuple[float, float] | None = None,
        species: str | None = None,
        tissue_type: str | None = None,
        keep_draws: bool | None = False,
        tell: Callable[[str], None] | None = None,
    ) -> PredictionJob:
        """Check what is asked for, and choose the spots.

        Parameters
        ----------
        slide, model, settings, embedder, encoder, begin_at_um
            As of the job.
        spots, regions, whole_slide, tissue, pitch_um
            Where to predict, as `choose_spots` takes them. With an embedder its patches are
            the spots, unless others are given; those of a lattice are as far apart as in training, unless said
            otherwise.
        species, tissue_type
            Of the slide, as its user says; None where not stated.
        keep_draws
            None: where they take little room.
        tell
            Told in sentences what to know before trusting the figures.

        Raises
        ------
        StemError
            Something does not fit: pixel size, species, sampler, device, embeddings, regions or spots.
        """
        slide.require_mpp()
        require_species(model.config, species)
        require_sampler(model.config.objective, settings)
        torch_device(settings.device)
        if embedder is not None:
            require_fit(embedder, model)
            spots = embedder.spots() if spots is None else spots
        if tell is not None:
            cautions = (
                tissue_warning(model.config, tissue_type),
                *model.warnings,
                conflict(slide.mpp_sources),
                known_check(slide).warning,
            )
            for sentence in filter(None, cautions):
                tell(sentence)
        within = None if regions is None else as_regions(regions)
        chosen = choose_spots(
            slide,
            pitch_um=model.pitch_um if pitch_um is None else pitch_um,
            spots=spots,
            regions=within,
            whole_slide=whole_slide,
            tissue=tissue,
            tell=tell,
        )
        if keep_draws is None:
            keep_draws = may_keep_draws(len(chosen), len(model.genes), settings.n_draws)
        return cls(
            slide=slide,
            model=model,
            settings=settings,
            spots=chosen,
            regions=tuple(within or ()),
            keep_draws=keep_draws,
            embedder=embedder,
            encoder=encoder,
            begin_at_um=begin_at_um,
        )

    @property
    def provenance(self) -> dict[str, Any]:
        """How the prediction is made: whatever its values depend on, JSON-ready."""
        slide, mpp = self.slide, self.slide.require_mpp()
        return {
            **COMMON_PROVENANCE,
            **self.model.provenance(self.settings),
            "draws_kept": self.keep_draws,
            "slide": slide.name,
            "slide_fingerprint": slide.fingerprint,
            "mpp": [mpp.y_um, mpp.x_um],
            "pitch_um": float(self.spots.pitch_um),
            "spot_diameter_um": float(self.spots.diameter_um),
            **({} if self.embedder is None else self.embedder.provenance),
        }

    def domain_warning(self, poll: Poll = go_on) -> str | None:
        """Look at a few spots before a run, and say so where they look unlike the training data.

        None where they do not; raises what `steps` does, and ``poll``.
        """
        if not self.model.head.knows_domain:
            return None
        poll()
        return domain_warning(self.model.head.distance(self.embed_few(poll)), self.model.name)

    def embed_few(self, poll: Poll = go_on) -> NDArray[np.float32]:
        """(n, width) embeddings of the few spots that are looked at before a run; raises what ``poll`` does."""
        return self._embedder.embed(self.spots.take(evenly(len(self.spots))), poll)

    @cached_property
    def _embedder(self) -> EmbedsSpots:
        """Where embeddings come from: the encoder is loaded once, for `domain_warning` and for all spots."""
        return self.embedder or embedder_of(
            self.slide, self.model, self.settings.device, self.encoder
        )

    def cache_path(self) -> Path:
        """Where the window keeps the results: the same job finds, and continues, what it left."""
        content = json.dumps(self.provenance, sort_keys=True)
        digest = hashlib.blake2b(content.encode(), digest_size=6)
        digest.update(self.spots.x_px.tobytes() + self.spots.y_px.tobytes())
        name = f"{self.slide.path.stem}-{digest.hexdigest()}.zarr"
        return CACHES["predictions"].folder / name

    def create_or_resume(self, out: Path, *, resume: bool) -> Prediction:
        """Create the prediction, or open it to ``resume``; raises what `Prediction.create` and `resumed` do."""
        slide, spots, provenance = self.slide, self.spots, self.provenance
        if resume and out.exists():
            return Prediction.resumed(out, spots, provenance, self.regions)
        # what no value depends on: a resumed run may say otherwise
        provenance["scale_check"] = known_check(slide).as_json()
        provenance["shared_tissue"] = shared_tissue(spots.pitch_um, self._embedder.field_of_view_um)
        if slide.mpp_sources:
            provenance["mpp_source"] = slide.mpp_sources[0].source
        overview = slide.levels[slide.overview_level]
        return Prediction.create(
            out,
            spots,
            gene_table(self.model, provenance["unit"]),
            provenance,
            regions=self.regions,
            image=overview.whole(),
            image_scale=1 / overview.downsample,
            spot_diameter_px=spots.diameter_um / slide.require_mpp().x_um,
            n_kept_draws=self.settings.n_draws if self.keep_draws else 0,
        )

    @contextmanager
    def created(self, out: Path, *, resume: bool) -> Iterator[Prediction]:
        """As `create_or_resume`; what was created here is removed at the end if no spot is done."""
        was_there = out.exists()
        prediction = self.create_or_resume(out, resume=resume)
        try:
            yield prediction
        finally:
            if not was_there and not prediction.done.any():  # nothing to resume
                shutil.rmtree(out, ignore_errors=True)

    @contextmanager
    def created_while(
        self, out: Path, check: Callable[[], str | None]
    ) -> Iterator[tuple[Prediction, str | None]]:
        """As `created` with ``resume``, and meanwhile `domain_warning`, or whatever else ``check`` does.

        Either takes a good part of a second.
        """
        _ = self._embedder  # loaded once, for both
        with ThreadPoolExecutor(1, "checking") as pool:
            checked = pool.submit(check)
            with self.created(out, resume=True) as prediction:
                yield prediction, checked.result()

    def steps(
        self,
        prediction: Prediction,
        poll: Poll = go_on,
        watch: Callable[[PredictionProgress], None] = go_on,
        *,
        write_every_s: float = 2.0,
    ) -> Iterator[PredictionProgress]:
        """Fill a prediction, block by block; spots that are done already are left as they are.

        Those that were looked at before the run come first, then, where there are many, a coarse map of the
        whole, then what surrounds `begin_at_um`; the order changes values by no more than rounding.

        Parameters
        ----------
        prediction
            From `create_or_resume`.
        poll
            Called within blocks, also in another thread; where it raises `Stopped` the generator ends.
            Finished blocks stay on disk.
        watch
            Told after every denoising step: with 1000 of them a block may take long.
        write_every_s
            As of `Unwritten`: so much is lost where the process is killed.

        Yields
        ------
        After every writing, and once before the first block.

        Raises
        ------
        SlideError, EncoderError, ModelError, OutputError
            With what was finished kept.
        """
        clock = Clock(prediction)
        yield clock.progress("embedding")
        size = spots_at_once(self.model, self.settings)
        blocks = order_blocks(prediction.spots, prediction.done, size, self.begin_at_um)

        def watch_block(under_way: float) -> None:
            watch(clock.progress("sampling", unwritten.n_spots + under_way))

        drawn = draw_blocks(
            prediction, blocks, self._embedder, self.model, self.settings, poll, watch_block
        )
        with closing(drawn), closing(Unwritten(prediction, write_every_s)) as unwritten:
            try:
                for index, values in drawn:
                    unwritten.add(index, values)
                    if unwritten.is_due() or index is blocks[-1]:
                        unwritten.close()
                        yield clock.progress("sampling")
            except Stopped:
                return

    def run(
        self,
        out: Path,
        *,
        resume: bool = False,
        poll: Poll = go_on,
        watch: Callable[[PredictionProgress], None],
    ) -> Prediction:
        """Create the prediction, or resume it, and fill it; one that was created in vain is removed.

        Returns
        -------
        Unfinished where it was stopped.
        """
        with only_writer(out), self.created(out, resume=resume) as prediction:
            for step in self.steps(prediction, poll, watch):
                watch(step)
        return prediction


def predict_slide(
    slide: Slide | str | Path,
    out: str | Path,
    *,
    model: Model | str | Path = DEFAULT_MODEL,
    regions: Region | Sequence[Region] | str | Path | None = None,
    spots: Spots | anndata.AnnData | str | Path | None = None,
    pitch_um: float | None = None,
    mpp: Mpp | float | None = None,
    settings: SamplingSettings | None = None,
    keep_draws: bool = False,
    resume: bool = False,
    progress: bool | Progress = True,
) -> Prediction:
    """Predict a slide's tissue, some regions of it, or given spots, in one call; `PredictionJob` has the parts.

    Parameters
    ----------
    slide
        Open, or its path; what is opened here is closed again.
    out
        ``.zarr`` folder to make. A run that was broken off leaves there what was finished.
    model
        Loaded, or as `napari_stem.load_model` takes it.
    regions
        One, several, or a GeoJSON file; ``obs["region"]`` has their names. None: the tissue.
    spots
        Predict at these, as `choose_spots` takes them, instead of on a lattice.
    pitch_um
        Distance between spots of the lattice; None: as the model was trained.
    mpp
        Pixel size in um, where ``slide`` is a path; wins over what the file says. An open slide has its own.
    settings
        How samples are drawn.
    keep_draws
        Keep every sample: `napari_stem.compare` and some metrics need them.
    resume
        Go on with the same run where it stopped; one that is finished is opened as it is.
    progress
        True: a bar. A function is told (what, done, in all), and may raise to break off. False: nothing.

    Returns
    -------
    The finished prediction.

    Warns
    -----
    UserWarning
        The nuclei do not fit the pixel size, pen marks were left out, a region holds no spot, the slide looks
        unlike the training data, or the model states an alarming limit.

    Raises
    ------
    StemError
        Whatever can be mended: the slide, its pixel size, the model, regions, spots or the place.
    """
    out, settings = Path(out), settings or SamplingSettings()
    if out.suffix.lower() != ".zarr":
        raise OutputError(f"A prediction grows in a folder: {out.name} should end in .zarr.")
    with shown(progress) as bar, ExitStack() as opened:
        if not isinstance(slide, Slide):
            slide = opened.enter_context(open_slide(slide, mpp, progress=bar))
        elif mpp is not None:
            raise SettingsError("The slide is open, with its pixel size; give mpp to open_slide.")
        cautions: list[str] = []
        job = PredictionJob.planned(
            slide,
            load_model(model) if isinstance(model, (str, Path)) else model,
            settings,
            spots=spots,
            regions=regions,
            pitch_um=pitch_um,
            keep_draws=keep_draws,
            tell=cautions.append,
        )
        for sentence in filter(None, (*cautions, job.domain_warning())):
            warnings.warn(sentence, UserWarning, stacklevel=2)

        def watch(step: PredictionProgress) -> None:
            bar("Predicting spots", int(step.work_done), step.n_spots)

        return job.run(out, resume=resume, watch=watch)
