"""A client's session of the secure sums that a restarted process takes up where it was.

A session is a function of its plan, identity, what it is given, random bytes and encapsulations. All of it is on disk,
encrypted, before they are used, so it can be played again: the same keys, shares and running numbers, and the same
answer, byte by byte, to what was asked last. Vectors alone are not kept: when a session is played again, zeros stand in
for them, and what is made of these is thrown away; answers with vectors are the claims' to keep
(`secure_fcl.engines.deployed.claims`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crypto.errors import CryptoError
from crypto.keys.exchange import encapsulated
from crypto.keys.randomness import KEY_BYTES, KeyedStream, derive_key, system_random
from crypto.keys.roster import Identity
from crypto.keys.secrecy import holds_secrets
from crypto.opening import open_client
from crypto.planning.plans import Plan
from crypto.protocols.plans import plan_from_bytes
from crypto.wire.messages import Item, Message, decode, encode
from secure_fcl.engines.commands import Answered
from secure_fcl.engines.deployed.claims import ClaimBook, SessionJournal
from secure_fcl.engines.deployed.vault import SealedLog, Vault

Ints = NDArray[np.int64]
_CAPSULE = "capsule"


@holds_secrets
class _EventBytes:
    """Random bytes of a session: every event has a stream of its own, whatever the one before took of its own.

    Encapsulations (`crypto.keys.exchange.Encapsulates`) cannot be made again, so each is in the log before it is used.
    """

    def __init__(self, seed: bytes, log: SealedLog) -> None:
        self._seed, self._log = seed, log
        self._made = deque(record[1:] for record in log.records if record[0] == _CAPSULE)
        self.turn(0)

    def turn(self, event: int) -> None:
        """Begin the stream of an event."""
        self._stream = KeyedStream(derive_key(self._seed, "session event", event))

    def __call__(self, n: int, /) -> bytes:
        return self._stream(n)

    def encapsulate(self, public: bytes, /) -> tuple[bytes, bytes]:
        """See `Encapsulates`: what was made before comes first, in its order."""
        if not self._made:
            made = encapsulated(public, system_random)
            self._log.append([_CAPSULE, *made])
            return made
        secret, capsule = self._made.popleft()
        return secret, capsule


@holds_secrets
class DurableSession:
    """One `ClientSession` over a log. Make it with `begin` or `resume`."""

    def __init__(self, log: SealedLog, plan: Plan, identity: Identity, seed: bytes, journal: SessionJournal) -> None:
        self.name, self.plan = identity.name, plan
        self._log, self._journal = log, journal
        self._random = _EventBytes(seed, log)
        self._inner = open_client(plan, identity.name, random=self._random, identity=identity, journal=journal)
        self._last: tuple[str, Answered] | None = None

    @staticmethod
    def begin(
        folder: Path, vault: Vault, book: ClaimBook, plan: Plan, identity: Identity, before: DurableSession | None
    ) -> DurableSession:
        """Join a session that this device never joined, and leave the one `before`.

        Raises:
            ClaimRefused: it was joined before.
        """
        path = _path(folder)
        book.join(plan.session, "" if before is None else before.plan.session)
        if before is not None:
            # Before its log goes: what it answered binds all later sessions.
            book.leave(before._journal.entries)
            before.close()
        path.unlink(missing_ok=True)
        log, seed = SealedLog(path, vault, "session"), system_random(KEY_BYTES)
        log.append(["open", plan.to_bytes(), seed])
        return DurableSession(log, plan, identity, seed, SessionJournal(book))

    @staticmethod
    def resume(folder: Path, vault: Vault, book: ClaimBook, identity: Identity) -> DurableSession | None:
        """Return the session that was joined last, as it was; None if there is none.

        Raises:
            DeviceRefused: its log is damaged.
        """
        if not _path(folder).exists():
            return None
        log = SealedLog(_path(folder), vault, "session")
        match log.records[:1]:
            case [["open", bytes(plan), bytes(seed)]]:
                # The plan was this device's own, so it names no code but its own configuration's.
                known = plan_from_bytes(plan, trust_code=True)
            case _:
                log.close()
                return None
        found = DurableSession(log, known, identity, seed, SessionJournal(book))
        for event, record in enumerate(log.records[1:], 1):
            found._again(event, record)
        return found

    @property
    def ready(self) -> bool:
        """See `ClientSession.ready`."""
        return self._inner.ready

    @property
    def public(self) -> object | None:
        """See `ClientSession.public`."""
        return self._inner.public

    def start(self) -> tuple[Item, ...]:
        """See `Session.start`; `take` starts a session by itself."""
        return ()

    def on(self, item: object) -> tuple[Item, ...]:
        """See `Session.on`; `take` gives a session its messages, so that they are on disk before."""
        raise TypeError(f"give a durable session its messages by take(), not {type(item).__name__} by on()")

    def take(self, asked: str, items: Sequence[Item], begins: bool = False) -> Answered:
        """Give the session messages, and return what follows; what was asked last is answered in the same bytes.

        Args:
            asked: digest of the frame that brought the messages.
            items: the messages.
            begins: whether the session starts with them.

        Raises:
            OSError: they could not be kept, and nothing was done.
        """
        if (answered := self.answered(asked)) is not None:
            return answered
        record = ["on", asked, [encode(item) for item in items], begins]
        self._log.append(record)
        return self._given(len(self._log.records) - 1, asked, items, begins)

    @property
    def fresh(self) -> bool:
        """Whether it was given nothing yet."""
        return all(record[0] in ("open", _CAPSULE) for record in self._log.records)

    def answered(self, asked: str) -> Answered | None:
        """Return the answer to what was asked last, if this is it."""
        return self._last[1] if self._last is not None and self._last[0] == asked else None

    def submit(
        self, round: int, upload: str, vector: Ints, noise: Ints | None = None, *, model: bytes = b""
    ) -> tuple[Message, ...]:
        """See `ClientSession.submit`; that it happened is on disk before."""
        self._log.append(["submit", round, upload, len(vector), noise is not None, model])
        self._random.turn(len(self._log.records) - 1)
        return self._inner.submit(round, upload, vector, noise, model=model)

    def _given(self, event: int, asked: str, items: Sequence[Item], begins: bool) -> Answered:
        self._random.turn(event)
        answers = list(self._inner.start()) if begins else []
        for message in items:
            if isinstance(message, Message) and message.receiver in (self.name, "clients"):
                answers += self._inner.on(message)
        self._last = asked, Answered(items=tuple(answers), ready=self._inner.ready)
        return self._last[1]

    def _again(self, event: int, record: Sequence[object]) -> None:
        match record:
            case ["on", str(asked), list(blobs), bool(begins)]:
                self._given(event, asked, [_item(bytes(blob)) for blob in blobs], begins)
            case ["submit", int(round), str(upload), int(length), bool(apart), bytes(model)]:
                self._random.turn(event)
                zeros = np.zeros(length, dtype=np.int64)
                try:
                    self._inner.submit(round, upload, zeros, zeros.copy() if apart else None, model=model)
                except CryptoError:
                    # It was refused then, too: nothing was sent.
                    return

    def close(self) -> None:
        """Close the log; may be called again."""
        self._log.close()


def _item(blob: bytes) -> Item:
    item = decode(blob)
    assert isinstance(item, Item)
    return item


def _path(folder: Path) -> Path:
    return folder / "session.log"
