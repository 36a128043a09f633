"""Maps with their uncertainty as a figure at a stated scale, drawn without a window."""

from __future__ import annotations

import textwrap
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast, get_args

import numpy as np

from napari_stem.errors import OutputError
from napari_stem.exporting.drawing import (
    Limits,
    Look,
    SeenMap,
    WindowUm,
    cut,
    draw_map,
    draw_regions,
    draw_scale_bar,
    draw_tissue,
    draw_unlike,
    frame,
    name_regions,
    window_of,
)
from napari_stem.exporting.options import DEFAULT_OPTIONS, ExportOptions, FigureFormat
from napari_stem.exporting.selection import NOTICES, Selection, Shown
from napari_stem.io import written_whole
from napari_stem.results import Field, Prediction
from napari_stem.slide import Slide, open_slide
from napari_stem.spatial.region_files import as_regions
from napari_stem.texts import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from napari_stem.geometry import Region

PANEL_MM, SMALL_PANEL_MM = 110.0, 70.0  # longer side of a map where the scale is ours to choose
MAX_SIDE_MM = 2000.0
MARGIN_MM, TITLE_MM, FOOT_MM, PANEL_TITLE_MM, LEGEND_MM = 6.0, 9.0, 14.0, 8.0, 26.0
MIN_WIDTH_MM = 150.0
TITLE_PT = 11.0  # less where the page is too narrow for it


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
LEGEND_PT, LETTERS_PER_MM = 6.5, 0.8  # words along a legend, and about how many letters fit
MM_PER_INCH = 25.4


def write_figure(
    selection: Selection, path: Path, options: ExportOptions = DEFAULT_OPTIONS
) -> None:
    """Write mean and uncertainty of every chosen gene, side by side on the tissue, cropped to the regions.

    Too many genes, or a scale that makes the figure too large, are refused (OutputError).
    """
    wanted = options.file_format or path.suffix.lstrip(".").lower()
    if wanted not in get_args(FigureFormat):
        raise OutputError(
            f"{path.name} has an ending that is not .png, .svg or .pdf; choose one of these."
        )
    with written_whole(path, overwrite=options.overwrite) as fresh:
        draw = drawn if options.seen is None else _drawn_seen
        figure = draw(selection, options)
        dpi = min(PNG_DPI, MAX_PNG_PX / max(figure.get_size_inches()))
        # no date: the same prediction gives the same file
        metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[wanted]
        figure.savefig(fresh, format=wanted, dpi=dpi, metadata=metadata)


