"""Loops that numba compiles (the extra `fast`): the results of `adding.PlaneSum` and of NumPy's additions, bit for bit.

Without numba the module can be imported, and its loops are Python's: right, and far too slow to be used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from crypto.protocols.masks.stream import Ring

try:
    import numba
except ImportError:
    numba = None

AT_ONCE = 8
_PIECE = 1 << 13


def _compiled(loop: Callable[..., Any]) -> Callable[..., Any]:
    """Compile for any types, without the interpreter's lock, and keep the compiled code beside this file."""
    return loop if numba is None else numba.njit(nogil=True, cache=True, boundscheck=False)(loop)


@_compiled
def _known(total: Any, offset: Any) -> Any:
    """The offset, so that the compiler sees that it is below the ring's width, and needs no lanes of 64 bits."""
    of = total.dtype.type
    return np.uint32(offset & np.uint32(63 if of(~of(0)) > np.uint64(0xFFFFFFFF) else 31))


@_compiled
def _wide(total: Any, plane: Any, offset: Any) -> None:
    of = total.dtype.type
    offset = _known(total, offset)
    for i in range(total.size):
        total[i] += of(of(plane[i]) << offset)


@_compiled
def _two(total: Any, low: Any, high: Any, offset: Any) -> None:
    """The lowest plane and the one above it in one pass."""
    of = total.dtype.type
    offset = _known(total, offset)
    for i in range(total.size):
        total[i] += of(of(low[i]) + of(of(high[i]) << offset))


@_compiled
def _three(total: Any, low: Any, high: Any, offset: Any, plane: Any, mask: Any, up: Any) -> None:
    """The same, and with them the bits `mask` of a plane below 8 bits."""
    of = total.dtype.type
    offset, up = _known(total, offset), _known(total, up)
    for i in range(total.size):
        total[i] += of(of(low[i]) + of(of(high[i]) << offset) + of(of(plane[i] & mask) << up))


@_compiled
def _narrow(total: Any, plane: Any, down: Any, mask: Any, offset: Any) -> None:
    of = total.dtype.type
    offset = _known(total, offset)
    for i in range(total.size):
        total[i] += of(of((plane[i] >> down) & mask) << offset)


@_compiled
def _rows(total: Any, plane: Any, width: int, offset: Any, start: int, end: int) -> None:
    """Entries i, i + S, i + 2S, ... lie in byte i of a plane of S bytes."""
    size = plane.size
    for row in range(8 // width):
        first, last = max(start, row * size), min(end, (row + 1) * size)
        if first < last:
            part = plane[first - row * size : last - row * size]
            _narrow(total[first:last], part, np.uint8(row * width), np.uint8((1 << width) - 1), offset)


@_compiled
def _rows_of_three(
    total: Any, low: Any, high: Any, o8: Any, plane: Any, width: int, offset: Any, start: int, end: int
) -> None:
    """Such a plane together with the two lowest ones, of 24 bits, in one pass."""
    size = plane.size
    for row in range(8 // width):
        first, last = max(start, row * size), min(end, (row + 1) * size)
        if first < last:
            part, mask = plane[first - row * size : last - row * size], np.uint8(((1 << width) - 1) << (row * width))
            up = np.uint32(offset - np.uint32(row * width))
            _three(total[first:last], low[first:last], high[first:last], o8, part, mask, up)


@_compiled
def _planes(
    total: Any, whole: int, p64: Any, o64: Any, p32: Any, o32: Any, p16: Any, o16: Any, p8: Any, o8: Any,
    p4: Any, o4: Any, p2: Any, o2: Any, p1: Any, o1: Any,
) -> None:  # fmt: skip
    lowest = p16.size > 0 and p8.size > 0 and o16 == 0
    four, two = lowest and p4.size > 0, lowest and p4.size == 0 and p2.size > 0
    one = lowest and p4.size == 0 and p2.size == 0 and p1.size > 0
    # From the end on, whose bytes were checked last: they are still in cache.
    for end in range(whole, 0, -_PIECE):
        start = max(0, end - _PIECE)
        if p64.size:
            _wide(total[start:end], p64[start:end], o64)
        if p32.size:
            _wide(total[start:end], p32[start:end], o32)
        if four:
            _rows_of_three(total, p16, p8, o8, p4, 4, o4, start, end)
        elif two:
            _rows_of_three(total, p16, p8, o8, p2, 2, o2, start, end)
        elif one:
            _rows_of_three(total, p16, p8, o8, p1, 1, o1, start, end)
        elif lowest:
            _two(total[start:end], p16[start:end], p8[start:end], o8)
        if p16.size and not lowest:
            _wide(total[start:end], p16[start:end], o16)
        if p8.size and not lowest:
            _wide(total[start:end], p8[start:end], o8)
        if p4.size and not four:
            _rows(total, p4, 4, o4, start, end)
        if p2.size and not two:
            _rows(total, p2, 2, o2, start, end)
        if p1.size and not one:
            _rows(total, p1, 1, o1, start, end)


@_compiled
def _sum(piece: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> None:
    for i in range(piece.size):
        piece[i] += a[i] + b[i] + c[i] + d[i] + e[i] + f[i] + g[i] + h[i]


@_compiled
def _difference(piece: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> None:
    for i in range(piece.size):
        piece[i] -= a[i] + b[i] + c[i] + d[i] + e[i] + f[i] + g[i] + h[i]


def add_planes(total: Ring, whole: int, *planes: object) -> None:
    """See `Accelerator.add_planes`."""
    _planes(total, whole, *planes)


def add_all(piece: Ring, *streams: Ring) -> None:
    """See `Accelerator.add_all`."""
    _sum(piece, *streams)


def subtract_all(piece: Ring, *streams: Ring) -> None:
    """See `Accelerator.subtract_all`."""
    _difference(piece, *streams)
