import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from crypto.opening import open_party
from crypto.planning.plans import Plan
from crypto.running.driver import Party as Helper
from privacy import Ledger
from secure_fcl.config import Config
from secure_fcl.engines.commands import Ask, Failed, Join, Sent, Visit
from secure_fcl.engines.deployed.folder import DeviceFolder, ServerFolder
from secure_fcl.engines.deployed.host import DeployedHost
from secure_fcl.engines.deployed.making import roles_of, write_folders
from secure_fcl.engines.deployed.rehearsal import HostParties
from secure_fcl.engines.federation import deployed
from secure_fcl.engines.frames import to_frame
from secure_fcl.engines.journals import HASH_BYTES, heads_bytes
from secure_fcl.engines.parties import Answer, Party
from secure_fcl.engines.sums import SecureSums, SumResult
from secure_fcl.rows.budgets import NO_ARRIVALS, Arrivals, RowLedger, planned_budget
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.running.prepare import prepare
from secure_fcl.streams.public import PublicCalendar

ROW = "finetune"


class Killed(BaseException):
    """The process is gone at this instant."""


@dataclass
class Axe:
    """Kills at the n-th time that something is forced to disk or renamed; 0: never."""

    at: int = 0
    seen: int = 0

    def __call__(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            raise Killed


@dataclass
class Mortal:
    """A device that is killed where an axe says, started again, and asked the same once more."""

    place: DeviceFolder
    axe: Axe
    said: dict[bytes, set[bytes]] = field(default_factory=dict)
    uncharged: list[bytes] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    killed: int = 0

    def __post_init__(self) -> None:
        self.host = DeployedHost(self.place)

    def answer(self, asks: Mapping[Party, Ask]) -> Iterator[Answer]:
        try:
            found = list(self._axed(asks))
        except Killed:
            self.killed += 1
            # The system lets go of a dead process's lock.
            self.host.close()
            self.host = DeployedHost(self.place)
            found = list(self.host.answer(asks))
        for answer in found:
            (ask,) = asks.values()
            self._note(ask, answer)
            yield answer

    def _axed(self, asks: Mapping[Party, Ask]) -> Iterator[Answer]:
        """Only disk writes of this device are cut."""
        sync, replace = os.fsync, Path.replace

        def synced(descriptor: int) -> None:
            self.axe()
            sync(descriptor)

        def replaced(path: Path, target: Path) -> Path:
            self.axe()
            return replace(path, target)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", synced)
            patch.setattr(Path, "replace", replaced)
            yield from self.host.answer(asks)

    def _note(self, ask: Ask, answer: Answer) -> None:
        if isinstance(answer.reply, Failed):
            assert (answer.reply.text, answer.reply.trace) == ("", "")
            self.failed.append(answer.reply.error)
        if isinstance(answer.reply, Sent) and isinstance(ask, Visit) and answer.reply.items:
            head = ask.ledger[-HASH_BYTES:]
            self.said.setdefault(head, set()).add(to_frame(answer.reply))
            (own,) = self.place.state.glob(f"*/{ROW}/ledger.jsonl")
            # Read as another process would.
            with Ledger(own) as ledger:
                places = [(label["slot"], label["round"]) for label in ledger.labels]
            if (ask.slot, ask.round) not in places:
                self.uncharged.append(head)

    def faults(self) -> list[str]:
        """What must never be: two different answers to one attempt, or an answer that the own ledger lacks."""
        twice = [f"{len(frames)} answers" for frames in self.said.values() if len(frames) > 1]
        return twice + ["not charged"] * len(self.uncharged)


@contextmanager
def _here(plan: Plan, files: Mapping[str, Path], journals: Mapping[str, Path]) -> Iterator[Mapping[str, Helper]]:
    from crypto.keys.roster import Identity

    yield {role: open_party(plan, role, identity=Identity.load(file)) for role, file in files.items()}


class Bench:
    """A row of a deployment with a server of this process, round by round; client0 is mortal."""

    def __init__(self, out: Path, plan: RowPlan, axe: Axe) -> None:
        self.out, self.axe, self.plan = out, axe, plan
        self.server = ServerFolder.read(out / "server")
        self.ledger = Ledger(out / "server" / "ledger.jsonl")
        self.row = RowLedger(self.plan, self.ledger, planned_budget(self.plan))
        self.mortal = Mortal(DeviceFolder.read(out / "client0"), axe)
        others = [DeployedHost(DeviceFolder.read(out / f"client{k}")) for k in range(1, self.server.calendar.clients)]
        self.hosts = {"client0": self.mortal, **{host.party: host for host in others}}
        self.parties = HostParties(self.hosts)
        self.federation = deployed(self.parties, self.server.calendar.clients, self.server.digest, _here)
        self.state = self.plan.strategy.initial()

    def join(self) -> dict[Party, object]:
        ask = Join(row=ROW, run="bench", digest=self.server.digest, ledger=heads_bytes(self.ledger.heads))
        return {a.party: a.reply for a in self.parties.ask(dict.fromkeys(self.hosts, ask))}

    def sums(self) -> SecureSums:
        return SecureSums(self.plan.secure_plan(0), self.federation, str(self.out / "server"), "active")

    def visit(self, round: int, covered: Arrivals = NO_ARRIVALS) -> Visit:
        """Charge a round but for what an earlier charge covers, and return what asks for it."""
        retired = self.row.charge(0, round, covered, run="bench", row=ROW)
        heads = heads_bytes(self.ledger.heads)
        return Visit(slot=0, round=round, retired=retired, state=self.state, ledger=heads, entry=self.ledger.last_entry)

    def round(self, sums: SecureSums, visit: Visit) -> SumResult:
        return sums.run(visit.round, self.plan.wire("train").sent.name, visit)

    def start_again(self) -> None:
        """End the processes of all devices, and start them."""
        for party, host in self.hosts.items():
            own = host.host if isinstance(host, Mortal) else host
            own.close()
            new = DeployedHost(DeviceFolder.read(self.out / party))
            if isinstance(host, Mortal):
                host.host = new
            else:
                self.hosts[party] = self.parties.hosts[party] = new

    def close(self) -> None:
        self.mortal.host.close()
        for host in self.hosts.values():
            if isinstance(host, DeployedHost):
                host.close()
        self.ledger.close()


@pytest.fixture(scope="session")
def bench_config(make_config: Callable[..., Config]) -> Config:
    return make_config(
        f'rows=["{ROW}"]', "scenario.tasks=1", "scenario.clients=4", "scenario.partition=iid", "protection=secagg",
        "training.rounds=3", "privacy.spare_rounds=1", "engine=tls",
    )  # fmt: skip


@pytest.fixture(scope="session")
def bench_plan(bench_config: Config) -> RowPlan:
    """The row of all benches, calibrated once."""
    return prepare(bench_config).rows[0][0]


@pytest.fixture(scope="session")
def bench_folders(tmp_path_factory: pytest.TempPathFactory, bench_config: Config, bench_plan: RowPlan) -> Path:
    """A deployment whose devices have joined its row: their noise is calibrated, their coins are drawn."""
    out = tmp_path_factory.mktemp("bench") / "out"
    prepared = prepare(bench_config.model_copy(update={"engine": "local"}))
    roles = roles_of(plan for plan, _ in prepared.rows)
    write_folders(out, bench_config, PublicCalendar.of(prepared.scenario), roles, prepared.scenario)
    bench = Bench(out, bench_plan, Axe())
    assert not [reply for reply in bench.join().values() if isinstance(reply, Failed)]
    bench.close()
    return out


@pytest.fixture
def make_bench(bench_folders: Path, bench_plan: RowPlan, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """`make_bench(at)`: a bench on a copy of the folders, whose client0 is killed at the at-th disk operation."""
    made: list[Bench] = []

    def make(at: int = 0) -> Bench:
        out = tmp_path / f"bench-{len(made)}"
        shutil.copytree(bench_folders, out)
        made.append(Bench(out, bench_plan, Axe(at)))
        return made[-1]

    yield make
    for bench in made:
        bench.close()
