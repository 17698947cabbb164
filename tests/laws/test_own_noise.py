"""Noise of each client's own: what a run's sums hold is what its ledger says, with both trainers and in every phase."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from lawbench import NOISE, LawRun, Round, Sum, broken, noise_laws, own, rate_laws, read_sum, updates
from statistics_of import correlation_p, normal_p, tails_p

TRAINERS = ("opacus", "stacked")
RunOf = Callable[[str], LawRun]


@pytest.fixture(params=TRAINERS)
def run_of(request: pytest.FixtureRequest, law_run: Callable[..., dict[str, LawRun]]) -> RunOf:
    return lambda row: law_run(row, settings=(f"{row}.{NOISE}", f"training.trainer={request.param}"))[row]


def training(run: LawRun, slot: int | None = None) -> list[Round]:
    return [one for one in run.rounds if one.phase == "train" and slot in (None, one.slot)]


def test_updates(run_of: RunOf) -> None:
    # What others do after the noise shows from the second task on.
    for name, slot in (("replay", None), ("fedewc", 0)):
        run = run_of(name)
        sums = updates(run, training(run, slot))
        assert not list(broken(noise_laws(sums) | rate_laws(sums))), name
        assert {0.0, 0.25} <= {float(q) for one in sums for q in one.rates}


def test_tails(run_of: RunOf) -> None:
    """One row's sums are too few for the fourth moment of a sum of six: of 36 sums it sees uniform noise in each."""
    rows = (("replay", None), ("finetune", None), ("derpp", 0), ("fedewc", 0))
    sums = [one for name, slot in rows for one in updates(run_of(name), training(run_of(name), slot))]
    assert tails_p(np.concatenate([one.residual for one in sums])) > 1e-6


def test_every_charge_is_one_question(run_of: RunOf) -> None:
    for name in ("replay", "fedagem", "fedewc", "fedssi"):
        for one in run_of(name).rounds:
            asked = {fate: set() for fate in ("kept", "discarded")}
            for (_, arrival, _, fate), events in one.charged.items():
                asked[fate if arrival < one.slot else "discarded"] |= set(events.values())
            memory = {"replay": {1}, "fedagem": {2}}.get(name, set()) if one.slot else set()
            expected = {"kept": memory, "discarded": {2} if name == "fedssi" else {1}}
            assert asked == expected, (name, one.slot, one.in_slot)


def test_references(run_of: RunOf) -> None:
    run = run_of("fedagem")
    found = [one for one in training(run) if one.slot == 1]
    sums = [read_sum_of_memory(run, one) for one in found]
    assert not list(broken(noise_laws(sums) | rate_laws(sums)))
    assert sum(float(one.rates.sum()) for one in sums) > 100.0


def read_sum_of_memory(run: LawRun, one: Round) -> Sum:
    found = read_sum(run, one, "reference", 1.0 / run.plan.config.training.denominator, own(run))
    tasks = np.array([example.task for example in run.examples])
    return replace(found, rates=np.where(tasks < one.slot, found.rates, 0.0))


def test_fisher_information(run_of: RunOf) -> None:
    for name in ("fedewc", "fedcurv"):
        run = run_of(name)
        # FedCurv's clients stand at their own models, which nobody knows but they.
        closing = [one for one in run.rounds if one.phase == "close"]
        sums = [read_sum(run, one, "fisher", 1.0, own(run), squared=True) for one in closing]
        found = noise_laws(sums)
        if name == "fedewc":
            found |= rate_laws(sums)
            assert {float(q) for one in sums for q in one.rates} == {0.0, 0.5}
        assert not list(broken(found)), name


@pytest.mark.parametrize("trainer", TRAINERS)
def test_paths_of_surrogates(trainer: str, law_run: Callable[..., dict[str, LawRun]]) -> None:
    """In the first round a surrogate stands at the server's weights, and its path is its squared noisy gradient."""
    # More noise than elsewhere: beside its square that of the gradients, whose batches are not known, is small.
    run = law_run("fedssi", settings=("fedssi.epsilon=60", f"training.trainer={trainer}"))["fedssi"]
    t = run.plan.config.training
    first = run.rounds[0]
    update = updates(run, [first])[0]
    # The pull of FedSSI is taken implicitly: mix 1/2 divides a step by 1 + rate / 2.
    shortened = 1.0 + t.learning_rate * 0.5
    path = first.parts["path"] * t.upload_clip / t.learning_rate
    squares = path / t.learning_rate * shortened * t.denominator**2
    clients, noise = run.plan.scenario.clients, update.variance / run.plan.scenario.clients
    expected, q = np.zeros(len(squares)), 0.25
    for client in range(clients):
        own = update.directions[(update.clients == client) & (update.rates == q)]
        expected += (q * own.sum(axis=0)) ** 2 + q * (1.0 - q) * (own**2).sum(axis=0)
    signal = float(expected.sum())
    surplus = float(squares.sum()) - signal - clients * noise * len(squares)
    spread = 2.0 * clients * noise**2 * len(squares) + 4.0 * noise * signal + signal**2 / clients
    assert normal_p(surplus / np.sqrt(spread)) > 1e-6
    a, b = update.residual**2 - 1.0, squares - squares.mean()
    assert correlation_p(a, b, len(a)) > 1e-6


def test_visits_of_several_steps(law_run: Callable[..., dict[str, LawRun]]) -> None:
    """Steps so small that the weights hardly move: an example is asked at each, and each has noise of its own."""
    small = (f"replay.{NOISE}", "training.steps=3", "training.learning_rate=0.001", "training.upload_bits=50")
    run = law_run("replay", settings=small)["replay"]
    assert {n for one in run.rounds for events in one.charged.values() for n in events.values()} == {3}
    sums = updates(run, run.rounds, steps=3)
    assert not list(broken(noise_laws(sums) | rate_laws(sums)))


def test_chunks_are_read_in_their_rounds(law_run: Callable[..., dict[str, LawRun]]) -> None:
    run = law_run("replay", settings=(f"replay.{NOISE}", "storage.budget_examples=30", "memory.capacity=20"))["replay"]
    assert run.plan.storage.chunks > 1
    sums = updates(run, run.rounds)
    assert {0.0, 0.25, 0.3} == {float(q) for one in sums for q in one.rates}
    assert not list(broken(noise_laws(sums) | rate_laws(sums)))


def test_weights_of_clients_are_noisy(law_run: Callable[..., dict[str, LawRun]]) -> None:
    run = law_run("fedavg", settings=(f"fedavg.{NOISE}",))["fedavg"]
    sums = {float(one.parts["weight"][0]) for one in run.rounds}
    assert len(sums) == len(run.rounds)
