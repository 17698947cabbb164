"""Sums of packed vectors (`crypto.protocols.masks.bits`) that are added as they come, without unpacking each.

`PlaneSum` adds plane by plane in lanes wide enough that no carry ever leaves one: a plane of w bits that lies under h
higher bits of the entry needs its sum modulo 2^(w + h) only, and h < w, so lanes of 2w bits do. Two neighbours share a
word of 2w bits: the words are added as they are, and once more shifted right by w; the second sum, shifted back, is
what the first has too much. `crypto.protocols.masks.fused` gives the same sums in one compiled loop where numba is.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import numpy.typing as npt

from crypto.errors import MessageError
from crypto.protocols.masks.bits import GROUP, Buffer, Layout, packed_bytes
from crypto.protocols.masks.stream import Ring, accelerator, ring_dtype

# Entries handled at a time, few enough to stay in cache; a multiple of `GROUP`.
_PIECE = 1 << 16
# Below this many entries compiling or loading a compiled loop costs more than it saves.
_WORTH_COMPILING = 1 << 17


class VectorSum(Protocol):
    """The sum of packed vectors of one length and number of bits."""

    def add(self, packed: Buffer) -> None:
        """Add one vector, or nothing of it.

        Raises:
            MessageError: the number of bytes differs, or a filling bit is not zero.
        """
        ...

    def take(self) -> Ring:
        """Return the sum modulo 2^bits (higher bits are arbitrary); nothing can be added afterwards."""
        ...


def vector_sum(length: int, bits: int, threads: int = 1) -> VectorSum:
    """A sum of no vectors yet, compiled if that can be had and pays; on another thread if there may be several."""
    fast = accelerator() if length >= _WORTH_COMPILING else None
    found: VectorSum = PlaneSum(length, bits) if fast is None else FusedSum(length, bits, fast.add_planes)
    return found if threads < 2 else AddedAside(found, length, bits)


def unpack_bits(packed: Buffer, length: int, bits: int) -> Ring:
    """Read what `pack_bits` wrote: `length` entries of `bits` bits, as the smallest ring type that holds them.

    Raises:
        MessageError: the number of bytes differs, or a filling bit is not zero.
    """
    of_one = PlaneSum(length, bits)
    of_one.add(packed)
    return of_one.take()


def read_tail(packed: Buffer, length: int, bits: int) -> list[int]:
    """The last entries, outside the planes.

    Raises:
        MessageError: as `VectorSum.add` says.
    """
    expected = packed_bytes(length, bits)
    if len(packed) != expected:
        raise MessageError(f"{length} entries of {bits} bits take {expected} bytes; {len(packed)} were sent")
    count = length % GROUP
    tail = int.from_bytes(packed[(length - count) * bits // 8 :], "little")
    if tail >> (bits * count):
        raise MessageError("the filling bits of a packed vector are not zero")
    return [(tail >> (bits * i)) & ((1 << bits) - 1) for i in range(count)]


class AddedAside:
    """A sum whose vectors are added on another thread, one at a time, while the next one is checked."""

    def __init__(self, inner: VectorSum, length: int, bits: int) -> None:
        self._inner, self._length, self._bits = inner, length, bits
        self._pool = ThreadPoolExecutor(1)
        self._under_way: Future[None] | None = None

    def add(self, packed: Buffer) -> None:
        """See `VectorSum.add`; what is wrong with a vector is told at once."""
        read_tail(packed, self._length, self._bits)
        self._wait()
        self._under_way = self._pool.submit(self._inner.add, packed)

    def take(self) -> Ring:
        """See `VectorSum.take`."""
        self._wait()
        self._pool.shutdown()
        return self._inner.take()

    def _wait(self) -> None:
        if self._under_way is not None:
            self._under_way.result()


class FusedSum:
    """The sum as ring elements, with a compiled loop that adds all planes in one pass."""

    def __init__(self, length: int, bits: int, add_planes: object) -> None:
        self._total: Ring = np.zeros(length, dtype=ring_dtype(bits))
        self._layout, self._bits = Layout(whole=length - length % GROUP, bits=bits), bits
        self._add = add_planes

    def add(self, packed: Buffer) -> None:
        """See `VectorSum.add`."""
        whole = self._layout.whole
        tail = read_tail(packed, self._total.size, self._bits)
        planes = {width: (view, offset) for width, offset, view in self._layout.views(packed)}
        none = (np.empty(0, dtype=np.uint8), 0)
        flat: list[object] = []
        for width in (64, 32, 16, 8, 4, 2, 1):
            view, offset = planes.get(width, none)
            flat += [view.view(f"<u{max(8, width) // 8}"), np.uint32(offset)]
        self._add(self._total, whole, *flat)  # type: ignore[operator]
        self._total[whole:] += np.array(tail, dtype=self._total.dtype)

    def take(self) -> Ring:
        """See `VectorSum.take`."""
        return self._total


class PlaneSum:
    """The sum plane by plane, with NumPy alone: at most 1.75 times the memory of a vector of the ring, and scratch.

    The lowest plane's lanes lie in the room of the sum itself, piece by piece: first the sums of whole words, then
    those of the shifted ones.
    """

    def __init__(self, length: int, bits: int) -> None:
        self._bits, self._layout = bits, Layout(whole=length - length % GROUP, bits=bits)
        self._total: Ring = np.zeros(length, dtype=ring_dtype(bits))
        self._lanes: list[Ring] = []
        for place, (width, offset) in enumerate(self._layout.wide):
            lane = np.dtype(f"<u{(width if bits - offset <= width else 2 * width) // 8}")
            own = place == 0 and lane == self._total.dtype
            self._lanes.append(self._total if own else np.zeros(self._layout.whole, dtype=lane))
        self._rest = np.zeros(self._layout.whole if bits % 8 else 0, dtype=np.uint8)
        self._room = np.empty(min(_PIECE, self._layout.whole) * 8, dtype=np.uint8)

    def add(self, packed: Buffer) -> None:
        """See `VectorSum.add`."""
        whole = self._layout.whole
        tail = read_tail(packed, self._total.size, self._bits)
        views = self._layout.views(packed)
        for (width, _, view), lanes in zip(views, self._lanes, strict=False):
            doubled = lanes.dtype.itemsize * 8 > width
            words: Ring = view.view(lanes.dtype)
            for start in range(0, whole, _PIECE):
                part = lanes[start : min(start + _PIECE, whole)]
                if doubled:
                    self._add_words(part, words[start // 2 : (start + part.size) // 2], width)
                else:
                    np.add(part, words[start : start + part.size], out=part)
        for width, offset, view in views[len(self._lanes) :]:
            self._add_rest(view, width, offset - (self._bits - self._bits % 8))
        self._total[whole:] += np.array(tail, dtype=self._total.dtype)

    def take(self) -> Ring:
        """See `VectorSum.take`."""
        whole, ring = self._layout.whole, self._total.dtype
        for (width, offset), lanes in zip(self._layout.wide, self._lanes, strict=True):
            doubled = lanes.dtype.itemsize * 8 > width
            for start in range(0, whole, _PIECE):
                part, out = lanes[start : min(start + _PIECE, whole)], self._total[start : min(start + _PIECE, whole)]
                values = _apart(part, width) if doubled else part
                if lanes is self._total:
                    out[:] = values
                else:
                    out += values.astype(ring) << ring.type(offset)
        for start in range(0, self._rest.size, _PIECE):
            out = self._total[start : min(start + _PIECE, whole)]
            out += self._rest[start : start + out.size].astype(ring) << ring.type(self._bits - self._bits % 8)
        self._lanes.clear()
        self._rest = self._room = np.empty(0, dtype=np.uint8)
        return self._total

    def _add_words(self, part: Ring, words: Ring, width: int) -> None:
        both, shifted = part[: words.size], part[words.size :]
        room: Ring = self._room[: words.nbytes].view(words.dtype)
        np.add(both, words, out=both)
        np.right_shift(words, words.dtype.type(width), out=room)
        np.add(shifted, room, out=shifted)

    def _add_rest(self, plane: npt.NDArray[np.uint8], width: int, offset: int) -> None:
        """Add a plane of less than 8 bits to the bytes of the rest: row r of it to the r-th part of the entries."""
        for row in range(8 // width):
            for start in range(0, plane.size, _PIECE):
                piece = plane[start : start + _PIECE]
                part = self._rest[row * plane.size + start :][: piece.size]
                room = self._room[: piece.size]
                np.right_shift(piece, np.uint8(row * width), out=room)
                room &= np.uint8((1 << width) - 1)
                if offset:
                    # A product, as NumPy shifts bytes to the left one by one.
                    room *= np.uint8(1 << offset)
                part += room


def _apart(part: Ring, width: int) -> Ring:
    """The sums of neighbours, in their order, from those of whole and of shifted words."""
    half = part.size // 2
    values = np.empty(part.size, dtype=part.dtype)
    values[1::2] = part[half:]
    values[0::2] = part[:half] - (part[half:] << part.dtype.type(width))
    return values
