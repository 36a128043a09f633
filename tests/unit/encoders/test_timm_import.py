"""timm must open where torchvision's compiled part does not fit torch."""

from __future__ import annotations

import importlib
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch

from napari_stem.encoders import networks

if TYPE_CHECKING:
    from collections.abc import Callable

TIMM = SimpleNamespace(name="timm")


@pytest.fixture
def failing_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], list[str]]:
    """Make ``import timm`` fail with these messages, one after the other, before it works.

    In this thread only: a job that a test of the window left behind may import it as well.
    """
    monkeypatch.setattr(networks, "_libraries", [])  # what the test declares ends with it

    def install(messages: list[str]) -> list[str]:
        own, usual = threading.get_ident(), importlib.import_module

        def import_module(name: str, package: str | None = None) -> object:
            if threading.get_ident() != own:
                return usual(name, package)
            assert name == "timm"
            if messages:
                raise RuntimeError(messages.pop(0))
            return TIMM

        monkeypatch.setattr(importlib, "import_module", import_module)
        return messages

    return install


def test_declares_the_operators_that_are_missing(failing_with) -> None:
    names = ["not_compiled_one", "not_compiled_two"]
    left = failing_with([f"operator torchvision::{name} does not exist" for name in names])
    assert networks.import_timm() is TIMM
    assert left == []
    assert all(hasattr(torch.ops.torchvision, name) for name in names)


def test_any_other_error_is_passed_on(failing_with) -> None:
    failing_with(["CUDA driver version is insufficient"])
    with pytest.raises(RuntimeError, match="CUDA driver version"):
        networks.import_timm()


def test_gives_up_where_declaring_never_helps(failing_with) -> None:
    endless = [f"operator torchvision::absent_{i} does not exist" for i in range(50)]
    failing_with(endless)
    with pytest.raises(RuntimeError, match="does not exist"):
        networks.import_timm()
