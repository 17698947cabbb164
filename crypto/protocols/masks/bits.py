"""Vectors of b-bit numbers in exactly b bits an entry, and back.

An entry is cut into planes of 32, 16, 8, 4, 2 and 1 bits, those that b is made of, lowest bits first; a plane holds
the same bits of all entries, so that packing is arithmetic on whole arrays. Planes below 8 bits put entries i,
i + S, i + 2S, ... into byte i, S the plane's number of bytes. The last entries, up to 7, follow as one little-endian
string of bits, entry i at bits i*b to (i+1)*b, filled with zeros to a whole byte.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crypto.protocols.masks.stream import Ring

Bytes = npt.NDArray[np.uint8]
# Entries handled at a time, few enough to stay in cache.
_PIECE = 1 << 14
GROUP = 8
Buffer = bytes | bytearray | memoryview


def packed_bytes(length: int, bits: int) -> int:
    """How many bytes `length` entries of `bits` bits take."""
    return -(-length * bits // 8)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the planes of `whole` entries, a multiple of `GROUP`, lie in a packed vector, lowest bits first."""

    whole: int
    bits: int

    @property
    def wide(self) -> list[tuple[int, int]]:
        """Width and first bit of the planes of whole bytes."""
        return [plane for plane in _planes(self.bits) if plane[0] >= 8]

    def views(self, packed: Buffer) -> list[tuple[int, int, Bytes]]:
        """Width, first bit and bytes of each plane."""
        raw, place, found = np.frombuffer(packed, dtype=np.uint8), 0, []
        for width, offset in self.wide:
            size = self.whole * width // 8
            found.append((width, offset, raw[place : place + size]))
            place += size
        for width, offset in _planes(self.bits % 8):
            size = self.whole * width // 8
            found.append((width, self.bits - self.bits % 8 + offset, raw[place : place + size]))
            place += size
        return found


def pack_bits(vector: Ring, bits: int) -> bytearray:
    """Write the low `bits` bits (1 to 64) of each entry of a flat vector; higher bits of an entry are dropped."""
    packed = bytearray(packed_bytes(vector.size, bits))
    whole, out = vector.size - vector.size % GROUP, np.frombuffer(packed, dtype=np.uint8)
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


def _planes(bits: int) -> list[tuple[int, int]]:
    """Width and first bit of each plane, lowest bits first."""
    found, offset = [], 0
    for width in (64, 32, 16, 8, 4, 2, 1):
        if bits & width:
            found.append((width, offset))
            offset += width
    return found
