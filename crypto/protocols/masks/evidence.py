"""What shows a third party that a dealer lied: its signed offer, and shares that fit it and give another secret, or one
whose vault does not hold what the dealer committed to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from crypto.errors import CryptoError
from crypto.keys.roster import Trust
from crypto.planning.plans import Plan
from crypto.protocols.masks.errors import RecordError
from crypto.protocols.masks.members import mask_parameters
from crypto.protocols.masks.offers import KINDS, SELF, Offer, read_preamble, seed_commitment, share_commitment
from crypto.protocols.masks.records import unpack
from crypto.protocols.masks.requests import indices
from crypto.protocols.masks.shamir import SHARE_BYTES, lagrange_weights, recover
from crypto.protocols.masks.vault import Dealt, agreement_key, holds_committed
from crypto.wire.values import pack_value


class Committed(Protocol):
    """What an offer commits its dealer to."""

    @property
    def epoch(self) -> int:
        """The epoch."""
        ...

    @property
    def public(self) -> bytes:
        """The X25519 key of the epoch."""
        ...

    @property
    def seed_commitment(self) -> bytes:
        """The commitment to the self-mask seed."""
        ...


def fits(
    session: str, dealer: int, kind: int, secret: bytes | None, offer: Committed, holders: Sequence[int], dealt: Dealt
) -> bool:
    """Whether a recovered secret is the one that the dealer committed to, and opens its vault if it is the root."""
    if secret is None:
        return False
    if kind == SELF:
        return seed_commitment(session, offer.epoch, dealer, secret) == offer.seed_commitment
    same = agreement_key(secret).public == offer.public
    return same and holds_committed(session, offer.epoch, dealer, secret, holders, dealt)


def write_dealing(holders: tuple[int, ...], offer: Offer, kind: int, shares: Mapping[int, bytes]) -> bytes:
    """The evidence against one dealer: `holders` of its shares in order, signed record, commitments, the shares."""
    parts = [list(holders), offer.record, offer.dealt.to_bytes(), kind, list(shares), list(shares.values())]
    return pack_value(parts)


def is_false_dealing(plan: Plan, name: str, dealing: bytes) -> bool:
    """Whether `dealing` shows that the client `name` signed commitments to shares that do not give its secret.

    *Guarantee*: never True for a client that followed the protocol, whatever the server and all others do (Ed25519,
    SHA-256), if the plan pins identities. False for anything malformed; does not raise.
    """
    try:
        return name in plan.clients and _is_false(plan, name, dealing)
    except CryptoError:
        return False


def _is_false(plan: Plan, name: str, dealing: bytes) -> bool:
    match unpack(dealing):
        case [list(places), bytes(record), bytes(joined), int(kind), list(who), list(shares)] if kind in KINDS:
            holders, named, dealer = indices(places), indices(who), plan.clients.index(name)
        case _:
            raise RecordError("the evidence is malformed")
    threshold = mask_parameters(plan).threshold
    if dealer not in holders or not set(named) <= set(holders) or not len(named) == len(shares) == threshold:
        raise RecordError("the evidence does not hold as many shares as give a secret")
    preamble = read_preamble(plan, Trust(plan.roster), name, record)
    dealt = Dealt.from_bytes(joined, len(holders))
    if dealt.digest != preamble.dealt:
        raise RecordError("the commitments are not those that were signed")
    given: list[bytes] = []
    for holder, share in zip(named, shares, strict=True):
        if not isinstance(share, bytes) or len(share) != SHARE_BYTES:
            raise RecordError("a share is malformed")
        start = 32 * (2 * holders.index(holder) + kind)
        found = share_commitment(plan.session, preamble.epoch, dealer, holder, kind, share)
        if found != dealt.shares[start : start + 32]:
            raise RecordError("a share does not fit its commitment")
        given.append(share)
    secret = recover(lagrange_weights([holder + 1 for holder in named]), given)
    return not fits(plan.session, dealer, kind, secret, preamble, holders, dealt)
