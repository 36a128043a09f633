"""What each part of the road says under its title: what is missing, what has been done, what not to rely on."""

from __future__ import annotations

from dataclasses import dataclass

from napari_stem.texts import count

FIRST = "Run a prediction first."
ONE_GENE_ONLY = "This is shown for one gene at a time: choose One gene in Genes."
LEAST_SAMPLES = 20  # one in twenty lies below the interval of 90%, one above
NO_SAMPLES = "The single samples of this prediction were not kept"
TOO_LARGE = f"{NO_SAMPLES}, being too large: run a smaller region, fewer samples or a wider spacing"


@dataclass(frozen=True)
class RoadState:
    """How far the user has come with the active slide."""

    slide_name: str = ""  # empty: no slide is open
    has_pixel_size: bool = False
    # drawn on it
    n_regions: int = 0
    n_spots: int = 0
    area_mm2: float = 0.0
    model_name: str = ""  # empty: none is ready
    model_missing: str = ""  # what it still needs, such as its encoder
    # of a file of embeddings in the regions, which are predicted instead of spots; None: an encoder looks
    n_patches: int | None = None
    is_running: bool = False  # a run, of whatever slide
    shown: str = ""  # gene of the map on screen, and how many there are
    keeps_samples: bool = True  # the prediction on screen
    measured: str = ""  # name of the data measured on the slide


def missing_for_run(state: RoadState) -> str:
    """Say what has to be done before Run; empty where nothing is."""
    if not state.slide_name:
        return "Open a slide first."
    if not state.has_pixel_size:
        return "State the slide's pixel size first."
    if not state.n_regions:
        return "Choose a region first."
    if not state.n_spots and state.n_patches is None:
        return "No spot fits into the regions: draw larger ones or set the spots closer together."
    if not state.model_name:
        return "Choose a model first."
    if state.n_patches == 0 and not state.model_missing:
        return "No patch of the file lies in the regions; draw them where its patches are."
    return state.model_missing


@dataclass(frozen=True)
class Hint:
    """A line, and whether it is said of a part that is folded away, and of an open one, which shows more."""

    text: str
    when_folded: bool = True
    when_open: bool = False

    @classmethod
    def missing(cls, text: str) -> Hint:
        """Say what has to be done first."""
        return cls(text, when_open=True)


def hints(state: RoadState) -> dict[str, Hint]:
    """One line per part of the road, by title."""
    after = Hint("" if state.shown else FIRST, when_folded=False, when_open=True)
    return {
        "Slide": _of_slide(state),
        "Region": _of_region(state),
        "Model": _of_model(state),
        "Genes": Hint(state.shown) if state.shown else Hint.missing(FIRST),
        "Uncertainty": _of_uncertainty(state) if state.shown else after,
        "Compare": _of_compare(state) if state.shown else after,
        "Measured data": _of_measured(state) if state.shown or state.measured else after,
        # nothing to add once there is a prediction
        **dict.fromkeys(("Inspect", "Spatial analysis", "Export"), after),
    }


def _of_slide(state: RoadState) -> Hint:
    if not state.slide_name:
        return Hint.missing("Open a slide, or drag one in here.")
    if not state.has_pixel_size:
        return Hint.missing("How large is a pixel of this slide?")
    return Hint(state.slide_name)


def _of_region(state: RoadState) -> Hint:
    if not state.slide_name or not state.has_pixel_size:
        return Hint.missing(missing_for_run(state))
    if not state.n_regions:
        return Hint.missing("Take the whole tissue, or draw where to predict.")
    held = f"{count(state.n_regions, 'region')}, {state.area_mm2:.2f} mm²"
    return Hint(f"{held}, {count(state.n_spots, 'spot')}")


def _of_model(state: RoadState) -> Hint:
    """Say what is missing only where the part is folded: an open one says it beside its button."""
    if state.is_running:
        return Hint("Running.")
    return Hint(missing_for_run(state) or f"{state.model_name}: ready to run.")


def _of_uncertainty(state: RoadState) -> Hint:
    if state.keeps_samples:
        return Hint("")
    return Hint.missing(
        f"{NO_SAMPLES}: only the standard deviation and the 90% interval are shown."
    )


def _of_compare(state: RoadState) -> Hint:
    """Say what is missing for a comparison of regions; the open part shows by itself what there is."""
    if not state.n_regions:
        return Hint("Draw a region, to compare it with the rest or with another.")
    if not state.keeps_samples:
        return Hint.missing(f"{NO_SAMPLES}: regions are listed, but cannot be compared.")
    rest = " with everything else" if state.n_regions == 1 else ""
    return Hint(f"{count(state.n_regions, 'region')} to compare{rest}.")


def _of_measured(state: RoadState) -> Hint:
    if not state.shown:
        return Hint.missing(f"{state.measured} waits for a prediction of this slide.")
    return Hint(state.measured or "Load counts measured on this very slide, if there are any.")


def few_samples(n_samples: int) -> str:
    """Say that samples are too few for an interval; empty where they are enough."""
    if n_samples >= LEAST_SAMPLES:
        return ""
    are_too_few = f"{count(n_samples, 'sample', 'is', 'are')} too few for a 90% interval"
    return f"{are_too_few}; take {LEAST_SAMPLES} or more."


def of_result(n_unlike: int, n_on_glass: int, n_samples: int) -> str:
    """Say what of a result not to rely on; empty where there is nothing.

    Spots that look unlike the training tissue, spots without tissue, and samples that were drawn at each.
    """
    kinds = {"unlike the training tissue": n_unlike, "on bare glass": n_on_glass}
    spots = ", ".join(f"{n:,} {kind}" for kind, n in kinds.items() if n)
    sentences = (f"Spots not to be relied on: {spots}." if spots else "", few_samples(n_samples))
    return " ".join(filter(None, sentences))
