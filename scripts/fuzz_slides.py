"""Fuzz the slide readers: damage real slides in many ways, open and read them, count what happens.

    python scripts/fuzz_slides.py 5000 [--first 0] [--reader openslide] [SLIDE ...]

Every input is read in a child process with limited memory (4 GB) and time (20 s), so that a crash,
a hang or runaway memory is counted as a failure and does not end the run. Prints one JSON object.
A failure is repeated with ``--first SEED 1``.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS / "unit" / "slide"))

KINDS = ("header", "tile", "any", "cut")
MEMORY_BYTES = 4 * 2**30
TIME_S = 20
BATCH = 500  # a child imports for seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n", type=int, help="inputs to try")
    parser.add_argument("slides", nargs="*", type=Path)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--reader", help="insist on a reader")
    options = parser.parse_args()
    slides = options.slides or [TESTS / "data" / "slides" / "CMU-1-Small-Region.svs"]
    counts: collections.Counter[str] = collections.Counter()
    failures: list[dict[str, object]] = []
    jobs = [
        (seed, KINDS[seed % len(KINDS)], slides[seed // len(KINDS) % len(slides)], options.reader)
        for seed in range(options.first, options.first + options.n)
    ]
    while jobs:
        done, failure = _batch(jobs[:BATCH], counts)
        if failure:
            seed, kind, slide, _ = jobs[done]
            failures.append({"seed": seed, "kind": kind, "slide": slide.name, "what": failure})
            done += 1
        jobs = jobs[done:]
    print(json.dumps({"tried": options.n, **counts, "failures": failures}, indent=1))
    sys.exit(1 if failures else 0)


def _batch(jobs: list, counts: collections.Counter[str]) -> tuple[int, str | None]:
    """Try inputs in a child; return how many were done, and how it ended if it failed."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(jobs, theirs))
    child.start()
    theirs.close()
    done, failure = 0, None
    try:
        while done < len(jobs):
            if not ours.poll(TIME_S + (40 if done == 0 else 0)):  # the first one imports
                failure = "took too long"
                break
            outcome = ours.recv()
            if outcome not in {"opened", "refused"}:
                failure = outcome
                break
            counts[outcome] += 1
            done += 1
    except EOFError:
        child.join()
        failure = f"crashed (exit {child.exitcode})"
    child.kill()
    child.join()
    return done, failure


def _child(jobs: list, results: object) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    from damage import damaged, opened_and_read

    from napari_stem.slide import halving

    halving.COARSEST_PX = 2**20  # these are tests of the files' own bytes
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_STEM_CACHE"] = folder
        for seed, kind, slide, reader in jobs:
            path = Path(folder) / f"fuzzed{slide.suffix}"
            path.write_bytes(damaged(slide.read_bytes(), kind, seed))
            try:
                told = opened_and_read(path, reader)
                outcome = "opened" if told is None else "refused"
                if told is not None and path.name not in told:
                    outcome = f"does not name the file: {told}"
            except BaseException as error:  # noqa: BLE001  (that is what is looked for)
                outcome = f"{type(error).__name__}: {error}"
            results.send(outcome)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
