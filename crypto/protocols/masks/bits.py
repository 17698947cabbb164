"""Vectors of b-bit numbers in exactly b bits an entry, and back.

An entry is cut into planes of 32, 16, 8, 4, 2 and 1 bits, those that b is made of, lowest bits first; a plane holds
the same bits of all entries, so that packing is arithmetic on whole arrays. Planes below 8 bits put entries i,
i + S, i + 2S, ... into byte i, S the plane's number of bytes. The last entries, up to 7, follow as one little-endian
string of bits, entry i at bits i*b to (i+1)*b, filled with zeros to a whole byte.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from crypto.errors import MessageError
from crypto.protocols.masks.stream import Ring, ring_dtype

Bytes = npt.NDArray[np.uint8]
# Entries handled at a time, few enough to stay in cache.
_PIECE = 1 << 14
_GROUP = 8


def packed_bytes(length: int, bits: int) -> int:
    """How many bytes `length` entries of `bits` bits take."""
    return -(-length * bits // 8)


def pack_bits(vector: Ring, bits: int) -> bytearray:
    """Write the low `bits` bits (1 to 64) of each entry of a flat vector; higher bits of an entry are dropped."""
    packed = bytearray(packed_bytes(vector.size, bits))
    whole, out = vector.size - vector.size % _GROUP, np.frombuffer(packed, dtype=np.uint8)
    body, place = vector[:whole], 0
    for width, offset in _planes(bits):
        if width >= 8:
            size = whole * width // 8
            _pack_plane(body, offset, out[place : place + size].view(f"<u{width // 8}"))
            place += size
    if bits % 8:
        rest = np.empty(whole, dtype=np.uint8)
        _pack_plane(body, bits - bits % 8, rest)
        place += _pack_rest(rest, bits % 8, out[place:])
    tail = sum((entry & ((1 << bits) - 1)) << (bits * i) for i, entry in enumerate(vector[whole:].tolist()))
    packed[place:] = tail.to_bytes(out.size - place, "little")
    return packed


def unpack_bits(data: bytes | bytearray, length: int, bits: int) -> Ring:
    """Read what `pack_bits` wrote: `length` entries of `bits` bits, as the smallest ring type that holds them.

    Raises:
        MessageError: the number of bytes differs, or a filling bit is not zero.
    """
    out = np.zeros(length, dtype=ring_dtype(bits))
    add_bits(data, out, bits)
    return out


def add_bits(data: bytes | bytearray, total: Ring, bits: int) -> None:
    """Add what `pack_bits` wrote to `total`, of the ring type of `bits`, in place; never half of it.

    Raises:
        MessageError: as `unpack_bits`.
    """
    length, expected = total.size, packed_bytes(total.size, bits)
    if len(data) != expected:
        raise MessageError(f"{length} entries of {bits} bits take {expected} bytes; {len(data)} were sent")
    whole = length - length % _GROUP
    split = whole * bits // 8
    tail = int.from_bytes(data[split:], "little")
    if tail >> (bits * (length - whole)):
        raise MessageError("the filling bits of a packed vector are not zero")
    for start, piece in _pieces(np.frombuffer(data, dtype=np.uint8, count=split), whole, bits):
        part = total[start : start + piece.size]
        np.add(part, piece, out=part)
    last = [(tail >> (bits * i)) & ((1 << bits) - 1) for i in range(length - whole)]
    total[whole:] += np.array(last, dtype=total.dtype)


def _pieces(raw: Bytes, count: int, bits: int) -> Iterator[tuple[int, Ring]]:
    """The entries of the planes, piece by piece, in room that is used again."""
    planes: list[tuple[Ring, int]] = []
    place = 0
    for width, offset in _planes(bits):
        if width >= 8:
            size = count * width // 8
            planes.append((raw[place : place + size].view(f"<u{width // 8}"), offset))
            place += size
    if bits % 8:
        planes.append((_unpack_rest(raw[place:], bits % 8, count), bits - bits % 8))
    (lowest, _), *others = planes
    dtype = ring_dtype(bits)
    room = np.empty((2, min(_PIECE, count)), dtype=dtype)
    for start in range(0, count, _PIECE):
        piece, part = room[:, : count - start]
        piece[:] = lowest[start : start + _PIECE]
        for plane, offset in others:
            part[:] = plane[start : start + _PIECE]
            part <<= dtype.type(offset)
            piece |= part
        yield start, piece


def _pack_plane(body: Ring, offset: int, plane: Ring) -> None:
    """Cut one plane of whole bytes out of the entries."""
    room = np.empty(min(_PIECE, body.size), dtype=body.dtype)
    for start in range(0, body.size, _PIECE):
        piece = body[start : start + _PIECE]
        if offset:
            piece = np.right_shift(piece, body.dtype.type(offset), out=room[: piece.size])
        plane[start : start + _PIECE] = piece


def _pack_rest(rest: Bytes, bits: int, out: Bytes) -> int:
    """Write the lowest `bits` (1 to 7) bits of each entry to `out`, which holds zeros; returns how many bytes."""
    place = 0
    for width, offset in _planes(bits):
        size = rest.size * width // 8
        plane, part = out[place : place + size], np.empty(size, dtype=np.uint8)
        for row in range(8 // width):
            np.right_shift(rest[row * size : (row + 1) * size], np.uint8(offset), out=part)
            part &= np.uint8((1 << width) - 1)
            # A product, as NumPy shifts bytes to the left one by one.
            part *= np.uint8(1 << (row * width))
            plane |= part
        place += size
    return place


def _unpack_rest(raw: Bytes, bits: int, count: int) -> Bytes:
    """The reverse of `_pack_rest`."""
    rest, place = np.zeros(count, dtype=np.uint8), 0
    for width, offset in _planes(bits):
        size = count * width // 8
        plane, part = raw[place : place + size], np.empty(size, dtype=np.uint8)
        for row in range(8 // width):
            np.right_shift(plane, np.uint8(row * width), out=part)
            part &= np.uint8((1 << width) - 1)
            part *= np.uint8(1 << offset)
            rest[row * size : (row + 1) * size] |= part
        place += size
    return rest


def _planes(bits: int) -> list[tuple[int, int]]:
    """Width and first bit of each plane, lowest bits first."""
    found, offset = [], 0
    for width in (64, 32, 16, 8, 4, 2, 1):
        if bits & width:
            found.append((width, offset))
            offset += width
    return found
