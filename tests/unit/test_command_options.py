"""Options of a command and what Python is asked for are one list: none is lost between them."""

from __future__ import annotations

import inspect
import json
import math
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.cli.benchmark import ProtocolName
from napari_stem.cli.predict_options import PredictOptions
from napari_stem.cohort.orders import Order
from napari_stem.errors import StemError
from napari_stem.evaluation import msi
from napari_stem.evaluation.baselines import NAMES
from napari_stem.evaluation.options import BenchmarkOptions
from napari_stem.evaluation.protocols import PROTOCOLS
from napari_stem.exporting.options import ExportOptions
from napari_stem.settings import SamplingSettings, Stated, TissueSettings, settings_of
from napari_stem.spatial.importing import ImportSettings
from napari_stem.training.options import TrainingOptions

if TYPE_CHECKING:
    from collections.abc import Callable

OF_EVERY_COMMAND = {"as_json", "verbose", "quiet", "log_file"}
OF_PREDICT = {
    *("slides", "out", "model", "spots", "regions", "tissue", "whole_slide", "pitch_um", "mpp"),
    *("genes", "allow_missing_genes", "embeddings", "species", "tissue_type", "keep_draws"),
    *("pseudonym", "resume", "yes", "workers", "scheduler", "cohort_table"),
}
# command, what it asks for, options of the command alone, what no option says, defaults that differ
CASES = [
    (
        ("predict",),
        (SamplingSettings, TissueSettings, Stated),
        OF_PREDICT,
        {"spots_per_block"},
        {"depth", "sensitivity", "min_area_mm2"},  # a text; None: not said
    ),
    (
        ("train",),
        (Stated, TrainingOptions),
        {"dataset", "out", "overwrite", "processes"},
        {"stated", "coordinates"},
        {"encoder", "hold_out", "device"},  # None: as the embeddings say; a text; auto
    ),
    (
        ("benchmark",),
        (BenchmarkOptions,),
        {"protocol", "dataset", "out", "overwrite", "show_genes", "labels"},
        set(),
        {"predictors", "sections", "seeds", "device"},  # texts; auto
    ),
    (
        ("export",),
        (ExportOptions,),
        {"prediction", "to", "out", "genes", "regions", "limits"},
        {"look", "seen", "progress"},
        set(),
    ),
    (("import", "her2st"), (ImportSettings,), {"source", "out"}, {"progress"}, set()),
]


def options_of(names: tuple[str, ...]) -> dict[str, Any]:
    """Options and arguments of a command, as typer makes them."""
    command: Any = typer.main.get_command(app)
    for name in names:
        command = command.commands[name]
    return {each.name: each for each in command.params if each.name not in OF_EVERY_COMMAND}


