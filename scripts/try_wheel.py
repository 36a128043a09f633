"""Build the wheel, install it as a stranger would, predict in a real window, and uninstall it.

    python scripts/try_wheel.py                          # whatever torch pip chooses: the release check
    python scripts/try_wheel.py torch==2.13.0 triton     # a torch named by hand
    python scripts/try_wheel.py --python python3.13

Nothing is constrained but what is named. Without a display it runs under Xvfb.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
WINDOW = Path(__file__).with_name("use_open_viewer.py")


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command; what it prints is seen only if it fails."""
    done = subprocess.run(  # noqa: S603 - our own commands
        [str(word) for word in command], text=True, capture_output=True, check=False, **options
    )
    if done.returncode != 0:
        print(done.stdout[-4000:], done.stderr[-8000:], file=sys.stderr)
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}.")
    return done


def megabytes(folder: Path) -> int:
    """Size of a folder, on disk, in MB."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file()) // 10**6


def with_display(command: list[str | Path]) -> list[str | Path]:
    """Run it under Xvfb where there is no display."""
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY"):
        return command
    if shutil.which("xvfb-run") is None:
        sys.exit("There is no display; install Xvfb (Debian: apt-get install xvfb xauth).")
    return ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24", *command]


def leftovers(site: Path) -> list[Path]:
    """What of ours lies in site-packages."""
    return [path for path in site.rglob("*napari[_-]stem*") if "__pycache__" not in path.parts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "packages", nargs="*", help="installed beside the wheel, such as torch==2.13.0"
    )
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter of the new environment"
    )
    parser.add_argument("--picture", type=Path, help="keep a picture of the window here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="napari-stem-wheel-") as made:
        folder = Path(made)
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
        run(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
        wheel = next(folder.glob("*.whl"))
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")

        environment = folder / "environment"
        run(options.python, "-m", "venv", "--without-pip", environment)
        bin_folder = environment / ("Scripts" if os.name == "nt" else "bin")
        python = bin_folder / "python"
        start = time.monotonic()
        run(*pip, "--python", python, "install", "--quiet", f"{wheel}[qt]", *options.packages)
        seconds = time.monotonic() - start
        paths = sysconfig.get_path("purelib", vars={"base": str(environment)})
        version = run(
            python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"
        ).stdout.strip()
        site = Path(str(paths).replace("%d.%d" % sys.version_info[:2], version))
        print(f"installed in {seconds:.0f} s, {megabytes(site)} MB, Python {version}")

        home = folder / "home"
        home.mkdir()
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NAPARI"))}
        clean |= {"HOME": str(home), "XDG_CACHE_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
        picture = (options.picture or folder / "window.png").absolute()
        done = run(*with_display([python, WINDOW, picture]), env=clean, cwd=folder)
        print(done.stdout.strip())

        run(*pip, "--python", python, "uninstall", "--quiet", "--yes", "napari-stem")
        if left := leftovers(site):
            sys.exit(f"Uninstalling left {', '.join(map(str, left[:5]))}.")
        print("uninstalled; nothing is left in site-packages")


if __name__ == "__main__":
    main()
