"""Every error that a user can mend: one sentence saying what, which file, and what to do.

The command line prints ``str(error)`` and exits 1; the viewer shows it as a notification.
"""

from __future__ import annotations

from importlib.util import find_spec

from napari_stem.texts import sentence


class StemError(Exception):
    """Root of the errors that are told to the user in one sentence, never as a traceback."""

    def __str__(self) -> str:
        """Sentence without what a file's names might do to a terminal, a log or a page."""
        return sentence(super().__str__())


class SlideError(StemError):
    """A slide cannot be opened or read."""


class MissingMppError(SlideError):
    """The slide does not say how large its pixels are, and nobody else did."""


class RegionError(StemError):
    """A region is empty, off the slide or off the tissue."""


class SettingsError(StemError, ValueError):
    """A setting has a value that it cannot have."""


class SpotError(StemError):
    """A list of spots cannot be used."""


class EncoderError(StemError):
    """An encoder is unknown, not installed or not ready."""


class ModelError(StemError):
    """A model folder is missing, incomplete or does not fit what is asked of it."""


class UnknownGeneError(ModelError):
    """A gene that the model does not predict."""


class DatasetError(StemError):
    """A data set folder or a table in it is not as the HEST layout says."""


class PredictionError(StemError):
    """A stored prediction is missing, damaged or belongs to another run."""


class OutputError(StemError):
    """A result cannot be written where it was asked for."""


def require_extra(package: str, extra: str, purpose: str, error: type[StemError]) -> None:
    """Check that a package can be imported; imports nothing.

    The package is named as it is imported, of the top level; ``extra`` is that of ours that brings it, and
    ``purpose`` what needs it, as the beginning of a sentence. ``error``: it is not installed.
    """
    if find_spec(package) is None:
        raise error(
            f"{purpose} needs the package {package}: run pip install 'napari-stem[{extra}]'."
        )
