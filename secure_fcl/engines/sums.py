"""Carries the messages of one roster's secure sums between the parties that play clients and the helper parties.

This process sees ciphertexts, sealed shares and sums; with `plain`, which hides nothing, it sees all.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.planning.masks import Mode
from crypto.planning.plans import Plan
from crypto.protocols.session import plan_roles
from crypto.running.driver import MAX_DEADLINES, Outcome, deliver, set_up
from crypto.running.processes import ProcessParty
from crypto.wire.messages import Abort, Aggregate, Begin, Deadline, Input, Item, Message
from secure_fcl.engines.commands import Answered, Ask, Deliver, Failed, Keys, Sent, Visit
from secure_fcl.engines.federation import Federation
from secure_fcl.engines.identities import identities
from secure_fcl.engines.journals import Head, head_from
from secure_fcl.engines.parties import Answer, Party, party_of
from secure_fcl.errors import SecureFclError, SumAborted
from secure_fcl.streams import Absent, AwayFrom

Ints = NDArray[np.int64]
Inputs = Mapping[str, Iterable[Input]]

NOBODY: Absent = {}
_UNHEARD: Mapping[AwayFrom, frozenset[str]] = {
    "upload": frozenset({"begin", "confirm", "unmask"}),
    "confirm": frozenset({"confirm", "unmask"}),
    "unmask": frozenset({"unmask"}),
}
"""Kinds of messages of a sum that do not reach who is away from a step on; only masks have them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SumResult:
    """One sum and what it took: seconds per phase, protocol bytes, and hash, size and seconds of every upload.

    `bytes_down` is what all clients together were sent since the sum before: keys, shares, survivor lists. `heads`:
    what devices that keep a journal signed for this attempt. `contributors`: whose vectors are in the sum, by number;
    the server knows them under every protocol. `blamed`: whom the server left out.
    """

    total: Ints
    seconds: dict[str, float]
    bytes_up: int
    bytes_down: int
    messages: tuple[dict[str, Any], ...]
    contributors: tuple[int, ...]
    heads: tuple[Head, ...] = ()
    blamed: tuple[int, ...] = ()


