"""Planted bugs, against the package's own accountant: each is caught, and nothing without a bug."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attacks import LedgerContradicted, contradictions, discoveries, require_consistent
from attacks.controls.planted import Bug, PlantedSchedule, planted_outcome, planted_two_run
from attacks.errors import AuditInvalid, ControlFailed
from attacks.games.simultaneous import could_contradict, why_silent
from attacks.testing import check_accountant
from privacy import PldAccountant, RdpAccountant, SampledGaussian


def _epsilon(rate: float, sigma: float, steps: int, delta: float) -> float:
    return PldAccountant().epsilon({SampledGaussian(q=rate, noise_multiplier=sigma): steps}, delta)


def _rdp(rate: float, sigma: float, steps: int, delta: float) -> float:
    return RdpAccountant().epsilon({SampledGaussian(q=rate, noise_multiplier=sigma): steps}, delta)


@pytest.mark.parametrize("accountant", [_epsilon, _rdp])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_accountants_pass(accountant: object, seed: int) -> None:
    check_accountant(accountant, seed=seed)  # type: ignore[arg-type]


def test_an_accountant_that_charges_a_tenth_fails() -> None:
    with pytest.raises(ControlFailed, match="too small"):
        check_accountant(lambda *event: _epsilon(*event) / 10)


def test_an_accountant_that_charges_without_end_fails() -> None:
    with pytest.raises(ControlFailed, match="unnoticed"):
        check_accountant(lambda *event: 100.0)


def test_a_bug_fails_the_audit_loudly() -> None:
    plan = PlantedSchedule(noise_multiplier=4.0)
    epsilon = _epsilon(1.0, 4.0, 1, 1e-5)
    honest, broken = (planted_outcome(plan, bug, epsilon) for bug in (Bug.NONE, Bug.NO_NOISE))
    require_consistent([honest])
    with pytest.raises(LedgerContradicted, match=r"1 of 2 games.*noise is left out"):
        require_consistent([honest, broken])
    (found,) = contradictions([honest, broken])
    assert found.bound > found.ledger_epsilon == epsilon


def test_honest_mechanisms_are_not_accused() -> None:
    """At 95 % simultaneous confidence over 60 honest runs at most a twentieth may be: in fact the bound is loose."""
    plan = PlantedSchedule(noise_multiplier=2.0, rate=0.2, rounds=10, canaries=300)
    epsilon = _epsilon(plan.rate, plan.noise_multiplier, plan.rounds, 1e-5)
    accused = sum(
        bool(contradictions([planted_outcome(replace(plan, seed=seed), Bug.NONE, epsilon)], 0.95)) for seed in range(60)
    )
    # Binomial(60, .05) exceeds 15 with probability below 1e-6.
    assert accused <= 15


def test_holm_spares_the_weak_and_keeps_the_strong() -> None:
    plan = PlantedSchedule(noise_multiplier=4.0, canaries=400)
    honest = [planted_outcome(replace(plan, seed=seed), Bug.NONE, 1.3, delta=1e-8) for seed in range(5)]
    broken = planted_outcome(plan, Bug.NO_NOISE, 1.3, delta=1e-8)
    assert [c.target for c in contradictions([*honest, broken])] == [broken.terms.target]
    control = replace(broken, terms=replace(broken.terms, control="positive"))
    unknown = replace(broken, terms=replace(broken.terms, ledger_epsilon=None))
    assert contradictions([control, unknown]) == ()
    assert contradictions([]) == ()


def test_whatever_contradicts_could_have_and_what_could_not_says_why() -> None:
    plan = PlantedSchedule(noise_multiplier=4.0, canaries=400)
    honest, broken = (planted_outcome(plan, bug, 1.3, delta=1e-8) for bug in (Bug.NONE, Bug.NO_NOISE))
    few = planted_outcome(replace(plan, canaries=12), Bug.NO_NOISE, 1.3, delta=1e-8)
    large = replace(broken, terms=replace(broken.terms, ledger_epsilon=50.0))
    unknown = replace(broken, terms=replace(broken.terms, ledger_epsilon=None))
    control = replace(broken, terms=replace(broken.terms, control="negative"))
    played = [honest, broken, few, large, unknown, control]
    # An honest game of many coins could have accused: that it did not is what speaks for its ledger.
    assert could_contradict(played) == (True, True, False, False, False, False)
    assert [c.target for c in contradictions(played)] == [broken.terms.target]
    assert [why_silent(one).split()[0] for one in played[2:]] == ["even", "even", "the", "a"]


def test_more_games_leave_less_room_for_each() -> None:
    """The ceiling at Holm's level, not that of the game by itself, decides."""
    plan = PlantedSchedule(noise_multiplier=4.0, canaries=400)
    alone = planted_outcome(plan, Bug.NONE, 1.0, delta=1e-5)
    assert alone.guesses is not None
    ceiling = alone.guesses.bound(1e-5, 0.999).ceiling
    tight = replace(alone, terms=replace(alone.terms, ledger_epsilon=ceiling - 0.01))
    assert could_contradict([tight]) == (True,)
    assert could_contradict([tight] + [replace(tight, terms=replace(tight.terms, ledger_epsilon=50.0))] * 9)[0] is False


def test_discoveries_are_adjusted_for_all_that_was_tried() -> None:
    plan = PlantedSchedule(noise_multiplier=4.0, canaries=400)
    chance = [planted_outcome(replace(plan, noise_multiplier=1e4, seed=seed), Bug.NONE, 1.0) for seed in range(6)]
    leak = planted_outcome(plan, Bug.ONE_CLIENT_UNMASKED, 1.0)
    found = discoveries([*chance, leak])
    assert len(found) == 7
    assert found[-1].adjusted < 1e-6
    assert all(f.adjusted >= f.p_value for f in found)
    assert all(f.adjusted > 1e-3 for f in found[:-1])


def test_noise_scaled_by_the_batch_shows_at_expected_batch_one_only() -> None:
    plan = PlantedSchedule(noise_multiplier=4.0)
    epsilon = _epsilon(1.0, 4.0, 1, 1e-5)
    assert planted_two_run(plan, Bug.NOISE_BY_REALISED_BATCH).epsilon.value > epsilon
    assert planted_two_run(plan, Bug.NONE).epsilon.value <= epsilon
    large = planted_outcome(plan, Bug.NOISE_BY_REALISED_BATCH, epsilon)
    assert not contradictions([large])


def test_impossible_plans_are_refused() -> None:
    for bad in (
        {"noise_multiplier": 0.0},
        {"noise_multiplier": 1.0, "rate": 0.0},
        {"noise_multiplier": 1.0, "rounds": 0},
    ):
        with pytest.raises(AuditInvalid):
            PlantedSchedule(**bad)
    assert np.isfinite(PlantedSchedule(noise_multiplier=1.0).noise_multiplier)
