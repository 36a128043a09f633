"""``docs/python.md`` does what it says."""

from __future__ import annotations

import doctest
import logging
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.slow
def test_the_python_page_runs_as_it_stands(tmp_path: Path, monkeypatch, capfd) -> None:
    import matplotlib as mpl
    import squidpy  # noqa: F401 (it sets its logger's level when it is imported)

    mpl.use("Agg")
    logging.getLogger("spatialdata._logging").setLevel(logging.WARNING)  # squidpy's chatter
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "python.md").read_text(encoding="utf-8")
    plain = re.sub(r"^```.*$", "", page, flags=re.MULTILINE)  # a fence is no output
    test = doctest.DocTestParser().get_doctest(plain, {}, "python.md", str(DOCS / "python.md"), 0)
    told: list[str] = []
    result = doctest.DocTestRunner().run(test, out=told.append)
    assert not result.failed, "".join(told)
    assert result.attempted > 25
    assert {"C5.zarr", "C5.html", "measured.zarr", "MODEL", "own.zarr"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert "Predicting spots: 100%" in capfd.readouterr().err  # the bar


def test_the_table_names_what_a_prediction_holds(c5_prediction: Path) -> None:
    import anndata

    table = anndata.read_zarr(c5_prediction)
    named = set(re.findall(r'`(\w+\["\w+"\])', (DOCS / "python.md").read_text(encoding="utf-8")))
    held = {
        f'{part}["{key}"]'
        for part in ("layers", "obs", "obsm", "var", "uns")
        for key in getattr(table, part)
    }
    assert held <= named
    assert named - held <= {
        'obs["region"]',
        'obs["domain"]',
        'obs["domain_support"]',
        'var["predicted"]',
    }
