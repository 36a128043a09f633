"""One door to timm, which also opens where torchvision's compiled part does not fit the installed torch."""

from __future__ import annotations

import importlib
import re
from typing import Any

_MISSING_OPERATOR = re.compile(r"operator torchvision::(\w+) does not exist")
_MOST_OPERATORS = 8
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_libraries: list[Any] = []


def import_timm() -> Any:
    """Import timm.

    timm imports torchvision for its transforms alone. A torchvision wheel that was compiled for another
    build of torch (CUDA beside a CPU-only torch, a common mix) stops that import with "operator
    torchvision::nms does not exist", although no encoder uses that operator: declare it and go on.

    Raises
    ------
    RuntimeError
        torchvision is broken in some other way.
    """
    import torch

    for _ in range(_MOST_OPERATORS):
        try:
            return importlib.import_module("timm")
        except RuntimeError as error:
            missing = _MISSING_OPERATOR.search(str(error))
            if missing is None:
                raise
            library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
            library.define(f"{missing[1]}{_SIGNATURE}")  # type: ignore[no-untyped-call]
            _libraries.append(library)  # once garbage-collected it takes its operators along
    return importlib.import_module("timm")
