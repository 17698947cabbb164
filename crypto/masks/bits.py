"""Vectors of b-bit numbers in exactly b bits an entry, and back."""

import math

import numpy as np
import numpy.typing as npt

from crypto.errors import MessageError
from crypto.masks.stream import Ring, ring_dtype

WORD = 64
Words = npt.NDArray[np.uint64]
# Joined numbers handled at a time: a multiple of every period, few enough to stay in cache.
_PIECE = 1 << 16


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
    ring = ring_dtype(bits).newbyteorder("<")
    groups = -(-vector.size // (joined * period))
    out = np.empty((groups, words), dtype="<u8")
    step = max(1, _PIECE // period)
    for first in range(0, groups, step):
        rows = min(step, groups - first)
        part = vector[first * joined * period : (first + rows) * joined * period].astype(ring, copy=False)
        if part.size < rows * joined * period:
            part = np.concatenate([part, np.zeros(rows * joined * period - part.size, dtype=ring)])
        wide = _join(part, bits, joined).reshape(rows, period)
        out[first : first + rows] = _merge(np.ascontiguousarray(wide.T), words, joined * bits).T
    return out.reshape(-1).view(np.uint8)[: packed_bytes(vector.size, bits)].tobytes()


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
    out = np.empty(groups * period * joined, dtype=dtype)
    step = max(1, _PIECE // period)
    for first in range(0, groups, step):
        rows = min(step, groups - first)
        raw = data[8 * words * first : 8 * words * (first + rows)].ljust(8 * words * rows, b"\0")
        source = np.ascontiguousarray(np.frombuffer(raw, dtype="<u8").reshape(rows, words).T)
        wide = np.ascontiguousarray(_part(source, period, joined * bits).T).reshape(-1)
        start = first * period * joined
        out[start : start + wide.size * joined] = _split(wide, bits, joined)
    return out[:length]


def _join(part: Ring, bits: int, joined: int) -> Words:
    """Join each `joined` neighbours to one number; bits above `bits` are dropped.

    A word of memory holds several entries, so most of it is done on whole words: each step brings the two halves
    of a field together.
    """
    field, have = 8 * part.dtype.itemsize, bits
    wide: Words = part.view("<u8").astype(np.uint64, copy=False)
    if field == WORD:
        return wide & np.uint64((1 << bits) - 1)
    while field < WORD:
        low, high = _halves(field, have)
        moved = (wide >> np.uint64(field - have)) & high
        moved |= wide & low
        wide, field, have = moved, 2 * field, 2 * have
    left = joined // (WORD // (8 * part.dtype.itemsize))
    joint = wide[::left].copy() if left > 1 else wide
    for place in range(1, left):
        joint |= wide[place::left] << np.uint64(place * have)
    return joint


def _split(wide: Words, bits: int, joined: int) -> Ring:
    """The reverse of `_join`; bits of the numbers above the joined entries are dropped."""
    ring = ring_dtype(bits)
    lanes = WORD // (8 * ring.itemsize)
    have, left = lanes * bits, joined // lanes
    if left > 1:
        single = np.empty((wide.size, left), dtype=np.uint64)
        for place in range(left):
            np.right_shift(wide, np.uint64(place * have), out=single[:, place])
        wide = single.reshape(-1)
    if lanes == 1:
        return wide & np.uint64((1 << bits) - 1)
    field = WORD
    while field > 8 * ring.itemsize:
        field, have = field // 2, have // 2
        low, high = _halves(field, have)
        moved = (wide & high) << np.uint64(field - have)
        moved |= wide & low
        wide = moved
    return wide.astype("<u8", copy=False).view(ring.newbyteorder("<"))


def _halves(field: int, have: int) -> tuple[np.uint64, np.uint64]:
    """Masks of the two joined halves, of `have` bits each, in every double field of a word."""
    keep = (1 << have) - 1
    starts = range(0, WORD, 2 * field)
    return np.uint64(sum(keep << start for start in starts)), np.uint64(sum(keep << (start + have) for start in starts))


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
