"""Plans, parties and a network to play with, for the protocols "helper" and "helper-T-of-H"."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from crypto import Upload, make_identities, open_client, open_party, plan, set_up
from crypto.keys.roster import Identity, Roster
from crypto.planning.plans import Plan
from crypto.protocols.masks import MemoryJournal
from crypto.protocols.session import ClientSession, Session
from crypto.running.driver import Outcome, deliver
from crypto.testing import Bench
from crypto.wire.messages import Begin, Deadline, Item, Message

NAMES = ("ada", "bob", "cyd", "dan", "eve")
UPLOADS = (
    Upload(name="update", length=901, bound=1 << 16, noise_bound=1000),
    Upload(name="counts", length=3, bound=5),
    Upload(name="wide", length=40, bound=1 << 39),
)
MODEL = b"digest of a model"


@dataclass
class Kit:
    """All parties of one plan, each with its journal; a party can be started again, with its journal or another."""

    plan: Plan
    identities: Mapping[str, Identity]
    journals: dict[str, MemoryJournal] = field(default_factory=dict)
    parties: dict[str, Session] = field(default_factory=dict)

    def open(self, name: str, journal: MemoryJournal | None = None) -> tuple[Item, ...]:
        """Start a party, and return what it says first."""
        kept = self.journals[name] = journal or self.journals.get(name) or MemoryJournal()
        own = self.identities[name]
        if name in self.plan.clients:
            self.parties[name] = open_client(self.plan, name, identity=own, journal=kept)
        else:
            self.parties[name] = open_party(self.plan, name, identity=own, journal=kept)
        return self.parties[name].start()

    def restart(self, name: str, journal: MemoryJournal | None = None) -> None:
        """Start a party again, and deliver what it says first."""
        deliver(self.parties, self.open(name, journal))

    def client(self, name: str) -> ClientSession:
        found = self.parties[name]
        assert isinstance(found, ClientSession)
        return found

    def send(self, number: int, names: tuple[str, ...] = NAMES, model: bytes = MODEL) -> dict[str, Message]:
        """One message of each client, undelivered."""
        return {name: self.client(name).submit(number, "counts", vector(name), model=model)[0] for name in names}

    def sum(self, number: int, messages: Mapping[str, Message]) -> list[Outcome]:
        """Begin a sum at the server, deliver these vectors and let deadlines pass."""
        outcomes = deliver(self.parties, (), inputs={"server": (Begin(number, "counts"),)})
        outcomes += deliver(self.parties, messages.values())
        for _ in range(3):
            outcomes = outcomes or deliver(self.parties, (), inputs={"server": (Deadline(number, "counts"),)})
        return outcomes


def vector(name: str) -> np.ndarray:
    return np.full(3, NAMES.index(name) + 1, dtype=np.int64)


def pinned(protocol: str, rounds: int = 200, dropouts: int = 2) -> tuple[Plan, dict[str, Identity]]:
    loose = plan(protocol, NAMES, UPLOADS, rounds, max_dropouts=dropouts)
    identities = make_identities((*NAMES, *loose.roles))
    return loose.pinned(Roster.of(identities.values())), identities


def kit_of(protocol: str) -> Kit:
    kit = Kit(*pinned(protocol))
    first = [item for name in (*kit.plan.clients, *kit.plan.roles) for item in kit.open(name)]
    deliver(kit.parties, first)
    return kit


@pytest.fixture
def kit() -> Kit:
    return kit_of("helper")


@pytest.fixture
def make_kit() -> Callable[[str], Kit]:
    return kit_of


@pytest.fixture
def make_bench() -> Callable[[str], Bench]:
    def make(protocol: str) -> Bench:
        made, identities = pinned(protocol)
        parties: dict[str, Session] = {name: open_client(made, name, identity=identities[name]) for name in NAMES}
        parties |= {role: open_party(made, role, identity=identities[role]) for role in made.roles}
        set_up(parties)
        return Bench(made, parties)

    return make
