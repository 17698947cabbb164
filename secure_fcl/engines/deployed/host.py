"""The device's side of a deployment: one client, and all that it decides by itself.

A server says when a round runs and under which model. Everything else is the device's own: configuration, data, noise,
what it has spent, what it has answered, who is in the roster and how a sum is protected.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace

from filelock import FileLock, Timeout

from crypto.planning.plans import Plan
from secure_fcl.engines import commands as c
from secure_fcl.engines.deployed.claims import Claim, digest_of_ask
from secure_fcl.engines.deployed.folder import LOCK, DeviceFolder
from secure_fcl.engines.deployed.sessions import DurableSession
from secure_fcl.engines.deployed.state import RowState, open_row
from secure_fcl.engines.deployed.vault import Vault, state_key
from secure_fcl.engines.deployed.withdrawal import require_not_withdrawn
from secure_fcl.engines.frames import from_frame, to_frame
from secure_fcl.engines.host import ClientHost, covered_in
from secure_fcl.engines.journals import HASH_BYTES
from secure_fcl.engines.parties import Answer, Party
from secure_fcl.errors import ClaimRefused, ConfigurationDiffers, DeviceRefused
from secure_fcl.rows.budgets import Arrivals
from secure_fcl.streams import Scenario

log = logging.getLogger("secure_fcl.device")


class DeployedHost:
    """The `Host` of one deployed device.

    *Guarantee*: after a crash at any point it goes on, and never makes two different answers to one attempt at a (run,
    row, slot, round), whatever session, roster or digest a server offers; it charges its own ledger before it trains;
    what it says of an error is the error's class alone.

    Args:
        place: its folder.
        secret: key of repeatable noise, in tests alone (`secure_fcl.engines.deployed.rehearsal`): no command sends one,
            and no file of a device's folder holds one.
    """

    def __init__(self, place: DeviceFolder, secret: bytes | None = None) -> None:
        """Take the device's state; one process has it at a time.

        Raises:
            DeviceRefused: another process has it, its key cannot be used, or the device has withdrawn.
        """
        require_not_withdrawn(place.path)
        self._place = place
        self._secret = secret
        place.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = FileLock(place.state / LOCK, timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise DeviceRefused(f"{place.state} is in use by another process; end it first") from None
        self._vault = Vault(state_key(place.path, place.label))
        self._inner = ClientHost()
        self._scenario: Scenario | None = None
        self._row: RowState | None = None
        # Whether the ask at hand has changed anything yet.
        self._begun = False

    @property
    def party(self) -> Party:
        """The name of the one client that it plays."""
        return self._place.name

    def answer(self, asks: Mapping[Party, c.Ask]) -> Iterator[Answer]:
        """See `Host`. Whatever goes wrong is answered with `Failed`, which names the class of the error alone."""
        for party, ask in asks.items():
            self._begun = False
            try:
                if party != self.party:
                    raise DeviceRefused(f"this is the device of {self.party}, not of {party}")
                reply = self._reply(ask)
            except Exception as error:
                frames = traceback.extract_tb(error.__traceback__)
                at = f"{frames[-1].filename}:{frames[-1].lineno}"
                log.error("%s: %s failed: %s at %s", self.party, type(ask).__name__, type(error).__name__, at)
                if self._begun:
                    # What is in memory may be ahead of what is on disk: the disk counts.
                    self._let_go()
                reply = c.failure(error)
            yield Answer(party=party, reply=reply)

    def _reply(self, ask: c.Ask) -> c.Reply:
        match ask:
            case c.Join():
                return self._join(ask)
            case c.Keys():
                return self._keys(ask)
            case c.Deliver():
                session, self._begun = self._session(), True
                return session.take(digest_of_ask(to_frame(ask)), ask.items)
            case c.Visit():
                return self._visit(ask)
            case c.Settle():
                return self._forward(ask)
            case c.Close():
                row, self._begun = self._current(), True
                row.close_up_to(ask.slot, ask.state)
                return c.Done()
        raise DeviceRefused(f"{type(ask).__name__} is for simulated devices; a deployed one answers no lab")

    def _join(self, ask: c.Join) -> c.Done:
        """Begin a row, or go on with it.

        Raises:
            ConfigurationDiffers: the server runs another configuration or calendar.
            JournalRefused: the ledger lacks entries that this device has answered for.
        """
        if ask.digest != self._place.digest:
            raise ConfigurationDiffers(
                f"the server asks for the run {ask.digest[:12]}, and this device's run.toml and calendar are "
                f"{self._place.digest[:12]}; give both the same"
            )
        now = self._row
        if now is None or (now.run, now.plan.name) != (ask.run, ask.row):
            self._let_go()
            self._open(ask.run, ask.row)
        row, self._begun = self._current(), True
        row.journal.open(ask.ledger)
        self._vault.write(self._place.state / "current.bin", [ask.run, ask.row, self._place.digest])
        return c.Done()

    def _open(self, run: str, row: str) -> None:
        import torch

        torch.set_num_threads(self._place.config.threads)
        if self._scenario is None:
            self._scenario = self._place.scenario()
        self._row = open_row(self._place, self._scenario, self._vault, run, row, self._secret)
        self._inner.take(self._row.open)

    def _current(self) -> RowState:
        """Return the row that is open, taken up from disk after a restart.

        Raises:
            DeviceRefused: none is.
        """
        if self._row is None:
            found = self._vault.read(self._place.state / "current.bin")
            if found is None or found[0][2] != self._place.digest:
                raise DeviceRefused("no row is open; the server must send Join first")
            self._open(found[0][0], found[0][1])
        assert self._row is not None
        return self._row

    def _session(self) -> DurableSession:
        session = self._current().session
        if session is None:
            raise DeviceRefused("no session is joined; the server must send Keys first")
        return session

    def _keys(self, ask: c.Keys) -> c.Answered:
        """Join the secure sums of a plan that is this device's own but for the session's name."""
        row, asked = self._current(), digest_of_ask(to_frame(ask))
        if row.session is None or row.session.plan.session != ask.plan.session:
            self._require_own(row, ask.plan)
            self._begun = True
            own = self._place.identity()
            row.session = DurableSession.begin(row.folder, self._vault, row.book, ask.plan, own, row.session)
            row.open.sessions = {self.party: row.session}
            return row.session.take(asked, ask.items, begins=True)
        answered = row.session.answered(asked)
        if answered is not None:
            return answered
        if row.session.plan.digest == ask.plan.digest and row.session.fresh:
            return row.session.take(asked, ask.items, begins=True)
        raise ClaimRefused(f"session {ask.plan.session} was joined before; open another")

    def _require_own(self, row: RowState, offered: Plan) -> None:
        """Refuse a plan other than this device makes by itself: bounds, thresholds, parties, roster."""
        self._require_unrevoked(offered)
        for slot in range(row.plan.scenario.slots):
            if row.plan.clients_in(slot) == offered.clients:
                own = row.plan.secure_plan(slot).pinned(self._place.roster, self._place.config.server)
                if replace(own, session=offered.session).to_bytes() == offered.to_bytes():
                    return
        raise ConfigurationDiffers(
            "the server's plan of the secure sums is not the one of this device's configuration, calendar and roster; "
            "give both the same"
        )

    def _require_unrevoked(self, plan: Plan) -> None:
        """Refuse a sum with a party that was shut out, but for as many clients as may be missing from it."""
        revoked = self._place.revoked()
        gone = revoked & {self.party, *plan.roles}
        if gone or len(revoked & set(plan.clients)) > plan.max_dropouts:
            raise DeviceRefused(
                f"{len(revoked)} parties are revoked, {min(gone or revoked)} for one, and this sum can go on without "
                f"{plan.max_dropouts} clients alone; make another deployment"
            )

    def _visit(self, ask: c.Visit) -> c.Reply:
        """Claim the round, charge it, train, keep what the device keeps, keep the answer, answer."""
        row, session = self._current(), self._session()
        step = row.plan.step(ask.slot, ask.round)
        row.journal.check(ask.ledger)
        covered = covered_in(ask.ledger, ask.entry)
        claim = Claim(
            slot=ask.slot, round=ask.round, head=ask.ledger[-HASH_BYTES:].hex(), session=session.plan.session,
            asked=digest_of_ask(to_frame(ask)), clients=session.plan.clients,
            free=row.group in {group for group, _ in covered},
        )  # fmt: skip
        if (stored := row.book.answered(claim)) is not None:
            return _sent(stored)
        if not session.ready:
            # It missed the last answer, has no keys, and sits this sum out: nothing is released, nothing charged.
            return c.Sent(items=(), train=0.0, encrypt=0.0)
        self._require_visitable(row, ask, claim, covered)
        self._begun = True
        # A journal that a crash left half written says nothing of the entries before this one, which is not claimed.
        row.journal.open(ask.ledger[:-HASH_BYTES])
        row.close_up_to(step.slot - 1, ask.state)
        row.book.take(claim)
        reply = self._forward(ask)
        assert isinstance(reply, c.Sent)
        # How long training took speaks of how many examples there are.
        sent = replace(reply, train=0.0, encrypt=0.0)
        row.save(claim.head, to_frame(sent))
        return sent

    def _require_visitable(self, row: RowState, ask: c.Visit, claim: Claim, covered: Arrivals) -> None:
        """Refuse before anything is claimed what would be refused after it."""
        plan = row.plan
        if not (ask.slot < plan.scenario.slots and ask.round < plan.rounds_per_slot):
            raise DeviceRefused(f"slot {ask.slot}, round {ask.round} is not in this device's calendar")
        if ask.slot <= row.closed or plan.clients_in(ask.slot) != claim.clients:
            raise ClaimRefused(f"slot {ask.slot} is closed, or its clients are others than the session's")
        self._require_unrevoked(self._session().plan)
        row.budget.at(ask.ledger)
        row.budget.require(row.group, ask.slot, ask.round, ask.retired, covered)
        most = 1 + plan.config.privacy.spare_rounds if row.budget.planned is None else None
        row.book.require_new(claim, _least_of(row), most)

    def _forward(self, ask: c.Ask) -> c.Reply:
        """Let the client's own code answer; what it raises is raised."""
        self._current()
        (answer,) = self._inner.answer({self.party: ask})
        return answer.reply

    def _let_go(self) -> None:
        if self._row is not None:
            self._row.let_go()
            self._row = None

    def close(self) -> None:
        """Let go of the device's files; what is on disk stays. May be called again."""
        self._let_go()
        self._lock.release()


def _sent(frame: bytes) -> c.Sent:
    found = from_frame(frame)
    if not isinstance(found, c.Sent):
        raise DeviceRefused("the stored answer is none; restore the device's state from a copy")
    return found


def _least_of(row: RowState) -> int:
    """Fewest clients of a sum in the session that is joined."""
    assert row.session is not None
    return row.session.plan.min_clients