class SecureSums:
    """The secure sums of one roster. Use it in a `with` statement."""

    def __init__(
        self,
        plan: Plan,
        federation: Federation,
        given: str = "",
        server: Mode = "active",
        journals: Path | None = None,
    ) -> None:
        """Start the helper parties and hand out keys; `given` and `server` as in `identities`.

        `journals`: folder in which helper parties keep what they answered (`<role>.answers`); None: they keep nothing.

        Raises:
            SumAborted: too few clients got keys.
            SecureFclError: nobody can tell the clients where their private keys are.
        """
        self._federation = federation
        self._down = self._up = 0
        # Clients that answered to their keys, in order; a client that never did has no session to be asked in.
        self._joined: dict[Party, None] = {}
        self._ready: set[Party] = set()
        self._failed: dict[Party, str] = {}
        # Who is away from the running sum, and which of its messages do not reach it; what concerns keys does.
        self._away: dict[Party, frozenset[str]] = {}
        self._stack = ExitStack()
        try:
            known = self._stack.enter_context(identities(plan, given, server, everybody=federation.lab is not None))
            self._plan = plan = known.plan
            if federation.lab is not None:
                federation.lab.identify(known.folder)
            elif not given:
                raise SecureFclError("identities = '' makes keys in a simulation alone; name the folder of a roster")
            files = {role: known.file_of(role) for role in plan_roles(plan)}
            kept = {role: journals / f"{role}.answers" for role in plan_roles(plan)} if journals is not None else {}
            self._parties = {**self._stack.enter_context(federation.helpers(plan, files, kept))}
            keys = set_up(self._parties)
            self._down += _size(keys)
            self._exchange(self._answers(dict.fromkeys(self._present(plan.clients), Keys(plan=plan, items=keys))))
            for _ in range(MAX_DEADLINES):
                if self._waiting:
                    self._exchange([], {"server": (Deadline(0, "-"),)})
            if len(self._ready) < plan.min_clients:
                raise SumAborted(
                    f"{self._waiting} of {len(plan.clients)} clients got no keys{self._why()}; start again"
                )
        except BaseException:
            self._stack.close()
            raise

    @property
    def processes(self) -> dict[str, int]:
        """Process id of each helper party that has a process of its own."""
        return {name: party.pid for name, party in self._parties.items() if isinstance(party, ProcessParty)}

    @property
    def _waiting(self) -> int:
        return len(self._plan.clients) - len(self._ready)

    def _present(self, clients: Iterable[Party]) -> list[Party]:
        present = set(self._federation.parties.present())
        return [name for name in clients if name in present]

    def lacks_somebody(self) -> bool:
        """Return whether a client of the plan who has no keys of it can be reached now."""
        return any(name not in self._joined for name in self._present(self._plan.clients))

    def run(self, number: int, upload: str, visit: Visit, absent: Absent = NOBODY) -> SumResult:
        """Run one sum: clients train while messages flow on to the helper parties.

        `absent` clients are asked nothing of this sum from their step on. They are back when it is over, and answer
        then what they are asked about keys of the next one.

        Raises:
            SumAborted: the protocol gave up; names its reason.
        """
        self._away = {party_of(client): _UNHEARD[step] for client, step in absent.items()}
        late = {party_of(client) for client, step in absent.items() if step == "upload"}
        replies: list[Message] = []
        outcomes = self._deliver([], {"server": (Begin(number, upload),)}, replies)
        seconds = {"train": 0.0, "encrypt": 0.0, "aggregate": 0.0}
        records: list[dict[str, Any]] = []
        heads: list[Head] = []
        for answer in self._ask({name: visit for name in self._present(self._joined) if name not in late}):
            sent = answer.of(Sent)
            seconds["train"] += sent.train
            seconds["encrypt"] += sent.encrypt
            client = self._federation.numbers[answer.party]
            heads += [head_from(json.loads(sent.journal))] if sent.journal else []
            records += [_record(client, sent, item) for item in sent.items if isinstance(item, Message)]
            begun = time.perf_counter()
            outcomes += self._deliver(sent.items, {}, replies)
            seconds["aggregate"] += time.perf_counter() - begun
        begun = time.perf_counter()
        self._up = sum(record["bytes"] for record in records)
        outcomes += self._exchange(self._forward(replies))
        for _ in range(MAX_DEADLINES):
            if not outcomes:
                outcomes += self._exchange([], {"server": (Deadline(number, upload),)})
        seconds["aggregate"] += time.perf_counter() - begun
        outcome = outcomes[0] if outcomes else Abort(self._plan.session, number, upload, "no answer to any deadline")
        if not isinstance(outcome, Aggregate):
            raise SumAborted(f"the secure sum of round {number} was aborted: {outcome.reason}{self._why()}")
        down, self._down = self._down, 0
        return SumResult(
            total=outcome.total, seconds=seconds, bytes_up=self._up, bytes_down=down, messages=tuple(records),
            contributors=tuple(self._federation.numbers[name] for name in outcome.contributors),
            heads=tuple(heads), blamed=tuple(self._federation.numbers[name] for name in outcome.blamed),
        )  # fmt: skip

    def _exchange(self, items: Sequence[Item], inputs: Inputs | None = None) -> list[Outcome]:
        """Carry messages both ways between helper parties and clients until nobody has more to say."""
        outcomes: list[Outcome] = []
        pending, given = list(items), inputs or {}
        while pending or given:
            replies: list[Message] = []
            outcomes += self._deliver(pending, given, replies)
            pending, given = self._forward(replies), {}
        return outcomes

    def _forward(self, messages: Sequence[Message]) -> list[Item]:
        """Give messages to the clients they are for; return the clients' answers."""
        self._down += _size(messages)
        # Who is sent the same is given one object, which is written once for all clients of a worker.
        places: dict[Party, list[int]] = {name: [] for name in self._present(self._joined)}
        for place, message in enumerate(messages):
            for name in places if message.receiver == "clients" else places.keys() & {message.receiver}:
                if message.kind not in self._away.get(name, ()):
                    places[name].append(place)
        same = {tuple(mine): Deliver(items=tuple(messages[m] for m in mine)) for mine in places.values() if mine}
        return self._answers({name: same[tuple(mine)] for name, mine in places.items() if mine})

    def _answers(self, asks: Mapping[Party, Ask]) -> list[Item]:
        items: list[Item] = []
        for answer in self._ask(asks):
            reply = answer.of(Answered)
            items += reply.items
            self._joined[answer.party] = None
            (self._ready.add if reply.ready else self._ready.discard)(answer.party)
        self._up += _size(item for item in items if isinstance(item, Message))
        # The last answer to a sum makes the server hand out keys for the next one: offers of others come before.
        return sorted(items, key=lambda item: isinstance(item, Message) and item.upload != "-")

    def _ask(self, asks: Mapping[Party, Ask]) -> Iterator[Answer]:
        for answer in self._federation.parties.ask(asks, self._federation.deadline) if asks else ():
            if isinstance(answer.reply, Failed) and self._federation.lab is None:
                # A deployed device that cannot, or will not, is missing from this sum; the rest go on.
                self._failed[answer.party] = answer.reply.error
                self._ready.discard(answer.party)
                continue
            self._failed.pop(answer.party, None)
            yield answer

    def _why(self) -> str:
        """Return which devices failed last, and the class of each one's error."""
        said = ", ".join(f"{party} {error}" for party, error in sorted(self._failed.items()))
        return f" (devices that failed: {said})" if said else ""

    def _deliver(self, items: Sequence[Item], inputs: Inputs, replies: list[Message]) -> list[Outcome]:
        return deliver(self._parties, items, inputs=inputs, elsewhere=replies)

    def close(self) -> None:
        """End the helper parties."""
        self._stack.close()

    def __enter__(self) -> SecureSums:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _size(messages: Iterable[Message]) -> int:
    return sum(len(message.payload) for message in messages)


def _record(client: int, sent: Sent, message: Message) -> dict[str, Any]:
    digest = hashlib.sha256(message.payload).hexdigest()
    seconds = round(sent.train + sent.encrypt, 6)
    return {"client": client, "sha256": digest, "bytes": len(message.payload), "seconds": seconds}
