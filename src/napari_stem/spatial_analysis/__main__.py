"""One analysis as a process: ``domains PREDICTION RESOLUTION`` or ``morans PREDICTION OUT.csv``.

Tells how far it is as `napari_stem.own_process` has it. Domains are stored beside the prediction as soon as
they are found, and again with all that is learned about them.
"""

from __future__ import annotations

import sys

from napari_stem.own_process import answer
from napari_stem.spatial_analysis import steps


def main(arguments: list[str]) -> int:
    """Run the analysis that is asked for."""
    kind, prediction, rest = arguments
    analysis = {"domains": steps.domains, "morans": steps.morans}[kind]
    return answer(lambda progress: analysis(prediction, rest, progress))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
