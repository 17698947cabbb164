"""Key holder and helper on machines of their own, so that no operator holds what two of them hold together.

The party's process opens its session of the secure sums itself, with its own private key, when the server shows a plan
that its roster agrees with. The server's own role stays with the server. The computing servers of "mpc" meet through a
file, and so on one machine: they are refused here.
"""

from __future__ import annotations

import contextlib
import queue
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from crypto.errors import PartyLost
from crypto.keys.roster import Identity, Roster
from crypto.opening import open_party
from crypto.planning.plans import Plan
from crypto.protocols.catalogue import entry_of
from crypto.protocols.masks.journal import FileJournal
from crypto.protocols.session import Session, plan_roles
from crypto.running.driver import Party as Helper
from crypto.running.processes import host_parties
from crypto.wire.messages import Input, Item, Message
from secure_fcl.engines.commands import Answered, Ask, Command, Deliver, Failed, Keys
from secure_fcl.engines.federation import Helpers
from secure_fcl.engines.frames import to_frame
from secure_fcl.engines.keys import ROSTER
from secure_fcl.engines.parties import Answer, Party
from secure_fcl.engines.tls.listener import Listener
from secure_fcl.engines.tls.parties import TlsParties
from secure_fcl.engines.tls.replies import read_reply
from secure_fcl.errors import FrameRefused, SecureFclError

STATE = "state"


def remote_roles(plan: Plan) -> tuple[str, ...]:
    """Return the roles of a plan that another operator than the server's plays.

    Raises:
        SecureFclError: they meet on one machine.
    """
    if entry_of(plan.protocol).meeting is not None:
        raise SecureFclError(
            f"the parties of {plan.protocol!r} besides the server meet on one machine and cannot dial; choose "
            'protection = "bfv", "helper" or "secagg"'
        )
    return tuple(role for role in plan_roles(plan) if role != "server")


class HelperHost:
    """The `Host` of one helper party: opens a session for each plan it is shown, and answers its messages.

    Args:
        role: its role, and its name in the roster.
        identity: file of its private key.
        roster: file of the public keys that it takes a plan's for; a plan that pins others is refused.
        journals: folder for what it answered, so that no later session sums the same again; None: not kept.
    """

    def __init__(self, role: str, identity: Path, roster: Path, journals: Path | None = None) -> None:
        self._role = role
        self._identity = Identity.load(identity)
        self._roster = Roster.from_json(roster.read_text())
        self._journal = None if journals is None else FileJournal(journals / f"{role}.answers")
        self._session: Session | None = None

    def answer(self, asks: Mapping[Party, Ask]) -> Iterator[Answer]:
        """See `Host`.

        Raises:
            SecureFclError: a plan of another roster, or messages before any plan.
        """
        for party, ask in asks.items():
            yield Answer(party=party, reply=Answered(items=tuple(self._items(ask)), ready=True))

    def _items(self, ask: Command) -> Sequence[Item]:
        match ask:
            case Keys():
                plan = ask.plan
                if self._role not in remote_roles(plan):
                    raise SecureFclError(f"the protocol {plan.protocol} has no {self._role!r} that dials")
                if plan.roster is None or any(self._roster.keys.get(name) != key for name, key in plan.roster.entries):
                    raise SecureFclError(f"{self._role} is shown a plan of another roster than its own; refused")
                self._session = open_party(plan, self._role, identity=self._identity, journal=self._journal)
                return [*self._session.start(), *self._on(ask.items)]
            case Deliver():
                return self._on(ask.items)
        raise SecureFclError(f"{self._role} is no client and answers no {type(ask).__name__}")

    def _on(self, items: Sequence[Item]) -> list[Item]:
        if self._session is None:
            raise SessionLost(f"{self._role} has no session; the server must show its plan again")
        return [found for item in items if isinstance(item, Message) for found in self._session.on(item)]


