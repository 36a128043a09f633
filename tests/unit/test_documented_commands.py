"""Every command line in the docs names commands and options that exist, every link a file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from napari_stem.cli import app

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("reproduce.md", "gene-sets.md")


def commands(page: str) -> list[str]:
    """What follows ``napari-stem`` in indented lines and in code within the text."""
    text = re.sub(r"\\\n\s+", " ", (DOCS / page).read_text(encoding="utf-8"))
    indented = [line for line in text.splitlines() if line.startswith("    ")]
    found = (re.search(r"napari[-_]stem ([a-z].*)", line) for line in indented)
    inline = re.findall(r"`napari-stem ([a-z][^`]*)`", text.replace("\n", " "))
    return [match[1].split("  #")[0] for match in found if match] + inline


@pytest.mark.parametrize(
    ("page", "command"), [(page, command) for page in PAGES for command in commands(page)]
)
def test_documented_commands_exist(page: str, command: str) -> None:
    words, node = shlex.split(command), typer.main.get_command(app)
    while hasattr(node, "commands") and words:
        assert words[0] in node.commands, f"{page}: no command '{words[0]}'"
        node = node.commands[words.pop(0)]
    options = {name for parameter in node.params for name in parameter.opts}
    unknown = [word for word in words if word.startswith("--") and word not in options]
    assert unknown == [], f"{page}: {command}"


def test_the_pages_hold_commands() -> None:
    assert len(commands("reproduce.md")) > 15
    assert len(commands("gene-sets.md")) >= 3


@pytest.mark.parametrize("page", ["../README.md", *(page.name for page in DOCS.glob("*.md"))])
def test_what_a_page_links_to_is_there(page: str) -> None:
    text = re.sub(r"`[^`]*`", "", (DOCS / page).read_text(encoding="utf-8"))
    named = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", text, re.MULTILINE))
    assert set(re.findall(r"\]\s?\[([^\]]+)\]", text)) <= set(named)
    ours = "https://github.com/napari-stem/napari-stem/blob/main/"
    files = [DOCS.parent / each.removeprefix(ours) for each in named.values() if ours in each]
    files += [(DOCS / page).parent / each for each in re.findall(r"\]\(([^)#:]+)[)#]", text)]
    assert [each for each in files if not each.exists()] == []