def plot(
    prediction: Prediction | str | Path,
    gene: str,
    *,
    regions: Region | Sequence[Region] | str | Path | None = None,
    slide: Slide | str | Path | None = None,
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
        The slide that was predicted, open or as its path; without it the prediction's own overview serves.

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
    with ExitStack() as opened:
        if isinstance(slide, (str, Path)):
            slide = opened.enter_context(open_slide(slide, selection.mpp))
        return drawn(selection, ExportOptions(slide=slide, look=Look(limits)), panels=INTERVAL)


def drawn(
    selection: Selection,
    options: ExportOptions = DEFAULT_OPTIONS,
    *,
    window: WindowUm | None = None,
    titled: bool = True,
    panels: Panels = PANELS,
) -> Figure:
    """Draw all chosen genes as one matplotlib figure.

    ``window`` is what to show: the regions, else all finished spots, if not given. ``titled`` is whether the
    page has a title, its scale and the notice. Of each gene ``panels`` are drawn: field, title.
    """
    genes = selection.genes
    if len(genes) > MAX_GENES:
        raise OutputError(
            f"A figure of {len(genes)} genes would be unreadable; choose at most {MAX_GENES}."
        )
    page = _Page(selection, options, window, len(genes), len(panels))
    for number, gene in enumerate(genes):
        for place, (field, title) in enumerate(panels):
            axes, values = page.axes(number, place), selection.values(gene, field)
            limits, is_sd = options.look.own_limits.get((field, gene)), field == "sd"
            shown = draw_map(
                axes, selection.spots, values, options.look, limits=limits, is_sd=is_sd
            )
            draw_unlike(axes, selection)
            page.finish(axes, f"{gene}: {title}")
            low, high = shown.get_clim()
            beyond = {(True, True): "both", (True, False): "min", (False, True): "max"}
            # points: values beyond the limits
            pointed = beyond.get((bool(values.min() < low), bool(values.max() > high)), "neither")
            text = f"{gene} {title}\n{selection.prediction.unit}"
            length_mm = min(page.height_mm, MAX_LEGEND_MM)
            page.legend(axes, shown, text, 0, length_mm, extend=pointed)
        options.progress("Drawing", number + 1, len(genes))
    if titled:
        name_regions(page.figure.axes[0], selection)  # once is enough
        page.say(f"{', '.join(genes[:4])}{' …' if len(genes) > 4 else ''} predicted")
    return page.figure


def _drawn_seen(selection: Selection, options: ExportOptions) -> Figure:
    """Draw what a window shows, with its legends."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, PowerNorm
    from matplotlib.patches import Patch

    seen = cast("SeenMap", options.seen)
    page = _Page(selection, options, None, n_genes=1, n_maps=1)
    axes = page.axes(0, 0)
    axes.imshow(seen.pixels, extent=seen.where.extent, interpolation="nearest")
    if seen.shown != "measured":
        draw_unlike(axes, selection)
    page.finish(axes, seen.title if len(seen.legends) < 2 else "mixed")
    name_regions(axes, selection)
    room_mm = page.height_mm / max(len(seen.legends), 1)
    for number, legend in enumerate(seen.legends):
        bottom_mm = page.height_mm - (number + 1) * room_mm
        length_mm = min(room_mm - 2 * LEGEND_GAP_MM, MAX_LEGEND_MM)
        colours = ScalarMappable(
            PowerNorm(legend.gamma, *legend.limits), ListedColormap(legend.colours)
        )
        page.legend(axes, colours, legend.title, bottom_mm, length_mm)
    if seen.names:
        patches = [Patch(color=colour, label=text) for text, colour in seen.names]
        axes.legend(handles=patches, fontsize=LEGEND_PT, loc="upper left", bbox_to_anchor=(1, 1))
    title = ", ".join(selection.genes[:4])
    if seen.shown != "predicted":  # of what is, the map's own title says more
        title += f" {seen.shown}"
    page.say(title, seen.shown)
    return page.figure


class _Page:
    """A figure at a scale: groups of maps, one for each gene, below and beside each other, and words.

    All maps show the same window: the regions, else all finished spots, if it is None. OutputError where at
    this scale the page would be too large.
    """

    def __init__(
        self,
        selection: Selection,
        options: ExportOptions,
        window: WindowUm | None,
        n_genes: int,
        n_maps: int,
    ) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._selection, self._n_maps = selection, n_maps
        self._window = window = window or window_of(selection.spots, selection.regions)
        self._n_groups = 1 if n_genes <= 3 else 2
        target_mm = PANEL_MM if n_genes == 1 else SMALL_PANEL_MM
        longer_um = max(window.width_um, window.height_um)
        self._um_per_mm = scale = options.um_per_mm or round_scale(longer_um / target_mm)
        # of a map, alone and with its title and legend
        self.width_mm, self.height_mm = window.width_um / scale, window.height_um / scale
        self._cell_mm = cell = self.width_mm + LEGEND_MM, self.height_mm + PANEL_TITLE_MM
        self._page_mm = page = (
            max(2 * MARGIN_MM + n_maps * self._n_groups * cell[0], MIN_WIDTH_MM),
            TITLE_MM + FOOT_MM + -(-n_genes // self._n_groups) * cell[1],
        )
        if max(page) > MAX_SIDE_MM:
            raise OutputError(
                f"At {scale:g} um per mm the figure would be {max(page) / 1000:.1f} m wide or high; choose "
                f"more um per mm, fewer genes or a smaller region."
            )
        tissue_px = int(np.clip(longer_um / scale * TISSUE_PX_PER_MM, 500, 4000))
        self._tissue = cut(selection, options.slide, window, tissue_px)
        self.figure = Figure(figsize=(page[0] / MM_PER_INCH, page[1] / MM_PER_INCH))
        FigureCanvasAgg(self.figure)

    def axes(self, gene: int, place: int) -> Any:
        """Add a map of a gene with nothing but the tissue, in um."""
        (width, height), (cell_width, cell_height) = self._page_mm, self._cell_mm
        row, group = divmod(gene, self._n_groups)
        left = MARGIN_MM + (self._n_maps * group + place) * cell_width
        bottom = height - TITLE_MM - (row + 1) * cell_height
        axes = self.figure.add_axes(
            (left / width, bottom / height, self.width_mm / width, self.height_mm / height)
        )
        draw_tissue(axes, *self._tissue)
        return axes

    def finish(self, axes: Any, title: str) -> None:
        """Add to a map what all of them have."""
        draw_regions(axes, self._selection)
        frame(axes, self._window)
        draw_scale_bar(axes)
        axes.set_title(title, fontsize=9, loc="left", pad=3, parse_math=False)

    def legend(
        self, axes: Any, colours: Any, text: str, bottom_mm: float, length_mm: float, **bar: Any
    ) -> None:
        """Add a bar of colours beside a map; its text is wrapped to its length."""
        width, height = self.width_mm, self.height_mm
        left = 1 + LEGEND_GAP_MM / width
        where = (left, bottom_mm / height, LEGEND_BAR_MM / width, length_mm / height)
        legend = self.figure.colorbar(colours, cax=axes.inset_axes(where), **bar)
        n_letters = max(int(LETTERS_PER_MM * length_mm), 1)
        lines = [textwrap.fill(li, n_letters, break_on_hyphens=False) for li in text.splitlines()]
        legend.set_label("\n".join(lines), fontsize=LEGEND_PT, parse_math=False)
        legend.ax.tick_params(labelsize=LEGEND_PT)

    def say(self, title: str, shown: Shown = "predicted") -> None:
        """Say what is shown of what, and what to be wary of."""
        selection, figure = self._selection, self.figure
        provenance = selection.prediction.provenance
        title = f"{title} on {provenance.get('slide')}"
        facts = [f"{1000 / self._um_per_mm:g}:1 when printed at full size"]
        if shown != "measured":
            title += f", model {provenance.get('model')}"
            if shared := provenance.get("shared_tissue"):
                facts.append(str(shared).rstrip("."))
            (x_um, y_um), window = selection.spots.xy_um.T, self._window
            seen = (x_um > window.left_um) & (x_um < window.right_um)
            seen &= (y_um > window.top_um) & (y_um < window.bottom_um)
            if unlike := int(selection.ood[seen].sum()):
                shown_are = f"{unlike} of {count(int(seen.sum()), 'spot')} shown are"
                facts.append(f"hatched: {shown_are} unlike the training data")
            if selection.n_missing:
                facts.append(f"{count(selection.n_missing, 'spot')} not predicted yet")
        height = self._page_mm[1]
        x = MARGIN_MM / self._page_mm[0]

        def share_of_room(text: Any) -> float:
            return float(text.get_window_extent().width / figure.bbox.width / (1 - 2 * x))

        head = figure.text(x, 1 - 4.5 / height, title, fontsize=TITLE_PT, va="center")
        head.set_parse_math(False)
        head.set_fontsize(TITLE_PT / max(1, share_of_room(head)))
        told = ";  ".join(facts)
        foot = figure.text(x, 6.2 / height, told, fontsize=7, va="bottom", ha="left")
        foot.set_text(textwrap.fill(told, int(len(told) / max(1, share_of_room(foot)))))
        figure.text(x, 3.5 / height, NOTICES[shown], fontsize=7, va="center", ha="left")
