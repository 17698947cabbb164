"""Offers: one client's keys for one epoch, and the shares of their secrets for its neighbours.

An offer's record (signed) holds the epoch, the X25519 public key, a commitment to the self-mask seed, and the
hash of the commitments to all shares and to the secrets of pairs, and of their vault (`crypto.protocols.masks.vault`);
those and the sealed shares travel beside it. A holder checks
its share against the commitment on arrival, so whoever later sends one that does not fit is at fault itself;
and if shares that fit do not give the committed secret, the dealer is.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from crypto.keys.exchange import usable
from crypto.keys.randomness import KEY_BYTES, RandomBytes
from crypto.keys.roster import Identity, Trust
from crypto.keys.secrecy import holds_secrets
from crypto.planning.plans import Plan
from crypto.protocols.masks.errors import FaultError, RecordError
from crypto.protocols.masks.keys import digest, head, open_box, seal
from crypto.protocols.masks.members import Setup
from crypto.protocols.masks.records import read_record, unpack, write_record
from crypto.protocols.masks.shamir import SHARE_BYTES, split
from crypto.protocols.masks.vault import Dealt, agreement_key, lock, pair_commitment, pair_secret
from crypto.wire.values import pack_value

SELF, PAIR = 0, 1
KINDS = (SELF, PAIR)
SharePair = tuple[bytes, bytes]
_PLACE = struct.Struct("<IIB")


@holds_secrets
class EpochKeys:
    """The secrets behind one's own offer: erased as soon as the masks are made.

    `secrets`: those shared with each neighbour for this epoch; `commitments`: to them, as in the offer.
    """

    def __init__(self, epoch: int, random: RandomBytes) -> None:
        self.epoch = epoch
        self._root = bytearray(random(KEY_BYTES))
        self.pair = agreement_key(bytes(self._root))
        self._seed = bytearray(random(KEY_BYTES))
        self.secrets: dict[int, bytes] = {}
        self.commitments: dict[int, bytes] = {}
        self.own_shares: SharePair = (b"", b"")

    def root(self) -> bytes:
        """What the agreement key and the vault's key are derived from."""
        return bytes(self._root)

    def seed(self) -> bytes:
        """The seed of the self mask."""
        return bytes(self._seed)

    def erase(self) -> None:
        """Overwrite root and seed, and forget the rest; one's own share of the two stays until the epoch is over."""
        self.pair.erase()
        self.secrets.clear()
        self._root[:] = bytes(len(self._root))
        self._seed[:] = bytes(len(self._seed))


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What the server keeps of a checked offer; what is `dealt`, and boxes, lie in the order of `places`."""

    dealer: int
    epoch: int
    public: bytes
    seed_commitment: bytes
    record: bytes
    places: Mapping[int, int]
    dealt: Dealt
    boxes: Sequence[bytes]

    def show_pair(self, holder: int) -> bytes:
        """What shows one holder the commitment to the secret of their pair (`vault.read_pair`).

        Raises:
            KeyError: somebody who holds none.
        """
        return self.dealt.show_pair(self.places[holder])

    def row_for(self, holder: int, shown: bytes) -> list[object]:
        """What one holder gets: `requests.Entry` as it is written, from dealer to `shown`.

        Raises:
            KeyError: somebody who holds none.
        """
        # A server does this for each edge and sum.
        place, shares = self.places[holder], self.dealt.shares
        middle = (2 * place + 1) * KEY_BYTES
        first, second = shares[middle - KEY_BYTES : middle], shares[middle : middle + KEY_BYTES]
        return [self.dealer, self.record, first, second, self.boxes[place], shown]


@dataclass(frozen=True)
class Preamble:
    """The signed part of an offer."""

    epoch: int
    public: bytes
    seed_commitment: bytes
    dealt: bytes


def share_commitment(session: str, epoch: int, dealer: int, holder: int, kind: int, share: bytes) -> bytes:
    """Hiding, as a share is uniform over 2^256 values and more, and binding by SHA-256's collision resistance."""
    # All parts but the last have a fixed size.
    return hashlib.sha256(_share_label(session, epoch) + _PLACE.pack(dealer, holder, kind) + share).digest()


