"""Noise shared inside the sums of gradients: as charged with every client there, and with as many missing as may be."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lawbench import LawRun, Round, Sum, broken, noise_laws, rate_laws, read_sum

from privacy import Ledger
from secure_fcl.engines.commands import Visit
from secure_fcl.engines.parties import Answer
from secure_fcl.engines.pool import WorkerPool
from secure_fcl.running.folder import RunFolder

RunOf = Callable[[str], LawRun]
CLIENTS, HONEST = 6, 4
"""Six clients, of which one may be missing and one may tell its noise."""


def inside(
    run: LawRun, part: Round, arrived: int = CLIENTS, honest: int = HONEST
) -> Callable[[Mapping[str, float]], float]:
    """The variance of the shares of all who arrived; what the ledger charges is that of the honest ones."""
    scale = run.plan.wire(part.phase, part.slot).sent.scale
    return lambda event: event["variance"] / scale**2 * arrived / honest


@pytest.fixture(params=("opacus", "stacked"))
def run_of(request: pytest.FixtureRequest, law_run: Callable[..., dict[str, LawRun]]) -> RunOf:
    trainer = f"training.trainer={request.param}"
    return lambda row: law_run(row, settings=(f"{row}.epsilon=16", f"{row}.noise=shared", trainer))[row]


def gradient_sums(run: LawRun, rounds: list[Round], **options: Any) -> list[Sum]:
    return [read_sum(run, one, "gradient", 1.0, inside(run, one), **options) for one in rounds if one.phase == "train"]


def test_gradient_sums(run_of: RunOf) -> None:
    run = run_of("replay")
    sums = gradient_sums(run, run.rounds)
    assert not list(broken(noise_laws(sums) | rate_laws(sums)))


def test_references(run_of: RunOf) -> None:
    run = run_of("fedagem")
    tasks = np.array([example.task for example in run.examples])
    found = []
    for one in run.rounds:
        read = read_sum(run, one, "reference", 1.0, inside(run, one))
        found.append(replace(read, rates=np.where(tasks < one.slot, read.rates, 0.0)))
    assert not list(broken(noise_laws(found) | rate_laws(found)))
    # The memory's two sums of one round are two releases: neither coins nor noise in common.
    for beside, gradient in zip(found, gradient_sums(run, run.rounds), strict=True):
        assert not list(broken(noise_laws([beside, gradient])))
    later = [events for one in run.rounds if one.slot for events in one.charged.values()]
    assert {count for events in later for count in events.values()} == {1, 2}


def test_fisher_information(run_of: RunOf) -> None:
    run = run_of("fedewc")
    closing = [one for one in run.rounds if one.phase == "close"]
    sums = [read_sum(run, one, "fisher", 1.0, inside(run, one), squared=True) for one in closing]
    assert {float(q) for one in sums for q in one.rates} == {0.0, 0.5}
    assert not list(broken(noise_laws(sums) | rate_laws(sums)))


MISSING = "client5"


class Lossy(WorkerPool):
    """Loses the uploads of one client, and looks into the ledger whenever clients are about to draw noise."""

    ledger: RunFolder

    def ask(self, asks: Mapping[str, Any], deadline: float | None = None) -> Iterator[Answer]:
        visit = next((ask for ask in asks.values() if isinstance(ask, Visit)), None)
        if visit is not None:
            with Ledger(self.ledger.ledger_path("replay")) as ledger:
                assert len(ledger) == visit.slot * 6 + visit.round + 1, "clients train before their round is charged"
            asks = {party: ask for party, ask in asks.items() if party != MISSING}
        yield from super().ask(asks, deadline)


@pytest.mark.parametrize("protection", ["secagg", "plain"])
def test_shares_of_those_who_are_there(protection: str, law_run: Callable[..., dict[str, LawRun]]) -> None:
    settings = ("replay.epsilon=16", "replay.noise=shared", f"protection={protection}", "server=semi-honest")
    run = law_run("replay", settings=settings, parties=Lossy)["replay"]
    sums = [
        read_sum(run, one, "gradient", 1.0, inside(run, one, CLIENTS - 1), absent=(CLIENTS - 1,)) for one in run.rounds
    ]
    assert not list(broken(noise_laws(sums) | rate_laws(sums)))


def test_shares_of_a_calendar(law_run: Callable[..., dict[str, LawRun]]) -> None:
    """Two clients join late: those there carry what is charged, and nobody counts on the shares of others."""
    settings = ("replay.epsilon=16", "replay.noise=shared", "scenario.joining=0.4")
    run = law_run("replay", settings=settings)["replay"]
    sums, there = [], []
    for one in run.rounds:
        present = len(run.plan.clients_in(one.slot))
        sums.append(read_sum(run, one, "gradient", 1.0, inside(run, one, present, present - 2)))
        there.append(present)
    assert min(there) < max(there) == CLIENTS
    assert not list(broken(noise_laws(sums) | rate_laws(sums)))
