"""How every command speaks: help, version, errors, progress, how much of it, a log file, completion."""

from __future__ import annotations

import gc
import importlib
import io
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

import napari_stem
from napari_stem.cli import app, terminal
from napari_stem.cli.terminal import ProgressBars, speaking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

SLIDE = Path(__file__).parents[1] / "data" / "slides" / "C5-crop.jpg"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def every_command(node: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for name, child in getattr(node, "commands", {}).items():
        yield from every_command(child, (*words, name))


# help


@pytest.mark.parametrize("words", list(every_command(typer.main.get_command(app))), ids=" ".join)
def test_help_fits_a_terminal(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "-h"], terminal_width=80)
    assert result.exit_code == 0
    assert result.stdout == CliRunner().invoke(app, [*words, "--help"], terminal_width=80).stdout
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    told = lines[lines.index("Commands:") :] if "Commands:" in lines else []
    assert not [line for line in told if line.endswith("...")]  # what a command does, in full
    assert "-v, --verbose" in result.stdout or words == ("import",)


def test_help_names_the_variables() -> None:
    assert "NAPARI_STEM_CACHE " in run("-h").stdout
    assert "NAPARI_STEM_PREDICTIONS_GB" in run("cache", "-h").stdout


def test_a_flag_has_one_name_and_no_opposite() -> None:
    words = set(re.findall(r"--[a-z-]+", run("predict", "-h").stdout))
    assert {"--json", "--all", "--resume", "--keep-draws"} <= words
    assert not {"--as-json", "--whole-slide", "--no-resume", "--no-keep-draws"} & words


def test_version() -> None:
    assert run("--version").stdout == f"napari-stem {napari_stem.__version__}\n"


# errors


@pytest.mark.parametrize(("needs_it", "n_frozen"), [("nothing_of_ours", 1), ("sys", 0)])
def test_the_program_ends_without_a_last_look_for_garbage(
    needs_it: str, n_frozen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    command_line = importlib.import_module("napari_stem.cli.app")
    frozen: list[None] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(None))
    monkeypatch.setattr(command_line, "NEED_A_LAST_COLLECTION", {needs_it})
    monkeypatch.setattr(sys, "argv", ["napari-stem", "--version"])
    with pytest.raises(SystemExit, match="0"):
        command_line.main()
    assert len(frozen) == n_frozen


def test_an_error_is_one_line_that_begins_with_its_class(tmp_path: Path) -> None:
    result = run("info", tmp_path / "no.svs")
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(
        r"SlideError: There is no file .*no\.svs; check the path\.\n", result.stderr
    )


def test_loud_and_quiet_at_once_is_a_usage_error(tmp_path: Path) -> None:
    assert run("info", tmp_path, "-v", "-q").exit_code == 2


# how much is said


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """``models`` that says something in every way there is."""

    def rows() -> list[Any]:
        warnings.warn("an old habit", DeprecationWarning, stacklevel=1)
        logging.getLogger("somebody.else").warning("a warning of theirs")
        logging.getLogger("napari_stem.somewhere").info("what is done")
        logging.getLogger("napari_stem.somewhere").debug("a detail")
        terminal.tell("a message")
        return []

    monkeypatch.setattr("napari_stem.model.list_models", rows)


SAID = {
    (): ["a warning of theirs", "a message"],
    ("-q",): [],
    ("-v",): ["an old habit", "a warning of theirs", "what is done", "a message"],
    ("-vv",): ["an old habit", "a warning of theirs", "what is done", "a detail", "a message"],
}


@pytest.mark.parametrize("flags", SAID)
@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
@pytest.mark.usefixtures("talkative")
@pytest.mark.filterwarnings("ignore:an old habit")
def test_how_much_is_said(flags: tuple[str, ...], is_first: bool) -> None:
    words = [*flags, "models", "--json"] if is_first else ["models", "--json", *flags]
    result = run(*words)
    assert result.stdout == "[]\n"
    lines = result.stderr.splitlines()
    assert len(lines) == len(SAID[flags])
    for line, word in zip(lines, SAID[flags], strict=True):
        assert word in line
    assert [line == "a message" for line in lines].count(True) == ("a message" in SAID[flags])


