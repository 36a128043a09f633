"""``python -m napari_stem`` is the command ``napari-stem``."""

from __future__ import annotations

from napari_stem.cli import main

if __name__ == "__main__":
    try:
        main()
    finally:
        # Python takes an interrupt that broke off an `exec` of text, as there are while libraries are imported,
        # for one that nobody caught, and would end by SIGINT instead of with 130: the next `exec` clears that.
        exec("")  # noqa: S102
