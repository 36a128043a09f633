"""The session file: what was open and how it was looked at, as JSON that people can read too.

Slides are named by path and fingerprint, so that another slide of the same name is not taken for it.
Slides, predictions and measured data that were moved together with their session file are found beside it.
Domains lie beside their prediction and come back with it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QObject, Signal

from napari_stem.errors import StemError
from napari_stem.foreign import read_json
from napari_stem.geometry import Mpp
from napari_stem.io import write_file
from napari_stem.slide.pixel_size import BY_USER
from napari_stem.spatial.region_files import as_geojson, parse_regions
from napari_stem.widgets.model.predictions import open_prediction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_stem.slide.base import Slide
    from napari_stem.widgets.common.worker import Jobs
    from napari_stem.widgets.panels import Panels
    from napari_stem.widgets.regions.region_shapes import DrawnRegion

FORMAT = "napari-stem session"
VERSION = 3
# by viewer: as its dock was closed, and what of it was away
_left: WeakKeyDictionary[Any, tuple[Session, list[SlideEntry]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class SlideEntry:
    """One slide of a session."""

    path: str  # where it was
    fingerprint: str  # of its content
    name: str = ""  # of its layer
    mpp_um: tuple[float, float] | None = None  # (y, x), where the user stated it
    regions: dict[str, Any] = field(default_factory=dict)  # GeoJSON FeatureCollection in level-0 px
    # names of those that one click made: the next click predicts them too
    clicked: tuple[str, ...] = ()
    predictions: tuple[str, ...] = ()  # folders, the one on screen last
    gene: str = ""  # on the map
    measured: str = ""  # file or folder of measured data


@dataclass(frozen=True)
class Session:
    """What was open."""

    slides: tuple[SlideEntry, ...] = ()  # in the order of the layer list
    active: str = ""  # fingerprint of the active one
    # how that was looked at: `DisplaySettings.dump`, and the camera
    view: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)  # as asked for: `ModelPanel.run_settings`


class SessionControl(QObject):
    """Writes down what is open and how it is looked at, and opens it again: slides one after another."""

    restored = Signal()

    def __init__(self, jobs: Jobs, panels: Panels, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._jobs, self._panels = jobs, panels
        self._session = Session()  # that is being restored; of several the last
        self._away: list[SlideEntry] = []  # could not be opened; what is saved keeps them
        self._waiting: list[SlideEntry] = []  # the first is on its way

    def save(self, path: str) -> None:
        """Write the session to a file."""
        self._jobs.save(write_session, self.session(), Path(path))

    def session(self) -> Session:
        """Say what is open."""
        slides = self._panels.slide
        camera = self._panels.maps.layer_queue.viewer.scene.camera
        view = self._panels.maps.settings.dump() | {
            "camera_center": [float(value) for value in camera.center][-2:],
            "camera_zoom": float(camera.zoom),
        }
        found = Session(
            slides=tuple(self._entry(slide) for slide in slides.slides()),
            active=slides.slide.fingerprint if slides.slide else "",
            view=view,
            run=self._panels.model.run_settings(),
        )
        return self._with_what_is_not_there(found)

    def leave(self) -> None:
        """Keep what is open for the next dock of this viewer."""
        _left[self._panels.maps.layer_queue.viewer] = self.session(), self._away

    def come_back(self) -> None:
        """Go on where an earlier dock of this viewer ended, with the slides that are still open."""
        viewer, find = self._panels.maps.layer_queue.viewer, self._panels.slide.find_open
        session, self._away = _left.pop(viewer, (Session(), []))
        slides = tuple(each for each in session.slides if find(each.fingerprint) is not None)
        if slides:
            self.restore(replace(session, slides=slides))

    def load(self, path: str | Path) -> None:
        """Open what a session file names, beside what is open already."""
        self._jobs.start(read_session, Path(path), done=self.restore)

    def restore(self, session: Session) -> None:
        """Open a session's slides one after another, after those of another that is still coming back."""
        is_free = not self._waiting
        self._session = session
        self._waiting += session.slides
        again = {each.fingerprint for each in session.slides}
        self._away = [each for each in self._away if each.fingerprint not in again]
        self._panels.model.restore_run(session.run)
        if is_free:
            self._open_next()

    def restore_view(self, saved: Mapping[str, Any]) -> None:
        """Look at the active slide as then; what a file does not say, or says wrongly, stays as it is."""
        self._panels.maps.restore(saved)
        # views side by side move the camera when they come
        self._panels.maps.layer_queue.afterwards(partial(self._restore_camera, saved))

    def _restore_camera(self, saved: Mapping[str, Any]) -> None:
        centre, zoom = saved.get("camera_center"), saved.get("camera_zoom")
        if not isinstance(centre, list) or len(centre) != 2:
            return
        if isinstance(zoom, int | float) and zoom > 0:
            camera = self._panels.maps.layer_queue.viewer.scene.camera
            camera.center = (0, *map(float, centre))
            camera.zoom = float(zoom)

    def _with_what_is_not_there(self, found: Session) -> Session:
        """Add to what is open what a session has not laid on its slides yet, or could not."""
        coming = {each.fingerprint: each for each in (*self._away, *self._waiting)}

        def whole(entry: SlideEntry) -> SlideEntry:
            then = coming.pop(entry.fingerprint, entry)
            drawn = entry if entry.regions.get("features") else then
            # that was away and opened otherwise since: what is seen now is newer
            older, newer = (entry, then) if self._waiting else (then, entry)
            return replace(
                entry,
                regions=drawn.regions,
                clicked=drawn.clicked,
                predictions=tuple(dict.fromkeys((*older.predictions, *newer.predictions))),
                gene=newer.gene or older.gene,
                measured=entry.measured or then.measured,
            )

        found = replace(found, slides=(*map(whole, found.slides), *coming.values()))
        if not self._waiting:
            return found
        return replace(found, active=self._session.active, view=self._session.view)

    def _entry(self, slide: Slide) -> SlideEntry:
        panels = self._panels
        layer = panels.slide.layer_of(slide)
        drawn: list[DrawnRegion] = []
        if layer is not None and slide.mpp is not None:
            drawn = panels.region.layers.drawn(slide, layer)
        is_stated = bool(slide.mpp_sources) and slide.mpp_sources[0].source in BY_USER
        mpp = slide.mpp if is_stated else None
        measured = panels.measured.path_of(slide)
        return SlideEntry(
            path=str(slide.path.resolve()),
            fingerprint=slide.fingerprint,
            name=layer.name if layer is not None else "",
            mpp_um=None if mpp is None else (mpp.y_um, mpp.x_um),
            regions=as_geojson([each.region for each in drawn]),
            clicked=tuple(each.region.name for each in drawn if each.is_clicked),
            predictions=tuple(str(p) for p in panels.model.predictions.paths(slide)),
            gene=panels.maps.gene_of(slide),
            measured=str(measured.resolve()) if measured else "",
        )

    def _open_next(self) -> None:
        """Open the next slide; after the last, look at the one that was active then."""
        slides = self._panels.slide
        if not self._waiting:
            active = slides.find_open(self._session.active)
            if active is not None:
                slides.activate(active)
                self.restore_view(self._session.view)
            self.restored.emit()
            return
        entry = self._waiting[0]
        already = slides.find_open(entry.fingerprint)
        if already is not None:
            slides.activate(already)
            self._put(entry, already)
            return
        mpp = None if entry.mpp_um is None else Mpp(y_um=entry.mpp_um[0], x_um=entry.mpp_um[1])
        slides.open(entry.path, entry.name or None, mpp, then=partial(self._put, entry))

    def _go_on(self, after: SlideEntry) -> None:
        self._waiting = [entry for entry in self._waiting if entry is not after]
        self._open_next()

    def _put(self, entry: SlideEntry, slide: Slide | None) -> None:
        """Lay on a slide what was on it; None: it could not be opened, and the reason was told."""
        if slide is None:
            self._away.append(entry)
            self._go_on(entry)
            return
        if slide.fingerprint != entry.fingerprint:
            self._jobs.fail(
                f"{slide.path.name} has changed since the session was saved: its regions, predictions and "
                f"measured data are left out."
            )
            self._go_on(entry)
            return
        if slide.mpp is None and entry.mpp_um is not None:  # it was open already, without one
            self._panels.slide.set_pixel_size(entry.mpp_um[1])
        self._put_regions(slide, entry)
        self._jobs.start_each(
            open_prediction,
            [Path(path) for path in entry.predictions if slide.mpp is not None],
            done=partial(self._put_predictions, slide, entry),
            failed=partial(self._go_on, entry),
        )

    def _put_regions(self, slide: Slide, entry: SlideEntry) -> None:
        layer, drawn_on = self._panels.slide.layer_of(slide), self._panels.region.layers.find(slide)
        is_there = drawn_on is not None and drawn_on.nshapes > 0
        if not entry.regions.get("features") or layer is None or is_there:
            return
        try:
            regions = parse_regions(entry.regions, "The session file")
            self._panels.region.add(slide, regions, clicked=entry.clicked)
        except StemError as error:  # a file edited by hand
            self._jobs.fail(str(error))

    def _put_predictions(self, slide: Slide, entry: SlideEntry, predictions: list[Any]) -> None:
        for prediction in predictions:
            self._panels.model.predictions.put_on_map(slide, prediction)
        if predictions and entry.gene and not self._panels.maps.choose_gene(slide, entry.gene):
            self._jobs.fail(f"{entry.gene} is not in the predictions that were found.")
        if entry.measured and self._panels.measured.path_of(slide) is None:
            self._panels.measured.load_for(slide, entry.measured)
        self._go_on(entry)


