"""How the maps were looked at: which genes, in which colours, what lay in their place, from where."""

from __future__ import annotations

from dataclasses import asdict, fields
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_stem.widgets.genes.genes_panel import ARRANGEMENTS, BESIDE, MIX, ONE, SCORE, VIEWS
from napari_stem.widgets.genes.map_look_box import MapLook
from napari_stem.widgets.views.measured_panel import DIFFERENCE, MEASURED
from napari_stem.widgets.views.uncertainty_panel import UncertaintyLook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.viewer import Viewer

    from napari_stem.widgets.genes.genes_panel import GenesPanel
    from napari_stem.widgets.genes.map_turns import LayerTurns
    from napari_stem.widgets.views.analysis_control import AnalysisControl
    from napari_stem.widgets.views.measured_control import MeasuredControl
    from napari_stem.widgets.views.measured_panel import MeasuredPanel
    from napari_stem.widgets.views.uncertainty_panel import UncertaintyPanel

DOMAINS = "domains"


class SessionView:
    """Writes down what is to be seen of the active slide, and brings it back.

    Parameters
    ----------
    viewer, genes, uncertainty
        The camera, and what maps look like.
    measured_panel, measured, analysis
        What can lie in the place of a map.
    turns
        What brings layers into the viewer.
    """

    def __init__(
        self,
        viewer: Viewer,
        genes: GenesPanel,
        uncertainty: UncertaintyPanel,
        measured_panel: MeasuredPanel,
        measured: MeasuredControl,
        analysis: AnalysisControl,
        turns: LayerTurns,
    ) -> None:
        self._turns = turns
        self._viewer, self._genes, self._uncertainty = viewer, genes, uncertainty
        self._measured_panel, self._measured, self._analysis = measured_panel, measured, analysis

    def told(self) -> dict[str, Any]:
        """Say what is to be seen, JSON-ready."""
        camera = self._viewer.scene.camera
        instead = self._measured_panel.shown()
        if self._analysis.is_shown():
            instead = DOMAINS
        return {
            "shown": self._genes.shown(),
            "instead": instead,
            "arrangement": self._genes.arrangement(),
            "picked": list(self._genes.picked.genes),
            "listed": _told_list(*self._genes.sets.told_choice()),
            "look": self._genes.look.look().as_names(),
            "uncertainty": asdict(self._uncertainty.look()),
            "camera": {
                "center": [float(value) for value in camera.center][-2:],
                "zoom": float(camera.zoom),
            },
        }

    def restore(self, told: Mapping[str, Any]) -> None:
        """Show it again; what a file does not say, or says wrongly, stays as it is."""
        self._restore_look(told)
        self._restore_genes(told)
        views = [name for name, _ in VIEWS.values()]
        if told.get("shown") in views:
            self._genes.views.button(views.index(told["shown"])).click()
        instead = told.get("instead")
        if instead == DOMAINS:
            self._analysis.show_when_read()
        elif instead in {MEASURED, DIFFERENCE}:
            self._measured.show_when_matched(str(instead))
        # views side by side move the camera when they come
        self._turns.afterwards(partial(self._restore_camera, told.get("camera")))

    def _restore_look(self, told: Mapping[str, Any]) -> None:
        look = told.get("look")
        if isinstance(look, dict):
            self._genes.look.show_look(MapLook.of_names(look))
        stated, now = told.get("uncertainty"), asdict(self._uncertainty.look())
        if isinstance(stated, dict):
            known = {f.name for f in fields(UncertaintyLook)}
            same = {k: v for k, v in stated.items() if k in known and _is_alike(v, now[k])}
            self._uncertainty.show_look(UncertaintyLook(**(now | same)))

    def _restore_genes(self, told: Mapping[str, Any]) -> None:
        self._restore_list(told.get("listed"))
        picked, arrangement = told.get("picked"), told.get("arrangement")
        kinds = {kind for kind, _ in ARRANGEMENTS.values()}
        if arrangement not in kinds or (arrangement == SCORE and not self._genes.sets.is_a_set()):
            arrangement = ONE
        if isinstance(picked, list) and arrangement in {MIX, BESIDE}:
            predicted = set(self._genes.table.search.genes)  # listed at the moment or not
            self._genes.picked.genes = tuple(str(g) for g in picked if str(g) in predicted)
        self._genes.choose_arrangement(str(arrangement))

    def _restore_list(self, listed: object) -> None:
        if not isinstance(listed, dict):
            return
        genes = listed.get("genes", [])
        known = tuple(map(str, genes)) if isinstance(genes, list) else ()
        if listed.get("kind") != self._genes.sets.told_choice()[0] or known:
            self._genes.sets.choose_again(str(listed.get("kind")), known)

    def _restore_camera(self, told: object) -> None:
        if not isinstance(told, dict):
            return
        centre, zoom = told.get("center"), told.get("zoom")
        if not (isinstance(centre, list) and len(centre) == 2):
            return
        if isinstance(zoom, int | float) and zoom > 0:
            camera = self._viewer.scene.camera
            camera.center = (0, *map(float, centre))
            camera.zoom = float(zoom)


def _told_list(kind: str, genes: tuple[str, ...]) -> dict[str, Any]:
    return {"kind": kind, "genes": list(genes)}


def _is_alike(value: object, now: object) -> bool:
    """Whether a value from a file is of the kind that is expected."""
    if isinstance(now, bool) or isinstance(value, bool):
        return isinstance(now, bool) and isinstance(value, bool)
    if isinstance(now, int | float):
        return isinstance(value, int | float) and value >= 0
    return isinstance(value, type(now))
