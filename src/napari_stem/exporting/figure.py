"""Maps with their uncertainty as a figure at a stated scale, drawn without a window."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import numpy as np

from napari_stem.errors import OutputError
from napari_stem.exporting.backdrop import cut, window_of
from napari_stem.exporting.drawing import (
    Limits,
    Look,
    SeenMap,
    draw_map,
    draw_regions,
    draw_scale_bar,
    draw_tissue,
    draw_unlike,
    frame,
    name_regions,
)
from napari_stem.exporting.options import USUAL, ExportOptions, FigureFormat
from napari_stem.exporting.selection import NOTICES, Selection
from napari_stem.io import written_whole
from napari_stem.progress import silent
from napari_stem.results import Prediction
from napari_stem.spatial.region_files import as_regions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_stem.exporting.backdrop import WindowUm
    from napari_stem.exporting.selection import Shown
    from napari_stem.geometry import Region
    from napari_stem.progress import Progress
    from napari_stem.results import Field
    from napari_stem.slide.base import Slide

PANEL_MM, SMALL_PANEL_MM = 110.0, 70.0  # longer side of a map where the scale is ours to choose
MAX_SIDE_MM = 2000.0
MARGIN_MM, TITLE_MM, FOOT_MM, PANEL_TITLE_MM, LEGEND_MM = 6.0, 9.0, 14.0, 8.0, 26.0
MIN_WIDTH_MM = 150.0
TITLE_PT = 11.0  # less where the page is too narrow for it


@dataclass(frozen=True)
class Layout:
    """Sizes and places.

    Attributes
    ----------
    um_per_mm
        Scale: um of tissue per mm of page.
    width_mm, height_mm
        Of one map.
    n_rows, n_groups
        Groups of maps, one for each gene (mean and uncertainty), below and beside each other.
    n_maps
        In a group.
    """

    um_per_mm: float
    width_mm: float
    height_mm: float
    n_rows: int
    n_groups: int
    n_maps: int = 2

    @classmethod
    def of(cls, window: WindowUm, n_genes: int, um_per_mm: float | None, n_maps: int = 2) -> Layout:
        """Lay out some genes.

        Raises
        ------
        OutputError
            At this scale the page would be too large.
        """
        n_groups = 1 if n_genes <= 3 else 2
        target_mm = PANEL_MM if n_genes == 1 else SMALL_PANEL_MM
        scale = um_per_mm or round_scale(max(window.width_um, window.height_um) / target_mm)
        size_mm = (window.width_um / scale, window.height_um / scale)
        layout = cls(scale, *size_mm, -(-n_genes // n_groups), n_groups, n_maps)
        if max(layout.page_mm) > MAX_SIDE_MM:
            raise OutputError(
                f"At {scale:g} um per mm the figure would be {max(layout.page_mm) / 1000:.1f} m wide or "
                f"high; choose more um per mm, fewer genes or a smaller region."
            )
        return layout

    @property
    def cell_mm(self) -> tuple[float, float]:
        """(width, height) of a map with its title and legend."""
        return self.width_mm + LEGEND_MM, self.height_mm + PANEL_TITLE_MM

    @property
    def page_mm(self) -> tuple[float, float]:
        """(width, height) of the page."""
        width, height = self.cell_mm
        return (
            max(2 * MARGIN_MM + self.n_maps * self.n_groups * width, MIN_WIDTH_MM),
            TITLE_MM + FOOT_MM + self.n_rows * height,
        )

    def on_page(
        self,
        gene: int,
        panel: int,
        width: float,
        height: float,
        off: tuple[float, float] = (0, 0),
    ) -> tuple[float, float, float, float]:
        """Share of the page (left, bottom, width, height) of a box in mm, ``off`` a corner of a map."""
        page, cell = self.page_mm, self.cell_mm
        row, group = divmod(gene, self.n_groups)
        left = MARGIN_MM + (self.n_maps * group + panel) * cell[0] + off[0]
        bottom = page[1] - TITLE_MM - (row + 1) * cell[1] + off[1]
        return left / page[0], bottom / page[1], width / page[0], height / page[1]


def round_scale(value: float) -> float:
    """Next larger scale that is a round magnification: 2.5 um per mm is 400 times, 8 um 125 times."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(
        next(step * power for step in (1, 1.25, 2, 2.5, 4, 5, 8, 10) if step * power >= value)
    )


Panel: TypeAlias = "tuple[Field, str]"
Panels: TypeAlias = tuple[Panel, ...]
PANELS: Panels = (
    ("mean", "predicted mean"),
    ("sd", "uncertainty (SD)"),
)
INTERVAL: Panels = (
    ("q05", "predicted, lower end of 90% interval"),
    ("mean", "predicted mean"),
    ("q95", "predicted, upper end of 90% interval"),
)
MAX_GENES = 24
PNG_DPI = 200
MAX_PNG_PX = 20_000
TISSUE_PX_PER_MM = 8
LEGEND_BAR_MM, LEGEND_GAP_MM, MAX_LEGEND_MM = 3.5, 2.0, 70.0
MM_PER_INCH = 25.4


