import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import Charge, Cohort, NonPrivate, SampledGaussian, SkellamRelease, spent
from privacy.cohorts import undominated
from privacy.errors import InvalidParameter

EVENTS = (
    SampledGaussian(q=0.25, noise_multiplier=1.0),
    SampledGaussian(q=0.05, noise_multiplier=1.0),
    SkellamRelease(variance=9.0, l2=2.0, l1=3.0),
    NonPrivate("x"),
)
cohorts = st.builds(
    Cohort,
    group=st.sampled_from("ab"),
    arrival=st.integers(0, 3),
    chunk=st.integers(0, 2),
    fate=st.sampled_from(["kept", "discarded"]),
)
charges = st.builds(Charge, cohorts, st.sampled_from(EVENTS), st.integers(1, 9))
histories = st.dictionaries(st.sampled_from(EVENTS), st.integers(0, 3), max_size=4)


@given(charges)
def test_json_returns_the_same_charge(charge: Charge) -> None:
    assert Charge.from_json(json.loads(json.dumps(charge.to_json()))) == charge


@given(st.lists(charges, max_size=12), st.integers(0, 99))
def test_order_does_not_matter_and_nothing_is_lost(listed: list[Charge], seed: int) -> None:
    shuffled = random.Random(seed).sample(listed, len(listed))
    assert spent(shuffled) == spent(listed)
    assert sum(sum(h.values()) for h in spent(listed).values()) == sum(c.count for c in listed)


@given(st.lists(histories, max_size=6))
def test_every_history_lies_below_one_that_stays(listed: list[dict]) -> None:
    kept = undominated(listed)
    for history in listed:
        assert any(all(h.get(event, 0) >= n for event, n in history.items()) for h in kept)
    for a in kept:
        for b in kept:
            assert a is b or any(b.get(event, 0) < n for event, n in a.items())


def test_events_counted_0_times_do_not_hide_each_other() -> None:
    """Each of these contains the other; one must stay."""
    a, b = EVENTS[:2]
    assert undominated([{a: 1}, {a: 1, b: 0}]) == [{a: 1}]


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="at least 0"):
        undominated([{EVENTS[0]: 2}, {EVENTS[0]: -1}])


def test_a_charge_counts_something() -> None:
    with pytest.raises(InvalidParameter, match="at least one"):
        Charge(Cohort(group="a", arrival=0, chunk=0, fate="kept"), EVENTS[0], 0)


def test_a_fate_is_known() -> None:
    with pytest.raises(InvalidParameter, match="fate='lost'"):
        Cohort.from_json({"group": "a", "arrival": 0, "chunk": 0, "fate": "lost"})
