"""Many slides on the workers of a dask cluster: as if each was predicted alone, whatever dies meanwhile."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import anndata
import numpy as np
import pandas as pd
import psutil
import pytest
import shapely
from distributed import Client, Future, LocalCluster
from typer.testing import CliRunner

from napari_stem.cli import app
from napari_stem.cohort import outcomes as outcomes_module
from napari_stem.cohort import run as run_module
from napari_stem.cohort import work
from napari_stem.cohort.orders import OWN_COLUMNS, TAKEN_COLUMNS, Order, orders_of
from napari_stem.cohort.outcomes import Outcome, Summary, cohort_table, rows_of
from napari_stem.cohort.run import predict_in_turn, run_cohort, worker_environments
from napari_stem.errors import DatasetError, ModelError
from napari_stem.evaluation.differences import spots_in
from napari_stem.evaluation.msi import read_labels
from napari_stem.geometry import Region
from napari_stem.io import only_writer
from napari_stem.prediction_job import predict_slide
from napari_stem.progress import go_on, poll_of
from napari_stem.results import Prediction, empty
from napari_stem.settings import SamplingSettings
from napari_stem.spatial.region_files import write_regions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLIDES = Path(__file__).parents[1] / "data" / "slides"
SVS, CROP = SLIDES / "CMU-1-Small-Region.svs", SLIDES / "C5-crop.jpg"
SETTINGS = SamplingSettings(n_draws=2, n_steps=2, spots_per_block=4, device="cpu")
MANIFEST = f"""slide;mpp;regions;out;patient;msi
{CROP};0.6907;;crop;7;1
{SVS};;two.geojson;svs;=8;0
missing.svs;;;;9;0
cut.svs;;;;10;0
"""


@pytest.fixture
def common(small_model: Path) -> Order:
    return Order(slide=Path(), out=Path(), model=str(small_model), settings=SETTINGS)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    two = [
        Region(shapely.box(0, 0, 900, 900), "left"),
        Region(shapely.box(1000, 0, 2000, 900), "right"),
    ]
    write_regions(two, tmp_path / "two.geojson")
    path = tmp_path / "slides.csv"
    path.write_text(MANIFEST)
    (tmp_path / "cut.svs").write_bytes(SVS.read_bytes()[:1000])
    return path


def digest(prediction: Path) -> str:
    """Of all that has values in it; dates are left out."""
    files = sorted(each for each in prediction.rglob("*") if each.is_file() and "c" in each.parts)
    assert files
    return hashlib.sha256(b"".join(each.read_bytes() for each in files)).hexdigest()


def test_a_manifest_says_what_is_special_of_each_slide(
    manifest: Path, common: Order, tmp_path: Path
) -> None:
    crop, svs, missing, _cut = orders_of([manifest], tmp_path / "out", common)
    assert (crop.slide, crop.mpp, crop.regions) == (CROP, 0.6907, None)
    assert crop.out == tmp_path / "out" / "crop.zarr"
    assert (svs.mpp, svs.regions) == (None, tmp_path / "two.geojson")
    assert missing.slide == tmp_path / "missing.svs"
    assert missing.out == tmp_path / "out" / "missing.zarr"
    assert [dict(each.noted)["patient"] for each in (crop, svs, missing)] == ["7", "'=8", "9"]
    assert {each.model for each in (crop, svs, missing)} == {common.model}
    manifest.write_text(
        MANIFEST.replace("0.6907", "0,6907")
    )  # as a spreadsheet writes it in Europe
    assert orders_of([manifest], tmp_path / "out", common)[0].mpp == 0.6907
    manifest.write_bytes(
        manifest.read_bytes().replace(b"\n", b"\r")
    )  # as an old Macintosh ends lines
    assert orders_of([manifest], tmp_path / "out", common)[0].mpp == 0.6907


def test_a_manifest_may_leave_a_slides_ending_out(common: Order, tmp_path: Path) -> None:
    for name in ("a.svs", "a.geojson", "b.svs", "b.ndpi", "c.d.svs"):
        (tmp_path / name).touch()
    (tmp_path / "m.csv").write_text("slide\na\nb\nc.d\nnone/such\n")
    orders = orders_of([tmp_path / "m.csv"], tmp_path / "out", common)
    found = [str(order.slide.relative_to(tmp_path)) for order in orders]
    assert found == ["a.svs", "b", "c.d.svs", str(Path("none") / "such")]  # which b is meant?
    names = [order.out.name for order in orders]
    assert names == ["a.zarr", "b.zarr", "c.d.zarr", "such.zarr"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("file\na.svs\n", "no column 'slide'"),
        ("slide\n", "lists no slides"),
        ("slide,mpp\na.svs,0.25\n,0.5\n", "Slide 2"),
        ("slide,mpp\na.svs,wide\n", "'wide'"),
        ("slide,mpp\na.svs\n", "1 cells"),
        ("slide,slide\na.svs,b.svs\n", "two columns"),
        ("slide,status\na.svs,\nb.svs,pos\n", "Slide 2 .* 'pos' in the column 'status'.*rename"),
        ("slide,_index\na.svs,1\n", "rename"),
        ("slide,\na.svs,1\n", "rename"),
        ("slide,ER/PR\na.svs,pos\n", "Slide 1 .*'ER/PR'.*rename"),
        ("slide\na.svs\nb/a.svs\n", "2 slides would be written"),
    ],
)
def test_a_manifest_that_cannot_be_used(content: str, word: str, common: Order, tmp_path) -> None:
    (tmp_path / "m.csv").write_text(content)
    with pytest.raises(DatasetError, match=word):
        orders_of([tmp_path / "m.csv"], tmp_path, common)


def test_columns_that_results_have_of_their_own_are_known(common: Order) -> None:
    (row,) = rows_of([Outcome(common)])
    assert set(row) <= TAKEN_COLUMNS | set(OWN_COLUMNS)


def test_patterns_and_folders_list_slides(
    common: Order, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def names(place: Path) -> list[str]:
        return [order.out.name for order in orders_of([place], tmp_path, common)]

    assert names(SLIDES / "C*-thumbnail.jpg") == [f"C{n}-thumbnail.zarr" for n in range(2, 6)]
    # neither pictures nor tables nor texts
    assert names(SLIDES) == ["CMU-1-Small-Region-dicom.zarr", "CMU-1-Small-Region.zarr"]
    n_pictures = sum(each.suffix in (".jpg", ".png", ".tif") for each in SLIDES.iterdir())
    assert f"(small, grey, 16-bit or damaged): {n_pictures}. Name them" in caplog.text
    with pytest.raises(DatasetError, match="no slide"):
        names(SLIDES / "*.ndpi")


@pytest.mark.parametrize(
    ("asked", "status", "word"),
    [
        (("--out", "a.zarr"), 2, "folder"),
        (("--out", "out", "--regions", "r.geojson"), 2, "manifest"),
        (("--out", "out", "--spots", "s.csv"), 2, "one by one"),
        (("--out", "out", "--cohort-table", "t.csv"), 2, ".h5ad"),
        (("--out", "new", "--cohort-table", "there.h5ad"), 1, "there.h5ad exists already"),
        (("--out", "out"), 1, "--resume"),
        (
            ("--out", "out", "--resume", "--scheduler", "tcp://127.0.0.1:9"),
            1,
            "No scheduler answers",
        ),
    ],
)
def test_what_does_not_go_with_many_slides(
    asked: tuple[str, ...], status: int, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module, "ANSWERS_WITHIN_S", 0.5)
    (tmp_path / "out" / "CMU-1-Small-Region.zarr").mkdir(parents=True)
    (tmp_path / "there.h5ad").touch()
    ended = CliRunner().invoke(app, ["predict", str(SVS), str(CROP), *asked])
    assert ended.exit_code == status
    assert word in " ".join(ended.stderr.split())


def test_a_worker_has_one_gpu_or_its_share_of_cores() -> None:
    on_gpus = worker_environments(None, ["0", "GPU-1a"], 16, 64e9)
    assert [each["CUDA_VISIBLE_DEVICES"] for each in on_gpus] == ["0", "GPU-1a"]
    assert worker_environments(None, [], 8, 5e9) == [{"OMP_NUM_THREADS": "4"}] * 2  # as memory is
    assert worker_environments(3, [], 2, 64e9) == [{"OMP_NUM_THREADS": "1"}] * 3


def test_workers_keep_the_memory_that_they_work_with(tmp_path) -> None:
    with run_module.workers(None, 1, "cpu", str(tmp_path)) as client:
        (found,) = client.run(lambda: dict(os.environ)).values()
    assert int(found["MALLOC_MMAP_THRESHOLD_"]) == 2**25
    assert int(found["MALLOC_TRIM_THRESHOLD_"]) == 2**28  # dask's own is 2**16


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Of a cluster within this process."""
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            local_directory=tmp_path,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
    work.close()


