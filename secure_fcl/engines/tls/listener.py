"""The listening side: lets in who shows the certificate of a name that is expected, and keeps one connection for each.

It runs in a thread of its own. What it holds for strangers is bounded by `Limits`; what it holds for a party is one
question and one answer.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import threading
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from secure_fcl.engines.tls.certificates import Shown, read_certificate
from secure_fcl.engines.tls.contexts import TlsFiles, server_context
from secure_fcl.engines.tls.limits import Limits, RateLimit
from secure_fcl.engines.tls.logs import log
from secure_fcl.engines.tls.revocations import Revocations
from secure_fcl.engines.tls.wire import CHUNK, FIRST_FRAME, ID_BYTES, VERSION, Kind, Wire
from secure_fcl.errors import FrameRefused, SecureFclError

OnAnswer = Callable[[bytes], None]
_NOBODY: Callable[[str], None] = lambda name: None  # noqa: E731
BACKLOG = 128
WARN_DAYS = 14.0


@dataclass
class _Question:
    """What a party is asked and has not answered."""

    number: bytes
    payload: bytes
    on_answer: OnAnswer


@dataclass
class _Seat:
    """One name's place: who sits there, since when it is empty, and what waits for an answer."""

    wire: Wire | None = None
    shown: Shown | None = None
    question: _Question | None = None
    owed: bytes = b""
    """Number of the question that this connection was sent and has not answered; nothing else is sent before it has."""
    why: str = "it has not dialled yet"


@dataclass
class _Counts:
    """What happened at the door, for the tests and the status."""

    admitted: int = 0
    turned_away: int = 0
    refused: int = 0
    strangers: int = 0
    peak: int = 0


