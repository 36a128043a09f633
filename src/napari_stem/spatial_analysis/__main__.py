"""One analysis as a process: ``domains PREDICTION RESOLUTION`` or ``morans PREDICTION OUT.csv``.

Tells how far it is on stdout, one JSON object a line: ``{"progress": [text, done, in all]}``, or at last
``{"error": sentence}``. Domains are stored beside the prediction as soon as they are found, and again with all
that is learned about them.
"""

from __future__ import annotations

import json
import sys
import warnings
from contextlib import redirect_stdout

from napari_stem.errors import StemError
from napari_stem.spatial_analysis import steps


def tell(text: str, done: int, total: int) -> None:
    """Say how far it is."""
    _say({"progress": [text, done, total]})


def _say(what: dict[str, object]) -> None:
    channel = sys.__stdout__
    if channel is not None:
        channel.write(json.dumps(what) + "\n")
        channel.flush()


def main(arguments: list[str]) -> int:
    """Run the analysis that is asked for."""
    warnings.simplefilter("ignore")  # of the libraries' own making; nobody reads them here
    kind, *rest = arguments
    try:
        with redirect_stdout(sys.stderr):  # squidpy logs to stdout, which is ours
            analysis = {"domains": steps.domains, "morans": steps.morans}[kind]
            analysis(rest[0], rest[1], tell)
    except StemError as error:
        _say({"error": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
