"""A deployment's server: it waits for enough parties, runs what is left of its run, and goes on after an abort.

It plays no client and holds no example but the public test set. Which rounds were interrupted is charged as the run's
own rules say (`secure_fcl.running.repeats`), however often it starts again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crypto.errors import PartyLost
from secure_fcl.engines.deployed.digests import run_digest
from secure_fcl.engines.deployed.folder import ServerFolder
from secure_fcl.engines.federation import Federation, deployed
from secure_fcl.engines.parties import parties_of
from secure_fcl.engines.tls.contexts import TLS, TlsFiles
from secure_fcl.engines.tls.helpers import helpers_over, remote_roles
from secure_fcl.engines.tls.limits import MIB, Limits
from secure_fcl.engines.tls.parties import TlsParties
from secure_fcl.engines.tls.revocations import REVOKED
from secure_fcl.errors import QuorumMissing, RunFolderError, SumAborted
from secure_fcl.runner import write_report
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Interrupted, Job
from secure_fcl.running.prepare import Prepared, prepare_deployed
from secure_fcl.running.records import Tick, Watcher, unwatched
from secure_fcl.running.status import FILE, Status, StatusFile

Say = Callable[[str], None]
RUN_FOLDER = "run"


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How a server serves.

    Attributes:
        address: host and port to listen on.
        deadline: seconds after which a party that owes an answer is left out of what is being summed.
        patience: seconds for which everybody is waited for once enough are there.
        wait: seconds for which enough are waited for; after that the server gives up, and names who is missing.
        aborts: sums that may be aborted one after the other before it gives up.
        limits: what strangers and parties may cost; how long an answer may be follows from the plan.
    """

    address: tuple[str, int]
    deadline: float = 60.0
    patience: float = 10.0
    wait: float = math.inf
    aborts: int = 5
    limits: Limits = field(default_factory=Limits)


def open_run(place: ServerFolder) -> tuple[Prepared, RunFolder]:
    """Return the run of a server's folder, begun or to be continued.

    Raises:
        RunFolderError: the run was begun under another configuration or calendar.
        SecureFclError: as `prepare_deployed`.
    """
    scenario, path = place.scenario(), place.path / RUN_FOLDER
    if not path.exists():
        prepared = prepare_deployed(place.config.model_copy(update={"engine": "tls"}), scenario)
        return prepared, RunFolder.create(
            place.path, prepared.config, RUN_FOLDER, journals=True, tasks=scenario.task_names
        )
    folder = RunFolder.existing(path, trust_code=True)
    if run_digest(folder.config(), place.calendar) != place.digest:
        raise RunFolderError(
            f"{path} was begun under another configuration than {place.path / 'run.toml'}; move it away, or restore "
            "the file"
        )
    return prepare_deployed(folder.config(), scenario), folder


