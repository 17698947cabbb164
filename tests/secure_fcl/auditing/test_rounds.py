"""Membership over rounds against a run's own sums: found without noise, gone where coins decide nothing."""

from dataclasses import replace

import numpy as np
import pytest

from secure_fcl.auditing.rounds import play_rounds
from secure_fcl.auditing.world import AuditWorld, Played, open_world
from secure_fcl.errors import ConfigInvalid
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.prepare import prepare

BARE = (
    'rows=["finetune"]', "scenario.partition=iid", "scenario.clients=3", "scenario.holdout=0.5", "training.rounds=4",
    "training.steps=1", "training.q_current=0.5", "attacks.row=finetune", "finetune.noise=none", "finetune.epsilon=inf",
    "scenario.dropout=0.34",
)  # fmt: skip


def sums(found: Played) -> dict[str, tuple[float, float, float]]:
    """AUC with interval of each attack on the run's own sums."""
    own = [one for one in found.outcomes if one.terms.about == "run"]
    return {one.attack.removesuffix(" over rounds"): (one.auc.low, one.auc.value, one.auc.high) for one in own}


@pytest.fixture(scope="module")
def bare(run_tiny, make_config) -> AuditWorld:  # type: ignore[no-untyped-def]
    return open_world(prepare(make_config(*BARE)), RunFolder.existing(run_tiny(*BARE).path))


@pytest.mark.slow
def test_sums_of_a_small_cohort_without_noise_tell_its_members(bare: AuditWorld) -> None:
    found = play_rounds(bare, 450)
    low, value, _ = sums(found)["likelihood ratio"]
    assert low > 0.6
    assert value > sums(found)["cosine"][1]
    record = dict(found.more)["rounds"]
    first, *_, last = next(
        one["auc"] for one in record["trajectories"] if one["view"] == "sums only" and "ratio" in one["attack"]
    )
    assert first["value"] < last["value"]
    clear = [one for one in found.outcomes if one.terms.about == "staged" and one.view == "all clients in the clear"]
    assert {one.terms.control for one in clear} == {"without noise"}
    assert max(one.auc.low for one in clear) > 0.7
    assert found.missing == ()


@pytest.mark.slow
def test_coins_that_decided_nothing_are_not_found(bare: AuditWorld) -> None:
    scenario = bare.plan.scenario
    idle = np.random.default_rng(4).random(len(scenario.held_out)) < 0.5
    other = replace(bare, plan=replace(bare.plan, scenario=replace(scenario, held_out=idle)))
    for low, _, high in sums(play_rounds(other, 250)).values():
        assert low < 0.5 < high


@pytest.mark.slow
def test_who_was_away_is_read_from_the_calendar(bare: AuditWorld) -> None:
    slots = dict(play_rounds(bare, 40).more)["rounds"]["cohorts"]
    assert [one["rounds"] for one in slots] == [4, 4]
    # One of three is away from every round, so that no cohort is all of them.
    assert all(1 < one["cohorts"] <= 3 for one in slots)
    assert all(one["isolated"] == [0, 1, 2] for one in slots if one["cohorts"] == 3)


@pytest.mark.slow
def test_games_under_noise_have_the_ledger_beside_them(reference, make_config) -> None:  # type: ignore[no-untyped-def]
    prepared = prepare(make_config('rows=["replay","class_sums"]', "replay_noise=true", "privacy.spare_rounds=2"))
    world = open_world(prepared, RunFolder.existing(reference.path))
    assert world.plan.noise == "local"
    noisy = [one for one in play_rounds(world, 200).outcomes if one.terms.control is None]
    assert {one.view for one in noisy} == {"sums only", "all clients in the clear"}
    for one in noisy:
        assert one.terms.ledger_epsilon is not None
        assert one.epsilon_lower is not None
        assert one.epsilon_lower.value < one.terms.ledger_epsilon


def test_too_few_to_judge_are_refused(make_config) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigInvalid, match="too few to judge: use 0 for none, or at least 40"):
        make_config("attacks.over_rounds=39")
