"""The protocol that hides nothing: vectors travel in the clear and the server adds them.

For tests, for comparisons, and for runs whose protection lies elsewhere. Sums are modulo 2^64.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from crypto.keys.secrecy import holds_secrets
from crypto.planning.plans import Plan
from crypto.protocols.bookkeeping import Key, OpenSums, Submissions, beyond_bound, ignored, in_order
from crypto.protocols.entry import SumProtocol
from crypto.protocols.faults import Fault, Faults
from crypto.wire.messages import Aggregate, Begin, Deadline, Input, Item, Message


@holds_secrets
class PlainClient:
    """Sends its vector as it is."""

    def __init__(self, plan: Plan, name: str) -> None:
        self.name = name
        self._plan = plan
        self._submissions = Submissions(plan)

    ready = True
    public = None

    def start(self) -> tuple[Item, ...]:
        """No keys, nothing to send."""
        return ()

    def on(self, item: Input) -> tuple[Item, ...]:
        """Nothing is expected; every item is ignored."""
        del item
        return ()

    def submit(self, round: int, upload: str, vector: npt.NDArray[np.int64], model: bytes = b"") -> tuple[Message, ...]:
        """See `ClientSession.submit`: one message of 8 bytes an entry."""
        self._submissions.check(round, upload, vector, model)
        raw = vector.astype("<i8", copy=False).tobytes()
        return (
            Message(
                sender=self.name,
                receiver="server",
                kind="vector",
                session=self._plan.session,
                round=round,
                upload=upload,
                payload=raw,
            ),
        )


@holds_secrets
class PlainServer:
    """Adds what arrives, modulo 2^64, and keeps only the running sum."""

    name = "server"

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._sums = OpenSums(plan)
        self._faults = Faults(plan)
        self._arrived: dict[Key, set[str]] = {}
        self._totals: dict[Key, npt.NDArray[np.int64]] = {}

    @property
    def faults(self) -> Mapping[str, Fault]:
        """The clients that sent no vector of the plan, and are left out."""
        return self._faults.found

    def start(self) -> tuple[Item, ...]:
        """No keys, nothing to send."""
        return ()

    def on(self, item: Input) -> tuple[Item, ...]:
        """See `Session.on`."""
        match item:
            case Begin():
                if self._sums.begin(item):
                    key = (item.round, item.upload)
                    self._arrived[key] = set()
                    self._totals[key] = np.zeros(self._plan.find(item.upload).length, dtype=np.int64)
                return ()
            case Deadline():
                open_key = self._sums.key_of(item)
                return () if open_key is None else self._finish(open_key)
            case Message():
                return self._add(item)

    def _add(self, message: Message) -> tuple[Item, ...]:
        key = self._sums.key_of(message)
        if key is None or message.kind != "vector" or message.sender not in self._plan.places:
            return ignored(message, "no open sum for it, or not from a client")
        arrived, total = self._arrived[key], self._totals[key]
        if message.sender in arrived or message.sender in self._faults:
            return ignored(message, "second vector of this client, or left out")
        fits = len(message.payload) == 8 * total.size
        vector = np.frombuffer(message.payload, dtype="<i8").astype(np.int64) if fits else np.zeros(1, dtype=np.int64)
        upload = self._plan.find(key[1])
        limit = upload.bound + upload.noise_bound
        if not fits or int(vector.max()) > limit or int(vector.min()) < -limit:
            self._faults.in_message(message, f"{message.sender!r} sent no vector of entries within {limit}")
        else:
            total += vector
            arrived.add(message.sender)
        return self._finish(key) if len(arrived) + len(self._faults.names) >= len(self._plan.clients) else ()

    def _finish(self, key: Key) -> tuple[Item, ...]:
        arrived, total = self._arrived.pop(key), self._totals.pop(key)
        abort = self._sums.too_few(key, len(arrived), self._faults.names)
        if abort is not None:
            return (abort,)
        beyond = beyond_bound(self._plan, key[1], total, len(arrived))
        if beyond:
            return (self._sums.abort(key, beyond, self._faults.names),)
        self._sums.close(key)
        return (Aggregate(self._plan.session, *key, total, in_order(self._plan, arrived), self._faults.names),)


plain = SumProtocol(
    hiding="nothing",
    assumption="None: the server sees every client's vector in the clear.",
    client=lambda seat: PlainClient(seat.plan, seat.identity.name),
    party=lambda seat: PlainServer(seat.plan),
    client_bytes=lambda _plan, upload: 8 * upload.length,
)
