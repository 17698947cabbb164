"""Parties in processes of their own: what they hold, this process never sees.

Frames over a socket pair carry `crypto.wire.messages` bytes; nothing is pickled. A child ends when told to,
when its socket closes, or when its parent is gone. For POSIX systems, as a child inherits its socket.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

from crypto.errors import MessageError, PartyLost, PlanRefused
from crypto.planning.plans import Plan
from crypto.protocols.catalogue import entry_of
from crypto.protocols.session import plan_roles
from crypto.running.host import COUNT_BYTES
from crypto.wire.messages import Abort, Aggregate, Input, Item, Message, decode, encode
from crypto.wire.values import pack_value

DEFAULT_TIMEOUT = 120.0
STOP_SECONDS = 5.0


class ProcessParty:
    """One helper role of a plan in its own Python process."""

    def __init__(
        self,
        plan: Plan,
        role: str,
        rendezvous: Path | None = None,
        identity: Path | None = None,
        journal: Path | None = None,
    ) -> None:
        """Start the process; it opens its session and answers with its start messages.

        `rendezvous`: for the computing servers and the dealer of "mpc", a file in a private folder through which
        they meet. `identity`: the role's identity file, which only the child reads. `journal`: the file of its
        journal (`crypto.open_party`), which it makes or goes on with.

        Raises:
            PlanRefused: a role that the plan does not have, or a computing server without `rendezvous`.
            BackendMissing: the protocol's library is not installed.
        """
        if role not in plan_roles(plan):
            raise PlanRefused(f"the protocol {plan.protocol} has no {role!r}; it has {plan_roles(plan)}")
        if _meets(plan, role):
            entry_of(plan.protocol).require()
            if rendezvous is None:
                raise PlanRefused(f"{role} needs a rendezvous file; start both with host_parties")
        self.name = role
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        ours, theirs = socket.socketpair()
        with theirs:
            # -P keeps the working folder off the path, where a user's own crypto.py could hide this package.
            command = [sys.executable, "-P", "-m", "crypto.running.host", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env=child_environment(),
                pass_fds=(theirs.fileno(),),
                # Ctrl-C is the parent's to handle, also while the child is still importing.
                process_group=0,
            )
        self._channel = Connection(ours.detach())
        self._items: deque[Item] = deque()
        self._pending = 0
        self._closed = False
        place = "" if rendezvous is None else str(rendezvous)
        own = "" if identity is None else str(identity)
        kept = "" if journal is None else str(journal)
        self._send(pack_value([plan.to_bytes(), role, place, own, kept]))

    def __repr__(self) -> str:
        """Show role and process id."""
        return f"ProcessParty({self.name}, pid={self.pid})"

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def pending(self) -> int:
        """How many inputs have no answer yet (the start counts as one)."""
        return self._pending

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def fileno(self) -> int:
        """The socket's descriptor; readable when an answer has arrived or the process has ended."""
        return self._channel.fileno()

    def send(self, item: Input) -> None:
        """Give the party one input.

        Raises:
            PartyLost: its process has ended.
        """
        self._send(encode(item))

    def collect(self, timeout: float = DEFAULT_TIMEOUT) -> tuple[Item, ...]:
        """Wait for the answer to one input and return its items, often none.

        Raises:
            PartyLost: the process ended, or gave no answer within `timeout` seconds.
        """
        try:
            if not self._channel.poll(timeout):
                raise PartyLost(f"{self.name} (process {self.pid}) gave no answer within {timeout:g} s; close it")
            count = int.from_bytes(self._channel.recv_bytes(COUNT_BYTES), "big")
            items = [decode(self._channel.recv_bytes()) for _ in range(count)]
        except (EOFError, OSError) as error:
            raise self._lost() from error
        self._pending -= 1
        answer = tuple(item for item in items if isinstance(item, Message | Aggregate | Abort))
        if len(answer) != len(items):
            raise MessageError(f"{self.name} answered with something that is no message, aggregate or abort")
        return answer

    def receive(self, timeout: float = DEFAULT_TIMEOUT) -> Item | None:
        """Return the next item, or None if all inputs are answered or nothing comes within `timeout` seconds.

        Raises:
            PartyLost: the process ended.
        """
        end = time.monotonic() + timeout
        while not self._items and self._pending:
            try:
                ready = self._channel.poll(max(0.0, end - time.monotonic()))
            except (EOFError, OSError) as error:
                raise self._lost() from error
            if not ready:
                return None
            self._items.extend(self.collect())
        return self._items.popleft() if self._items else None

    def stop(self) -> None:
        """Ask the process to end, without waiting."""
        with contextlib.suppress(OSError):
            self._channel.send_bytes(b"")

    def close(self) -> None:
        """End the process and wait for it: asked first, then terminated, then killed; may be called again."""
        if self._closed:
            return
        self._closed = True
        self.stop()
        for end in (self._process.terminate, self._process.kill):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
                break
            end()
        self._process.wait()
        self._channel.close()
        self._log.close()

    def _send(self, frame: bytes) -> None:
        try:
            self._channel.send_bytes(frame)
        except OSError as error:
            raise self._lost() from error
        self._pending += 1

    def _lost(self) -> PartyLost:
        """Say in one sentence how the process ended, with the last line it wrote."""
        if self._closed:
            return PartyLost(f"{self.name} was closed; start it again.")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        code = self._process.poll()
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        last = f": {lines[-1][:500]}" if lines else "."
        return PartyLost(f"{self.name} (process {self.pid}) ended with exit code {code}{last}")


class HostedParties:
    """The helper roles of one plan, each in its process; use it in a `with` statement."""

    def __init__(
        self, plan: Plan, roles: Iterable[str], identities: Mapping[str, Path], journals: Mapping[str, Path]
    ) -> None:
        """Start the processes; see `host_parties`."""
        self.parties: dict[str, ProcessParty] = {}
        self._folder: Path | None = None
        try:
            for role in roles:
                place = self._meeting_place() if _meets(plan, role) else None
                self.parties[role] = ProcessParty(plan, role, place, identities.get(role), journals.get(role))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all."""
        self.close()

    def _meeting_place(self) -> Path:
        """The file in a private folder through which the computing servers meet."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="crypto-"))
        return self._folder / "rendezvous"

    def close(self) -> None:
        """End all processes and delete the private folder; may be called again."""
        for party in self.parties.values():
            if party.alive:
                party.stop()
        for party in self.parties.values():
            party.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def host_parties(
    plan: Plan,
    roles: Iterable[str] | None = None,
    identities: Mapping[str, Path] | None = None,
    journals: Mapping[str, Path] | None = None,
) -> HostedParties:
    """Start helper roles of the plan (all of `plan_roles` if None) in processes of their own, without
    waiting.

    `identities`: the roles' identity files, needed if the plan has a roster. `journals`: files of their journals.
    Put `hosted.parties` beside the clients' sessions and call `crypto.set_up`. The computing servers and the dealer of
    "mpc" must be hosted together. Raises what `ProcessParty` raises, after ending what was started.
    """
    return HostedParties(plan, plan_roles(plan) if roles is None else roles, identities or {}, journals or {})


def _meets(plan: Plan, role: str) -> bool:
    """Whether the role opens sums together with others, as in CrypTen's group."""
    meeting = entry_of(plan.protocol).meeting
    return meeting is not None and role in meeting.roles


def child_environment() -> dict[str, str]:
    """The environment of a child process: it finds this very package, and computes with one thread."""
    home = str(Path(__file__).resolve().parents[2])
    paths = [home, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