@pytest.mark.usefixtures("talkative")
def test_a_log_gets_everything_with_times(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    for _ in range(2):
        result = run("models", "--json", "-q", "--log-file", log)
        assert (result.exit_code, result.stderr) == (0, "")
    lines = log.read_text().splitlines()
    text = "\n".join(lines)
    for word in SAID["-vv",]:
        assert text.count(word) >= 2, word  # the second run is added to the first
    assert text.count(f"napari-stem {napari_stem.__version__}, Python") == 2
    assert text.count("Ended with 0") == 2
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} DEBUG ", lines[0])


def test_a_log_holds_where_an_error_arose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "run.log"
    result = run("--log-file", log, "info", tmp_path / "no.svs")
    assert len(result.stderr.splitlines()) == 1
    assert "SlideError: There is no file" in log.read_text()
    assert "Traceback" in log.read_text()
    assert "Ended with 1" in log.read_text()

    def broken() -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("napari_stem.model.list_models", broken)
    assert isinstance(run("models", "--log-file", log).exception, ZeroDivisionError)
    assert "ZeroDivisionError: a fault of ours" in log.read_text()


def test_memory_that_runs_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy() -> None:
        raise MemoryError("Unable to allocate 757. GiB")

    monkeypatch.setattr("napari_stem.model.list_models", greedy)
    result = run("models")
    assert result.exit_code == 1
    assert result.stderr.startswith("MemoryError: memory ran out (Unable to allocate 757. GiB); ")


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    result = run("models", "--log-file", tmp_path / "no" / "run.log")
    assert result.exit_code == 1
    assert re.match(r"OutputError: .*run\.log cannot be written", result.stderr)


def test_nothing_of_a_command_outlives_it(tmp_path: Path) -> None:
    root, ours = logging.getLogger(), logging.getLogger("napari_stem")
    before = (root.handlers[:], root.level, ours.level, warnings.filters[:], dict(os.environ))
    run("models", "-vv", "--log-file", tmp_path / "run.log")
    assert before == (root.handlers, root.level, ours.level, warnings.filters, dict(os.environ))


# progress without a terminal


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(terminal.time, "monotonic", lambda: self.now)


def test_a_line_a_minute_with_share_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    bars = ProgressBars()
    for second in range(181):
        clock.now = 1000.0 + second
        bars("Predicting spots", 10 * second, 3600)
    assert capsys.readouterr().err.splitlines() == [
        "Predicting spots: 1% (50 of 3,600), 0:05:55 left",
        "Predicting spots: 18% (650 of 3,600), 0:04:55 left",
        "Predicting spots: 35% (1,250 of 3,600), 0:03:55 left",
    ]
    clock.now += 60
    bars.show("Runs", 1, 4, 90.0, "C2, ridge")
    assert capsys.readouterr().err == "Runs: 25% (1 of 4), 0:01:30 left; C2, ridge\n"


def test_quick_work_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    bars = ProgressBars()
    clock.now += 4
    bars("Decoding", 1, 1)
    assert capsys.readouterr().err == ""


def test_a_real_command_tells_its_progress(
    her2st_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "FIRST_LINE_S", 0.0)
    monkeypatch.setattr(terminal, "LINE_S", 0.0)
    command = ("import", "her2st", her2st_source, "--out", tmp_path / "ds", "--json")
    result = run(*command)
    assert json.loads(result.stdout)["sections"] == ["C2", "C3"]
    assert re.search(r"^.+: \d+% \(\d+ of \d+\)", result.stderr, re.MULTILINE)
    assert run(*command, "--overwrite", "-q").stderr == ""


def test_a_log_gets_the_progress_of_bars_too(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), speaking():
        bars = ProgressBars(Console(file=io.StringIO(), force_terminal=True))
        bars._next_line = 0.0
        bars("Training", 1, 4)
    assert "Training: 25% (1 of 4)" in caplog.text