def test_slides_of_a_cohort_are_as_each_alone(
    manifest: Path, common: Order, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (empty, work):
        monkeypatch.setattr(module, "spots_per_chunk", lambda _: 4)  # several tasks a slide
    (tmp_path / "out").mkdir()
    orders = orders_of([manifest], tmp_path / "out", common)
    told: list[tuple[int, float | None]] = []

    outcomes = [Outcome(order) for order in orders]

    def watch(left: float | None) -> None:
        told.append((sum(each.n_done for each in outcomes), left))

    run_cohort(outcomes, client, poll=go_on, watch=watch)
    rows = rows_of(outcomes)
    assert [row["status"] for row in rows] == ["done", "done", "failed", "failed"]
    assert "missing.svs" in rows[2]["error"]
    assert "check the path" in rows[2]["error"]
    assert "incomplete TIFF" in rows[3]["error"]
    assert told[-1] == (sum(row["n_spots"] for row in rows), 0.0)
    assert len({n for n, _ in told}) > 4  # it was told block by block
    for order, row in zip(orders[:2], rows, strict=False):
        with pytest.warns(UserWarning, match="looks unlike") as warned:
            alone = predict_slide(
                order.slide, tmp_path / f"alone-{order.out.name}", model=common.model, mpp=order.mpp,
                regions=order.regions, settings=SETTINGS, progress=False,
            )  # fmt: skip
        assert row["notes"] == str(warned[0].message)
        assert digest(alone.path) == digest(order.out)

    labels = read_labels(Summary(tmp_path / "out", outcomes).write())
    assert labels == {
        "crop": ("7", True),
        "svs": ("'=8", False),
        "missing": ("9", False),
        "cut": ("10", False),
    }

    table = cohort_table(outcomes, client)
    svs = anndata.read_zarr(orders[1].out)
    assert list(table.obs_names) == ["crop/all", "svs/left", "svs/right"]
    assert list(table.obs["patient"]) == ["7", "'=8", "'=8"]
    for name in ("left", "right"):
        inside = (svs.obs["region"] == name).to_numpy()
        assert table.obs["n_spots"][f"svs/{name}"] == inside.sum() > 0
        np.testing.assert_allclose(
            table[f"svs/{name}"].X[0], np.asarray(svs.X)[inside].mean(0), rtol=1e-5
        )
    assert table.uns["unit"] == Prediction.open(orders[1].out).unit

    outcomes = [Outcome(order) for order in orders]
    run_cohort(outcomes, client, poll=go_on, watch=watch)
    assert [row["notes"] for row in rows_of(outcomes)] == [row["notes"] for row in rows]


def test_after_a_slide_that_cannot_be_opened_the_one_before_is_opened_anew(
    common: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker had closed it, and read on from it."""
    for module in (empty, work):
        monkeypatch.setattr(module, "spots_per_chunk", lambda _: 4)
    monkeypatch.setattr(work, "WAITS_S", ())
    order = replace(common, slide=SVS, out=tmp_path / "p.zarr")
    _, (first, second, *_) = work.create(order)
    try:
        work.fill(order, "run", *first)
        with pytest.raises(ModelError, match="gone"):
            work.fill(replace(order, model=str(tmp_path / "gone")), "run", *first)
        assert work.fill(order, "run", *second)[0] == 4
    finally:
        work.close()


def test_a_spot_in_two_regions_counts_in_both_means(
    common: Order, client: Client, tmp_path: Path
) -> None:
    whole, part = shapely.box(0, 0, 1800, 900), shapely.box(0, 0, 900, 900)
    regions = (Region(whole, "Tissue"), Region(part, "Tumor; invasive"))
    write_regions(regions, tmp_path / "two.geojson")
    order = replace(common, slide=SVS, out=tmp_path / "p.zarr", regions=tmp_path / "two.geojson")
    outcome = Outcome(order)
    run_cohort([outcome], client, poll=go_on, watch=go_on)
    table = cohort_table([outcome], client)
    prediction = Prediction.open(order.out)
    assert list(table.obs["region"]) == ["Tissue", "Tumor, invasive"]
    assert list(table.obs["n_spots"]) == [len(spots_in(prediction, region)) for region in regions]
    for row, region in enumerate(regions):
        mean = prediction.rows(spots_in(prediction, region)).mean(0)
        np.testing.assert_allclose(table.X[row], mean, rtol=1e-5)


def test_what_a_stopped_cohort_has_finished_is_not_done_again(
    common: Order, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (empty, work):
        monkeypatch.setattr(module, "spots_per_chunk", lambda _: 4)
    (tmp_path / "out").mkdir()
    orders = orders_of([SVS], tmp_path / "out", common)
    seen: list[int] = []  # spots done, after every task
    stop = threading.Event()

    def watch(_left: float | None) -> None:
        seen.append(under_way.n_done)
        if seen[-1]:
            stop.set()

    (order,) = orders
    under_way = stopped = Outcome(order)
    run_cohort([stopped], client, poll=poll_of(stop), watch=watch)
    assert rows_of([stopped])[0]["status"] == "unfinished"
    assert 0 < stopped.n_done < stopped.n_spots
    seen.clear()
    under_way = ended = Outcome(order)
    run_cohort([ended], client, poll=go_on, watch=watch)
    assert ended.status == "done"
    # what its beginning found done no task fills again; a task that was cut off may have ended since
    assert stopped.n_done <= seen[0] < ended.n_spots
    assert seen == sorted(set(seen))
    assert seen[-1] == ended.n_spots
    assert len(seen) == 1 + math.ceil((ended.n_spots - seen[0]) / 4)
    with pytest.warns(UserWarning, match="looks unlike"):
        alone = predict_slide(
            SVS, tmp_path / "alone.zarr", model=common.model, settings=SETTINGS, progress=False
        )
    assert digest(alone.path) == digest(orders[0].out)


@pytest.fixture
def predicted_seconds(
    small_model: Path, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Predict a slide by the command, and say what it wrote of the seconds."""
    monkeypatch.setattr(run_module, "workers", lambda *_: nullcontext(client))

    def run(*more: str) -> str:
        out = tmp_path / "out"
        words = ["predict", str(SVS), "--out", str(out), "--workers", "1", "--device", "cpu", *more]
        words += ["--model", str(small_model), "--draws", "2", "--steps", "2", "--json"]
        ended = CliRunner().invoke(app, words)
        assert ended.exit_code == 0, ended.stderr
        ((row,), (told,)) = read_summary(out), json.loads(ended.stdout)["slides"]
        seconds = "" if told["seconds"] is None else str(told["seconds"])
        assert (row["status"], row["seconds"]) == ("done", seconds)
        return row["seconds"]

    return run


def read_summary(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "cohort.csv").read_text().splitlines()))


