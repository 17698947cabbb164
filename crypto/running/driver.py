"""Carry messages between the parties of one program until nothing is under way."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from multiprocessing.connection import wait
from typing import Protocol, TypeGuard, runtime_checkable

import numpy as np
import numpy.typing as npt

from crypto.errors import CryptoError, PartyLost, SubmissionRefused
from crypto.protocols.session import ClientSession, Session
from crypto.wire.messages import Abort, Aggregate, Begin, Deadline, Input, Item, Message

DEFAULT_TIMEOUT = 120.0
# No protocol has more phases than this; each deadline ends one.
MAX_DEADLINES = 7


@runtime_checkable
class Remote(Protocol):
    """A party that answers later, such as `crypto.running.processes.ProcessParty`."""

    @property
    def name(self) -> str:
        """The party's name."""
        ...

    @property
    def pending(self) -> int:
        """How many inputs it has not answered yet (its start counts as one)."""
        ...

    def fileno(self) -> int:
        """The descriptor that becomes readable when an answer arrives."""
        ...

    def send(self, item: Input) -> None:
        """Give it one input."""
        ...

    def collect(self) -> tuple[Item, ...]:
        """Return one answer (the items that follow from one input), waiting for it."""
        ...


Party = Session | Remote
Outcome = Aggregate | Abort


def set_up(parties: Mapping[str, Party], timeout: float = DEFAULT_TIMEOUT) -> tuple[Message, ...]:
    """Let every party start and deliver the key messages; call it once, before the first round.

    Returns the messages for clients, to be given to `on` of client sessions that live elsewhere. `timeout` in
    seconds.

    Raises:
        PartyLost: a party in a process of its own ends or does not answer in time.
    """
    first: list[Item] = []
    for party in parties.values():
        if isinstance(party, Session):
            first.extend(party.start())
    elsewhere: list[Message] = []
    deliver(parties, first, timeout, elsewhere=elsewhere)
    return tuple(elsewhere)


def run_round(
    parties: Mapping[str, Party],
    round: int,
    upload: str,
    vectors: Mapping[str, npt.NDArray[np.int64]],
    drop: Collection[str] = (),
    timeout: float = DEFAULT_TIMEOUT,
    noise: Mapping[str, npt.NDArray[np.int64]] | None = None,
) -> Outcome:
    """Run one sum: every client with a vector submits it, except those in `drop`; then deadlines until it ends.

    `noise`: noise shares by client, if any. `parties` holds the clients' sessions and the helpers
    (`plan_roles`), after `set_up`.

    Raises:
        SubmissionRefused: a vector that does not fit.
        PartyLost: a process ends or does not answer within `timeout` seconds.
        CryptoError: the round was already run.
    """
    outcomes = deliver(parties, (), timeout, {"server": (Begin(round, upload),)})
    for name, vector in vectors.items():
        if name in drop:
            continue
        client = parties.get(name)
        if not isinstance(client, ClientSession):
            raise SubmissionRefused(f"{name!r} is not a client among the parties {sorted(parties)}")
        if noise is None or name not in noise:
            sent = client.submit(round, upload, vector)
        else:
            sent = client.submit(round, upload, vector, noise[name])
        outcomes += deliver(parties, sent, timeout, settle=False)
    outcomes += deliver(parties, (), timeout)
    for _ in range(MAX_DEADLINES):
        if not outcomes:
            outcomes += deliver(parties, (), timeout, {"server": (Deadline(round, upload),)})
    if len(outcomes) != 1:
        raise CryptoError(f"round {round} of {upload!r} gave {len(outcomes)} outcomes; a sum is run once, after set_up")
    return outcomes[0]


def deliver(
    parties: Mapping[str, Party],
    items: Iterable[Item],
    timeout: float = DEFAULT_TIMEOUT,
    inputs: Mapping[str, Iterable[Input]] | None = None,
    elsewhere: list[Message] | None = None,
    settle: bool = True,
) -> list[Outcome]:
    """Give `inputs` to the parties named, deliver `items` and all that follows, until every party is idle.

    Returns the aggregates and aborts that came out. Messages for parties that are not here are appended to
    `elsewhere`, or dropped if it is None. With `settle` False, parties in processes of their own may still be
    at work when it returns; a later call takes their answers.

    Raises:
        PartyLost: a process ends or nothing moves for `timeout` seconds.
    """
    outcomes: list[Outcome] = []
    queue: deque[Item] = deque(items)
    for name, extra in (inputs or {}).items():
        for given in extra:
            queue.extend(_give(parties[name], given))
    remotes = [party for party in parties.values() if _answers_later(party)]
    last = time.monotonic()
    while True:
        while queue:
            item = queue.popleft()
            if isinstance(item, Message):
                for party in _receivers(parties, item.receiver):
                    queue.extend(_give(party, item))
                if elsewhere is not None and item.receiver not in parties:
                    elsewhere.append(item)
            else:
                outcomes.append(item)
        busy = [remote for remote in remotes if remote.pending]
        if not busy or not settle:
            return outcomes
        readable = wait([remote.fileno() for remote in busy], timeout=1.0)
        for remote in busy:
            if remote.fileno() in readable:
                queue.extend(remote.collect())
                last = time.monotonic()
        if time.monotonic() - last > timeout:
            names = ", ".join(remote.name for remote in busy)
            raise PartyLost(f"no answer from {names} within {timeout:g} s; close the parties and start again")


def _answers_later(party: Party) -> TypeGuard[Remote]:
    # As `isinstance`, which looks at every member of a Protocol, once for each client of a sum.
    return hasattr(party, "collect")


def _receivers(parties: Mapping[str, Party], receiver: str) -> list[Party]:
    if receiver == "clients":
        return [party for party in parties.values() if isinstance(party, ClientSession)]
    return [parties[receiver]] if receiver in parties else []


def _give(party: Party, item: Input) -> tuple[Item, ...]:
    if isinstance(party, Session):
        return party.on(item)
    party.send(item)
    return ()