class Listener:
    """Listens for the parties of one federation. Use `start` and `close`, or `TlsParties`, which does."""

    def __init__(
        self,
        address: tuple[str, int],
        files: TlsFiles,
        names: Collection[str],
        limits: Limits,
        revocations: Revocations,
        on_change: Callable[[str], None] = _NOBODY,
    ) -> None:
        """Listen on an address (port 0: any free one) for parties of these names; raises before anything is started.

        `on_change`: told, in the listener's thread, the name of who came or went.

        Raises:
            SecureFclError: files are missing or wrong, or the address cannot be listened on.
        """
        self._files, self._stamp = files, files.stamp()
        self._context, self._own = server_context(files), files.own()
        self.limits, self._revocations, self._on_change = limits, revocations, on_change
        self._seats = {name: _Seat() for name in names}
        self._rate = RateLimit(limits.burst, limits.rate)
        self._epoch = secrets.token_bytes(ID_BYTES // 2)
        self._asked = 0
        self.counts = _Counts()
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = _listening(address)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tls-listener", daemon=True)
        self._thread.start()

    # What other threads call.

    def present(self) -> frozenset[str]:
        """Return the names of who is connected now."""
        return frozenset(name for name, seat in self._seats.items() if seat.wire is not None)

    def why_missing(self, name: str) -> str:
        """Return why a party is not there, as far as is known: words of this program and names of errors."""
        return self._seats[name].why

    def post(self, name: str, payload: bytes, on_answer: OnAnswer) -> bytes:
        """Ask one party, now or when it comes back; return the question's number. A question before it is withdrawn.

        `on_answer` gets the answer's bytes in the listener's thread.
        """
        self._asked += 1
        number = self._epoch + self._asked.to_bytes(ID_BYTES - len(self._epoch), "big")
        self._loop.call_soon_threadsafe(self._put, name, _Question(number, payload, on_answer))
        return number

    def withdraw(self, name: str, number: bytes) -> None:
        """Ask no more; an answer that still comes is nobody's."""
        with suppress(RuntimeError):  # closed already
            self._loop.call_soon_threadsafe(self._take_back, name, number)

    def expel(self, name: str, why: str) -> None:
        """Close a party's connection: what it sent cannot be what it was asked for. It may come back."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._vacate, name, why)

    def close(self) -> None:
        """Close all connections and stop. May be called again."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._socket.close()

    # What runs in the listener's thread.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._spawn(self._accept())
        self._spawn(self._watch())
        try:
            self._loop.run_forever()
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            for seat in self._seats.values():
                if seat.wire is not None:
                    seat.wire.abort()
            self._loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(self._loop), return_exceptions=True))
        finally:
            self._loop.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self) -> None:
        while True:
            try:
                connection, peer = await self._loop.sock_accept(self._socket)
            except OSError as error:
                # No descriptors left, for one: those that are open go on, and new ones wait.
                log(logging.WARNING, "cannot accept", error=type(error).__name__)
                await asyncio.sleep(0.2)
                continue
            address = str(peer[0])
            if self.counts.strangers >= self.limits.strangers or not self._rate.admits(address):
                self.counts.turned_away += 1
                connection.close()
                continue
            self.counts.strangers += 1
            self.counts.peak = max(self.counts.peak, self.counts.strangers)
            self._spawn(self._meet(connection, address))

    async def _meet(self, connection: socket.socket, address: str) -> None:
        """Authenticate one connection within its time, and seat it; whatever goes wrong ends this connection alone."""
        wire, name = None, ""
        try:
            wire, shown = await self._authenticated(connection)
            name = shown.name
            why = self._why_not(shown)
            if why:
                await self._dismiss(wire, why)
                raise FrameRefused(why)
            await wire.send(Kind.WELCOME, bytes((VERSION,)), int(self.limits.heartbeat * 1000).to_bytes(4, "big"))
            self._seat(shown, wire, address)
        except (OSError, EOFError, TimeoutError, SecureFclError) as error:
            # The error's text may quote what a stranger sent; TLS's own reasons are a fixed list.
            reason = str(getattr(error, "reason", "") or getattr(error, "verify_message", "") or "")
            if name in self._seats and isinstance(error, FrameRefused):
                reason = self._seats[name].why = str(error)
            self.counts.refused += 1
            log(logging.WARNING, "refused", address=address, party=name, error=type(error).__name__, reason=reason)
            if wire is not None:
                wire.abort()
        finally:
            self.counts.strangers -= 1

    async def _authenticated(self, connection: socket.socket) -> tuple[Wire, Shown]:
        reader = asyncio.StreamReader(limit=CHUNK, loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        async with asyncio.timeout(2 * self.limits.handshake):
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._context, ssl_handshake_timeout=self.limits.handshake,
                ssl_shutdown_timeout=1.0,
            )  # fmt: skip
            wire = Wire(reader, asyncio.StreamWriter(transport, protocol, reader, self._loop))
            try:
                _, hello = await wire.receive(lambda: {Kind.HELLO: FIRST_FRAME}, self.limits.handshake)
                if hello[:1] != bytes((VERSION,)):
                    raise FrameRefused(f"it speaks another version than {VERSION} of this protocol; update it")
                return wire, read_certificate(wire.peer_certificate())
            except BaseException:
                wire.abort()
                raise

    def _why_not(self, shown: Shown) -> str:
        if shown.name not in self._seats:
            return "the certificate is of a name that this server does not expect"
        if not self._revocations.readable:
            return "who is revoked cannot be read"
        if not self._revocations.now.holds(shown):
            return "the certificate is revoked"
        return ""

    def _seat(self, shown: Shown, wire: Wire, address: str) -> None:
        """Give an authenticated connection its place; who sat there before leaves."""
        seat = self._seats[shown.name]
        if seat.wire is not None:
            log(logging.WARNING, "replaced by a newer connection", party=shown.name, address=address)
            self._spawn(self._dismiss(seat.wire, "a newer connection came under the same name"))
        self.counts.admitted += 1
        seat.wire, seat.shown, seat.owed = wire, shown, b""
        log(logging.INFO, "connected", party=shown.name, address=address)
        if (days := shown.days_left()) < WARN_DAYS:
            log(logging.WARNING, "certificate expires soon", party=shown.name, days=round(days, 2))
        self._spawn(self._listen(shown.name, wire))
        self._on_change(shown.name)
        self._forward(seat)

    async def _listen(self, name: str, wire: Wire) -> None:
        seat = self._seats[name]

        def caps() -> dict[Kind, int]:
            # Nobody may send what is not waited for: an answer, and its length, only to a question.
            return {Kind.PONG: 0} | ({Kind.ANSWER: ID_BYTES + self.limits.answer} if seat.owed else {})

        try:
            while True:
                kind, frame = await wire.receive(caps, self.limits.silence)
                if seat.wire is not wire:
                    return
                if kind is Kind.ANSWER:
                    self._answered(seat, frame)
        except TimeoutError:
            why = f"it was silent for {self.limits.silence:g} s"
        except FrameRefused as error:
            why = f"it broke the protocol: {error}"
        except (OSError, EOFError) as error:
            why = f"the connection ended ({type(error).__name__})"
        if seat.wire is wire:
            self._vacate(name, why)

    def _answered(self, seat: _Seat, frame: bytes) -> None:
        number, answer = frame[:ID_BYTES], frame[ID_BYTES:]
        if number != seat.owed:
            raise FrameRefused("an answer to what was not asked")
        seat.owed = b""
        question = seat.question
        if question is not None and question.number == number:
            seat.question = None
            question.on_answer(answer)
        else:
            self._forward(seat)

    def _put(self, name: str, question: _Question) -> None:
        seat = self._seats[name]
        seat.question = question
        self._forward(seat)

    def _take_back(self, name: str, number: bytes) -> None:
        seat = self._seats[name]
        if seat.question is not None and seat.question.number == number:
            seat.question = None

    def _forward(self, seat: _Seat) -> None:
        """Send what waits, unless the party still owes an answer: then when it has given it, or has come back."""
        if seat.question is None or seat.wire is None or seat.owed:
            return
        seat.owed = seat.question.number
        self._spawn(self._send(seat.wire, Kind.ASK, seat.question.number, seat.question.payload))

    async def _send(self, wire: Wire, kind: Kind, *parts: bytes) -> None:
        try:
            await wire.send(kind, *parts)
        except (OSError, EOFError, RuntimeError):
            wire.abort()

    async def _dismiss(self, wire: Wire, why: str) -> None:
        """Say why, if the other side listens, and close."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await wire.send(Kind.REFUSED, why.encode()[:FIRST_FRAME])
        await wire.close()

    def _vacate(self, name: str, why: str) -> None:
        seat = self._seats[name]
        if seat.wire is not None:
            self._spawn(self._dismiss(seat.wire, why))
            seat.wire, seat.owed, seat.why = None, b"", why
            log(logging.WARNING, "gone", party=name, reason=why)
            self._on_change(name)

    async def _watch(self) -> None:
        """Send signs of life, and notice certificates that were revoked or have expired."""
        while True:
            await asyncio.sleep(self.limits.heartbeat)
            if self._revocations.refresh():
                readable = self._revocations.readable
                log(logging.INFO if readable else logging.ERROR, "revocations read" if readable else "unreadable")
            self._renew()
            if self._own.days_left() < 0:
                log(logging.ERROR, "the server's own certificate has expired")
            for name, seat in self._seats.items():
                if seat.wire is None or seat.shown is None:
                    continue
                if not self._revocations.now.holds(seat.shown):
                    self._vacate(name, "the certificate is revoked")
                elif seat.shown.days_left() < 0:
                    self._vacate(name, "the certificate has expired")
                else:
                    self._spawn(self._send(seat.wire, Kind.PING))

    def _renew(self) -> None:
        """Show a certificate that was replaced to whoever comes from now on; connections that stand are not ended."""
        stamp = self._files.stamp()
        if stamp == self._stamp:
            return
        try:
            self._context, self._own = server_context(self._files), self._files.own()
            self._stamp = stamp
            log(logging.INFO, "certificate read anew", days=round(self._own.days_left(), 2))
        except SecureFclError:
            # Half copied, perhaps: the one before holds, and it is tried again.
            log(logging.ERROR, "certificate cannot be read anew")


def _listening(address: tuple[str, int]) -> socket.socket:
    host, port = address
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        found = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SecureFclError(
            f"{host}:{port} cannot be listened on ({error.strerror or type(error).__name__}); choose another --listen"
        ) from error
    found.setblocking(False)
    return found