def test_seconds_of_work_are_those_of_all_runs(
    predicted_seconds: Callable[..., str], tmp_path: Path
) -> None:
    summary = tmp_path / "out" / "cohort.csv"
    assert predicted_seconds()
    told = pd.read_csv(summary).assign(seconds=1000.0)  # on a slow machine
    told.to_csv(summary, index=False)
    assert predicted_seconds("--resume") == "1000.0"  # there was nothing to do
    told.assign(status="unfinished", n_done=3).to_csv(summary, index=False)
    # the run that did the others was killed before it told
    assert float(predicted_seconds("--resume")) == round(1000 * told["n_spots"][0] / 3, 1)
    for lost in ("", "slide,out\nCMU-1-Small-Region,CMU-1-Small-Region.zarr\n"):
        summary.write_text(lost)
        assert predicted_seconds("--resume") == ""
    assert predicted_seconds("--resume") == ""  # nor does it say so later
    shutil.rmtree(tmp_path / "out" / "CMU-1-Small-Region.zarr")
    assert predicted_seconds("--resume") not in ("", "1000.0")  # of these nothing is lost


def test_where_the_scheduler_is_lost_what_is_known_of_each_slide_is_written(
    small_model: Path, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_told = 0

    def lose_the_scheduler(_: Summary) -> None:
        nonlocal n_told
        n_told += 1
        if n_told == 9:  # 8 tasks are in hand, each of which creates a prediction first
            client.cluster.close()

    hasty = Client(client.cluster, timeout=2, set_as_default=False)
    monkeypatch.setattr(run_module, "workers", lambda *_: hasty)
    monkeypatch.setattr(Summary, "write_if_due", lose_the_scheduler)
    lines = ["slide,out", *(f"{SVS},{number}" for number in range(12))]
    (tmp_path / "slides.csv").write_text("\n".join(lines))
    words = ["predict", str(tmp_path / "slides.csv"), "--out", str(tmp_path), "--device", "cpu"]
    words += ["--workers", "1", "--model", str(small_model), "--draws", "2", "--steps", "2"]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 1, ended.output
    assert "The scheduler is gone; what was finished is kept" in ended.stderr
    assert {row["status"] for row in read_summary(tmp_path)} == {"done", "unfinished"}


@pytest.mark.parametrize(
    ("asked", "status"), [((Future, "result"), "unfinished"), ((Client, "gather"), "done")]
)
def test_where_the_scheduler_is_lost_at_an_answer_it_is_said(
    small_model: Path,
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: tuple[type, str],
    status: str,
) -> None:
    answer = getattr(*asked)

    def lose_the_scheduler(*words: Any) -> Any:
        client.cluster.close()
        return answer(*words)

    hasty = Client(client.cluster, timeout=2, set_as_default=False)
    monkeypatch.setattr(run_module, "workers", lambda *_: hasty)
    monkeypatch.setattr(*asked, lose_the_scheduler)
    (tmp_path / "slides.csv").write_text(f"slide\n{SVS}\n")
    words = ["predict", str(tmp_path / "slides.csv"), "--out", str(tmp_path), "--device", "cpu"]
    words += ["--cohort-table", str(tmp_path / "t.h5ad"), "--model", str(small_model)]
    ended = CliRunner().invoke(app, [*words, "--draws", "2", "--steps", "2"])
    assert ended.exit_code == 1, ended.output
    assert "The scheduler is gone; what was finished is kept" in ended.stderr
    assert [row["status"] for row in read_summary(tmp_path)] == [status]


def test_a_lost_connection_is_waited_for_until_ctrl_c(common: Order) -> None:
    stop, called_off = threading.Event(), list[object]()
    lost = SimpleNamespace(
        status="connecting", scheduler_info=lambda **_: {"workers": {}}, cancel=called_off.append
    )
    threading.Timer(0.5, stop.set).start()
    run_cohort([Outcome(common)], cast("Client", lost), poll=poll_of(stop), watch=go_on)
    assert called_off == [[]]


def test_a_cohort_that_another_run_writes_is_refused_before_workers_are_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "workers", lambda *_: pytest.fail("Workers were begun."))
    (tmp_path / "slides.csv").write_text(f"slide\n{SVS}\n")
    words = ["predict", str(tmp_path / "slides.csv"), "--out", str(tmp_path), "--workers", "1"]
    with only_writer(tmp_path / "cohort"), ThreadPoolExecutor(1) as pool:
        ended = pool.submit(CliRunner().invoke, app, words).result()
    assert ended.exit_code == 1
    assert "is being written by another run" in ended.stderr