@pytest.mark.parametrize(("command", "asked", "alone", "unsaid", "otherwise"), CASES)
def test_every_option_reaches_what_it_is_for(
    command: tuple[str, ...],
    asked: tuple[type, ...],
    alone: set[str],
    unsaid: set[str],
    otherwise: set[str],
) -> None:
    options = options_of(command)
    wanted = {name: each for kind in asked for name, each in settings_of(kind).items()}
    assert options.keys() - wanted.keys() == alone
    assert wanted.keys() - options.keys() == unsaid
    common = options.keys() & wanted.keys()
    assert inspect.Parameter.empty not in {wanted[n].default for n in common}
    assert {n for n in common if options[n].default != wanted[n].default} == otherwise


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("predict", SamplingSettings),
        ("predict", TissueSettings),
        ("predict", Stated),
        ("train", TrainingOptions),
        ("benchmark", BenchmarkOptions),
        ("export", ExportOptions),
    ],
)
def test_an_option_says_what_the_setting_says(command: str, kind: type) -> None:
    told = " ".join(CliRunner().invoke(app, [command, "-h"]).stdout.split())
    options, n_bounded = options_of((command,)), 0
    for name, setting in settings_of(kind).items():
        bounds = setting.bounds
        if name not in options or name == "depth":  # which may be a table
            continue
        if bounds is not None and not bounds.is_open:
            most = "" if bounds.most == math.inf else f"<={bounds.most}"
            between = f"{bounds.least}<=x{most}" if most else f"x>={bounds.least}"
            assert re.search(rf"{re.escape(setting.short_help)} \[[^]]*{between}\]", told), name
            n_bounded += 1
        if setting.choices:
            assert f"<{'|'.join(setting.choices)}> {setting.short_help}" in told
    assert n_bounded > 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train . --out m --minutes 0", "minutes must be a number above 0, not 0.0."),
        ("train . --out m --objective published --steps 0", "steps must be a whole number from 1"),
        ("train . --out m --size huge", "'--size'"),
        ("train . --out m --ema 1", "'--ema'"),
        ("benchmark loso . --out m --minutes 0", "minutes must be a number above 0, not 0.0."),
        ("predict a.svs --out a.zarr --draws 1", "'--draws'"),
        ("predict a.svs --out a.zarr --all --tissue-sensitivity 50", "belong to --tissue"),
        ("predict a.svs --out a.zarr --patch-px 224", "belong to --embeddings"),
        ("export a.zarr --to csv --out a.csv --scale-um 10", "does not use --scale-um"),
        ("export a.zarr --to figure --out a.png --limits 0,inf", "numbers that rise"),
    ],
)
def test_what_settings_refuse_is_a_wrong_command_line(words: str, said: str) -> None:
    result = CliRunner().invoke(app, words.split(), terminal_width=200)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def float_options(command: Any, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every option of a command, and of those within it, that takes a number with a point."""
    notes = getattr(command.callback, "__annotations__", {})  # a kind and typer's option of it
    kinds = {name: get_args(each)[0] for name, each in notes.items() if get_args(each)}
    found = [
        (*words, each.opts[0])
        for each in command.params
        if (kind := kinds.get(each.name)) is float or float in get_args(kind)
    ]
    for name, inner in getattr(command, "commands", {}).items():
        found += float_options(inner, (*words, name))
    return found


def test_there_are_options_that_take_numbers() -> None:
    assert len(float_options(typer.main.get_command(app))) > 12


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("words", float_options(typer.main.get_command(app)), ids=" ".join)
def test_no_option_takes_a_number_that_is_none(words: tuple[str, ...], value: str) -> None:
    result = CliRunner().invoke(app, [*words, value], terminal_width=200)
    assert result.exit_code == 2
    assert f"Invalid value for '{words[-1]}'" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "kind",
    [
        lambda: ExportOptions(um_per_mm=math.inf),
        lambda: ExportOptions(um_per_mm=math.nan),
        lambda: ExportOptions(image_max_px=0),
        lambda: Stated(tolerance_um=math.inf),
        lambda: TrainingOptions(minutes=math.inf),
        lambda: BenchmarkOptions(minutes=math.nan),
    ],
)
def test_no_setting_takes_a_number_that_is_none(kind: Callable[[], Any]) -> None:
    with pytest.raises(StemError, match=r"must be a (whole )?number (from|above) \d"):
        kind()


def test_no_field_of_an_order_is_left_at_its_default_because_no_option_is_called_so() -> None:
    options = PredictOptions(
        out=Path("o"),
        model="m",
        spots=Path("s.csv"),
        regions=Path("r.geojson"),
        whole_slide=True,
        looked_for=TissueSettings(70),
        pitch_um=50.0,
        sampling=SamplingSettings(n_draws=5),
        depth="5000",
        mpp=0.5,
        stated=Stated(),
        species="mouse",
        tissue_type="liver",
        keep_draws=True,
    )
    order = options.order(Path("a.svs"), Path("a.zarr"))
    left = {each.name for each in fields(Order) if getattr(order, each.name) == each.default}
    assert left == {"alias", "noted"}
    assert order.settings == SamplingSettings(n_draws=5, depth=5000.0)


def test_the_command_names_every_protocol_and_predictor() -> None:
    assert set(get_args(ProtocolName)) == {*PROTOCOLS, msi.NAME}
    told = options_of(("benchmark",))["predictors"].help
    names = told.partition("Of ")[2].replace(" and ", ", ").split(", ")
    assert names[: len(NAMES)] == list(NAMES)


def groups(*names: str, among: Any) -> list[tuple[str, ...]]:
    """Words of all groups of commands that can be called by themselves, too."""
    inner = getattr(among, "commands", {})
    below = [found for name in inner for found in groups(*names, name, among=inner[name])]
    return ([names] if inner and among.invoke_without_command else []) + below


def test_options_of_a_group_itself_are_refused_before_a_command() -> None:
    options = {
        (*names, option.opts[0])
        for names in groups(among=typer.main.get_command(app))
        for option in options_of(names).values()
    }
    assert options == {("encoders", "--encoder-folder"), ("models", "--genes")}
    for name, option in options:
        inner = {"encoders": "download", "models": "check"}[name]
        ended = CliRunner().invoke(app, [name, option, "x", inner, "her2st-breast"])
        assert ended.exit_code == 2
        told = f"{option} goes with 'root {name}' alone; options of '{inner}' follow it"
        assert told in ended.stderr


def test_what_a_group_is_told_of_json_holds_for_its_command() -> None:
    ended = CliRunner().invoke(app, ["models", "--json", "check", "her2st-breast"])
    assert json.loads(ended.stdout)["name"] == "her2st-breast"
    ended = CliRunner().invoke(app, ["models", "check", "her2st-breast"])
    assert ended.stdout.startswith("Model 'her2st-breast' is sound")
