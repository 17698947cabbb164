"""Several signed integers in one BFV plaintext slot.

A slot holds v = f0 + f1 * 2^w + f2 * 2^(2w) + ... modulo t, with signed fields f. Sums of packed slots are
packed sums, as long as no field's sum leaves [-bound, bound] and |v| stays below t/2: `choose_packing` sees
to both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RING_DEGREE = 4096
PLAIN_MODULUS = 17592186028033
COEFFICIENT_BITS = (60, 49)
# The primes that SEAL chooses for these sizes; ciphertexts carry the first one only.
COEFFICIENT_PRIMES = (1152921504606830593, 562949953216513)


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How a vector of `length` entries lies in `chunks` plaintexts of 4,096 slots with `fields` fields
    each.
    """

    length: int
    fields: int
    width: int
    chunks: int


def choose_packing(length: int, bound: int) -> Packing | None:
    """Choose the most fields for sums with |entry| <= `bound`, or None if not even one field fits.

    A field is w = bits of 2 * bound + 1 wide; the worst slot, bound * (1 + 2^w + ...), must stay below t/2.
    """
    width = max(1, (2 * bound + 1).bit_length())
    if bound > 0 and 1 << (width - 1) >= 2 * bound + 1:
        width -= 1
    fields, worst = 0, 0
    while fields < RING_DEGREE:
        larger = worst + (max(bound, 1) << (width * fields))
        if 2 * larger >= PLAIN_MODULUS:
            break
        fields, worst = fields + 1, larger
    if fields == 0:
        return None
    slots = -(-length // fields)
    return Packing(length=length, fields=fields, width=width, chunks=-(-slots // RING_DEGREE))


def pack_fields(x: npt.NDArray[np.int64], packing: Packing) -> npt.NDArray[np.int64]:
    """Pack int64 entries into `chunks` rows of 4,096 slots with values in [0, t); missing entries count as 0.

    Entries must keep the packing's bound: the caller has checked that.
    """
    slots = packing.chunks * RING_DEGREE
    packed = np.zeros(slots, dtype=np.int64)
    for field in range(packing.fields):
        part = x[field * slots : (field + 1) * slots]
        packed[: part.size] += part << (packing.width * field)
    packed %= PLAIN_MODULUS
    return packed.reshape(packing.chunks, RING_DEGREE)


def unpack_fields(
    packed: npt.NDArray[np.int64], packing: Packing
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split decrypted slots (any representatives modulo t) into (entries, padding).

    `padding` holds the places beyond `length`; they are 0 unless a ciphertext was malformed.
    """
    slots = packing.chunks * RING_DEGREE
    rest = packed.reshape(slots) % PLAIN_MODULUS
    rest[rest > PLAIN_MODULUS // 2] -= PLAIN_MODULUS
    half = 1 << (packing.width - 1)
    out = np.empty(packing.fields * slots, dtype=np.int64)
    for field in range(packing.fields):
        low = ((rest + half) & ((1 << packing.width) - 1)) - half
        out[field * slots : (field + 1) * slots] = low
        rest = (rest - low) >> packing.width
    return out[: packing.length], np.concatenate([out[packing.length :], rest[rest != 0]])
