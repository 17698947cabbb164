"""The bodies of the messages between server and clients after the set-up, and what a client signs to confirm.

Clients are named by their place in the plan. Every reader raises FaultError for anything malformed.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from crypto.protocols.bookkeeping import MAX_MODEL
from crypto.protocols.masks.errors import FaultError
from crypto.protocols.masks.keys import MaskContext, digest
from crypto.protocols.masks.records import unpack
from crypto.protocols.masks.shamir import SHARE_BYTES
from crypto.wire.values import pack_value

# Epoch and size of the model digest, which follows, filled with zeros so that the planes lie aligned: 80 bytes at most.
_HEAD = struct.Struct(">QB")
_ALIGNED = 16


@dataclass(frozen=True)
class Entry:
    """A neighbour's offer as its holder gets it: the signed record; both commitments and the sealed box.

    `shown`: where the two committed to different secrets of their pair, what shows the neighbour's commitment
    (`crypto.protocols.masks.vault.read_pair`); else empty.
    """

    dealer: int
    record: bytes
    sealed: tuple[bytes, bytes, bytes]
    shown: bytes = b""


@dataclass(frozen=True)
class KeyList:
    """All that a client gets before a sum: who is in the cohort, and its neighbours' offers."""

    epoch: int
    cohort: tuple[int, ...]
    entries: tuple[Entry, ...]

    def to_bytes(self) -> bytes:
        """Write it."""
        rows = [[entry.dealer, entry.record, *entry.sealed, entry.shown] for entry in self.entries]
        return write_keys(write_cohort(self.epoch, self.cohort), rows)

    @staticmethod
    def from_bytes(data: bytes) -> KeyList:
        """Read it."""
        match unpack(data):
            case [int(epoch), list(cohort), list(rows)]:
                return KeyList(epoch, indices(cohort), tuple(_entry(row) for row in rows))
        raise FaultError("a key list is malformed")


def write_cohort(epoch: int, cohort: Sequence[int]) -> bytes:
    """What all key lists of an epoch begin with: a list of three in msgpack, of which the third is missing."""
    return b"\x93" + pack_value(epoch) + pack_value(list(cohort))


def write_keys(beginning: bytes, rows: Sequence[Sequence[object]]) -> bytes:
    """A key list from its `write_cohort` and the rows of its entries: a server writes thousands of entries a sum, and
    keeps none; the cohort is the same for all its clients, and is written once.
    """
    return beginning + pack_value(rows)


def _entry(row: object) -> Entry:
    match row:
        case [int(dealer), bytes(record), bytes(first), bytes(second), bytes(box), bytes(shown)]:
            return Entry(dealer, record, (first, second, box), shown)
    raise FaultError("an entry of a key list is malformed")


@dataclass(frozen=True)
class UnmaskRequest:
    """Whose self masks and whose pairwise masks to open, with the confirmations of an active mode's cohort."""

    epoch: int
    survivors: tuple[int, ...]
    dropped: tuple[int, ...]
    proofs: Mapping[int, bytes]

    def to_bytes(self) -> bytes:
        """Write it."""
        proofs = [[index, proof] for index, proof in self.proofs.items()]
        return pack_value([self.epoch, list(self.survivors), list(self.dropped), proofs])

    @staticmethod
    def from_bytes(data: bytes) -> UnmaskRequest:
        """Read it."""
        match unpack(data):
            case [int(epoch), list(survivors), list(dropped), list(rows)]:
                proofs: dict[int, bytes] = {}
                for row in rows:
                    match row:
                        case [int(index), bytes(proof)] if index not in proofs:
                            proofs[index] = proof
                        case _:
                            raise FaultError("a confirmation is malformed or there twice")
                return UnmaskRequest(epoch, indices(survivors), indices(dropped), proofs)
        raise FaultError("an unmask request is malformed")


@dataclass(frozen=True)
class Shares:
    """A client's answer: (dealer, kind, share) triples, dealers whose shares were bad, and its next offer."""

    epoch: int
    triples: tuple[tuple[int, int, bytes], ...] = field(repr=False)
    bad: tuple[int, ...]
    offer: bytes

    def to_bytes(self) -> bytes:
        """Write it: dealers, kinds and shares in three columns."""
        dealers, kinds = [dealer for dealer, _, _ in self.triples], bytes(kind for _, kind, _ in self.triples)
        shares = b"".join(share for _, _, share in self.triples)
        return pack_value([self.epoch, dealers, kinds, shares, list(self.bad), self.offer])

    @staticmethod
    def from_bytes(data: bytes) -> Shares:
        """Read it."""
        match unpack(data):
            case [int(epoch), list(dealers), bytes(kinds), bytes(shares), list(bad), bytes(offer)]:
                if len(dealers) == len(kinds) and len(shares) == SHARE_BYTES * len(kinds):
                    parts = [shares[start : start + SHARE_BYTES] for start in range(0, len(shares), SHARE_BYTES)]
                    triples = tuple(zip(indices(dealers), kinds, parts, strict=True))
                    return Shares(epoch, triples, indices(bad), offer)
        raise FaultError("an answer is malformed")


def write_masked(epoch: int, model: bytes, packed: bytearray) -> bytes:
    """A masked vector: a head, then the packed entries as they are, so that reading copies nothing."""
    head = _HEAD.pack(epoch, len(model)) + model
    return b"".join((head, bytes(-len(head) % _ALIGNED), packed))


def read_masked(data: bytes) -> tuple[int, bytes, memoryview]:
    """Return epoch, model digest and packed vector."""
    if len(data) >= _HEAD.size:
        epoch, size = _HEAD.unpack_from(data)
        end = _HEAD.size + size
        start = end + -end % _ALIGNED
        if size <= MAX_MODEL and epoch < 1 << 62 and len(data) >= start and not any(data[end:start]):
            return epoch, data[_HEAD.size : end], memoryview(data)[start:]
    raise FaultError("a masked vector is malformed")


def write_survivors(epoch: int, survivors: Sequence[int]) -> bytes:
    """The server's request to confirm."""
    return pack_value([epoch, list(survivors)])


def read_survivors(data: bytes) -> tuple[int, tuple[int, ...]]:
    """Return epoch and survivors."""
    match unpack(data):
        case [int(epoch), list(survivors)]:
            return epoch, indices(survivors)
    raise FaultError("a list of survivors is malformed")


def write_number(number: int) -> bytes:
    """An epoch by itself."""
    return pack_value(number)


def read_number(data: bytes) -> int:
    """Return the epoch."""
    match unpack(data):
        case int(number) if 0 <= number < 1 << 62:
            return number
    raise FaultError("an epoch is malformed")


def statement(context: MaskContext, cohort: Iterable[int], survivors: Iterable[int]) -> bytes:
    """What clients of an active mode's cohort sign: one sum, one model, one cohort, one set of survivors."""
    sets = [pack_value(sorted(cohort)), pack_value(sorted(survivors))]
    return digest((*context.labels("confirm"), *sets))


def indices(values: Sequence[object]) -> tuple[int, ...]:
    """Check that the values are clients' places, ascending and each once."""
    # A server and its clients do this for every list of clients, thousands of times a sum.
    if set(map(type, values)) <= {int}:
        found = cast(tuple[int, ...], tuple(values))
        if not found or (found[0] >= 0 and all(map(operator.lt, found, found[1:]))):
            return found
    raise FaultError("a list of clients is not of places in ascending order")
