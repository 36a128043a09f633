"""What each part of the road says under its title: what is missing, or what has been done."""

from __future__ import annotations

from dataclasses import dataclass

from napari_stem.widgets.parts import count

# parts that show something once there is a prediction
AFTER = ("Uncertainty", "Inspect", "Compare", "Measured data", "Spatial analysis", "Export")


@dataclass(frozen=True)
class RoadState:
    """How far the user has come with the active slide.

    Attributes
    ----------
    slide_name
        Empty where no slide is open.
    has_pixel_size
        Whether it is known how large the slide's pixels are.
    n_regions, n_spots, area_mm2
        Drawn on it.
    model_name
        Chosen; empty where none is ready.
    is_running
        Whether a run is on its way, of whatever slide.
    shown
        Gene and model of the maps on screen; empty where nothing was predicted.
    """

    slide_name: str = ""
    has_pixel_size: bool = False
    n_regions: int = 0
    n_spots: int = 0
    area_mm2: float = 0.0
    model_name: str = ""
    is_running: bool = False
    shown: str = ""


def missing_for_run(state: RoadState) -> str:
    """Say what has to be done before Run; empty where nothing is."""
    if not state.slide_name:
        return "Open a slide first."
    if not state.has_pixel_size:
        return "State the slide's pixel size first."
    if not state.n_regions:
        return "Choose a region first."
    if not state.n_spots:
        return "No spot fits into the regions: draw larger ones or set the spots closer together."
    return "" if state.model_name else "Choose a model first."


@dataclass(frozen=True)
class Hint:
    """A line, and whether it is said of a part that is folded away, and of one that is open."""

    text: str
    when_folded: bool = True
    when_open: bool = False

    @classmethod
    def missing(cls, text: str) -> Hint:
        """Say what has to be done first."""
        return cls(text, when_open=True)


def hints(state: RoadState) -> dict[str, Hint]:
    """One line per part of the road, by title."""
    first = "Run a prediction first."
    shown = Hint(state.shown) if state.shown else Hint.missing(first)
    after = Hint("" if state.shown else first, when_folded=False, when_open=True)
    return {
        "Slide": _of_slide(state),
        "Region": _of_region(state),
        "Model": _of_model(state),
        "Genes": shown,
        **dict.fromkeys(AFTER, after),
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
