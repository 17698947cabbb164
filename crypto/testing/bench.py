"""What the checks of `crypto.testing.checks` work on: a plan with its parties, vectors to sum, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from crypto.errors import CryptoError
from crypto.keys.randomness import KeyedStream, derive_key, uniform64
from crypto.planning.plans import Plan
from crypto.planning.upload import Upload
from crypto.protocols.session import ClientSession, Session
from crypto.running.driver import Outcome, Party
from crypto.wire.messages import Aggregate

Vectors = dict[str, npt.NDArray[np.int64]]
ROUNDS_NEEDED = 48


class ConformanceError(CryptoError):
    """A protocol broke a rule of the suite; the message says which."""


@dataclass
class Bench:
    """A plan with all its parties, set up (`crypto.set_up`), and the next unused round.

    The plan has at least 4 clients, 1 dropout and `ROUNDS_NEEDED` rounds; the clients' sessions are in
    process, the helpers may be remote.
    """

    plan: Plan
    parties: Mapping[str, Party]
    next_round: int = field(default=0)

    def fresh(self) -> int:
        """A round that was not used yet."""
        self.next_round += 1
        return self.next_round - 1

    def client(self, name: str) -> ClientSession:
        """The session of one client."""
        session = self.parties[name]
        if not isinstance(session, ClientSession):
            raise ConformanceError(f"{name} has no client session in this process")
        return session

    @property
    def sessions(self) -> dict[str, Session] | None:
        """All parties if every one of them is in this process, else None."""
        found = {name: party for name, party in self.parties.items() if isinstance(party, Session)}
        return found if len(found) == len(self.parties) else None


def random_vectors(plan: Plan, upload: Upload, seed: str) -> Vectors:
    """One vector for each client, uniform over [-bound, bound], the first and last entries at the
    extremes.
    """
    stream = KeyedStream(derive_key(b"conformance suite", seed))
    vectors = {}
    for name in plan.clients:
        drawn = uniform64(stream, upload.length) % np.uint64(2 * upload.bound + 1)
        vector = drawn.astype(np.int64) - upload.bound
        vector[0], vector[-1] = upload.bound, -upload.bound
        vectors[name] = vector
    return vectors


def expect_sum(plan: Plan, outcome: Outcome, vectors: Vectors, number: int, upload: str) -> None:
    """Raise ConformanceError unless the outcome is the exact sum of these vectors, rightly labelled."""
    if not isinstance(outcome, Aggregate):
        raise ConformanceError(f"round {number} of {upload}: {outcome.reason}")
    expected = np.sum(list(vectors.values()), axis=0, dtype=np.int64)
    same = outcome.total.dtype == np.int64 and np.array_equal(outcome.total, expected)
    expect(same, f"round {number} of {upload}: the sum is wrong")
    names = tuple(name for name in plan.clients if name in vectors)
    expect(outcome.contributors == names, f"round {number}: contributors {outcome.contributors}, not {names}")
    label = (outcome.session, outcome.round, outcome.upload)
    expect(label == (plan.session, number, upload), f"the aggregate is labelled {label}")


def expect(condition: bool, problem: str) -> None:
    """Raise ConformanceError if the condition does not hold."""
    if not condition:
        raise ConformanceError(f"conformance: {problem}")
