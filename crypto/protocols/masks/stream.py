"""Masks: key streams added to or taken off a vector of ring elements in place, in pieces that stay in cache.

A mask is the key stream that AES-256-GCM (NIST SP 800-38D) lays over a message, nonce zero: counter mode from block 2
on. A key serves this one vector only. Nothing is authenticated with it; it is GCM's for speed: on processors that have
AES for whole vectors, OpenSSL uses that in GCM but not in plain counter mode, which gives the same bytes. Arithmetic
is modulo 2^16, 2^32 or 2^64; a ring of 2^b with fewer bits is a quotient of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from crypto.errors import RandomnessError
from crypto.keys.randomness import KEY_BYTES

Ring = npt.NDArray[np.unsignedinteger]
PIECE_BYTES = 1 << 18
_MOST_STREAMS = 64
# Bytes of key stream below which loading a compiled loop costs more than it saves.
_WORTH_COMPILING = 1 << 23
_LINE = 64


def _piece() -> memoryview:
    """A piece of zeros that begins with a line of the cache: OpenSSL's AES reads and writes whole lines."""
    room = np.zeros(PIECE_BYTES + _LINE, dtype=np.uint8)
    start = -room.ctypes.data % _LINE
    return room[start : start + PIECE_BYTES].data


_ZEROS = _piece().toreadonly()


def ring_dtype(bits: int) -> np.dtype[np.unsignedinteger]:
    """The smallest of uint16, uint32 and uint64 that holds `bits` bits (1 to 64)."""
    if bits <= 16:
        return np.dtype(np.uint16)
    return np.dtype(np.uint32) if bits <= 32 else np.dtype(np.uint64)


def ring_of(parts: Sequence[npt.NDArray[np.int64]], bits: int) -> Ring:
    """Return the sum of flat vectors of one length, at least one, as elements of the ring of `bits` bits.

    Beside the parts it takes the memory of what it returns: their sum in int64 is never there.
    """
    ring: Ring = parts[0].astype(ring_dtype(bits))
    for part in parts[1:]:
        np.add(ring, part, out=ring, dtype=ring.dtype, casting="unsafe")
    return ring


def apply_masks(vector: Ring, add: Sequence[bytes], subtract: Sequence[bytes], threads: int = 1) -> None:
    """Add the streams of the keys `add` to `vector` and take off those of `subtract`, in place.

    `vector` is flat and contiguous. No keys, or no entries, change nothing. Each thread beyond the first takes the
    memory of one more vector.

    Raises:
        RandomnessError: a key that has not 32 bytes.
    """
    signed = [(key, True) for key in add] + [(key, False) for key in subtract]
    if any(len(key) != KEY_BYTES for key, _ in signed):
        raise RandomnessError(f"a mask key has {KEY_BYTES} bytes; derive it with HKDF")
    groups = [signed[start : start + _MOST_STREAMS] for start in range(0, len(signed), _MOST_STREAMS)]
    if threads < 2 or len(groups) < 2:
        for group in groups:
            _apply(vector, group)
        return
    # AES and long additions run outside the interpreter's lock. Whoever is free takes the next group.
    left = iter(groups)
    with ThreadPoolExecutor(threads) as pool:
        targets = [vector, *(np.zeros_like(vector) for _ in range(threads - 1))]
        for target in pool.map(lambda target: _apply_all(target, left), targets):
            if target is not vector:
                np.add(vector, target, out=vector)


def _apply_all(vector: Ring, groups: Iterator[Sequence[tuple[bytes, bool]]]) -> Ring:
    for group in groups:
        _apply(vector, group)
    return vector


class Accelerator(Protocol):
    """Compiled loops with the results of the NumPy ones, bit for bit (`crypto.protocols.masks.fused`)."""

    AT_ONCE: int

    def add_planes(self, total: Ring, whole: int, *planes: object) -> None:
        """Add the planes of `whole` packed entries to `total`."""
        ...

    def add_all(self, piece: Ring, *streams: Ring) -> None:
        """Add `AT_ONCE` streams, at least as long, to `piece`."""
        ...

    def subtract_all(self, piece: Ring, *streams: Ring) -> None:
        """Take as many off."""
        ...


@cache
def accelerator() -> Accelerator | None:
    """The compiled loops, if numba is installed (the extra `fast`)."""
    if importlib.util.find_spec("numba") is None:
        return None
    fused: Any = importlib.import_module("crypto.protocols.masks.fused")
    found: Accelerator = fused
    return found


def by_gcm(key: bytes) -> CipherContext:
    """The key stream, as what GCM lays over zeros; the tag is never asked for."""
    return Cipher(algorithms.AES256(key), modes.GCM(bytes(12))).encryptor()


def by_counter(key: bytes) -> CipherContext:
    """The same key stream by plain counter mode."""
    return Cipher(algorithms.AES256(key), modes.CTR(bytes(15) + b"\x02")).encryptor()


@cache
def fastest() -> Callable[[bytes], CipherContext]:
    """Whichever of the two is faster on this processor, tried once for under a millisecond."""
    room, spent = _piece(), {by_gcm: float("inf"), by_counter: float("inf")}
    for _ in range(3):
        for make in spent:
            stream = make(bytes(KEY_BYTES))
            begun = time.perf_counter()
            stream.update_into(_ZEROS, room)
            spent[make] = min(spent[make], time.perf_counter() - begun)
    return min(spent, key=lambda make: spent[make])


def _apply(vector: Ring, signed: Sequence[tuple[bytes, bool]]) -> None:
    """Add the streams of the keys that are True and take off the others', several at a time where that is compiled."""
    fast = accelerator() if vector.nbytes * len(signed) >= _WORTH_COMPILING else None
    at_once = 1 if fast is None else fast.AT_ONCE
    open_stream = fastest()
    ordered = sorted(signed, key=lambda each: each[1])
    streams = [(open_stream(key).update_into, added) for key, added in ordered]
    # Several streams lie in cache beside the piece they are for, so pieces are smaller then.
    size = PIECE_BYTES if fast is None else PIECE_BYTES // 2
    step = size // vector.dtype.itemsize
    buffers = [_piece()[:size] for _ in range(at_once)]
    drawn = [np.frombuffer(buffer, dtype=vector.dtype.newbyteorder("<")) for buffer in buffers]
    for start in range(0, vector.size, step):
        piece = vector[start : start + step]
        plain, waiting = _ZEROS[: piece.nbytes], 0
        for place, (draw, added) in enumerate(streams):
            draw(plain, buffers[waiting])
            waiting += 1
            last = place + 1 == len(streams) or streams[place + 1][1] != added
            if waiting < at_once and not last:
                continue
            if fast is not None and waiting == at_once:
                (fast.add_all if added else fast.subtract_all)(piece, *drawn)
            else:
                act = np.add if added else np.subtract
                for stream in drawn[:waiting]:
                    act(piece, stream[: piece.size], out=piece)
            waiting = 0
