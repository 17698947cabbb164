"""The server's side over Flower: the `Parties` that reaches clients through a grid of SuperNodes.

Only `push_messages` and `pull_messages` of the grid are used: `send_and_receive` looks for answers every three seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from flwr.app import Message
from flwr.serverapp import Grid
from httpx import HTTPError

from crypto.keys.roster import Roster, Trust
from secure_fcl.engines import commands as c
from secure_fcl.engines.flower.contents import ASK, GREET, from_content, to_content
from secure_fcl.engines.flower.greeting import Code, greeted, new_challenge
from secure_fcl.engines.frames import grouped, to_frame
from secure_fcl.engines.parties import Answer, Party, parties_of
from secure_fcl.engines.tls.replies import read_reply
from secure_fcl.errors import CarrierLost, FrameRefused

POLL_SECONDS = 0.05
GREET_AGAIN_SECONDS = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Greeted:
    """A challenge that is out: the node, what it is to sign, and until when nobody else is asked there."""

    node: int
    challenge: bytes
    until: float


class GridParties:
    """The `Parties` behind a grid.

    A node is a client's once it has signed a fresh challenge with the client's own key of the roster; Flower's own
    node numbers prove nothing about clients. Whoever is silent for a whole deadline is not present until it has
    answered a new challenge: Flower lists a killed node for up to a minute more, and each ask to it would cost a
    deadline.

    Args:
        grid: of the ServerApp.
        roster: public keys of all parties.
        clients: how many clients the run has.
        deadline: seconds that an ask lives where its caller names none; it is Flower's TTL too, which is 12 hours
            otherwise.
        code: nodes that say that they run other code are not let in; None: all are.
    """

    def __init__(self, grid: Grid, roster: Roster, clients: int, *, deadline: float, code: Code | None = None) -> None:
        self._code = code
        self._grid = grid
        self._trust = Trust(roster)
        self._clients = parties_of(clients)
        self._deadline = deadline
        self._nodes: dict[Party, int] = {}
        self._silent: set[Party] = set()
        self._greetings: dict[str, _Greeted] = {}

    def present(self) -> tuple[Party, ...]:
        """See `Parties`: who has proven its name and was not silent since.

        Raises:
            CarrierLost: the SuperLink cannot be reached.
        """
        self._greet()
        return tuple(sorted((p for p in self._nodes if p not in self._silent), key=self._clients.__getitem__))

    def wait(self, seconds: float) -> tuple[Party, ...]:
        """Wait until all clients are present, but no longer than that; return who is.

        Raises:
            CarrierLost: the SuperLink cannot be reached.
        """
        end = time.monotonic() + seconds
        while len(present := self.present()) < len(self._clients) and time.monotonic() < end:
            time.sleep(5 * POLL_SECONDS)
        return present

    def ask(self, asks: Mapping[Party, c.Ask | c.LabAsk], deadline: float | None = None) -> Iterator[Answer]:
        """See `Parties`. Without a deadline it is the one that the parties were made with.

        Who answers with anything but what was asked for is missing: one client cannot end the run of others.

        Raises:
            CarrierLost: the SuperLink cannot be reached.
        """
        limit = self._deadline if deadline is None else deadline
        end = time.monotonic() + limit
        waiting = self._pushed(asks, limit)
        while waiting and time.monotonic() < end:
            replies = self._pulled(waiting)
            for reply in replies:
                party = waiting.pop(reply.metadata.reply_to_message_id, None)
                if party is None:
                    continue
                if (answer := _answer_of(party, asks[party], reply)) is not None:
                    yield Answer(party=party, reply=answer)
            if not replies:
                time.sleep(POLL_SECONDS)
        self._silent.update(waiting.values())

    def close(self) -> None:
        """See `Parties`: nobody is reached any more. The grid itself is Flower's to close."""
        self._nodes.clear()
        self._greetings.clear()

    def _pushed(self, asks: Mapping[Party, c.Ask | c.LabAsk], limit: float) -> dict[str, Party]:
        """Send all asks, and return the parties by the number that an answer will name; who has no node is left out."""
        messages: dict[Party, Message] = {}
        for ask, parties in grouped(asks):
            content = to_content(to_frame(ask))
            for party in parties:
                if party in self._nodes:
                    messages[party] = Message(content, self._nodes[party], ASK, ttl=limit)
        self._push(list(messages.values()))
        return {message.metadata.message_id: party for party, message in messages.items()}

    def _greet(self) -> None:
        now, listed = time.monotonic(), set(self._nodes_of_grid())
        for reply in self._pulled(self._greetings):
            number = reply.metadata.reply_to_message_id
            if (asked := self._greetings.pop(number, None)) is None:
                continue
            if (party := self._greeted(asked, reply)) is None:
                # Not asked again at once: whoever it is, it will answer the same.
                self._greetings[number] = replace(asked, until=now + GREET_AGAIN_SECONDS)
                continue
            self._nodes[party] = asked.node
            self._silent.discard(party)
        self._greetings = {number: asked for number, asked in self._greetings.items() if asked.until > now}
        self._nodes = {party: node for party, node in self._nodes.items() if node in listed}
        awake = {node for party, node in self._nodes.items() if party not in self._silent}
        for node in listed - awake - {asked.node for asked in self._greetings.values()}:
            challenge = new_challenge()
            message = Message(to_content(challenge), node, GREET, ttl=self._deadline)
            self._push([message])
            asked = _Greeted(node=node, challenge=challenge, until=now + self._deadline)
            self._greetings[message.metadata.message_id] = asked

    def _greeted(self, asked: _Greeted, reply: Message) -> Party | None:
        """Return the client of a node that has answered its challenge; None if it is none of this run's."""
        if reply.has_error():
            return None
        try:
            found = greeted(from_content(reply.content), asked.challenge, self._trust)
        except FrameRefused:
            return None
        if found is None or found[0] not in self._clients:
            return None
        if self._code not in (None, found[1]):
            _log.warning("%s says that it runs %s code, and this run wants %s; it is left out", *found, self._code)
            return None
        return found[0]

    def _nodes_of_grid(self) -> Iterable[int]:
        try:
            found: Iterable[int] = self._grid.get_node_ids()
        except HTTPError as error:
            raise _lost(error) from error
        return found

    def _push(self, messages: list[Message]) -> None:
        # Numbers are read off the messages: one kind of grid returns None in place of a refused one, another nothing.
        try:
            if messages:
                self._grid.push_messages(messages)
        except HTTPError as error:
            raise _lost(error) from error

    def _pulled(self, numbers: Iterable[str]) -> list[Message]:
        try:
            wanted = list(numbers)
            return list(self._grid.pull_messages(wanted)) if wanted else []
        except HTTPError as error:
            raise _lost(error) from error


def _answer_of(party: Party, ask: c.Ask | c.LabAsk, message: Message) -> c.Reply | None:
    """Return what a party answered; None if it is missing, which the log says."""
    if message.has_error():
        # Its text is whatever an application raised: the code is all that is taken of it.
        why = f"Flower's error {message.error.code}"
    else:
        try:
            return read_reply(party, ask, from_content(message.content))
        except FrameRefused:
            why = "it answered what cannot be an answer"
    _log.warning("%s is missing from %s: %s", party, type(ask).__name__, why)
    return None


def _lost(error: Exception) -> CarrierLost:
    return CarrierLost(f"Flower's SuperLink does not answer ({type(error).__name__}); start it again, and --resume")
