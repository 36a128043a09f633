"""Disturb the prediction of a cohort in every way that is known, and look whether the end is the same.

    python scripts/cohort_faults.py [--seeds 3]

Two copies of the packaged section, 100 um apart, two workers. Each fault comes at a random moment after the
first block is written; where the command ends by it, it is run again with --resume. A full disk needs a tmpfs,
so root. The table is that of docs/scale.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

LATEST_S = 10.0  # after the first block
AWAY_S = 20.0
COHORT = ("--model", "her2st-breast", "--pitch", "100", "--device", "cpu")


def run(folder: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start the command in a session of its own."""
    words = [
        "-W",
        "ignore",
        "-m",
        "napari_stem",
        "predict",
        str(folder / "slides.csv"),
        "--out",
        str(out),
    ]
    log = (folder / "log").open("ab")
    return subprocess.Popen(  # noqa: S603
        [sys.executable, *words, *COHORT, *more], stdout=log, stderr=log, start_new_session=True
    )


def digest(out: Path) -> str:
    """Of all values below a folder of results."""
    digest = hashlib.sha256()
    for path in sorted(path for path in out.rglob("*") if path.is_file() and "c" in path.parts):
        digest.update(str(path.relative_to(out)).encode() + path.read_bytes())
    return digest.hexdigest()


def n_blocks(out: Path) -> int:
    """Blocks of spots that are written."""
    return len(list(out.glob("*.zarr/X/c/*/0")))


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Find the worker processes of a command."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [each for each in children if "spawn_main" in " ".join(each.cmdline())]


def kill_worker(process: subprocess.Popen[bytes], _folder: Path) -> None:
    """As the system does where memory is short."""
    workers_of(process)[0].kill()


def kill_all(process: subprocess.Popen[bytes], _folder: Path) -> None:
    """As a queue does at the end of its time, or a power cut."""
    os.killpg(process.pid, signal.SIGKILL)


def kill_command(process: subprocess.Popen[bytes], _folder: Path) -> None:
    """Its workers are left behind, and have to end by themselves."""
    process.kill()


def interrupt(process: subprocess.Popen[bytes], _folder: Path) -> None:
    """Press Ctrl-C."""
    process.send_signal(signal.SIGINT)


def take_slides_away(_process: subprocess.Popen[bytes], folder: Path) -> None:
    """Lose the share with the slides for a while."""
    away = folder / "slides"
    away.rename(folder / "away")
    time.sleep(AWAY_S)
    (folder / "away").rename(away)


def fill_disk(_process: subprocess.Popen[bytes], folder: Path) -> None:
    """Leave no room for a while."""
    filler = folder / "small" / "filler"
    file = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(file, bytes(65536))
    except OSError:
        time.sleep(AWAY_S)
    os.close(file)
    filler.unlink()


FAULTS: dict[str, Callable[[subprocess.Popen[bytes], Path], None]] = {
    "a worker killed": kill_worker,
    "everything killed": kill_all,
    "the command killed": kill_command,
    "Ctrl-C": interrupt,
    "slides away for 20 s": take_slides_away,
    "disk full for 20 s": fill_disk,
}


def disturbed(folder: Path, name: str, seed: int, wanted: str) -> tuple[str, str, str]:
    """Run with one fault; gives its name, how the command ended, and whether the end is the same."""
    small = folder / "small"
    small.mkdir(exist_ok=True)
    is_mounted = name.startswith("disk")
    if is_mounted:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", small], check=True)  # noqa: S603, S607
    out = (small if is_mounted else folder) / f"out-{name.replace(' ', '-')}-{seed}"
    process = run(folder, out, "--workers", "2")
    while not n_blocks(out):
        time.sleep(0.1)
    time.sleep(random.Random(seed).uniform(0, LATEST_S))  # noqa: S311
    FAULTS[name](process, folder)
    status = process.wait()
    if status != 0:
        run(folder, out, "--workers", "2", "--resume").wait()
    is_same = digest(out) == wanted
    if is_mounted:
        subprocess.run(["umount", small], check=True)  # noqa: S603, S607
    return (
        name,
        "went on" if status == 0 else f"ended with {status}, resumed",
        "yes" if is_same else "NO",
    )


def scheduler_restarted(folder: Path, wanted: str) -> tuple[str, str, str]:
    """Kill the scheduler of a cluster and start it again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"

    def start(*words: str) -> subprocess.Popen[bytes]:
        log = (folder / "log").open("ab")
        command = [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]]
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)  # noqa: S603

    def cluster() -> list[subprocess.Popen[bytes]]:
        host, _, port = address.removeprefix("tcp://").partition(":")
        scheduler = start("dask_scheduler", "--host", host, "--port", port, "--no-dashboard")
        nanny = start(
            "dask_worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"
        )
        return [scheduler, nanny]

    out, running = folder / "out-scheduler", cluster()
    process = run(folder, out, "--scheduler", address)
    while not n_blocks(out):
        time.sleep(0.1)
    for each in running:
        os.killpg(each.pid, signal.SIGKILL)
    running = cluster()
    status = process.wait()
    if status != 0:
        run(folder, out, "--scheduler", address, "--resume").wait()
    for each in running:
        os.killpg(each.pid, signal.SIGKILL)
    ended = "went on" if status == 0 else f"ended with {status}, resumed"
    return (
        "the scheduler and its workers killed and started again",
        ended,
        "yes" if digest(out) == wanted else "NO",
    )


def main() -> None:
    from napari_stem.sample_data import sample_path

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="how often each fault comes")
    parser.add_argument(
        "--only", choices=[*FAULTS, "scheduler"], action="append", help="one of them"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        folder = Path(place)
        (folder / "slides").mkdir()
        shutil.copy(sample_path(), folder / "slides")
        name, mpp = f"slides/{sample_path().name}", 0.6887
        (folder / "slides.csv").write_text(f"slide,mpp,out\n{name},{mpp},a\n{name},{mpp},b\n")
        if run(folder, folder / "whole", "--workers", "2").wait() != 0:
            sys.exit((folder / "log").read_text())
        wanted = digest(folder / "whole")
        sys.stdout.write("| fault | the command | same bytes in the end |\n| --- | --- | --- |\n")
        for seed in range(args.seeds):
            for fault in FAULTS:
                if args.only and fault not in args.only:
                    continue
                sys.stdout.write(f"| {' | '.join(disturbed(folder, fault, seed, wanted))} |\n")
                sys.stdout.flush()
        if not args.only or "scheduler" in args.only:
            sys.stdout.write(f"| {' | '.join(scheduler_restarted(folder, wanted))} |\n")


if __name__ == "__main__":
    main()
