"""Offers: one client's keys for one epoch, and the shares of their secrets for its neighbours.

An offer's record (signed) holds the epoch, the X25519 public key, a commitment to the self-mask seed, and the
hash of the commitments to all shares; the commitments and the sealed shares travel beside it. A holder checks
its share against the commitment on arrival, so whoever later sends one that does not fit is at fault itself;
and if shares that fit do not give the committed secret, the dealer is.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from crypto.keys.exchange import usable
from crypto.keys.randomness import KEY_BYTES, RandomBytes
from crypto.keys.roster import Identity, Trust
from crypto.keys.secrecy import holds_secrets
from crypto.planning.plans import Plan
from crypto.protocols.masks.errors import FaultError, RecordError
from crypto.protocols.masks.keys import AgreementKey, Labels, digest, open_box, seal
from crypto.protocols.masks.members import Setup
from crypto.protocols.masks.records import read_record, unpack, write_record
from crypto.protocols.masks.shamir import SHARE_BYTES, split
from crypto.wire.values import pack_value

SELF, PAIR = 0, 1
KINDS = (SELF, PAIR)
SharePair = tuple[bytes, bytes]
_PLACE = struct.Struct("<IIB")


@holds_secrets
class EpochKeys:
    """The secrets behind one's own offer: erased as soon as the masks are made."""

    def __init__(self, epoch: int, random: RandomBytes) -> None:
        self.epoch = epoch
        self.pair = AgreementKey(random(KEY_BYTES))
        self._seed = bytearray(random(KEY_BYTES))
        self.own_shares: SharePair = (b"", b"")

    def seed(self) -> bytes:
        """The seed of the self mask."""
        return bytes(self._seed)

    def erase(self) -> None:
        """Overwrite the two secrets; one's own share of each stays until the epoch is over."""
        self.pair.erase()
        self._seed[:] = bytes(len(self._seed))


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What the server keeps of a checked offer; commitments and boxes lie in the order of `places`."""

    dealer: int
    epoch: int
    public: bytes
    seed_commitment: bytes
    record: bytes
    places: Mapping[int, int]
    joined: bytes
    boxes: Sequence[bytes]

    def commitment(self, holder: int, kind: int) -> bytes:
        """The commitment to one share.

        Raises:
            KeyError: somebody who holds none.
        """
        start = KEY_BYTES * (2 * self.places[holder] + kind)
        return self.joined[start : start + KEY_BYTES]

    def sealed_for(self, holder: int) -> tuple[bytes, bytes, bytes]:
        """What one holder gets: both commitments and the box.

        Raises:
            KeyError: somebody who holds none.
        """
        place = self.places[holder]
        start = 2 * KEY_BYTES * place
        middle = start + KEY_BYTES
        return self.joined[start:middle], self.joined[middle : middle + KEY_BYTES], self.boxes[place]


@dataclass(frozen=True)
class Preamble:
    """The signed part of an offer."""

    epoch: int
    public: bytes
    seed_commitment: bytes
    shares_digest: bytes


def share_commitment(session: str, epoch: int, dealer: int, holder: int, kind: int, share: bytes) -> bytes:
    """Hiding, as a share is uniform over 2^256 values and more, and binding by SHA-256's collision resistance."""
    # A server hashes one for each edge and sum: all parts but the last have a fixed size.
    return hashlib.sha256(_share_label(session, epoch) + _PLACE.pack(dealer, holder, kind) + share).digest()


@lru_cache(maxsize=16)
def _share_label(session: str, epoch: int) -> bytes:
    return digest(("masks share 2", session, epoch))


def seed_commitment(session: str, epoch: int, dealer: int, seed: bytes) -> bytes:
    """The commitment to a self-mask seed."""
    return digest(("masks seed 1", session, epoch, dealer, seed))


