"""Vectors of b-bit numbers in exactly b bits an entry, and back."""

import math

import numpy as np
import numpy.typing as npt

from crypto.errors import MessageError
from crypto.masks.stream import Ring, ring_dtype

WORD = 64
Words = npt.NDArray[np.uint64]
# Numbers handled at a time: a multiple of every period, few enough to stay in cache.
_PIECE = 1 << 15


def packed_bytes(length: int, bits: int) -> int:
    """How many bytes `length` entries of `bits` bits take."""
    return -(-length * bits // 8)


def pack_bits(vector: Ring, bits: int) -> bytes:
    """Write the low `bits` bits (1 to 64) of each entry of a flat vector, entry i at bits i*b to (i+1)*b of a
    little-endian string of bits; the last byte is filled with zeros. Higher bits of an entry are dropped.
    """
    if bits == 8 * vector.dtype.itemsize:
        return vector.astype(vector.dtype.newbyteorder("<"), copy=False).tobytes()
    joined, period, words = _layout(bits)
    groups = -(-vector.size // (joined * period))
    out = np.empty((groups, words), dtype="<u8")
    step = max(1, _PIECE // period)
    keep = np.uint64((1 << bits) - 1)
    for first in range(0, groups, step):
        rows = min(step, groups - first)
        part = vector[first * joined * period : (first + rows) * joined * period]
        single = np.zeros(rows * joined * period, dtype=np.uint64)
        np.bitwise_and(part, keep, out=single[: part.size], casting="unsafe")
        wide = single[::joined].copy() if joined > 1 else single
        for place in range(1, joined):
            wide |= single[place::joined] << np.uint64(place * bits)
        columns = np.ascontiguousarray(wide.reshape(rows, period).T)
        out[first : first + rows] = _merge(columns, words, joined * bits).T
    return out.tobytes()[: packed_bytes(vector.size, bits)]


def unpack_bits(data: bytes, length: int, bits: int) -> Ring:
    """Read what `pack_bits` wrote: `length` entries of `bits` bits, as the smallest ring type that holds them.

    Raises MessageError if the number of bytes differs, or a filling bit is not zero.
    """
    expected = packed_bytes(length, bits)
    if len(data) != expected:
        raise MessageError(f"{length} entries of {bits} bits take {expected} bytes; {len(data)} were sent.")
    spare = 8 * expected - length * bits
    if spare and data[-1] >> (8 - spare):
        raise MessageError("The filling bits of a packed vector are not zero.")
    dtype = ring_dtype(bits)
    if bits == 8 * dtype.itemsize:
        return np.frombuffer(data, dtype=dtype.newbyteorder("<")).astype(dtype)
    joined, period, words = _layout(bits)
    groups = -(-length // (joined * period))
    raw = np.frombuffer(data.ljust(groups * words * 8, b"\0"), dtype="<u8").reshape(groups, words)
    out = np.empty((groups * period, joined), dtype=dtype)
    step = max(1, _PIECE // period)
    keep = np.uint64((1 << bits) - 1)
    for first in range(0, groups, step):
        columns = _part(np.ascontiguousarray(raw[first : first + step].T), period, joined * bits)
        wide = np.ascontiguousarray(columns.T).reshape(-1)
        target = out[first * period : first * period + wide.size]
        for place in range(joined):
            target[:, place] = (wide >> np.uint64(place * bits)) & keep
    return out.reshape(-1)[:length]


def _merge(columns: Words, words: int, bits: int) -> Words:
    """Lay the rows, numbers of `bits` bits, one after the other into `words` rows of 64 bits."""
    target = np.zeros((words, columns.shape[1]), dtype=np.uint64)
    for index, column in enumerate(columns):
        word, shift = divmod(index * bits, WORD)
        target[word] |= column << np.uint64(shift)
        if shift + bits > WORD:
            target[word + 1] |= column >> np.uint64(WORD - shift)
    return target


def _part(source: Words, period: int, bits: int) -> Words:
    """The reverse of `_merge`; bits above `bits` are left over in each number."""
    columns = np.empty((period, source.shape[1]), dtype=np.uint64)
    for index in range(period):
        word, shift = divmod(index * bits, WORD)
        np.right_shift(source[word], np.uint64(shift), out=columns[index])
        if shift + bits > WORD:
            columns[index] |= source[word + 1] << np.uint64(WORD - shift)
    return columns


def _layout(bits: int) -> tuple[int, int, int]:
    """How many entries join to one number of at most 64 bits, and after how many numbers, and words, the pattern
    repeats.
    """
    joined = 1
    while 2 * joined * bits <= WORD:
        joined *= 2
    common = math.gcd(joined * bits, WORD)
    return joined, WORD // common, joined * bits // common