def shares_fit(
    session: str, offers: Mapping[int, Offer], holder: int, triples: Iterable[tuple[int, int, bytes]]
) -> bool:
    """Whether every (dealer, kind, share) of one holder fits the commitment in its dealer's offer.

    Raises:
        KeyError: a dealer without an offer, or one whose shares this holder does not hold.
    """
    for dealer, kind, share in triples:
        offer = offers[dealer]
        start = KEY_BYTES * (2 * offer.places[holder] + kind)
        made = share_commitment(session, offer.epoch, dealer, holder, kind, share)
        if made != offer.dealt.shares[start : start + KEY_BYTES]:
            return False
    return True


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
    channels: Mapping[int, bytes],
    threshold: int,
    random: RandomBytes,
) -> bytes:
    """Share the secrets of `keys` among this client's holders, and lock those of its pairs; returns the offer's bytes.

    `channels`: the key shared with each neighbour; whoever has none is out of the session, and gets no share. A
    holder's x-coordinate is its place in the plan plus one.
    """
    dealer, epoch = plan.clients.index(identity.name), keys.epoch
    holders = setup.holders(dealer)
    points = [holder + 1 for holder in holders]
    shares = [split(secret, threshold, points, random) for secret in (keys.seed(), keys.root())]
    commitments, boxes = [], []
    for holder, *pair in zip(holders, *shares, strict=True):
        commitments += [share_commitment(plan.session, epoch, dealer, holder, kind, pair[kind]) for kind in KINDS]
        if holder == dealer:
            keys.own_shares = (pair[SELF], pair[PAIR])
        if holder in channels:
            context = _box_context(plan, setup, epoch)
            boxes.append(seal(channels[holder], pair[SELF] + pair[PAIR], (dealer, holder), random, context))
        else:
            boxes.append(b"")
    dealt = _deal(plan, setup, dealer, keys, channels, b"".join(commitments), random)
    seed = seed_commitment(plan.session, epoch, dealer, keys.seed())
    body = pack_value([epoch, keys.pair.public, seed, dealt.digest])
    return pack_value([write_record(identity, plan.session, "offer", body), dealt.to_bytes(), boxes])


def _deal(
    plan: Plan,
    setup: Setup,
    dealer: int,
    keys: EpochKeys,
    channels: Mapping[int, bytes],
    shares: bytes,
    random: RandomBytes,
) -> Dealt:
    """Derive the secrets of this client's pairs, commit to them and lock them."""
    session, epoch, holders = plan.session, keys.epoch, setup.holders(dealer)
    for holder in holders:
        ends = (dealer, holder)
        if holder == dealer:
            continue
        if holder in channels:
            secret = pair_secret(channels[holder], session, setup.digest, epoch, ends)
        else:
            secret = random(KEY_BYTES)
        keys.secrets[holder], keys.commitments[holder] = secret, pair_commitment(session, epoch, ends, secret)
    none = bytes(KEY_BYTES)
    secrets = [keys.secrets.get(holder, none) for holder in holders]
    vault = lock(session, epoch, dealer, keys.root(), secrets, random)
    return Dealt(shares, b"".join(keys.commitments.get(holder, none) for holder in holders), vault)


def read_preamble(plan: Plan, trust: Trust, name: str, record: bytes) -> Preamble:
    """Check the signed part of `name`'s offer.

    Raises:
        RecordError: it is not signed by `name`.
        FaultError: it is malformed, or its key is of small order.
    """
    match unpack(read_record(trust, plan.session, "offer", name, record)):
        case [int(epoch), bytes(public), bytes(seed), bytes(dealt)]:
            if epoch >= 0 and usable(public) and len(seed) == len(dealt) == KEY_BYTES:
                return Preamble(epoch, public, seed, dealt)
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
    try:
        dealt = Dealt.from_bytes(joined, len(holders))
    except RecordError as error:
        raise FaultError(f"the offer of {plan.clients[dealer]!r} is not for its holders: {error}") from error
    if len(boxes) != len(holders):
        raise FaultError(f"the offer of {plan.clients[dealer]!r} has another number of shares than holders")
    if dealt.digest != preamble.dealt or not all(isinstance(box, bytes) for box in boxes):
        raise FaultError(f"the commitments of {plan.clients[dealer]!r} are not those it signed")
    places = setup.places[dealer]
    return Offer(
        dealer=dealer,
        epoch=preamble.epoch,
        public=preamble.public,
        seed_commitment=preamble.seed_commitment,
        record=record,
        places=places,
        dealt=dealt,
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
    plain = open_box(sealing, box, ends, _box_context(plan, setup, preamble.epoch))
    if len(plain) != 2 * SHARE_BYTES:
        raise RecordError("a sealed share has the wrong size")
    pair = (plain[:SHARE_BYTES], plain[SHARE_BYTES:])
    for kind in KINDS:
        if share_commitment(plan.session, preamble.epoch, dealer, holder, kind, pair[kind]) != commitments[kind]:
            raise RecordError(f"a share of {plan.clients[dealer]!r} does not fit its commitment")
    return pair


def _box_context(plan: Plan, setup: Setup, epoch: int) -> bytes:
    return head("masks share box 1", plan.session, setup.digest, epoch)
