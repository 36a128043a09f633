"""Columns of pixels mixed by weights, of any extent: compiled.

As vectors of four, a pixel's three colours and one number more, of which numba's own loops are not made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

from napari_stem.slide.compiled import compiled
from napari_stem.slide.vectors import BYTE, INDEX, LONG, address, repeated

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

U64 = np.uint64
NEXT = U64(1)  # an unsigned index saves a test, and must not meet a signed number
BLOCK = 4  # rows whose columns are mixed at once, with weights that are loaded once
LANES = 4  # of a pixel's vector: three colours, and one that the next pixel overwrites
FLOATS = ir.VectorType(ir.FloatType(), LANES)
INTS, BYTES = ir.VectorType(LONG, LANES), ir.VectorType(BYTE, LANES)
FUSED = ("contract",)  # a sum and a product may be one instruction


def _blended(
    _typing: Any, rows: Any, at: Any, weights: Any, x: Any, taps: Any, out: Any
) -> tuple[Any, Callable[..., Any]]:
    """Mix one pixel of each row of a block: ``out[:, 3 * x :]`` of ``rows[:, at :]``.

    Taps that are a number in the source are written out one by one.
    """
    signature = types.void(rows, at, weights, x, taps, out)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        rows_v, at_v, weights_v, x_v, taps_v, out_v = values
        pixel, pitch = address(context, builder, rows, rows_v, INDEX(0), at_v)
        weight, _ = address(context, builder, weights, weights_v, x_v, INDEX(0))
        halves = ir.Constant(FLOATS, [0.5] * LANES)  # as whole numbers are cut off, not rounded
        sums = [
            cgutils.alloca_once_value(builder, halves)  # type: ignore[no-untyped-call]
            for _ in range(BLOCK)
        ]

        def add(k: Any) -> None:
            lanes = repeated(builder, builder.load(builder.gep(weight, [k])), LANES)
            for row, total in enumerate(sums):
                place = builder.add(builder.mul(k, INDEX(3)), builder.mul(pitch, INDEX(row)))
                pointer = builder.bitcast(builder.gep(pixel, [place]), FLOATS.as_pointer())
                product = builder.fmul(builder.load(pointer, align=4), lanes, flags=FUSED)
                builder.store(builder.fadd(builder.load(total), product, flags=FUSED), total)

        if isinstance(taps, types.IntegerLiteral):
            for k in range(taps.literal_value):
                add(INDEX(k))
        else:
            with cgutils.for_range(builder, taps_v) as loop:
                add(loop.index)
        to = builder.mul(x_v, INDEX(3))
        target, line = address(context, builder, out, out_v, INDEX(0), to)
        for row, total in enumerate(sums):
            grey = builder.trunc(builder.fptosi(builder.load(total), INTS), BYTES)
            pointer = builder.gep(target, [builder.mul(line, INDEX(row))])
            builder.store(grey, builder.bitcast(pointer, BYTES.as_pointer()), align=1)
        return context.get_dummy_value()

    return signature, generate


_blend: Any = intrinsic(prefer_literal=True)(_blended)


@compiled
def _blend_run(
    rows: NDArray[np.float32],
    at: NDArray[np.uint64],
    weights: NDArray[np.float32],
    run: tuple[np.uint64, np.uint64],
    taps: int,
    out: NDArray[np.uint8],
) -> None:
    """Blend new pixels from one to another, all of so many pixels; 2 to 5 are done without a loop."""
    if taps == 2:
        for x in range(run[0], run[1]):
            _blend(rows, at[x], weights, x, 2, out)
    elif taps == 3:
        for x in range(run[0], run[1]):
            _blend(rows, at[x], weights, x, 3, out)
    elif taps == 4:
        for x in range(run[0], run[1]):
            _blend(rows, at[x], weights, x, 4, out)
    elif taps == 5:
        for x in range(run[0], run[1]):
            _blend(rows, at[x], weights, x, 5, out)
    else:
        for x in range(run[0], run[1]):
            _blend(rows, at[x], weights, x, taps, out)


@compiled
def mix_columns(
    rows: NDArray[np.float32],
    at: NDArray[np.uint64],
    weights: NDArray[np.float32],
    taps: tuple[int, int],
    stops: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Mix the columns of a block of rows.

    Parameters
    ----------
    rows, out
        (``BLOCK``, numbers), the second filled.
    at
        (side,) where each new pixel's first number lies.
    weights
        (side, taps), 0 where a pixel is made of fewer.
    taps
        How many are enough for nearly all new pixels, and for all.
    stops
        The new pixels for which the first are not enough, and after them ``side``.
    """
    begin = U64(0)
    for stop in stops:
        end = U64(stop)
        _blend_run(rows, at, weights, (begin, end), taps[0], out)
        begin = end + NEXT
        if end < U64(len(at)):
            _blend(rows, at[end], weights, end, taps[1], out)
