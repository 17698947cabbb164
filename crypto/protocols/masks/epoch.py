"""A client's side of one epoch: keys and shares for one sum, from the key list to the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from crypto.keys.roster import Trust
from crypto.keys.secrecy import holds_secrets
from crypto.planning.plans import Plan
from crypto.protocols.masks.bits import pack_bits
from crypto.protocols.masks.errors import RecordError
from crypto.protocols.masks.keys import MaskContext
from crypto.protocols.masks.members import Setup, mask_parameters
from crypto.protocols.masks.offers import PAIR, SELF, EpochKeys, SharePair, open_shares, read_preamble
from crypto.protocols.masks.requests import KeyList
from crypto.protocols.masks.stream import apply_masks, ring_of
from crypto.protocols.masks.vault import read_pair

Stage = Literal["ready", "sent", "confirmed", "answered"]


@holds_secrets
class ClientEpoch:
    """One sum's keys: used for one vector, confirmed once, answered once."""

    def __init__(
        self,
        plan: Plan,
        setup: Setup,
        trust: Trust,
        me: int,
        keys: EpochKeys,
        channels: Mapping[int, bytes],
        listed: KeyList,
    ) -> None:
        """Check the key list and open the shares.

        A share that does not open does not make it unfit: its dealer is noted in `bad`.

        Raises:
            RecordError: it is not fit for a sum: another epoch, a cohort smaller than a sum must be, without this
                client or with strangers, a neighbour's offer that is missing, doubled, unsigned or of another epoch, a
                neighbour without a channel, a dispute about a pair's secret in which the two committed to the same,
                or fewer holders than the threshold.
        """
        if listed.epoch != keys.epoch or me not in listed.cohort or not set(listed.cohort) <= set(setup.members):
            raise RecordError(f"the key list of epoch {listed.epoch} is not for this client's keys")
        expected = set(setup.neighbours[me]) & set(listed.cohort)
        dealers = [entry.dealer for entry in listed.entries]
        enough = len(expected) + 1 >= mask_parameters(plan).threshold
        if (
            len(listed.cohort) < plan.min_clients
            or set(dealers) != expected
            or len(dealers) != len(expected)
            or not expected <= set(channels)
            or not enough
        ):
            raise RecordError(f"the key list of epoch {listed.epoch} has too few clients, or not all neighbours of one")
        self.number = keys.epoch
        self.cohort = listed.cohort
        self.stage: Stage = "ready"
        self.context: MaskContext | None = None
        self.bad: list[int] = []
        self.survivors: tuple[int, ...] = ()
        self._plan, self._setup, self._me, self._keys = plan, setup, me, keys
        self._peers: dict[int, bytes] = {}
        self._disputed: set[int] = set()
        self._shares: dict[int, SharePair] = {me: keys.own_shares}
        for entry in listed.entries:
            preamble = read_preamble(plan, trust, plan.clients[entry.dealer], entry.record)
            if preamble.epoch != self.number:
                raise RecordError(f"an offer is of epoch {preamble.epoch}, not {self.number}: a replay")
            self._peers[entry.dealer] = preamble.public
            if entry.shown:
                self._dispute(entry.dealer, preamble.dealt, entry.shown)
            try:
                ends = (entry.dealer, me)
                self._shares[entry.dealer] = open_shares(
                    plan, setup, preamble, ends, channels[entry.dealer], entry.sealed
                )
            except RecordError:
                self.bad.append(entry.dealer)

    def _dispute(self, peer: int, signed: bytes, shown: bytes) -> None:
        """Note a pair of different commitments: the server cannot tell who of the two is corrupt, but one is, and its
        mask protects nobody. A server that claims this of two honest clients cannot show it.
        """
        places = self._setup.places[peer]
        theirs = read_pair(shown, signed, places[self._me], len(places))
        if theirs == self._keys.commitments[peer]:
            raise RecordError(f"{self._plan.clients[peer]!r} committed to the pair's secret, and no dispute is due")
        self._disputed.add(peer)

    def mask(self, round: int, upload: str, model: bytes, parts: Sequence[npt.NDArray[np.int64]]) -> bytearray:
        """Return the masked sum of `parts`, a vector and perhaps its noise, packed; the masks' secrets are erased.

        Raises:
            RecordError: the epoch was used, or a neighbour's public key is not usable.
        """
        if self.stage != "ready":
            raise RecordError(f"the keys of epoch {self.number} were used")
        plan, me = self._plan, self._plan.clients[self._me]
        context = MaskContext(
            protocol=plan.protocol,
            session=plan.session,
            setup=self._setup.digest,
            epoch=self.number,
            round=round,
            upload=upload,
            model=model,
        )
        add, subtract = [context.self_key(self._keys.seed(), me)], []
        for peer, public in self._peers.items():
            name = plan.clients[peer]
            secret = None if peer in self._disputed else self._keys.secrets[peer]
            if self._me < peer:
                add.append(context.pair_key(self._keys.pair, public, me, name, secret))
            else:
                subtract.append(context.pair_key(self._keys.pair, public, name, me, secret))
        bits = plan.ring_bits(upload)
        ring = ring_of(parts, bits)
        apply_masks(ring, add, subtract)
        self._keys.erase()
        self.stage, self.context = "sent", context
        return pack_bits(ring, bits)

    def used_for(self) -> tuple[int, str] | None:
        """The sum that the keys were used for, if any."""
        return None if self.context is None else (self.context.round, self.context.upload)

    def reveal(self, survivors: tuple[int, ...]) -> tuple[tuple[int, int, bytes], ...]:
        """Give the shares of survivors' seeds and of the others' pair keys, never both, and forget them all."""
        alive = frozenset(survivors)
        triples = []
        for dealer, pair in sorted(self._shares.items()):
            if dealer in self.cohort:
                kind = SELF if dealer in alive else PAIR
                triples.append((dealer, kind, pair[kind]))
        self.erase()
        return tuple(triples)

    def erase(self) -> None:
        """Forget keys and shares."""
        self._keys.erase()
        self._keys.own_shares = (b"", b"")
        self._shares.clear()
        self.stage = "answered"
