"""How long a run takes: as a laptop needs, until this machine has made runs of its own."""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_stem.settings import SamplingSettings

# A laptop with two processor cores: to look at one spot, and for one denoising step of one sample.
LOOK_S = 0.025
STEP_S = 2e-5
START_S = 1.0
KEPT = 8  # measurements
LEAST_SPOTS = 32  # of a run that counts as a measurement


class Pace:
    """Estimates from what this machine needed, relative to a laptop, ``remembered`` as `as_text` gives it.

    Anything else is a machine that has not run yet.
    """

    def __init__(self, remembered: str = "") -> None:
        self._factors: dict[str, list[float]] = {}
        try:
            told = json.loads(remembered or "{}")
            self._factors = {str(k): [float(f) for f in v][-KEPT:] for k, v in told.items()}
        except (ValueError, TypeError, AttributeError):  # a file edited by hand
            self._factors = {}

    def measured(
        self, settings: SamplingSettings, n_spots: int, seconds: float, *, looks: bool = True
    ) -> None:
        """Learn from a run; runs of few spots say more about starting than about pace.

        ``looks``: an encoder looked at the spots; else embeddings came from a file.
        """
        if n_spots < LEAST_SPOTS or seconds <= 0:
            return
        factor = seconds / _laptop_s(settings, n_spots, looks=looks)
        key = _key(settings.device, looks=looks)
        self._factors[key] = [*self._factors.get(key, []), factor][-KEPT:]

    def estimate_s(self, settings: SamplingSettings, n_spots: int, *, looks: bool = True) -> float:
        """Seconds that a run will take, about."""
        device = settings.device
        factors = self._factors.get(_key(device, looks=looks)) or self._factors.get(device)
        laptop_s = _laptop_s(settings, n_spots, looks=looks)
        return laptop_s * (median(factors) if factors else 1.0)

    def is_measured(self, device: str, *, looks: bool = True) -> bool:
        """Whether this machine has made such a run before."""
        return bool(self._factors.get(_key(device, looks=looks)))

    def as_text(self) -> str:
        """JSON, to be remembered."""
        return json.dumps({k: [round(f, 4) for f in v] for k, v in self._factors.items()})


def _key(device: str, *, looks: bool) -> str:
    return device if looks else f"{device}, embeddings from a file"


def _laptop_s(settings: SamplingSettings, n_spots: int, *, looks: bool) -> float:
    return START_S + n_spots * (LOOK_S * looks + STEP_S * settings.n_draws * settings.n_steps)
