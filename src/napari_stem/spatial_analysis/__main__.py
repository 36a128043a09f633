"""One analysis as a process: ``domains PREDICTION RESOLUTION`` or ``morans PREDICTION OUT.csv``.

Tells how far it is as `napari_stem.own_process` has it. Domains are stored beside the prediction as soon as
they are found, and again with all that is learned about them.
"""

from __future__ import annotations

import sys
import warnings
from contextlib import redirect_stdout

from napari_stem.errors import StemError
from napari_stem.own_process import say
from napari_stem.spatial_analysis import steps


def tell(text: str, done: int, total: int) -> None:
    """Say how far it is."""
    say({"progress": [text, done, total]})


def main(arguments: list[str]) -> int:
    """Run the analysis that is asked for."""
    warnings.simplefilter("ignore")  # of the libraries' own making; nobody reads them here
    kind, *rest = arguments
    try:
        with redirect_stdout(sys.stderr):  # squidpy logs to stdout, which is ours
            analysis = {"domains": steps.domains, "morans": steps.morans}[kind]
            analysis(rest[0], rest[1], tell)
    except StemError as error:
        say({"error": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
