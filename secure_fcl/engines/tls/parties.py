"""`Parties` over mutual TLS, for a run's loop; and the parties of its secure sums that are nobody's client."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType

from secure_fcl.engines.commands import Ask, Deliver, Failed, LabAsk
from secure_fcl.engines.frames import grouped, to_frame
from secure_fcl.engines.parties import Answer, Party
from secure_fcl.engines.tls.contexts import TlsFiles
from secure_fcl.engines.tls.limits import Limits
from secure_fcl.engines.tls.listener import Listener
from secure_fcl.engines.tls.logs import log
from secure_fcl.engines.tls.replies import read_reply
from secure_fcl.engines.tls.revocations import Revocations
from secure_fcl.errors import FrameRefused

_TICK = 0.25


class TlsParties:
    """The clients of one federation, each behind one authenticated connection. Use it in a `with` statement.

    Who is silent, gone, or answers what cannot be an answer is missing from the answers. Who could not answer is there
    with `Failed` and the class of its error. Whether enough are left is the secure sum's to say.
    """

    def __init__(
        self,
        address: tuple[str, int],
        files: TlsFiles,
        clients: Collection[Party],
        helpers: Collection[Party] = (),
        *,
        limits: Limits | None = None,
        revoked: Path | None = None,
    ) -> None:
        """Listen; who is named may come from now on.

        Args:
            address: host and port to listen on; port 0: any free one, see `port`.
            files: the server's own certificate.
            clients: names of the parties that play clients, as in the roster and in their certificates.
            helpers: names of helper parties that dial too (`secure_fcl.engines.tls.helpers`).
            limits: what strangers and parties may cost.
            revoked: file of revoked certificates, read again when it changes; None: none are.

        Raises:
            SecureFclError: files are missing or wrong, or the address cannot be listened on.
        """
        self.clients, self.helpers = tuple(clients), tuple(helpers)
        names = (*self.clients, *self.helpers)
        self.listener = Listener(address, files, names, limits or Limits(), Revocations(revoked))
        self.late: dict[Party, str] = {}

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self.listener.port

    def present(self) -> tuple[Party, ...]:
        """See `Parties`."""
        there = self.listener.present()
        return tuple(name for name in self.clients if name in there)

    def missing(self, names: Collection[Party] | None = None) -> dict[Party, str]:
        """Return who of all clients and helpers, or of `names`, is not connected, and why as far as is known."""
        there = self.listener.present()
        wanted = (*self.clients, *self.helpers) if names is None else names
        return {name: self.listener.why_missing(name) for name in wanted if name not in there}

    def wait_for(self, clients: int, helpers: Collection[Party] = (), seconds: float = 0.0) -> bool:
        """Wait until so many clients and these helpers are connected; False when `seconds` pass before."""
        end = time.monotonic() + seconds
        while len(self.present()) < clients or self.missing(helpers):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def ask(self, asks: Mapping[Party, Ask | LabAsk], deadline: float | None = None) -> Iterator[Answer]:
        """See `Parties`. A party that is gone and does not come back within `Limits.grace` is not waited for longer."""
        begun = time.monotonic()
        answers: queue.SimpleQueue[tuple[Party, bytes]] = queue.SimpleQueue()
        frames = {id(ask): to_frame(ask) for ask, _ in grouped(asks)}
        waiting: dict[Party, bytes] = {}
        gone: dict[Party, float] = {}
        try:
            for party, ask in asks.items():
                waiting[party] = self.listener.post(party, frames[id(ask)], partial(_put, answers, party))
            del frames
            while waiting:
                now = time.monotonic()
                if deadline is not None and now - begun > deadline:
                    break
                for party in self._given_up(waiting, gone, now):
                    self.listener.withdraw(party, waiting.pop(party))
                    self._miss(party, asks[party], self.listener.why_missing(party))
                try:
                    left = _TICK if deadline is None else min(_TICK, max(0.0, begun + deadline - now))
                    party, frame = answers.get(timeout=left)
                except queue.Empty:
                    continue
                del waiting[party]
                answer = self._answer(party, asks[party], frame)
                if answer is not None:
                    # Who missed a round is late until it is back in one, whatever else it is told meanwhile.
                    if not isinstance(answer.reply, Failed) and not isinstance(asks[party], Deliver):
                        self.late.pop(party, None)
                    yield answer
        finally:
            for party, number in waiting.items():
                self.listener.withdraw(party, number)
                self._miss(party, asks[party], f"no answer within {time.monotonic() - begun:.0f} s")

    def _given_up(self, waiting: Mapping[Party, bytes], gone: dict[Party, float], now: float) -> list[Party]:
        there = self.listener.present()
        for party in waiting:
            if party in there:
                gone.pop(party, None)
            else:
                gone.setdefault(party, now)
        return [party for party in waiting if now - gone.get(party, now) > self.listener.limits.grace]

    def _answer(self, party: Party, ask: Ask | LabAsk, frame: bytes) -> Answer | None:
        try:
            reply = read_reply(party, ask, frame)
        except FrameRefused:
            # The text may quote what the party sent.
            self._miss(party, ask, "it answered what cannot be an answer")
            self.listener.expel(party, "it answered what cannot be an answer")
            return None
        if isinstance(reply, Failed):
            self._miss(party, ask, f"it could not answer ({reply.error})")
        return Answer(party=party, reply=reply)

    def _miss(self, party: Party, ask: Ask | LabAsk, why: str) -> None:
        self.late[party] = why
        log(logging.WARNING, "no answer", party=party, ask=type(ask).__name__, reason=why)

    def close(self) -> None:
        """See `Parties`."""
        self.listener.close()

    def __enter__(self) -> TlsParties:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _put(answers: queue.SimpleQueue[tuple[Party, bytes]], party: Party, frame: bytes) -> None:
    answers.put((party, frame))
