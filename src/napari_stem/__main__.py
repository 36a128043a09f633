"""The command ``napari-stem``, which is ``python -m napari_stem`` too."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; ends the process as `napari_stem.cli.main`, also while that is being imported."""
    # those that were closed by whoever started it: no file of ours is to get their numbers
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123
    try:
        from napari_stem import cli

        cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        raise SystemExit(130) from None
    finally:
        # Python takes an interrupt that broke off an `exec` of text, as there are while libraries are imported,
        # for one that nobody caught, and would end by SIGINT instead of with 130: the next `exec` clears that.
        exec("")  # noqa: S102


if __name__ == "__main__":
    main()