def test_what_is_predicted_in_turn_goes_on_with_its_seconds(common: Order, tmp_path: Path) -> None:
    order = replace(common, slide=CROP, mpp=0.6907, out=tmp_path / "crop.zarr")
    other = Outcome(replace(order, out=tmp_path / "other.zarr"))
    first, stop = Outcome(order), threading.Event()
    predict_in_turn([first], poll_of(stop), lambda _: first.n_done and stop.set())
    Summary(tmp_path, [first, other]).write()
    again = [Outcome(order), Outcome(other.order)]
    summary = Summary(tmp_path, again)
    summary.recall()
    assert (again[0].n_done, again[0].n_spots) == (first.n_done, first.n_spots)
    summary.write()  # nothing of it was looked at yet: the same stands there
    assert read_summary(tmp_path)[0]["n_done"] == str(first.n_done)
    again[0].seconds += 1000
    predict_in_turn(again[:1], go_on, lambda _: None)
    assert again[0].status == "done"
    assert again[0].seconds > 1000 + first.seconds


@pytest.mark.parametrize("altered", ["inf", "without"])
def test_a_summary_that_somebody_has_altered_tells_nothing(
    altered: str, common: Order, tmp_path: Path
) -> None:
    told = Outcome(replace(common, slide=CROP, out=tmp_path / "crop.zarr"), n_spots=8, n_done=4)
    summary = Summary(tmp_path, [told])
    summary.write()
    table = pd.read_csv(summary.path)
    if altered == "inf":
        table["n_done"] = np.inf
    else:
        del table["seconds"]
    table.to_csv(summary.path, index=False)
    fresh = Outcome(told.order)
    Summary(tmp_path, [fresh]).recall()
    assert fresh == Outcome(told.order)


