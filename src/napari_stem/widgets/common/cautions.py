"""What not to rely on, in the sentences that stand beside Run and beside "Done"."""

from __future__ import annotations

LEAST_SAMPLES = 20  # one in twenty lies below the interval of 90%, one above


def few_samples(n_samples: int) -> str:
    """Say that samples are too few for an interval; empty where they are enough."""
    if n_samples >= LEAST_SAMPLES:
        return ""
    return f"{n_samples} samples are too few for a 90% interval; take {LEAST_SAMPLES} or more."


def of_result(n_unlike: int, n_on_glass: int, n_samples: int) -> str:
    """Say what of a result not to rely on; empty where there is nothing.

    Parameters
    ----------
    n_unlike, n_on_glass
        Spots that look unlike the training tissue, and spots without tissue.
    n_samples
        Drawn at each spot.
    """
    kinds = {"unlike the training tissue": n_unlike, "on bare glass": n_on_glass}
    spots = ", ".join(f"{n:,} {kind}" for kind, n in kinds.items() if n)
    sentences = (f"Spots not to be relied on: {spots}." if spots else "", few_samples(n_samples))
    return " ".join(filter(None, sentences))