def write_figure(selection: Selection, path: Path, options: ExportOptions = USUAL) -> None:
    """Write mean and uncertainty of every chosen gene, side by side on the tissue, cropped to the regions.

    Too many genes, or a scale that makes the figure too large, are refused (OutputError).
    """
    wanted = options.file_format or path.suffix.lstrip(".").lower()
    if wanted not in get_args(FigureFormat):
        raise OutputError(
            f"{path.name} has an ending that is not .png, .svg or .pdf; choose one of these."
        )
    with written_whole(path, overwrite=options.overwrite) as fresh:
        if options.seen is None:
            look = options.look
            figure = drawn(selection, options.slide, options.um_per_mm, look, options.progress)
        else:
            figure = _drawn_seen(selection, options.slide, options.um_per_mm, options.seen)
        dpi = min(PNG_DPI, MAX_PNG_PX / max(figure.get_size_inches()))
        # no date: the same prediction gives the same file
        metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[wanted]
        figure.savefig(fresh, format=wanted, dpi=dpi, metadata=metadata)


def plot(
    prediction: Prediction | str | Path,
    gene: str,
    *,
    regions: Region | Sequence[Region] | str | Path | None = None,
    slide: Slide | None = None,
) -> Figure:
    """Draw a gene's predicted mean between the ends of its 90% interval, in the same colours, on the tissue.

    A notebook shows what is returned; elsewhere ``plot(...).savefig("GENE.png")``.

    Parameters
    ----------
    prediction
        An open one, or its path (``.zarr``, ``.h5ad``); all finished spots are drawn.
    gene
        Its name.
    regions
        One, several or a GeoJSON file: outlined, and the figure is cropped to them.
    slide
        Source of the tissue behind the maps; without it the prediction's own overview serves.

    Raises
    ------
    UnknownGeneError
        The prediction lacks it; the message offers names that are alike.
    PredictionError
        There is no such prediction, no spot is done, or the slide is another.
    """
    import matplotlib.pyplot as plt

    plt.close(plt.figure())  # from the first figure on, notebooks show figures
    if not isinstance(prediction, Prediction):
        prediction = Prediction.open(prediction)
    selection = Selection.of(prediction, (gene,), as_regions(regions))
    low, high = (Limits().of(selection.values(gene, end)) for end in ("q05", "q95"))
    limits = Limits(low[0], high[1], are_percentiles=False)
    return drawn(selection, slide, None, Look(limits), silent, panels=INTERVAL)


def drawn(
    selection: Selection,
    slide: Slide | None,
    um_per_mm: float | None,
    look: Look,
    progress: Progress,
    *,
    window: WindowUm | None = None,
    titled: bool = True,
    panels: Panels = PANELS,
) -> Figure:
    """Draw all chosen genes as one matplotlib figure.

    Parameters
    ----------
    selection, slide, um_per_mm, look, progress
        What, and how: as of `ExportOptions`.
    window
        What to show; the regions, else all finished spots, if not given.
    titled
        Whether the page has a title, its scale and the notice.
    panels
        What is drawn of each gene: field, title.
    """
    if len(selection.genes) > MAX_GENES:
        raise OutputError(
            f"A figure of {len(selection.genes)} genes would be unreadable; choose at most {MAX_GENES}."
        )
    window = window or window_of(selection, selection.regions)
    layout = Layout.of(window, len(selection.genes), um_per_mm, len(panels))
    figure, tissue = _page(selection, slide, window, layout)
    for number in range(len(selection.genes)):
        for place, panel in enumerate(panels):
            _panel(figure, layout, selection, number, place, panel, tissue, window, look)
        progress("Drawing", number + 1, len(selection.genes))
    if titled:
        name_regions(figure.axes[0], selection)  # once is enough
        genes = ", ".join(selection.genes[:4]) + (" …" if len(selection.genes) > 4 else "")
        _words(figure, layout, selection, window, f"{genes} predicted")
    return figure


