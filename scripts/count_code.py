"""Count what a newcomer would have to read.

    python scripts/count_code.py

Lines and modules of ``src`` and its rooms; in ``widgets`` signals, connections and constructors with more than
five arguments; private names of ours that tests reach for.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE, TESTS = ROOT / "src" / "napari_stem", ROOT / "tests"
MOST_ARGUMENTS = 5
PRIVATE = re.compile(r"(?<!self)(?<!cls)\.(_[a-z]\w*)")
NAPARI = {"_add_layer_from_data", "_slice", "_qt_viewer", "_qt_window", "_key_map_handler"}


def files(folder: Path) -> list[Path]:
    """Python files of a folder, those within others too."""
    return sorted(folder.rglob("*.py"))


def n_lines(folder: Path) -> int:
    """Lines of them, empty ones and comments included."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files(folder))


def long_constructors(folder: Path) -> list[str]:
    """Classes whose constructors take more than five arguments beside self."""
    found = []
    for path in files(folder):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    given = part.args.posonlyargs + part.args.args + part.args.kwonlyargs
                    if len(given) - 1 > MOST_ARGUMENTS:
                        found.append(node.name)
    return found


def private_names() -> set[str]:
    """Private names that our code defines and tests ask an object for."""
    ours = set()
    for path in files(SOURCE):
        ours |= set(re.findall(r"(?:def |self\.)(_[a-z]\w*)", path.read_text(encoding="utf-8")))
    asked = {
        name for path in files(TESTS) for name in PRIVATE.findall(path.read_text(encoding="utf-8"))
    }
    return (asked & ours) - NAPARI


def main() -> None:
    rooms = [SOURCE, *sorted(each for each in SOURCE.iterdir() if files(each))]
    for room in rooms:
        name = "all" if room == SOURCE else room.name
        print(f"{name:18} {n_lines(room):6} lines, {len(files(room)):3} modules")
    text = "\n".join(path.read_text(encoding="utf-8") for path in files(SOURCE / "widgets"))
    print(f"signals in widgets: {len(re.findall(r'= Signal[(]', text))}")
    print(f"connections in widgets: {len(re.findall(r'[.]connect[(]', text))}")
    print(f"constructors with more than five arguments: {long_constructors(SOURCE / 'widgets')}")
    names = private_names()
    print(f"private names reached from tests: {len(names)} ({', '.join(sorted(names))})")


if __name__ == "__main__":
    main()
