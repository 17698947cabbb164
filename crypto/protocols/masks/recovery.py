"""The server's end of a sum: shares to secrets, secrets to masks, masks off the total."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from crypto.planning.plans import Plan
from crypto.protocols.masks.errors import RecordError
from crypto.protocols.masks.keys import AgreementKey, MaskContext
from crypto.protocols.masks.members import Setup
from crypto.protocols.masks.offers import PAIR, SELF, Offer, seed_commitment, share_commitment
from crypto.protocols.masks.shamir import lagrange_weights, recover
from crypto.protocols.masks.stream import Ring, apply_masks


@dataclass
class Recovery:
    """The shares of one epoch, checked on arrival against the dealers' commitments.

    `blame` lists, in words, whose fault a bad share is.
    """

    plan: Plan
    setup: Setup
    offers: Mapping[int, Offer]
    threshold: int
    survivors: tuple[int, ...]
    dropped: tuple[int, ...]
    blame: list[str] = field(default_factory=list)
    _shares: dict[int, dict[int, bytes]] = field(default_factory=dict)
    _weights: dict[tuple[int, ...], list[int]] = field(default_factory=dict)

    def take(self, holder: int, triples: tuple[tuple[int, int, bytes], ...], bad: tuple[int, ...]) -> None:
        """Keep the shares that were asked for and fit; note the holder of one that does not fit."""
        alive = frozenset(self.survivors)
        for dealer in bad:
            self._blame(f"{self._name(holder)} got a bad share of {self._name(dealer)}")
        for dealer, kind, share in triples:
            offer = self.offers.get(dealer)
            if offer is None or holder not in offer.places or kind != (SELF if dealer in alive else PAIR):
                self._blame(f"{self._name(holder)} sent a share that was not asked for")
                continue
            found = share_commitment(self.plan.session, offer.epoch, dealer, holder, kind, share)
            if found != offer.commitment(holder, kind):
                self._blame(f"{self._name(holder)} sent a false share")
                continue
            self._shares.setdefault(dealer, {})[holder] = share

    def missing(self) -> list[str]:
        """The clients whose secret has fewer than `threshold` shares yet."""
        needed = (*self.survivors, *self.dropped)
        return [self._name(dealer) for dealer in needed if len(self._shares.get(dealer, ())) < self.threshold]

    def unmask(self, context: MaskContext, total: Ring) -> None:
        """Take every mask off `total`, in place.

        Secrets are forgotten on return.

        Raises:
            RecordError: shares that fit do not give the committed secret; names the dealer.
        """
        names = self.plan.clients
        seeds = {dealer: self._secret(dealer, SELF) for dealer in self.survivors}
        subtract = [context.self_key(seed, names[dealer]) for dealer, seed in seeds.items()]
        add = []
        alive = frozenset(self.survivors)
        for dealer in self.dropped:
            pair = AgreementKey(self._secret(dealer, PAIR))
            for peer in self.setup.neighbours[dealer]:
                if peer not in alive:
                    continue
                public = self.offers[peer].public
                # The first of a pair added the mask: what the survivor did is undone.
                if peer < dealer:
                    subtract.append(context.pair_key(pair, public, names[peer], names[dealer]))
                else:
                    add.append(context.pair_key(pair, public, names[dealer], names[peer]))
            pair.erase()
        self._shares.clear()
        apply_masks(total, add, subtract)

    def _secret(self, dealer: int, kind: int) -> bytes:
        held = self._shares[dealer]
        holders = tuple(sorted(held)[: self.threshold])
        if holders not in self._weights:
            self._weights[holders] = lagrange_weights([holder + 1 for holder in holders])
        secret = recover(self._weights[holders], [held[holder] for holder in holders])
        offer = self.offers[dealer]
        if secret is not None and kind == SELF:
            fits = seed_commitment(self.plan.session, offer.epoch, dealer, secret) == offer.seed_commitment
        else:
            fits = secret is not None and AgreementKey(secret).public == offer.public
        if secret is None or not fits:
            raise RecordError(f"{self._name(dealer)} dealt shares that do not give its committed secret; leave it out")
        return secret

    def _blame(self, text: str) -> None:
        if text not in self.blame:
            self.blame.append(text)

    def _name(self, index: int) -> str:
        return repr(self.plan.clients[index]) if index < len(self.plan.clients) else f"client {index}"


def signed_total(total: Ring, bits: int) -> npt.NDArray[np.int64]:
    """Read ring elements of `bits` bits as numbers in [-2^(bits-1), 2^(bits-1))."""
    shift = np.int64(64 - bits)
    return (total.astype(np.uint64).view(np.int64) << shift) >> shift