def test_bars_leave_room_for_what_is_at_hand() -> None:
    screen = io.StringIO()
    bars = ProgressBars(Console(file=screen, force_terminal=True, width=80))
    with bars.live as drawn:
        bars.show("Runs", 3, 4, 90.0, f"C2, ours: {'a long word ' * 9}")
        drawn.refresh()
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    last = re.split(r"[\r\n]+", shown.strip())[-2:]
    assert re.fullmatch(r"Runs ━+.*━+ 3/4 0:01:30 left *", last[0])
    assert last[1].startswith("C2, ours: a long")
    assert last[1].endswith("…")
    assert len(last[1]) <= 80


# completion


@pytest.mark.parametrize(
    ("words", "place", "offered"),
    [
        ("napari-stem ca", 1, "cache"),
        ("napari-stem predict slide.svs --model h", 4, "her2st-breast"),
        ("napari-stem export p.zarr --to ge", 4, "geojson"),
        ("napari-stem encoders download uni+con", 3, "uni+conch"),
        ("napari-stem cache clear emb", 3, "embeddings"),
    ],
)
def test_the_shell_completes(words: str, place: int, offered: str) -> None:
    asking = {
        "_NAPARI_STEM_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(place),
    }
    result = CliRunner().invoke(app, [], prog_name="napari-stem", env=asking)
    assert offered in result.stdout.split()


def test_paths_are_left_to_the_shell() -> None:
    asking = {
        "_NAPARI_STEM_COMPLETE": "complete_bash",
        "COMP_WORDS": "napari-stem predict sl",
        "COMP_CWORD": "2",
    }
    assert CliRunner().invoke(app, [], prog_name="napari-stem", env=asking).stdout.strip() == ""


def test_warnings_of_libraries_are_not_shown_by_the_program_itself(tmp_path: Path) -> None:
    code = (
        "import warnings; from napari_stem import model; from napari_stem.cli import main;"
        "model.list_models = lambda: warnings.warn('an old habit') or []; main()"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, "models", "--json"], capture_output=True, text=True, check=True
    )
    assert (told.stdout, told.stderr) == ("[]\n", "")


# where nothing can be said


def began_by(shell: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell begins it, with what follows it on the line."""
    line = f'exec "$@" {shell}'
    command = [sys.executable, "-m", "napari_stem", *map(str, words)]
    return subprocess.run(
        ["sh", "-c", line, "sh", *command], capture_output=True, text=True, check=False
    )


needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")


@needs_full
@pytest.mark.parametrize("words", [("info", SLIDE), ("info", SLIDE, "--json"), ("models",)])
def test_a_result_that_cannot_be_printed_is_an_error(words: tuple[str | Path, ...]) -> None:
    done = began_by("> /dev/full", *words)
    assert done.returncode == 1
    assert done.stderr.startswith("OutputError: stdout cannot be written (No space left on device)")
    assert len(done.stderr.splitlines()) == 1


@needs_full
def test_no_work_ends_where_its_messages_find_no_room(tmp_path: Path) -> None:
    for shell in ("2> /dev/full", "2>&-"):
        assert json.loads(began_by(shell, "-vv", "info", SLIDE, "--json").stdout)["width_px"]
    done = began_by("", "info", SLIDE, "--json", "--log-file", "/dev/full")
    assert (done.returncode, json.loads(done.stdout)["reader"]) == (0, "raster")
    told = "/dev/full cannot be written (No space left on device); the log ends here.\n"
    assert done.stderr == told


@pytest.mark.skipif(os.name == "nt", reason="begun by a shell of POSIX")
def test_streams_may_be_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = began_by(">&- 2>&-", "info", SLIDE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    monkeypatch.setenv("NAPARI_STEM_CACHE", str(tmp_path))
    (tmp_path / "answers").mkdir()
    kept = tmp_path / "answers" / f"{0:032}.json"
    kept.touch()
    os.utime(kept, (0, 0))  # of long ago
    done = began_by("<&-", "cache", "clear")
    assert (done.returncode, "nobody is there to be asked" in done.stderr) == (1, True)