def _drawn_seen(
    selection: Selection, slide: Slide | None, um_per_mm: float | None, seen: SeenMap
) -> Any:
    """Draw what a window shows, with its legends."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, PowerNorm
    from matplotlib.patches import Patch

    window = window_of(selection, selection.regions)
    layout = Layout.of(window, 1, um_per_mm, n_maps=1)
    figure, tissue = _page(selection, slide, window, layout)
    axes = figure.add_axes(layout.on_page(0, 0, layout.width_mm, layout.height_mm))
    draw_tissue(axes, *tissue)
    axes.imshow(seen.pixels, extent=seen.where.extent, interpolation="nearest")
    if seen.shown != "measured":
        draw_unlike(axes, selection)
    _finish(axes, selection, window, seen.title if len(seen.legends) < 2 else "mixed")
    name_regions(axes, selection)
    room_mm = layout.height_mm / max(len(seen.legends), 1)
    for number, legend in enumerate(seen.legends):
        place = (layout.width_mm + LEGEND_GAP_MM, layout.height_mm - (number + 1) * room_mm)
        height = min(room_mm - 2 * LEGEND_GAP_MM, MAX_LEGEND_MM)
        beside = figure.add_axes(layout.on_page(0, 0, LEGEND_BAR_MM, height, place))
        norm = PowerNorm(legend.gamma, *legend.limits)
        colours = ScalarMappable(norm, ListedColormap(legend.colours))
        _label(figure.colorbar(colours, cax=beside), textwrap.fill(legend.title, int(0.8 * height)))
    if seen.names:
        patches = [Patch(color=colour, label=text) for text, colour in seen.names]
        axes.legend(handles=patches, fontsize=6.5, loc="upper left", bbox_to_anchor=(1, 1))
    title = ", ".join(selection.genes[:4])
    if seen.shown != "predicted":  # of what is, the map's own title says more
        title += f" {seen.shown}"
    _words(figure, layout, selection, window, title, seen.shown)
    return figure


def _page(
    selection: Selection, slide: Slide | None, window: WindowUm, layout: Layout
) -> tuple[Figure, tuple[NDArray[np.uint8], WindowUm]]:
    """Return an empty figure, and the tissue that all its maps lie on."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    longer_mm = max(layout.width_mm, layout.height_mm)
    tissue = cut(selection, slide, window, int(np.clip(longer_mm * TISSUE_PX_PER_MM, 500, 4000)))
    page = layout.page_mm
    figure = Figure(figsize=(page[0] / MM_PER_INCH, page[1] / MM_PER_INCH))
    FigureCanvasAgg(figure)
    return figure, tissue


def _panel(
    figure: Any,
    layout: Layout,
    selection: Selection,
    number: int,
    place: int,
    panel: Panel,
    tissue: Any,
    window: WindowUm,
    look: Look,
) -> None:
    gene, (field, title) = selection.genes[number], panel
    axes = figure.add_axes(layout.on_page(number, place, layout.width_mm, layout.height_mm))
    draw_tissue(axes, *tissue)
    values = selection.values(gene, field)
    drawn = draw_map(axes, selection.spots, values, look, is_sd=field == "sd")
    draw_unlike(axes, selection)
    _finish(axes, selection, window, f"{gene}: {title}")
    height, off = min(layout.height_mm, MAX_LEGEND_MM), (layout.width_mm + LEGEND_GAP_MM, 0)
    beside = figure.add_axes(layout.on_page(number, place, LEGEND_BAR_MM, height, off))
    low, high = drawn.get_clim()
    beyond = {(True, True): "both", (True, False): "min", (False, True): "max"}
    pointed = beyond.get((bool(values.min() < low), bool(values.max() > high)), "neither")
    legend = figure.colorbar(drawn, cax=beside, extend=pointed)  # points: values beyond the limits
    _label(legend, f"{gene} {title}\n{selection.prediction.unit}")


def _finish(axes: Any, selection: Selection, window: WindowUm, title: str) -> None:
    """Add to a map what all of them have."""
    draw_regions(axes, selection)
    frame(axes, window)
    draw_scale_bar(axes)
    axes.set_title(title, fontsize=9, loc="left", pad=3, parse_math=False)


def _label(legend: Any, text: str) -> None:
    legend.set_label(text, fontsize=6.5, parse_math=False)
    legend.ax.tick_params(labelsize=6.5)


def _words(
    figure: Any,
    layout: Layout,
    selection: Selection,
    window: WindowUm,
    title: str,
    shown: Shown = "predicted",
) -> None:
    """Say what is shown of what, and what to be wary of."""
    provenance = selection.prediction.provenance
    title = f"{title} on {provenance.get('slide')}"
    facts = [f"{1000 / layout.um_per_mm:g}:1 when printed at full size"]
    if shown != "measured":
        title += f", model {provenance.get('model')}"
        if shared := provenance.get("shared_tissue"):
            facts.append(str(shared).rstrip("."))
        unlike, n_shown = _unlike_within(selection, window)
        if unlike:
            facts.append(f"hatched: {unlike} of {n_shown} spots shown are unlike the training data")
        if selection.n_missing:
            facts.append(f"{selection.n_missing} spots not predicted yet")
    height = layout.page_mm[1]
    x = MARGIN_MM / layout.page_mm[0]

    def share_of_room(text: Any) -> float:
        return float(text.get_window_extent().width / figure.bbox.width / (1 - 2 * x))

    head = figure.text(x, 1 - 4.5 / height, title, fontsize=TITLE_PT, va="center", parse_math=False)
    head.set_fontsize(TITLE_PT / max(1, share_of_room(head)))
    told = ";  ".join(facts)
    foot = figure.text(x, 6.2 / height, told, fontsize=7, va="bottom", ha="left")
    foot.set_text(textwrap.fill(told, int(len(told) / max(1, share_of_room(foot)))))
    figure.text(x, 3.5 / height, NOTICES[shown], fontsize=7, va="center", ha="left")


def _unlike_within(selection: Selection, window: WindowUm) -> tuple[int, int]:
    """Count of spots in a window that are unlike the training data, and of all spots in it."""
    x_um, y_um = selection.spots.xy_um.T
    shown = (x_um > window.left_um) & (x_um < window.right_um)
    shown &= (y_um > window.top_um) & (y_um < window.bottom_um)
    return int(selection.ood[shown].sum()), int(shown.sum())