class Server:
    """Serves one run. Use it once."""

    def __init__(
        self,
        place: ServerFolder,
        serving: Serving,
        say: Say = lambda text: None,
        watch: Watcher = unwatched,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Check everything and make, or open, the run's folder.

        Raises:
            SecureFclError, crypto.CryptoError, privacy.PrivacyError: the first thing that cannot work.
        """
        self._place, self._serving, self._say, self._watch, self._stopped = place, serving, say, watch, stopped
        self._prepared, self._folder = open_run(place)
        self.run_path = self._folder.path
        self._last: Tick | None = None
        self._state, self._reason = "waiting", ""
        rows = [plan for plan, _ in self._prepared.rows]
        plans = [plan.secure_plan(slot) for plan in rows for slot in range(plan.scenario.slots)]
        self._helpers = tuple(dict.fromkeys(role for plan in plans for role in remote_roles(plan)))
        longest = 2 * max(plan.largest_payload for plan in plans) + MIB
        self._limits = replace(serving.limits, answer=longest)
        self._parties: TlsParties | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; 0 before."""
        return 0 if self._parties is None else self._parties.port

    def run(self) -> Path:
        """Serve until the run is finished; return its report.

        Raises:
            QuorumMissing: too few parties came in time, or sums were aborted too often; names who is missing.
            Interrupted: `stopped()` became true.
            SecureFclError, crypto.CryptoError, privacy.PrivacyError: what no waiting mends.
        """
        count = self._prepared.scenario.clients
        files, revoked = TlsFiles(folder=self._place.path / TLS), self._place.path / REVOKED
        with TlsParties(
            self._serving.address, files, parties_of(count), self._helpers, limits=self._limits, revoked=revoked
        ) as parties:
            self._parties = parties
            federation = deployed(parties, count, self._place.digest, helpers_over(parties), self._serving.deadline)
            with self._folder.locked(), StatusFile(self.run_path / FILE, self._status):
                return self._serve(federation)

    def _serve(self, federation: Federation) -> Path:
        aborted, before = 0, self._folder.progress()
        try:
            while not self._folder.progress().finished:
                self._await_quorum()
                self._state, self._reason = "running", ""
                try:
                    Job(
                        self._prepared, RunFolder.existing(self.run_path, True), federation, self._tell, self._stopped
                    ).run()
                except (SumAborted, PartyLost, QuorumMissing) as error:
                    now = self._folder.progress()
                    aborted, before = (1 if now != before else aborted + 1), now
                    self._state, self._reason = "waiting", str(error)
                    self._say(f"aborted: {error}; {self._who_is_missing()}")
                    if aborted >= self._serving.aborts:
                        raise QuorumMissing(
                            f"{aborted} sums one after the other were aborted, the last so: {error}; "
                            f"{self._who_is_missing()}; start them, then this server again"
                        ) from error
            self._state = "finished"
            return write_report(RunFolder.existing(self.run_path, True))
        except Interrupted:
            self._state = "stopped"
            raise
        except QuorumMissing as error:
            self._state, self._reason = "aborted", str(error)
            raise
        except BaseException as error:
            self._state, self._reason = "refused", type(error).__name__
            raise

    def _await_quorum(self) -> None:
        """Wait for everybody whom the calendar has now, a while; then for as many as a sum needs."""
        assert self._parties is not None
        at = self._folder.progress()
        plan = self._prepared.rows[at.row][0]
        slot = min(at.slot, plan.scenario.slots - 1)
        sums = plan.secure_plan(slot)
        members, helpers = set(sums.clients), remote_roles(sums)
        begun, told = time.monotonic(), ""
        while True:
            there = len(members & set(self._parties.present()))
            waited = time.monotonic() - begun
            lacking = self._parties.missing(helpers)
            if not lacking and (
                there == len(members) or (there >= sums.min_clients and waited > self._serving.patience)
            ):
                return
            if self._stopped():
                raise Interrupted
            text = (
                f"{there} of {len(members)} clients are here, {sums.min_clients} are needed; {self._who_is_missing()}"
            )
            if waited > self._serving.wait:
                raise QuorumMissing(f"{text}; start them, then this server again")
            if text != told:
                told = text
                self._say(f"waiting: {text}")
            time.sleep(0.1)

    def _who_is_missing(self) -> str:
        missing = {} if self._parties is None else self._parties.missing()
        if not missing:
            late = {} if self._parties is None else self._parties.late
            return "missing: nobody" + (f"; owe an answer: {_listed(late)}" if late else "")
        return f"missing: {_listed(missing)}"

    def _tell(self, tick: Tick) -> None:
        self._last = tick
        self._watch(tick)

    def _status(self) -> Status:
        parties, tick = self._parties, self._last
        config = self._prepared.config
        rows = [plan for plan, _ in self._prepared.rows]
        budgets = {plan.name: config.section(plan.name).epsilon for plan in rows}
        where: dict[str, Any] = {} if tick is None else {
            "row": tick.row, "task": tick.slot + 1, "tasks": tick.slots, "round": tick.round + 1,
            "rounds": tick.rounds, "done": tick.done,
        }  # fmt: skip
        return Status(
            state=self._state, reason=self._reason,
            present=() if parties is None else tuple(sorted(parties.listener.present())),
            missing={} if parties is None else parties.missing(),
            late={} if parties is None else dict(parties.late),
            total=self._prepared.rounds,
            budgets={row: epsilon if math.isfinite(epsilon) else None for row, epsilon in budgets.items()},
            deltas={plan.name: plan.accounting_delta for plan in rows if plan.protected},
            accountant=config.privacy.accountant, **where,
        )  # fmt: skip


def _listed(names: dict[str, str]) -> str:
    return ", ".join(f"{name} ({why})" for name, why in sorted(names.items()))
