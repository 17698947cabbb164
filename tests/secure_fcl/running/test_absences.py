"""What clients that are away from single rounds do to sums, means, records and charges."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from crypto.wire.messages import Message
from privacy import Ledger
from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.engines.commands import Close, Keys, Open, Sent, Simulated, Visit
from secure_fcl.engines.host import ClientHost
from secure_fcl.engines.identities import identities
from secure_fcl.engines.parties import party_of
from secure_fcl.errors import ConfigInvalid
from secure_fcl.randomness import noise_secret
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.runner import train
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Interrupted
from secure_fcl.running.prepare import Prepared, prepare
from secure_fcl.streams import Absences, absent_of, build_scenario

ROWS = ('rows=["finetune","class_sums"]', "replay_noise=true", "training.rounds=3", "scenario.clients=10")
AWAY = ("scenario.dropout=0.2", "privacy.max_dropouts=2")


@pytest.fixture(scope="module")
def prepared(make_config: Callable[..., Config]) -> Prepared:
    return prepare(make_config(*ROWS, *AWAY))


@pytest.fixture(scope="module")
def plain(run_tiny):  # type: ignore[no-untyped-def]
    return run_tiny(*ROWS, *AWAY, "workers=2")


def sent_by_hand(plan: RowPlan, multiplier: float, secret: bytes, states: list) -> Iterator[np.ndarray]:  # type: ignore[type-arg]
    """Yield, for each round, the sum of what the present clients of one host send, added one by one."""
    host, given = ClientHost(), Simulated(noise_multiplier=multiplier, charged=(), secret=secret)
    everybody = [party_of(k) for k in range(plan.scenario.clients)]
    list(host.answer(dict.fromkeys(everybody, Open(row=plan.name, config=plan.config, simulated=given))))
    with identities(plan.secure_plan(), "", "active") as known:
        host._identities = known.folder
        list(host.answer(dict.fromkeys(everybody, Keys(plan=known.plan, items=()))))
        for slot, round in plan.schedule():
            state = states[slot * plan.rounds_per_slot + round]
            visit = Visit(slot=slot, round=round, retired=frozenset(), state=state)
            there = [party for k, party in enumerate(everybody) if k not in plan.away(slot, round)]
            total = np.zeros(plan.wire(plan.phase(round), slot).sent.length, dtype=np.int64)
            for answer in host.answer(dict.fromkeys(there, visit)):
                for message in answer.of(Sent).items:
                    assert isinstance(message, Message)
                    total += np.frombuffer(message.payload, dtype="<i8")
            yield total
            if round == plan.rounds_per_slot - 1:
                list(host.answer(dict.fromkeys(everybody, Close(slot=slot, state=state))))


def test_a_sum_is_that_of_the_clients_that_are_there(plain, prepared: Prepared) -> None:  # type: ignore[no-untyped-def]
    for plan, multiplier in prepared.rows:
        saved = [plain.transcript[f"{plan.name}/{number:05d}"] for number in range(plan.rounds)]
        names = plan.strategy.initial().keys()
        states = [plan.strategy.initial(), *({name: each[name] for name in names} for each in saved)]
        by_hand = list(sent_by_hand(plan, multiplier, prepared.noise_key(noise_secret()), states))
        assert len(by_hand) == plan.rounds
        for total, each in zip(by_hand, saved, strict=True):
            assert np.array_equal(total, each["total"])


def test_a_mean_is_over_those_in_the_sum(plain, prepared: Prepared) -> None:  # type: ignore[no-untyped-def]
    plan = prepared.rows[0][0]
    saved = plain.transcript[f"{plan.name}/00000"]
    step, start = plan.step(0, 0), plan.strategy.initial()
    received = plan.wire("train", 0).draw(0, 0).decode(saved["total"])
    assert plan.expected(0, 0) == 8
    mean = next(iter(received.values())) / 8
    assert np.allclose(saved["weights"] - start["weights"], mean, atol=1e-6)
    assert np.abs(mean).max() > 1e-3
    assert not np.allclose(saved["weights"], plan.strategy.apply(start, step, received, 10)["weights"], atol=1e-6)


@pytest.mark.parametrize("settings", [
    ("protection=helper",),
    ("protection=secagg", "scenario.dropout_step=mixed"),
    ("protection=secagg", "scenario.dropout_step=mixed", "server=active"),
    ("protection=secagg", "scenario.dropout_step=unmask"),
    ("protection=secagg", "scenario.dropout_step=confirm", "server=active"),
    ("protection=bfv", "training.rounds=1"),
    ("protection=mpc", "training.rounds=1"),
])  # fmt: skip
def test_every_protection_sums_the_same_clients(run_tiny, settings: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    same = [each for each in settings if not each.startswith(("protection", "server"))]
    wanted = ('rows=["class_sums"]', "class_sums.noise=shared", *ROWS[1:], *AWAY, "scenario.tasks=3")
    other, plain = run_tiny(*wanted, *settings), run_tiny(*wanted, *same)
    assert other.digest() == plain.digest()
    assert other.metrics == plain.metrics


def test_records_say_who_was_away(plain, prepared: Prepared) -> None:  # type: ignore[no-untyped-def]
    plans = {plan.name: plan for plan, _ in prepared.rows}
    costs = plain.records("cost.jsonl")
    for record in costs:
        away = plans[record["row"]].away(record["task"], record["round"])
        assert record["away"] == {str(client): "upload" for client in away}
        assert (record["in_sum"], record["clients"]) == (8, 10)
        assert {message["client"] for message in record["ciphertexts"]} == set(range(10)) - away.keys()
    assert len({tuple(record["away"]) for record in costs}) > 3


def test_charges_do_not_depend_on_who_is_away(plain, prepared: Prepared, run_tiny) -> None:  # type: ignore[no-untyped-def]
    # Whether somebody of a cohort was there is not for the ledger to rely on: all cohorts are charged.
    for plan, _ in prepared.rows:
        with Ledger(RunFolder(plain.path).ledger_path(plan.name)) as ledger:
            assert ledger.spent() == plan.scheduled()


def test_a_continued_run_has_the_same_clients_away(plain, prepared: Prepared, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rounds = iter(range(100))
    folder = RunFolder.create(tmp_path, prepared.config, "run")
    with folder.locked(), pytest.raises(Interrupted):
        train(prepared, folder, stopped=lambda: next(rounds) == 3)
    with folder.locked():
        train(prepared, folder)
    continued = [json.loads(line) for line in (folder.path / "cost.jsonl").read_text().splitlines()]
    assert [(r["row"], r["away"]) for r in continued] == [(r["row"], r["away"]) for r in plain.records("cost.jsonl")]
    metrics = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    assert metrics == [json.loads(line) for line in (plain.path / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("step", ["upload", "confirm", "unmask", "mixed"])
def test_as_many_are_away_from_every_round_and_who_left_late_stays_away(
    make_config: Callable[..., Config], digits: Dataset, step: str
) -> None:
    config = make_config("scenario.clients=20", "scenario.dropout=0.2", f"scenario.dropout_step={step}")
    dates = build_scenario(digits, config).dates
    found = [Absences(config, dates, 10).at(slot, round) for slot in range(2) for round in range(10)]
    assert [len(each) for each in found] == [4] * 20
    for before, after in itertools.pairwise(found):
        late = {k for k, missed in before.items() if missed != "upload"}
        assert late <= {k for k, missed in after.items() if missed == "upload"}
    assert len({frozenset(each) for each in found}) > (8 if step != "mixed" else 12)
    assert Absences(config, dates, 10).at(1, 9) == found[-1]
    missed = {each for away in found for each in away.values()}
    assert missed == ({"upload", "confirm", "unmask"} if step == "mixed" else {"upload", step})


def test_the_number_away_is_the_nearest_whole() -> None:
    assert [absent_of(share, 30) for share in (0.0, 0.01, 0.05, 0.1, 0.2)] == [0, 0, 2, 3, 6]
    assert absent_of(0.29, 100) == 29


def test_a_plan_that_cannot_do_without_them_is_refused(make_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigInvalid, match=r"takes 2 of 10 .*max_dropouts = 1 .* set privacy.max_dropouts = 2 "):
        prepare(make_config(*ROWS, "scenario.dropout=0.2", "privacy.max_dropouts=1"))
    with pytest.raises(ConfigInvalid, match=r"takes 9 of 10 .* two must stay"):
        prepare(make_config(*ROWS, "scenario.dropout=0.9", "privacy.max_dropouts=9"))


def test_a_view_of_a_client_that_is_away_is_refused(make_config: Callable[..., Config], prepared: Prepared) -> None:
    away = min(prepared.rows[0][0].away(0, 0))
    attacked = (*ROWS, *AWAY, "attacks.enabled=true", "attacks.row=finetune")
    with pytest.raises(ConfigInvalid, match=rf"attacks.client = {away} is away .* set attacks.client = "):
        prepare(make_config(*attacked, f"attacks.client={away}"))
    prepare(make_config(*attacked, f"attacks.client={min({*range(10)} - prepared.rows[0][0].away(0, 0).keys())}"))
