"""Text from outside: read, cleaned and shown."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from napari_stem.cells import harmless_table
from napari_stem.cli import terminal
from napari_stem.cli.app import listed
from napari_stem.cli.tables import say_list
from napari_stem.errors import DatasetError
from napari_stem.texts import clean_name, count, plain, quoted, separator

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "a\x1b[31mred\x1b]0;title\x07\r\nINFO forged\x9b2J\u202egnp\u2028end\x7f"
SAFE = "a red INFO forged gnp end"


@pytest.mark.parametrize(
    ("table", "mark"),
    [("a,b;c\n", ","), ("a;b\n1,5;2\n", ";"), ("a\tb\n", "\t"), ("a\n1;2\n", ",")],
)
def test_the_first_line_tells_what_parts_the_cells_of_a_table(table: str, mark: str) -> None:
    assert separator(table) == mark


@pytest.mark.parametrize(
    ("number", "said"), [(1, "1 spot is"), (0, "0 spots are"), (2000, "2,000 spots are")]
)
def test_numbers_have_their_noun_and_verb(number: int, said: str) -> None:
    assert count(number, "spot", "is", "are") == said
    assert count(number, "spot") == said.rsplit(" ", 1)[0]


def test_nothing_that_steers_a_terminal_is_left() -> None:
    assert plain(EVIL) == SAFE
    assert str(DatasetError(EVIL)) == SAFE
    assert plain("caf\udce9") == r"caf\udce9"  # a file name that is not UTF-8
    assert plain("Läsion µ – 肿瘤") == "Läsion µ – 肿瘤"


def test_a_message_quotes_at_most_200_characters_of_a_name() -> None:
    said = str(DatasetError(f"There is no gene {'X' * 10_000}; check its name."))
    assert said.startswith("There is no gene X")
    assert said.endswith("X; check its name.")
    assert said.count("X") <= 200
    assert len(str(DatasetError("a bc " * 10_000))) <= 1000
    assert len(quoted("a bc " * 100)) == 200


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("\ufeffCD74", "CD74"),
        (' "CD74"\r\n', "CD74"),
        ("\u201cCD74\u201d\xa0", "CD74"),
        ("ENSG00000019582.15", "ENSG00000019582"),
        ("ENSMUSG00000024610.17", "ENSMUSG00000024610"),
        ("ENSG00000182378.14_PAR_Y", "ENSG00000182378_PAR_Y"),
        ("RP11-34P13.7", "RP11-34P13.7"),  # a clone's name ends so
        ("HLA-A", "HLA-A"),
    ],
)
def test_names_of_genes_are_cleaned(written: str, name: str) -> None:
    assert clean_name(written) == name
    assert listed(f"{written},B") == (name, "B")


def test_no_cell_is_a_formula_and_numbers_stay() -> None:
    table = pd.DataFrame(
        {"=cmd": [-1.5, 2.0], "n": ["-x", "=1+1"], "kind": pd.Categorical(["@a", "b"])},
        index=pd.Index(["+g", "\tg"], name="gene"),
    )
    lines = harmless_table(table).to_csv().splitlines()
    assert lines == ["gene,'=cmd,n,kind", "'+g,-1.5,'-x,'@a", "'\tg,2.0,'=1+1,b"]
    assert list(table.columns) == ["=cmd", "n", "kind"]


def test_whole_numbers_beside_gaps_stay_whole() -> None:
    table = pd.DataFrame({"seed": [0, None]}, dtype=object)
    assert harmless_table(table).to_csv(index=False).splitlines() == ["seed", "0", '""']


def test_what_is_said_is_plain(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    say_list([{"name": f"{EVIL} [red]x[/red]"}], {"name": "name"})
    terminal.say(f"{EVIL}\nsecond  column")
    terminal.tell(EVIL)
    terminal.tell_error(EVIL, ValueError(EVIL))
    monkeypatch.setattr(terminal.MANNER, "as_json", True)
    terminal.answer({"name": EVIL}, "in words")
    out, err = capsys.readouterr()
    assert f"{SAFE} [red]x[/red]" in out
    assert "second  column" in out
    assert '{"name": ' in out
    assert "in words" not in out
    assert err.splitlines() == [SAFE, SAFE]
    assert not set(out + err) & set("\x1b\x07\r\x9b\u202e\u2028\x7f")


def test_no_name_adds_a_line_to_the_log(tmp_path: Path) -> None:
    handler = terminal.file_handler(tmp_path / "log")
    record = logging.LogRecord("a", logging.INFO, "", 1, "of %s", (EVIL,), None)
    handler.emit(record)
    handler.close()
    (line,) = (tmp_path / "log").read_text().split("\n")[:-1]
    assert line.endswith(f"INFO a: of {SAFE}")