def write_session(session: Session, path: Path) -> None:
    """Write a session file, whole or not at all; OutputError where the place cannot be written."""
    slides = [_entry_json(slide, path) for slide in session.slides]
    saved = {"format": FORMAT, "version": VERSION, **vars(session), "slides": slides}
    write_file(path, json.dumps(saved, indent=1, ensure_ascii=False) + "\n")


def read_session(path: Path) -> Session:
    """Read a session file; paths are those of the slides as they are found now.

    StemError where it cannot be read, or is of another format or version.
    """
    try:
        saved = read_json(path.read_text(encoding="utf-8"))
        if saved.get("format") != FORMAT or saved.get("version") != VERSION:
            raise StemError(
                f"{path} is no session of this version of napari-stem; save the session again."
            )
        slides = tuple(_entry_of(entry, path) for entry in saved["slides"])
        run = dict(saved.get("run", {}))  # not in older files
        return Session(slides, str(saved["active"]), dict(saved["view"]), run)
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise StemError(
            f"{path} cannot be read as a session ({error}); choose another file."
        ) from error


def _entry_json(slide: SlideEntry, session_path: Path) -> dict[str, Any]:
    """Entry as it is written, with every path also as seen from the session file."""
    paths = [slide.path, *slide.predictions, *([slide.measured] if slide.measured else [])]
    return {**vars(slide), "relative": {path: _relative(path, session_path) for path in paths}}


def _entry_of(entry: dict[str, Any], session_path: Path) -> SlideEntry:
    mpp, beside = entry["mpp_um"], dict(entry["relative"])

    def found(stored: object) -> str:
        near = session_path.parent / str(beside.get(str(stored), ""))
        is_moved = stored and not Path(str(stored)).exists() and str(stored) in beside
        return str(near.resolve()) if is_moved and near.exists() else str(stored)

    return SlideEntry(
        # of this machine: a file opens no connection
        path=str(Path(found(entry["path"])).absolute()),
        fingerprint=str(entry["fingerprint"]),
        name=str(entry["name"]),
        mpp_um=None if mpp is None else (float(mpp[0]), float(mpp[1])),
        regions=dict(entry["regions"]),
        clicked=tuple(map(str, entry.get("clicked", ()))),  # not in older files
        predictions=tuple(found(p) for p in entry["predictions"]),
        gene=str(entry["gene"]),
        measured=found(entry["measured"]),
    )


def _relative(path: str, session_path: Path) -> str:
    try:
        return os.path.relpath(path, session_path.parent)
    except ValueError:  # on another drive
        return Path(path).name
