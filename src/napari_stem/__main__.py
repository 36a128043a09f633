"""``python -m napari_stem`` is the command ``napari-stem``."""

from __future__ import annotations

from napari_stem.cli import main

if __name__ == "__main__":
    main()
