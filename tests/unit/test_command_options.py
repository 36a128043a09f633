"""Options of a command and what Python is asked for are one list: none is lost between them."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, get_args, get_type_hints

import pytest

from napari_stem.cli.benchmark import BenchmarkCommandOptions, ProtocolName
from napari_stem.cli.datasets import ImportOptions
from napari_stem.cli.train import TrainCommandOptions
from napari_stem.encoders.precomputed import Stated
from napari_stem.evaluation import msi
from napari_stem.evaluation.baselines import NAMES
from napari_stem.evaluation.benchmark import BenchmarkOptions
from napari_stem.evaluation.protocols import PROTOCOLS
from napari_stem.spatial.importing import ImportSettings
from napari_stem.training.options import TrainingOptions

# command, what it asks for, options of the command alone, what no option says, defaults that differ
CASES = [
    (
        TrainCommandOptions,
        (Stated, TrainingOptions),
        {"out", "overwrite", "processes"},
        {"stated", "coordinates"},
        {"encoder", "hold_out", "device"},  # None: as the embeddings say; a text; auto
    ),
    (
        BenchmarkCommandOptions,
        (BenchmarkOptions,),
        {"out", "overwrite", "show_genes", "labels"},
        set(),
        {"predictors", "sections", "seeds", "device"},  # texts; auto
    ),
    (ImportOptions, (ImportSettings,), {"out"}, {"progress"}, set()),
]


def defaults(*kinds: type) -> dict[str, Any]:
    return {field.name: field.default for kind in kinds for field in fields(kind)}


@pytest.mark.parametrize(("command", "asked", "alone", "unsaid", "otherwise"), CASES)
def test_every_option_reaches_what_it_is_for(
    command: type, asked: tuple[type, ...], alone: set[str], unsaid: set[str], otherwise: set[str]
) -> None:
    options, wanted = defaults(command), defaults(*asked)
    assert options.keys() - wanted.keys() == alone
    assert wanted.keys() - options.keys() == unsaid
    common = options.keys() & wanted.keys()
    assert {n for n in common if options[n] != wanted[n] or options[n] is MISSING} == otherwise


def test_the_command_names_every_protocol_and_predictor() -> None:
    assert set(get_args(ProtocolName)) == {*PROTOCOLS, msi.NAME}
    asked = get_type_hints(BenchmarkCommandOptions, include_extras=True)["predictors"]
    told = asked.__metadata__[0].help.partition("Of ")[2].replace(" and ", ", ").split(", ")
    assert told[: len(NAMES)] == list(NAMES)
