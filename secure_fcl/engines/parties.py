"""Who plays a run's clients, as interfaces: the server's side, the device's side, and what only a simulation sees.

A run knows these and no transport. The pool of worker processes is one `Parties`; a `Host` is the same object wherever
it lives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from secure_fcl.engines.commands import Ask, Command, LabAsk, PerClient, Reply
from secure_fcl.errors import FrameRefused
from secure_fcl.strategies import State

Party = str
"""A party's name in plans and messages of the secure sums."""

_Kind = TypeVar("_Kind", bound=Command)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one party answered."""

    party: Party
    reply: Reply

    def of(self, kind: type[_Kind]) -> _Kind:
        """Return the reply.

        Raises:
            FrameRefused: it is of another kind.
        """
        if not isinstance(self.reply, kind):
            raise FrameRefused(f"{self.party} answered {type(self.reply).__name__}, not {kind.__name__}; update it")
        return self.reply


class Parties(Protocol):
    """The server's side: reaches the parties that play clients."""

    def present(self) -> tuple[Party, ...]:
        """Return who can be asked now. Whom the plan counts on is the public calendar's to say, not this."""

    def ask(self, asks: Mapping[Party, Ask], deadline: float | None = None) -> Iterator[Answer]:
        """Ask each party its own, and yield the answers as they come: one from each party, in any order.

        A party that is silent for `deadline` seconds is missing from the answers; None waits for all. An ask given to
        many parties as one object is written once for those who share a transport. Asks leave when the first answer is
        wanted.

        Raises:
            SecureFclError: no more can be asked of anybody, in one sentence.
        """

    def close(self) -> None:
        """Let go of all parties. May be called again."""


class Host(Protocol):
    """The device's side: plays one client, or in a simulation many."""

    def answer(self, asks: Mapping[Party, Ask]) -> Iterator[Answer]:
        """Yield one answer for each client that is asked, each as soon as it is there.

        What many clients of one host are asked at once comes in one call, so that they can train together.
        """


class Lab(Protocol):
    """What only a simulation may ask of devices: no deployed client would answer, and no guarantee covers it."""

    @property
    def processes(self) -> Sequence[int]:
        """Ids of the processes that play clients."""

    def identify(self, folder: Path) -> None:
        """Let all clients read their private keys from `<party>.key` in a folder."""

    def coins(self) -> PerClient:
        """Return every client's retention coins: "keys" and "items"."""

    def restore(self, coins: PerClient, kept: PerClient) -> None:
        """Hand coins, and what `kept` returned, back to the clients that are in either."""

    def held(self) -> PerClient:
        """Return the numbers of the examples in every client's memory: "held"."""

    def kept(self) -> PerClient:
        """Return all that clients keep between rounds."""

    def own(self) -> PerClient:
        """Return the weights of every client's own model: "own"."""

    def clear(self) -> PerClient:
        """Return the clear update of the client for which a view of it is declared."""

    def disclosed(self, clients: Iterable[Party], slot: int, round: int, state: State) -> PerClient:
        """Return what clients say by themselves, by name of the side channel."""


class Simulation(Parties, Protocol):
    """Parties that answer a lab too."""

    @property
    def processes(self) -> Sequence[int]:
        """See `Lab.processes`."""

    def ask(self, asks: Mapping[Party, Ask | LabAsk], deadline: float | None = None) -> Iterator[Answer]:
        """See `Parties.ask`."""


def party_of(client: int) -> Party:
    """Return the name under which a client takes part in secure sums."""
    return f"client{client}"


def parties_of(clients: int) -> dict[Party, int]:
    """Return the number of every client by its name."""
    return {party_of(k): k for k in range(clients)}