def helper_of(name: str, folder: Path) -> HelperHost:
    """Return the host of a helper party from its own folder: `<name>.key`, `roster.json`, and `state`, which it makes.

    Raises:
        SecureFclError: a file is missing.
        crypto.errors.CryptoError: a file is malformed, or open to others.
    """
    for file in (folder / f"{name}.key", folder / ROSTER):
        if not file.is_file():
            raise SecureFclError(f"{file} is missing; copy the folder that `secure-fcl deploy` made for this party")
    (folder / STATE).mkdir(mode=0o700, exist_ok=True)
    return HelperHost(name, folder / f"{name}.key", folder / ROSTER, folder / STATE)


class SessionLost(SecureFclError):
    """A helper party was started anew in the middle of a roster; the sums of a new one can be opened."""


class TlsHelper:
    """One helper party as the server's driver of secure sums knows it (`crypto.running.driver.Remote`).

    What it is to be given while an answer is out goes together with the next.
    """

    def __init__(self, listener: Listener, name: str, plan: Plan) -> None:
        self._listener, self.name = listener, name
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._ours, self._theirs = socket.socketpair()
        self._waiting: list[Item] = []
        self._asked: Ask = Keys(plan=plan, items=())
        self._counted = self.pending = 1
        self._number = self._post()

    pending: int
    """How many inputs it has not answered yet; its start counts as one."""

    def fileno(self) -> int:
        """The descriptor that becomes readable when an answer arrives."""
        return self._ours.fileno()

    def send(self, item: Input) -> None:
        """Give it one message.

        Raises:
            FrameRefused: it is no message: what else there is, is the server's alone.
        """
        if not isinstance(item, Message):
            raise FrameRefused(f"{self.name} cannot be given {type(item).__name__}; it is the server's alone")
        self.pending += 1
        self._waiting.append(item)
        if not self._counted:
            self._next()

    def collect(self) -> tuple[Item, ...]:
        """Return what follows from all that it was given last, waiting for it.

        Raises:
            PartyLost: it could not answer, or answered what cannot be an answer.
        """
        frame = self._answers.get()
        self._ours.recv(1)
        try:
            reply = read_reply(self.name, self._asked, frame)
        except FrameRefused as error:
            self._listener.expel(self.name, "it answered what cannot be an answer")
            raise PartyLost(f"{self.name} answered what cannot be an answer; see to its machine") from error
        if isinstance(reply, Failed):
            raise PartyLost(f"{self.name} could not answer ({reply.error}); see its log, then continue the run")
        assert isinstance(reply, Answered)
        self.pending -= self._counted
        self._counted = 0
        if self._waiting:
            self._next()
        return reply.items

    def _next(self) -> None:
        self._asked, self._counted = Deliver(items=tuple(self._waiting)), len(self._waiting)
        self._waiting = []
        self._number = self._post()

    def _post(self) -> bytes:
        return self._listener.post(self.name, to_frame(self._asked), self._arrived)

    def _arrived(self, frame: bytes) -> None:
        self._answers.put(frame)
        with contextlib.suppress(OSError):
            self._theirs.send(b"\x01")

    def close(self) -> None:
        """Wait for no answer any more."""
        self._listener.withdraw(self.name, self._number)
        self._ours.close()
        self._theirs.close()


def helpers_over(parties: TlsParties) -> Helpers:
    """Return how a federation's helper parties are reached: the server's role here, all others over `parties`.

    Raises in use:
        SecureFclError: as `remote_roles`.
        crypto.errors.PartyLost: a party gives no answer, or none that can be one.
    """

    @contextmanager
    def reached(plan: Plan, files: Mapping[str, Path], journals: Mapping[str, Path]) -> Iterator[Mapping[str, Helper]]:
        away = remote_roles(plan)
        with ExitStack() as stack:
            here = stack.enter_context(
                host_parties(
                    plan, ("server",), {"server": files["server"]}, {k: v for k, v in journals.items() if k == "server"}
                )
            )
            found: dict[str, Helper] = dict(here.parties)
            for role in away:
                found[role] = helper = TlsHelper(parties.listener, role, plan)
                stack.callback(helper.close)
            yield found

    return reached
