"""Rows and columns of pixels mixed by weights, compiled: what resampling spends its time in.

Rows as whole numbers of 32 bits, in loops over neighbouring bytes that numba makes vectors of. Columns as
vectors of four, a pixel's three colours and one number more, which numba has to be told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

from napari_stem.slide.compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Rows = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]

I32, U64, F32 = np.int32, np.uint64, np.float32
NEXT = U64(1)  # an unsigned index saves a test, and must not meet a signed number
BLOCK = 4  # rows whose columns are mixed at once, with weights that are loaded once
LANES = 4  # of a pixel's vector: three colours, and one that the next pixel overwrites
FLOATS = ir.VectorType(ir.FloatType(), LANES)
INTS = ir.VectorType(ir.IntType(32), LANES)
BYTES = ir.VectorType(ir.IntType(8), LANES)
INDEX = ir.IntType(64)
FUSED = ("contract",)  # a sum and a product may be one instruction


@compiled
def whole(weights: NDArray[np.float32], total: int, numbers: NDArray[Any]) -> None:
    """Turn weights that sum to 1 into whole numbers that sum to a total; further numbers become 0."""
    begun, share = 0, 0.0
    for k in range(len(weights)):
        share += weights[k]
        so_far = int(share * total + 0.5)
        numbers[k] = so_far - begun
        begun = so_far
    for k in range(len(weights), len(numbers)):
        numbers[k] = 0


@compiled
def line_of(
    tiles: NDArray[np.uint8], slots: NDArray[np.intp], y: int, column: int, begin: int, end: int
) -> NDArray[np.uint8]:
    """Part of a row of one tile; y counts from the first tile."""
    height = tiles.shape[1]
    return tiles[slots[y // height, column], y % height, begin:end]


@compiled
def _weighed(value: np.uint8, weight: np.int16) -> np.int32:
    """Multiply in 32 bits: sums would be of 64, half as many at once."""
    return I32(I32(value) * I32(weight))


@compiled
def _mix_two(
    rows: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    weights: NDArray[np.int16],
    out: NDArray[np.float32],
) -> None:
    a, b = rows
    v, w = weights[0], weights[1]
    for j in range(len(out)):
        out[j] = F32(I32(_weighed(a[j], v) + _weighed(b[j], w)))


@compiled
def _mix_four(
    rows: Rows, weights: NDArray[np.int16], is_first: bool, out: NDArray[np.float32]
) -> None:
    """Mix four rows, or add them to what is mixed already."""
    a, b, c, d = rows
    t, u, v, w = weights[0], weights[1], weights[2], weights[3]
    if is_first:
        for j in range(len(out)):
            half = _weighed(a[j], t) + _weighed(b[j], u)
            out[j] = F32(I32(half + _weighed(c[j], v) + _weighed(d[j], w)))
    else:
        for j in range(len(out)):
            half = _weighed(a[j], t) + _weighed(b[j], u)
            out[j] += F32(I32(half + _weighed(c[j], v) + _weighed(d[j], w)))


@compiled
def mix_rows(
    tiles: NDArray[np.uint8],
    slots: NDArray[np.intp],
    box: tuple[int, int, int, int],
    weights: NDArray[np.int16],
    used: int,
    out: NDArray[np.float32],
) -> None:
    """Mix the first rows of a box (top, left, bottom, right), times ``ONE``.

    As many as there are weights; what lies below the box has no weight.
    """
    top, left, bottom, right = box
    width = tiles.shape[2] // 3
    for column in range(left // width, (right - 1) // width + 1):
        at = column * width
        begin, end = 3 * (max(left, at) - at), 3 * (min(right, at + width) - at)
        to = 3 * (max(left, at) - left)
        part = out[to : to + end - begin]
        for k in range(0, used, 4):
            y, below = top + k, min(top + k + 1, bottom - 1)
            a = line_of(tiles, slots, y, column, begin, end)
            b = line_of(tiles, slots, below, column, begin, end)
            if used <= 2:
                _mix_two((a, b), weights, part)
                continue
            c = line_of(tiles, slots, min(y + 2, bottom - 1), column, begin, end)
            d = line_of(tiles, slots, min(y + 3, bottom - 1), column, begin, end)
            _mix_four((a, b, c, d), weights[k:], k == 0, part)


def _address(
    context: Any, builder: Any, kind: Any, array: Any, row: Any, column: Any
) -> tuple[Any, Any]:
    """Where an item of a two-dimensional array lies, and how many items lie from row to row."""
    made = context.make_array(kind)(context, builder, array)
    item = INDEX(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    pitch = builder.sdiv(builder.extract_value(made.strides, 0), item)
    return builder.gep(made.data, [builder.add(builder.mul(row, pitch), column)]), pitch


def _blended(
    _typing: Any, rows: Any, at: Any, weights: Any, x: Any, taps: Any, out: Any
) -> tuple[Any, Callable[..., Any]]:
    """Mix one pixel of each row of a block: ``out[:, 3 * x :]`` of ``rows[:, at :]``.

    As vectors of four, which numba's own loops are not made into. Taps that are a number in the source
    are written out one by one.
    """
    signature = types.void(rows, at, weights, x, taps, out)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        rows_v, at_v, weights_v, x_v, taps_v, out_v = values
        pixel, pitch = _address(context, builder, rows, rows_v, INDEX(0), at_v)
        weight, _ = _address(context, builder, weights, weights_v, x_v, INDEX(0))
        halves = ir.Constant(FLOATS, [0.5] * LANES)  # as whole numbers are cut off, not rounded
        sums = [
            cgutils.alloca_once_value(builder, halves)  # type: ignore[no-untyped-call]
            for _ in range(BLOCK)
        ]

        def add(k: Any) -> None:
            lanes = _repeated(builder, builder.load(builder.gep(weight, [k])))
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
        target, line = _address(context, builder, out, out_v, INDEX(0), to)
        for row, total in enumerate(sums):
            grey = builder.trunc(builder.fptosi(builder.load(total), INTS), BYTES)
            pointer = builder.gep(target, [builder.mul(line, INDEX(row))])
            builder.store(grey, builder.bitcast(pointer, BYTES.as_pointer()), align=1)
        return context.get_dummy_value()

    return signature, generate


_blend: Any = intrinsic(prefer_literal=True)(_blended)


def _repeated(builder: Any, value: Any) -> Any:
    """Put one number into every lane."""
    nothing = ir.Constant(FLOATS, ir.Undefined)
    single = builder.insert_element(nothing, value, ir.IntType(32)(0))
    return builder.shuffle_vector(single, nothing, ir.Constant(INTS, [0] * LANES))


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
