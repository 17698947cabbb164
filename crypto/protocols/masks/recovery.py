"""The server's end of a sum: shares to secrets, secrets to masks, masks off the total."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from crypto.keys.secrecy import holds_secrets
from crypto.planning.plans import Plan
from crypto.protocols.faults import Fault
from crypto.protocols.masks.errors import FaultError
from crypto.protocols.masks.evidence import fits, write_dealing
from crypto.protocols.masks.keys import MaskContext
from crypto.protocols.masks.members import Setup
from crypto.protocols.masks.offers import PAIR, SELF, Offer, shares_fit
from crypto.protocols.masks.shamir import lagrange_weights, recover
from crypto.protocols.masks.stream import Ring, apply_masks
from crypto.protocols.masks.vault import agreement_key, unlock


@holds_secrets
@dataclass(repr=False)
class Recovery:
    """The shares of one epoch, checked on arrival against the dealers' commitments.

    `disputed`: the pairs, each in order, whose ends committed to different secrets.
    """

    plan: Plan
    setup: Setup
    offers: Mapping[int, Offer]
    threshold: int
    survivors: tuple[int, ...]
    dropped: tuple[int, ...]
    disputed: frozenset[tuple[int, int]] = frozenset()
    _shares: dict[int, dict[int, bytes]] = field(default_factory=lambda: defaultdict(dict))
    _complaints: dict[int, set[int]] = field(default_factory=dict)
    _secrets: dict[int, bytes] = field(default_factory=dict)
    _weights: dict[tuple[int, ...], list[int]] = field(default_factory=dict)

    def take(self, holder: int, triples: tuple[tuple[int, int, bytes], ...], bad: tuple[int, ...]) -> None:
        """Keep one holder's shares.

        Raises:
            FaultError: they are not those that it was asked for, or one does not fit its dealer's commitment.
        """
        alive, offers = self._alive, self.offers
        dealers = {dealer for dealer, _, _ in triples}
        held = {dealer for dealer in (*self.setup.neighbours[holder], holder) if dealer in offers}
        asked = [kind for _, kind, _ in triples] == [SELF if dealer in alive else PAIR for dealer, _, _ in triples]
        if not asked or dealers & set(bad) or dealers | set(bad) != held or holder in bad:
            raise FaultError(f"{self._name(holder)} sent other shares than those that were asked for")
        if not shares_fit(self.plan.session, offers, holder, triples):
            raise FaultError(f"{self._name(holder)} sent a false share")
        shares = self._shares
        for dealer, _, share in triples:
            shares[dealer][holder] = share
        for dealer in bad:
            self._complaints.setdefault(dealer, set()).add(holder)

    def missing(self) -> list[str]:
        """The clients whose secret has fewer than `threshold` shares yet."""
        return [self._name(dealer) for dealer in self._needed() if not self._enough(dealer)]

    def liars(self, answered: int) -> list[Fault]:
        """The dealers of too few shares that open, or of shares that do not give the secret they committed to.

        Who has not answered is silent or corrupt; as the two together are at most `max_dropouts`, so many fewer can
        complain without a reason.
        """
        most = self.plan.max_dropouts - (len(self.plan.clients) - answered)
        found = []
        for dealer in self._needed():
            complaints = len(self._complaints.get(dealer, ()))
            if not self._enough(dealer):
                if complaints > most >= 0:
                    why = (
                        f"{self._name(dealer)} dealt shares that {complaints} clients could not open, "
                        f"of whom {most} may be lying"
                    )
                    found.append(Fault(name=self.plan.clients[dealer], reason=why))
            elif not self._recover(dealer):
                why = f"{self._name(dealer)} dealt shares that do not give its committed secrets"
                found.append(Fault(name=self.plan.clients[dealer], reason=why, dealing=self._dealing(dealer)))
        return found

    def unmask(self, context: MaskContext, total: Ring, threads: int = 1) -> None:
        """Take every mask off `total`, in place, once nothing is missing and nobody has lied.

        Secrets are forgotten on return.

        Raises:
            RecordError: a public key is unusable.
        """
        names = self.plan.clients
        subtract = [context.self_key(self._secrets[dealer], names[dealer]) for dealer in self.survivors]
        add: list[bytes] = []
        alive = self._alive
        for dealer in self.dropped:
            root, vault = self._secrets[dealer], self.offers[dealer].dealt.vault
            pair, holders = agreement_key(root), self.setup.holders(dealer)
            secrets = unlock(context.session, context.epoch, dealer, root, holders, vault)
            for peer in self.setup.neighbours[dealer]:
                if peer not in alive:
                    continue
                public = self.offers[peer].public
                first, second = min(peer, dealer), max(peer, dealer)
                secret = None if (first, second) in self.disputed else secrets[peer]
                key = context.pair_key(pair, public, names[first], names[second], secret)
                # The first of a pair added the mask: what the survivor did is undone.
                (subtract if peer < dealer else add).append(key)
            pair.erase()
        self._shares.clear()
        self._secrets.clear()
        apply_masks(total, add, subtract, threads)

    @cached_property
    def _alive(self) -> frozenset[int]:
        return frozenset(self.survivors)

    def _needed(self) -> tuple[int, ...]:
        return (*self.survivors, *self.dropped)

    def _enough(self, dealer: int) -> bool:
        return len(self._shares.get(dealer, ())) >= self.threshold

    def _kind(self, dealer: int) -> int:
        return SELF if dealer in self._alive else PAIR

    def _recover(self, dealer: int) -> bool:
        """Whether enough shares give the committed secret, which is then kept."""
        held = self._shares[dealer]
        holders = tuple(sorted(held)[: self.threshold])
        if holders not in self._weights:
            self._weights[holders] = lagrange_weights([holder + 1 for holder in holders])
        secret = recover(self._weights[holders], [held[holder] for holder in holders])
        offer = self.offers[dealer]
        holders_of = self.setup.holders(dealer)
        if not fits(self.plan.session, dealer, self._kind(dealer), secret, offer, holders_of, offer.dealt):
            return False
        self._secrets[dealer] = secret or b""
        return True

    def _dealing(self, dealer: int) -> bytes:
        held, offer = self._shares[dealer], self.offers[dealer]
        shares = {holder: held[holder] for holder in sorted(held)[: self.threshold]}
        return write_dealing(self.setup.holders(dealer), offer, self._kind(dealer), shares)

    def _name(self, index: int) -> str:
        return repr(self.plan.clients[index])


def signed_total(total: Ring, bits: int) -> npt.NDArray[np.int64]:
    """Read ring elements of `bits` bits as numbers in [-2^(bits-1), 2^(bits-1))."""
    shift = np.int64(64 - bits)
    return (total.astype(np.uint64).view(np.int64) << shift) >> shift
