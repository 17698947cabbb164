"""A cohort of mask clients in one process, with identities, journals and a record of everything sent."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pytest

from crypto import Abort, Aggregate, Message, Upload, open_client, open_party, plan
from crypto.keys.roster import Identity, Roster
from crypto.planning.masks import Mode
from crypto.planning.plans import Plan
from crypto.protocols.masks.client import MaskClient
from crypto.protocols.masks.server import MaskServer
from crypto.running.driver import Outcome, Party
from crypto.testing import Bench, random_vectors
from crypto.wire.messages import Begin, Deadline, Input, Item

UPLOADS = (
    Upload(name="update", length=301, bound=1 << 15),
    Upload(name="counts", length=3, bound=5),
    Upload(name="wide", length=40, bound=1 << 45),
)


@dataclass
class Cohort:
    """Clients and server, and a network whose links can be cut."""

    plan: Plan
    parties: dict[str, Party]
    identities: dict[str, Identity]
    sent: list[Message] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)
    lose: Callable[[Message], bool] = lambda message: False

    def bench(self) -> Bench:
        return Bench(self.plan, self.parties)

    def carry(self, items: Iterable[Item]) -> list[Outcome]:
        """Deliver everything that is not cut off or lost, until nothing is under way."""
        queue, outcomes = list(items), []
        while queue:
            item = queue.pop(0)
            if isinstance(item, Aggregate | Abort):
                outcomes.append(item)
                continue
            self.sent.append(item)
            if item.sender in self.cut or self.lose(item):
                continue
            clients = item.receiver == "clients"
            for name in self.plan.clients if clients else (item.receiver,):
                if name not in self.cut:
                    queue.extend(self.parties[name].on(item))  # type: ignore[union-attr]
        return outcomes

    def give(self, name: str, item: Input) -> list[Outcome]:
        return self.carry(self.parties[name].on(item))  # type: ignore[union-attr]

    def set_up(self) -> None:
        self.carry([item for party in self.parties.values() for item in party.start()])  # type: ignore[union-attr]

    def submit(
        self, number: int, upload: str, name: str, vector: npt.NDArray[np.int64], **options: bytes
    ) -> list[Outcome]:
        return self.carry(self.parties[name].submit(number, upload, vector, **options))  # type: ignore[union-attr]

    def run(
        self, number: int, vectors: Mapping[str, npt.NDArray[np.int64]], upload: str = "update", **options: bytes
    ) -> Outcome:
        """One sum: begin, everybody who has keys submits, deadlines until there is an outcome."""
        outcomes = self.give("server", Begin(number, upload))
        for name, vector in vectors.items():
            if self.parties[name].ready:  # type: ignore[union-attr]
                outcomes += self.submit(number, upload, name, vector, **options)
        for _ in range(6):
            if not outcomes:
                outcomes += self.give("server", Deadline(number, upload))
        (outcome,) = outcomes
        return outcome

    def vectors(self, label: str, upload: int = 0) -> dict[str, npt.NDArray[np.int64]]:
        return random_vectors(self.plan, self.plan.uploads[upload], label)

    def expect(self, outcome: Outcome, vectors: Mapping[str, npt.NDArray[np.int64]], names: Iterable[str]) -> None:
        """The outcome is the exact sum of the vectors of `names`."""
        assert isinstance(outcome, Aggregate), outcome
        assert outcome.contributors == tuple(name for name in self.plan.clients if name in set(names))
        assert np.array_equal(outcome.total, np.sum([vectors[name] for name in outcome.contributors], axis=0))


def build(
    protocol: str = "secagg",
    mode: Mode = "semi-honest",
    n: int = 8,
    dropouts: int = 2,
    corrupt: int = 1,
    rounds: int = 64,
    ready: bool = True,
    bare: bool = False,
    threshold: int = 0,
) -> Cohort:
    """`bare`: without envelopes, so that a test can play the server. `threshold`: a weak plan with another one."""
    names = [f"client{i:03}" for i in range(n)]
    identities = {name: Identity.new(name) for name in (*names, "server")}
    roster = Roster.of(identities.values())
    made = plan(protocol, names, UPLOADS, rounds, dropouts, roster=roster, corrupt=corrupt, mode=mode)
    if threshold and made.masks is not None:
        made = replace(made, masks=replace(made.masks, threshold=threshold))
    parties: dict[str, Party] = {}
    public = None
    for name in names:
        if bare:
            bare_client = MaskClient(made, identities[name], public=public)
            parties[name], public = bare_client, bare_client.public
        else:
            client = open_client(made, name, public=public, identity=identities[name])
            parties[name], public = client, client.public
    parties["server"] = MaskServer(made) if bare else open_party(made, "server", identity=identities["server"])
    cohort = Cohort(made, parties, identities)
    if ready:
        cohort.set_up()
    return cohort


@pytest.fixture
def make_masks() -> Callable[..., Cohort]:
    return build
