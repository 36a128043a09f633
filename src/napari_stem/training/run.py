"""What surrounds the training of a denoiser: who takes part, where it is kept, who is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_stem.progress import silent
from napari_stem.training.checkpoints import Checkpoints
from napari_stem.training.logs import Logs
from napari_stem.training.team import Team

if TYPE_CHECKING:
    from napari_stem.progress import Progress


@dataclass(frozen=True)
class TrainingRun:
    """Shared by all denoisers of one training; as it stands, one process that keeps nothing.

    Attributes
    ----------
    team
        The processes that train together.
    checkpoints, logs
        Kept by the first of them.
    tell
        Told (what, done, in all); may raise to cancel.
    """

    team: Team = field(default_factory=Team)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    logs: Logs = field(default_factory=Logs)
    tell: Progress = silent