def make_offer(
    plan: Plan,
    setup: Setup,
    identity: Identity,
    keys: EpochKeys,
    sealings: Mapping[int, bytes],
    threshold: int,
    random: RandomBytes,
) -> bytes:
    """Share the secrets of `keys` among this client's holders; returns the offer's bytes.

    `sealings`: the channel key shared with each neighbour. A holder's x-coordinate is its place in the plan
    plus one.
    """
    dealer, epoch = plan.clients.index(identity.name), keys.epoch
    holders = setup.holders(dealer)
    points = [holder + 1 for holder in holders]
    shares = [split(secret, threshold, points, random) for secret in (keys.seed(), keys.pair.secret_bytes())]
    commitments, boxes = [], []
    for holder, *pair in zip(holders, *shares, strict=True):
        commitments += [share_commitment(plan.session, epoch, dealer, holder, kind, pair[kind]) for kind in KINDS]
        if holder == dealer:
            keys.own_shares = (pair[SELF], pair[PAIR])
            boxes.append(b"")
        else:
            context = _box_context(plan, setup, epoch, dealer, holder)
            boxes.append(seal(sealings[holder], pair[SELF] + pair[PAIR], context, random))
    joined = b"".join(commitments)
    seed = seed_commitment(plan.session, epoch, dealer, keys.seed())
    body = pack_value([epoch, keys.pair.public, seed, digest(("shares", joined))])
    return pack_value([write_record(identity, plan.session, "offer", body), joined, boxes])


def read_preamble(plan: Plan, trust: Trust, name: str, record: bytes) -> Preamble:
    """Check the signed part of `name`'s offer.

    Raises:
        RecordError: it is not signed by `name`.
        FaultError: it is malformed, or its key is of small order.
    """
    match unpack(read_record(trust, plan.session, "offer", name, record)):
        case [int(epoch), bytes(public), bytes(seed), bytes(shares)]:
            if epoch >= 0 and usable(public) and len(seed) == len(shares) == KEY_BYTES:
                return Preamble(epoch, public, seed, shares)
    raise FaultError(f"the offer of {name!r} is malformed")


def read_offer(plan: Plan, setup: Setup, trust: Trust, dealer: int, blob: bytes) -> Offer:
    """The server's check of a whole offer, which its dealer signed in one piece with its envelope.

    Raises:
        FaultError: it is not one.
    """
    match unpack(blob):
        case [bytes(record), bytes(joined), list(boxes)]:
            pass
        case _:
            raise FaultError(f"the offer of {plan.clients[dealer]!r} is malformed")
    preamble = read_preamble(plan, trust, plan.clients[dealer], record)
    holders = setup.holders(dealer)
    if len(joined) != 2 * KEY_BYTES * len(holders) or len(boxes) != len(holders):
        raise FaultError(f"the offer of {plan.clients[dealer]!r} has another number of shares than holders")
    if digest(("shares", joined)) != preamble.shares_digest or not all(isinstance(box, bytes) for box in boxes):
        raise FaultError(f"the commitments of {plan.clients[dealer]!r} are not those it signed")
    places = setup.places[dealer]
    return Offer(
        dealer=dealer,
        epoch=preamble.epoch,
        public=preamble.public,
        seed_commitment=preamble.seed_commitment,
        record=record,
        places=places,
        joined=joined,
        boxes=boxes,
    )


def open_shares(
    plan: Plan, setup: Setup, preamble: Preamble, ends: tuple[int, int], sealing: bytes, sealed: Sequence[bytes]
) -> SharePair:
    """The holder's check of its shares: `ends` are dealer and holder, `sealed` both commitments and the box.

    Raises:
        RecordError: the box does not open or a share does not fit its commitment.
    """
    dealer, holder = ends
    *commitments, box = sealed
    plain = open_box(sealing, box, _box_context(plan, setup, preamble.epoch, dealer, holder))
    if len(plain) != 2 * SHARE_BYTES:
        raise RecordError("a sealed share has the wrong size")
    pair = (plain[:SHARE_BYTES], plain[SHARE_BYTES:])
    for kind in KINDS:
        if share_commitment(plan.session, preamble.epoch, dealer, holder, kind, pair[kind]) != commitments[kind]:
            raise RecordError(f"a share of {plan.clients[dealer]!r} does not fit its commitment")
    return pair


def _box_context(plan: Plan, setup: Setup, epoch: int, dealer: int, holder: int) -> Labels:
    return ("masks share box 1", plan.session, setup.digest, epoch, dealer, holder)
