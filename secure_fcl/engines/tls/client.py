"""The dialling side: a long-lived process that answers what the server asks through a `Host`, and dials again for ever.

An answer's work goes on while the connection is down, and its bytes are kept until the next question: who is asked the
same again, by its number, sends them again and does nothing twice. What must hold across a restart is the host's.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import ssl
import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from secure_fcl.engines.commands import DEPLOYED_ASKS, Ask, Command, Failed, Reply, failure
from secure_fcl.engines.frames import from_frame, from_untrusted, to_frame
from secure_fcl.engines.parties import Host, Party
from secure_fcl.engines.tls.certificates import SERVER
from secure_fcl.engines.tls.contexts import TlsFiles, client_context
from secure_fcl.engines.tls.limits import MIB
from secure_fcl.engines.tls.listener import WARN_DAYS
from secure_fcl.engines.tls.logs import log
from secure_fcl.engines.tls.wire import CHUNK, FIRST_FRAME, ID_BYTES, VERSION, Kind, Wire
from secure_fcl.errors import FrameRefused, SecureFclError


@dataclass(frozen=True, kw_only=True)
class Dialling:
    """How a party dials.

    Attributes:
        first: seconds before the second try; doubles with every try, up to `longest`, each time a random part of it.
        longest: see `first`.
        handshake: seconds for a connection and its handshake.
        question: bytes of the longest question.
        kinds: what the party may be asked; a simulation adds to `DEPLOYED_ASKS`.
    """

    first: float = 0.5
    longest: float = 30.0
    handshake: float = 10.0
    question: int = 256 * MIB
    kinds: Collection[type[Command]] = DEPLOYED_ASKS


class Client:
    """Serves one host to one server. `run` returns when `stop` was called, from any thread or a signal's handler."""

    def __init__(self, host: Host, address: tuple[str, int], files: TlsFiles, dialling: Dialling | None = None) -> None:
        """Read the certificate.

        Raises:
            SecureFclError: files are missing or do not fit one another.
        """
        self._host, self._address, self._dialling = host, address, dialling or Dialling()
        self._files, self._own = files, files.own()
        client_context(files)
        self.party: Party = self._own.name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._asked_to_stop = False
        self._wire: Wire | None = None
        # The question that is worked on, the one that came meanwhile, and what was answered last, by number.
        self._working = b""
        self._question = b""
        self._next: tuple[bytes, bytes] | None = None
        self._last: tuple[bytes, bytes] = (b"", b"")
        self._wanted = b""
        self._done = asyncio.Event()
        self._worker: threading.Thread | None = None

    def stop(self) -> None:
        """Finish the answer under way, send it, and return from `run`."""
        self._asked_to_stop = True
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)

    def run(self) -> None:
        """Dial, answer, dial again, until stopped. SIGTERM and SIGINT stop it where it runs in the main thread."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self.stop)
        if self._asked_to_stop:
            self._stopping.set()
        tries = 0
        while not self._stopping.is_set():
            if (days := self._own.days_left()) < WARN_DAYS:
                log(logging.WARNING, "own certificate expires soon", party=self.party, days=round(days, 2))
            # Who is refused is so until somebody changes something: it asks seldom.
            tries = {"ended": 0, "failed": tries + 1, "refused": 30}[await self._connected()]
            pause = min(self._dialling.longest, self._dialling.first * 2.0 ** min(tries, 30))
            # Everybody lost the server in the same second, and must not come back in the same second.
            pause *= 0.5 + secrets.randbelow(1 << 20) / (1 << 21)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()

    async def _connected(self) -> str:
        """Hold one connection until it ends; return how it did: it "ended", "failed" to begin, or was "refused"."""
        how, host, port = "failed", *self._address
        wire: Wire | None = None
        try:
            async with asyncio.timeout(self._dialling.handshake):
                # Read anew for each connection: a certificate may have been replaced.
                context = client_context(self._files)
                self._own = self._files.own()
                reader, writer = await asyncio.open_connection(
                    host, port, ssl=context, server_hostname=SERVER, limit=CHUNK, ssl_shutdown_timeout=1.0
                )
                wire = Wire(reader, writer)
                await wire.send(Kind.HELLO, bytes((VERSION,)))
                silence = await self._welcome(wire)
            how = "ended"
            log(logging.INFO, "connected", party=self.party, address=f"{host}:{port}")
            await self._until_stopped(wire, silence)
        except (OSError, EOFError, TimeoutError, SecureFclError) as error:
            how = "refused" if isinstance(error, FrameRefused) else how
            reason = str(error) if isinstance(error, SecureFclError) else why_not(error)
            log(logging.WARNING, "not connected", party=self.party, error=type(error).__name__, reason=reason)
        finally:
            self._wire, self._wanted = None, b""
            if wire is not None:
                await wire.close()
        return how

    async def _welcome(self, wire: Wire) -> float:
        """Return the seconds of silence after which the server is gone."""
        caps = {Kind.WELCOME: 5, Kind.REFUSED: FIRST_FRAME}
        kind, frame = await wire.receive(lambda: caps, self._dialling.handshake)
        if kind is Kind.REFUSED:
            raise _refusal(frame)
        if frame[:1] != bytes((VERSION,)):
            raise FrameRefused(f"the server speaks another version than {VERSION} of this protocol; update both")
        return min(max(4.0 * int.from_bytes(frame[1:], "big") / 1000.0, 1.0), 300.0)

    async def _until_stopped(self, wire: Wire, silence: float) -> None:
        self._wire = wire
        receiving = asyncio.create_task(self._receive(wire, silence))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((receiving, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done() and self._working:
                await self._done.wait()
            if receiving.done():
                receiving.result()
        finally:
            for task in (receiving, stopping):
                task.cancel()
            await asyncio.gather(receiving, stopping, return_exceptions=True)

    async def _receive(self, wire: Wire, silence: float) -> None:
        caps = {Kind.PING: 0, Kind.REFUSED: FIRST_FRAME, Kind.ASK: ID_BYTES + self._dialling.question}
        while True:
            kind, frame = await wire.receive(lambda: caps, silence)
            if kind is Kind.REFUSED:
                raise _refusal(frame)
            if kind is Kind.PING:
                await wire.send(Kind.PONG)
                continue
            number = frame[:ID_BYTES]
            self._wanted = number
            if number == self._last[0]:
                await wire.send(Kind.ANSWER, *self._last)
            elif number != self._working and not self._stopping.is_set():
                self._next = (number, frame[ID_BYTES:])
                # A question holds a model: nothing but the worker keeps it.
                del frame
                self._begin()

    def _begin(self) -> None:
        if self._working or self._next is None:
            return
        self._working = self._next[0]
        self._question, self._next = self._next[1], None
        self._last = (b"", b"")
        self._done.clear()
        # Not an executor's: a process that is told to stop does not wait for a thread that hangs.
        self._worker = threading.Thread(target=self._work, args=(self._working,), daemon=True)
        self._worker.start()

    def _work(self, number: bytes) -> None:
        """Answer one question, in a thread of its own so that signs of life go on."""
        reply = self._reply()
        try:
            answer = to_frame(reply)
        except FrameRefused as error:
            answer = to_frame(failure(error))
        assert self._loop is not None
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._finish, number, answer)

    def _reply(self) -> Reply:
        try:
            question, self._question = self._question, b""
            simulated = set(self._dialling.kinds) - set(DEPLOYED_ASKS)
            ask = from_frame(question) if simulated else from_untrusted(question, self._dialling.kinds)
            del question
            found = [one.reply for one in self._host.answer({self.party: _asked(ask)}) if one.party == self.party]
            if len(found) != 1:
                raise RuntimeError(f"a host gave {len(found)} answers to one question")
            if isinstance(found[0], Failed):
                log(logging.ERROR, "could not answer", party=self.party, ask=type(ask).__name__, error=found[0].error)
                return Failed(error=found[0].error, text="", trace="")
            return found[0]
        # Whatever a host raises may quote the device's data: its class alone leaves.
        except Exception as error:
            log(logging.ERROR, "could not answer", party=self.party, error=type(error).__name__)
            return failure(error)

    def _finish(self, number: bytes, answer: bytes) -> None:
        self._working, self._last = b"", (number, answer)
        task = asyncio.get_running_loop().create_task(self._hand_over(number, answer))
        task.add_done_callback(lambda _: self._done.set() if not self._working else None)
        self._begin()

    async def _hand_over(self, number: bytes, answer: bytes) -> None:
        if self._wire is not None and self._wanted == number:
            with suppress(OSError):
                await self._wire.send(Kind.ANSWER, number, answer)


def serve(host: Host, address: tuple[str, int], files: TlsFiles, dialling: Dialling | None = None) -> None:
    """Answer a server's questions through `host` until SIGTERM or SIGINT.

    *Guarantee*: talks to nobody but the holder of a certificate of the pinned authority for the server's name; of what
    goes wrong in `host` only the error's class leaves.

    Raises:
        SecureFclError: certificate files are missing or do not fit one another.
    """
    Client(host, address, files, dialling).run()


def why_not(error: BaseException) -> str:
    """Return why a connection failed in words of this program or of TLS, never of the other side."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    if isinstance(error, ssl.SSLError):
        return str(error.reason).lower().replace("_", " ")
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return type(error).__name__


def _refusal(frame: bytes) -> FrameRefused:
    return FrameRefused(f"the server refuses: {frame.decode(errors='replace')}")


def _asked(command: Command) -> Ask:
    if isinstance(command, Reply):
        raise FrameRefused(f"{type(command).__name__} is an answer and asks for nothing")
    return command  # type: ignore[return-value]
