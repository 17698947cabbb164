"""The server's side of keys: the set-up, the offers that come in, and the cohort that may send vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crypto.keys.randomness import KEY_BYTES
from crypto.planning.plans import Plan
from crypto.protocols.bookkeeping import Key
from crypto.protocols.masks.errors import RecordError
from crypto.protocols.masks.gathering import Gathering, Sent
from crypto.protocols.masks.members import Setup
from crypto.protocols.masks.offers import Offer, read_offer
from crypto.protocols.masks.requests import write_cohort, write_keys, write_number
from crypto.wire.messages import Message

SERVER = "server"
SET_UP = (0, "-")


@dataclass
class Epoch:
    """The cohort that has keys for one sum, the offers behind them, and who has used its keys.

    `disputed`: the pairs, each in order, whose ends committed to different secrets.
    """

    number: int
    offers: dict[int, Offer]
    disputed: frozenset[tuple[int, int]]
    spent: set[int] = field(default_factory=set)


class Keyring:
    """Gathers keys for the next sum while one is under way."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._gathering = Gathering(plan)
        self._latest: Epoch | None = None
        self._offers: dict[int, Offer] = {}
        self._out: set[int] = set()

    @property
    def failed(self) -> str:
        """Why the set-up failed for good, or empty."""
        return self._gathering.failed

    @property
    def enrolled(self) -> bool:
        """Whether the set-up is finished."""
        return self._gathering.setup is not None

    @property
    def setup(self) -> Setup:
        """The finished set-up.

        Raises:
            RecordError: before that.
        """
        if self._gathering.setup is None:
            raise RecordError("the set-up is not finished")
        return self._gathering.setup

    @property
    def epoch(self) -> Epoch:
        """The cohort that has keys.

        Raises:
            RecordError: before the first one.
        """
        if self._latest is None:
            raise RecordError("no keys were handed out yet")
        return self._latest

    @property
    def begun(self) -> bool:
        """Whether some cohort was given keys."""
        return self._latest is not None

    @property
    def next_number(self) -> int:
        """The epoch that offers are for."""
        return 0 if self._latest is None else self._latest.number + 1

    @property
    def worn_out(self) -> bool:
        """Whether too few of the cohort have unused keys for a sum."""
        epoch = self._latest
        return epoch is None or len(epoch.offers) - len(epoch.spent) < self._plan.min_clients

    @property
    def offered(self) -> int:
        """How many offers for the next epoch are here."""
        return len(self._offers)

    @property
    def complete(self) -> bool:
        """Whether every member that is not left out has offered keys for the next epoch."""
        return self.enrolled and set(self._offers) | self._out >= set(self.setup.members)

    @property
    def members(self) -> tuple[int, ...]:
        """Who took part in the set-up and is not left out."""
        return tuple(index for index in self.setup.members if index not in self._out)

    def enrol(self, kind: str, sender: str, payload: bytes) -> None:
        """Take a hello, an opening or capsules.

        Raises:
            RecordError: it is late, doubled or not asked for.
            FaultError: its sender is at fault.
        """
        self._gathering.take(kind, sender, payload)

    def sharers(self) -> list[str]:
        """Who has a channel key that another has as well, as long as the set-up is not finished."""
        return [] if self.enrolled else self._gathering.sharers()

    def leave_out(self, index: int) -> None:
        """Take no more keys of a client, and wait for it no longer."""
        self._out.add(index)
        self._offers.pop(index, None)
        self._gathering.leave_out(self._plan.clients[index])
        if self._latest is not None:
            self._latest.spent.add(index)

    def go_on(self) -> tuple[Message, ...]:
        """Go on with the set-up if nobody is waited for any more."""
        return self._carried(self._gathering.go_on())

    def tick(self) -> tuple[Message, ...]:
        """Go on with the set-up without those who are missing."""
        return self._carried(self._gathering.tick())

    def offer(self, sender: int, blob: bytes) -> None:
        """Keep an offer for the next epoch.

        Raises:
            RecordError: it is late, or early.
            FaultError: it is not one, and its sender at fault.
        """
        if sender not in self.setup.members or sender in self._out:
            raise RecordError("an offer of somebody who did not take part in the whole set-up")
        offer = read_offer(self._plan, self.setup, self.setup.trust, sender, blob)
        if offer.epoch != self.next_number:
            raise RecordError(f"an offer for epoch {offer.epoch}, while {self.next_number} is next")
        self._offers[sender] = offer

    def invite(self, but: frozenset[int] = frozenset()) -> tuple[Message, ...]:
        """Ask all members who have not offered keys for the next epoch to do so, except `but`."""
        missing = [index for index in self.members if index not in self._offers and index not in but]
        return tuple(self.message(index, "prepare", SET_UP, write_number(self.next_number)) for index in missing)

    def spend(self) -> None:
        """Note that the cohort's keys are used: whoever sent a vector, or may have, has used them."""
        if self._latest is not None:
            self._latest.spent = set(self._latest.offers)

    def hand_out(self) -> tuple[Message, ...]:
        """Make the next cohort of those who have offered, and give each its neighbours' offers; nothing if the
        offers are fewer than the plan's clients of a sum.
        """
        if len(self._offers) < self._plan.min_clients:
            return ()
        offers = self._offers
        disputed = self._disputed(offers)
        self._latest = Epoch(self.next_number, offers, disputed)
        self._offers = {}
        cohort, neighbours = tuple(sorted(offers)), self.setup.neighbours
        sent, beginning = [], write_cohort(self._latest.number, cohort)
        for index in cohort:
            near = (offers[peer] for peer in neighbours[index] if peer in offers)
            rows = [o.row_for(index, self._shown(o, index, disputed) if disputed else b"") for o in near]
            sent.append(self.message(index, "keys", SET_UP, write_keys(beginning, rows)))
        return tuple(sent)

    def _disputed(self, offers: Mapping[int, Offer]) -> frozenset[tuple[int, int]]:
        """The pairs whose ends committed to different secrets: one of the two is corrupt, and nobody can say which."""
        found, places = set(), self.setup.places
        committed = {index: offer.dealt.pairs for index, offer in offers.items()}
        # A server does this once for each edge and sum.
        for index, mine in committed.items():
            for peer, place in places[index].items():
                if peer > index and peer in committed:
                    at, other = KEY_BYTES * place, KEY_BYTES * places[peer][index]
                    if mine[at : at + KEY_BYTES] != committed[peer][other : other + KEY_BYTES]:
                        found.add((index, peer))
        return frozenset(found)

    def _shown(self, offer: Offer, index: int, disputed: frozenset[tuple[int, int]]) -> bytes:
        """What shows a neighbour the other commitment to their secret, where the two differ."""
        return offer.show_pair(index) if _pair(index, offer.dealer) in disputed else b""

    def message(self, receiver: int, kind: str, place: Key, payload: bytes) -> Message:
        """A message to one client."""
        return self._message(self._plan.clients[receiver], kind, place, payload)

    def _carried(self, sent: tuple[Sent, ...]) -> tuple[Message, ...]:
        self._out.update(self._plan.clients.index(name) for name in self._gathering.left_out)
        return tuple(self._message(receiver, kind, SET_UP, payload) for receiver, kind, payload in sent)

    def _message(self, receiver: str, kind: str, place: Key, payload: bytes) -> Message:
        return Message(
            sender=SERVER,
            receiver=receiver,
            kind=kind,
            session=self._plan.session,
            round=place[0],
            upload=place[1],
            payload=payload,
        )


def _pair(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)
