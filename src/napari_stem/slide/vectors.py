"""Neighbouring numbers mixed as vectors of whole numbers of 16 bits, written out for LLVM.

What numba's own loops are made into goes through the last numbers of a line one by one, and tests before each
line whether arrays overlap: together three times as long. A grey value has 8 bits after the point here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

LANES = 16  # numbers at once: one or two vectors of most processors'
LINE = 64  # bytes that come into a processor's cache at once
POINT = 8  # bits after it
CUT_OFF = 1  # about half of what two products lose
HALF = 2 ** (POINT - 1) + CUT_OFF  # added before the bits after the point are cut off
INDEX = ir.IntType(64)
BYTE, SHORT, LONG = ir.IntType(8), ir.IntType(16), ir.IntType(32)


def repeated(builder: Any, value: Any, lanes: int) -> Any:
    """Put one number into every lane of a vector."""
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    single = builder.insert_element(nothing, value, LONG(0))
    return builder.shuffle_vector(single, nothing, _all(LONG, 0, lanes))


def _all(kind: Any, number: int, lanes: int) -> Any:
    return ir.Constant(ir.VectorType(kind, lanes), [number] * lanes)


def _share(builder: Any, values: Any, weights: Any) -> Any:
    """Multiply and keep the upper half of the products: of fixed-point numbers below 1."""
    kind = values.type
    signature = ir.FunctionType(kind, [kind, kind, LONG])
    name = f"llvm.umul.fix.v{kind.count}i16"
    multiply = cgutils.get_or_insert_function(builder.module, signature, name)  # type: ignore[no-untyped-call]
    return builder.call(multiply, [values, weights, LONG(16)])


def _pointer(builder: Any, start: Any, place: Any, kind: Any, lanes: int) -> Any:
    return builder.bitcast(builder.gep(start, [place]), ir.VectorType(kind, lanes).as_pointer())


def _load(builder: Any, start: Any, place: Any, kind: Any, lanes: int) -> Any:
    return builder.load(_pointer(builder, start, place, kind, lanes), align=kind.width // 8)


def _store(builder: Any, values: Any, start: Any, place: Any) -> None:
    kind, lanes = values.type.element, values.type.count
    pointer = _pointer(builder, start, place, kind, lanes)
    builder.store(values, pointer, align=kind.width // 8)


def _starts(context: Any, builder: Any, kinds: Any, arrays: Any) -> list[Any]:
    """Where the first item of each contiguous array lies."""
    pairs = zip(kinds, arrays, strict=True)
    return [context.make_array(kind)(context, builder, array).data for kind, array in pairs]


def address(
    context: Any, builder: Any, kind: Any, array: Any, row: Any, column: Any
) -> tuple[Any, Any]:
    """Where an item of a two-dimensional array lies, and how many items lie from row to row."""
    made = context.make_array(kind)(context, builder, array)
    item = INDEX(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    pitch = builder.sdiv(builder.extract_value(made.strides, 0), item)
    return builder.gep(made.data, [builder.add(builder.mul(row, pitch), column)]), pitch


class _Rows:
    """Rows of tiles while code is written that mixes them: where they begin, and their weights."""

    def __init__(self, builder: Any, grey: Any, starts: tuple[Any, Any], weights: Any) -> None:
        self._builder, self._grey, self._weights = builder, grey, weights
        self._starts, self._pitch = starts

    def tap(self, k: Any) -> tuple[Any, Any]:
        """Where the k-th row begins, and its weight."""
        builder = self._builder
        place = builder.load(builder.gep(self._starts, [builder.mul(k, self._pitch)]))
        return place, builder.load(builder.gep(self._weights, [k]))

    def mixed_shortly(self, at: Any, lanes: int, taps: list[tuple[Any, Any]]) -> Any:
        """Mix a few rows that are known, in 16 bits."""
        builder = self._builder
        # each product loses half of the last bit, and every grey has one more of it
        total = _all(SHORT, (len(taps) - 1) // 2, lanes)
        for place, weight in taps:
            wide = builder.zext(self._greys(place, at, lanes), ir.VectorType(SHORT, lanes))
            high = builder.shl(wide, _all(SHORT, POINT, lanes))
            high = builder.or_(high, _all(SHORT, 1, lanes))
            total = builder.add(total, _share(builder, high, repeated(builder, weight, lanes)))
        return total

    def mixed(self, at: Any, lanes: int, n_taps: Any) -> Any:
        """Mix any number of rows, in 32 bits, of which nothing is lost."""
        builder, wide = self._builder, ir.VectorType(LONG, lanes)
        half = _all(LONG, 2 ** (POINT - 1), lanes)
        sums = cgutils.alloca_once_value(builder, half)  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, n_taps) as loop:
            place, weight = self.tap(loop.index)
            greys = builder.zext(self._greys(place, at, lanes), wide)
            product = builder.mul(greys, repeated(builder, builder.zext(weight, LONG), lanes))
            builder.store(builder.add(builder.load(sums), product), sums)
        high = builder.lshr(builder.load(sums), _all(LONG, POINT, lanes))
        return builder.trunc(high, ir.VectorType(SHORT, lanes))

    def _greys(self, place: Any, at: Any, lanes: int) -> Any:
        builder = self._builder
        return _load(builder, self._grey, builder.add(place, at), BYTE, lanes)


def _mixed_rows(
    _typing: Any,
    tiles: Any,
    starts: Any,
    top: Any,
    piece: Any,
    weights: Any,
    y: Any,
    taps: Any,
    out: Any,
    to: Any,
    n: Any,
) -> tuple[Any, Callable[..., Any]]:
    """Mix a piece of so many rows, from ``starts[top, piece]`` on, with ``weights[y]``: ``out[to : to + n]``.

    Nothing is read or written beyond: the last vector overlaps the one before it, and fewer than fill
    one are done one by one. Taps that are a number in the source are written out one by one.
    """
    signature = types.void(tiles, starts, top, piece, weights, y, taps, out, to, n)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        tiles_v, starts_v, top_v, piece_v, weights_v, y_v, taps_v, out_v, to_v, n_v = values
        grey, mixed = _starts(context, builder, (tiles, out), (tiles_v, out_v))
        begin = address(context, builder, starts, starts_v, top_v, piece_v)
        weight, _ = address(context, builder, weights, weights_v, y_v, INDEX(0))
        rows = _Rows(builder, grey, begin, weight)
        known = []
        if isinstance(taps, types.IntegerLiteral):
            known = [rows.tap(INDEX(k)) for k in range(taps.literal_value)]

        def mix(at: Any, lanes: int) -> None:
            numbers = (
                rows.mixed_shortly(at, lanes, known) if known else rows.mixed(at, lanes, taps_v)
            )
            _store(builder, numbers, mixed, builder.add(to_v, at))

        last = builder.sub(n_v, INDEX(LANES))
        with builder.if_else(builder.icmp_unsigned("<", n_v, INDEX(LANES))) as (few, many):
            with few, cgutils.for_range(builder, n_v) as loop:
                mix(loop.index, 1)
            with many, cgutils.for_range(builder, _n_vectors(builder, n_v)) as loop:
                at = builder.mul(loop.index, INDEX(LANES))
                mix(builder.select(builder.icmp_unsigned("<", at, last), at, last), LANES)
        return context.get_dummy_value()

    return signature, generate


def _asked_for(_typing: Any, tiles: Any, start: Any, n: Any) -> tuple[Any, Callable[..., Any]]:
    """Ask for n bytes of contiguous tiles from one place on, without waiting for them.

    They were decoded by another thread, or long ago, and come late otherwise.
    """
    signature = types.void(tiles, start, n)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        tiles_v, start_v, n_v = values
        (grey,) = _starts(context, builder, (tiles,), (tiles_v,))
        pointer = BYTE.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, LONG, LONG, LONG])
        ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")  # type: ignore[no-untyped-call]
        n_lines = builder.udiv(builder.add(n_v, INDEX(LINE - 1)), INDEX(LINE))
        with cgutils.for_range(builder, n_lines) as loop:
            at = builder.add(start_v, builder.mul(loop.index, INDEX(LINE)))
            builder.call(ask, [builder.gep(grey, [at]), LONG(0), LONG(3), LONG(1)])
        return context.get_dummy_value()

    return signature, generate


def _n_vectors(builder: Any, n: Any) -> Any:
    """How many vectors n numbers fill, the last perhaps in part."""
    return builder.udiv(builder.add(n, INDEX(LANES - 1)), INDEX(LANES))


def _mixed_neighbours(
    _typing: Any, row: Any, old: Any, weights: Any, new: Any, taps: Any, out: Any, n: Any
) -> tuple[Any, Callable[..., Any]] | None:
    """Mix numbers with those of so many pixels in all, and round: into ``out[new : new + n]``.

    ``row[old + 3 * k + j]`` times ``weights[k, new + j]`` for all k. Up to ``LANES - 1`` numbers more are
    read and written, for which all arrays must have room. Taps have to be a number in the source.
    """
    if not isinstance(taps, types.IntegerLiteral):
        return (
            None  # numba asks again with the number itself, or says that there is no such function
        )
    signature = types.void(row, old, weights, new, taps, out, n)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        row_v, old_v, weights_v, new_v, _, out_v, n_v = values
        mixed, grey = _starts(context, builder, (row, out), (row_v, out_v))
        shares = [
            address(context, builder, weights, weights_v, INDEX(k), new_v)[0]
            for k in range(taps.literal_value)
        ]
        with cgutils.for_range(builder, _n_vectors(builder, n_v)) as loop:
            at = builder.mul(loop.index, INDEX(LANES))
            own = builder.add(old_v, at)
            total = _all(SHORT, HALF, LANES)
            for k, share in enumerate(shares):
                pixels = _load(builder, mixed, builder.add(own, INDEX(3 * k)), SHORT, LANES)
                product = _share(builder, pixels, _load(builder, share, at, SHORT, LANES))
                total = builder.add(total, product)
            high = builder.lshr(total, _all(SHORT, POINT, LANES))
            found = builder.trunc(high, ir.VectorType(BYTE, LANES))
            _store(builder, found, grey, builder.add(new_v, at))
        return context.get_dummy_value()

    return signature, generate


mix_rows: Any = intrinsic(prefer_literal=True)(_mixed_rows)
mix_neighbours: Any = intrinsic(prefer_literal=True)(_mixed_neighbours)
ask_for: Any = intrinsic(_asked_for)