def test_a_cohort_that_is_under_way_has_told_what_it_did(
    common: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = Outcome(replace(common, slide=SVS, out=tmp_path / "p.zarr"))
    summary = Summary(tmp_path, [outcome])
    summary.write_if_due()
    assert not summary.path.exists()
    monkeypatch.setattr(outcomes_module, "TELL_EVERY_S", 0.0)
    outcome.begin(0)
    outcome.n_spots, outcome.n_done, outcome.seconds = 8, 4, 2.5
    summary.write_if_due()
    (row,) = read_summary(tmp_path)
    assert (row["status"], row["n_done"], row["seconds"]) == ("unfinished", "4", "2.5")
    summary.path.unlink()
    summary.path.mkdir()  # for a while it cannot be written
    summary.write_if_due()


def is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):  # it has just ended
        return "spawn_main" in " ".join(process.cmdline())
    return False


@pytest.mark.slow
def test_a_cohort_outlives_its_workers_and_itself(
    small_model: Path, new_cache: Callable[[Path], Path], tmp_path: Path
) -> None:
    """A worker is killed, then everything; the same command with --resume ends as one that nothing befell."""
    cache = new_cache(tmp_path / "cache")
    shifts = range(0, 1200, 200)
    for shift in shifts:
        square = Region(shapely.box(shift, 0, shift + 900, 900))
        write_regions([square], tmp_path / f"{shift}.geojson")
    lines = [f"{SVS},{shift}.geojson,{shift}" for shift in shifts]
    (tmp_path / "slides.csv").write_text("\n".join(["slide,regions,out", *lines]))

    def command(out: str, *more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore", "-m", "napari_stem"),
                *("predict", tmp_path / "slides.csv", "--out", tmp_path / out),
                *("--model", small_model, "--workers", "2", "--device", "cpu"),
                *("--draws", "2", "--steps", "2", "--json", *more),
            ],
            env=os.environ | {"NAPARI_STEM_CACHE": str(cache)},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def wait_for(what: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
        while not what():
            assert process.poll() is None
            time.sleep(0.02)

    def n_done(out: str) -> int:
        return len(list((tmp_path / out).glob("*.zarr/X/c/0/0")))

    def end(process: subprocess.Popen[bytes]) -> dict[str, Any]:
        said, _ = process.communicate()
        assert process.returncode == 0, said
        return json.loads(said)

    whole = end(command("whole"))
    assert (whole["done"], whole["failed"]) == (len(shifts), 0)

    for seed in range(int(os.environ.get("NAPARI_STEM_COHORT_KILLS", "1"))):
        out, rng = f"broken-{seed}", random.Random(seed)  # noqa: S311
        broken = command(out)
        wait_for(lambda out=out: n_done(out) >= 1, broken)
        time.sleep(rng.uniform(0, 1))
        children = psutil.Process(broken.pid).children(recursive=True)
        for child in list(filter(is_worker, children))[:1]:
            child.kill()
        time.sleep(rng.uniform(0, 4))
        os.killpg(broken.pid, signal.SIGKILL)
        broken.communicate()

        resumed = end(command(out, "--resume", "--cohort-table", str(tmp_path / f"{out}.h5ad")))
        assert (resumed["done"], resumed["failed"]) == (len(shifts), 0)
        for shift in shifts:
            of_whole = digest(tmp_path / "whole" / f"{shift}.zarr")
            assert digest(tmp_path / out / f"{shift}.zarr") == of_whole, (seed, shift)
    with (tmp_path / out / "cohort.csv").open() as lines_of_it:
        assert [row["status"] for row in csv.DictReader(lines_of_it)] == ["done"] * len(shifts)
    assert anndata.read_h5ad(tmp_path / f"{out}.h5ad").n_obs == len(shifts)


def test_the_time_left_of_a_slide_that_is_gone_on_with_is_told_from_new_spots(
    common: Order, tmp_path: Path
) -> None:
    order = replace(common, slide=CROP, mpp=0.6907, out=tmp_path / "crop.zarr")
    first, told, stop = Outcome(order), list[tuple[int, float | None]](), threading.Event()
    predict_in_turn([first], poll_of(stop), lambda _: first.n_done and stop.set())
    assert 0 < first.n_done < first.n_spots
    again = Outcome(order)
    predict_in_turn([again], go_on, lambda left: told.append((again.n_done, left)))
    assert again.status == "done"
    assert {left for n_done, left in told if n_done <= first.n_done} == {None}
    assert told[-2][1] is not None
