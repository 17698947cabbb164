import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import Event, NonPrivate, SampledGaussian, SampledSkellam, SkellamRelease
from privacy.errors import InvalidParameter, UnsupportedEvent
from privacy.events import describe, from_json, to_json

positive = st.floats(min_value=1e-300, max_value=1e300)
events = st.one_of(
    st.builds(SampledGaussian, q=st.floats(0.0, 1.0), noise_multiplier=positive),
    st.builds(SkellamRelease, variance=positive, l2=positive, l1=positive),
    st.builds(
        SampledSkellam,
        q=st.floats(0.0, 1.0),
        variance=positive,
        l2=positive,
        l1=positive,
        failure=st.floats(0.0, 0.999),
    ),
    st.builds(NonPrivate, st.text(max_size=20)),
)


@given(events)
def test_json_returns_the_same_event(event: Event) -> None:
    assert from_json(json.loads(json.dumps(to_json(event)))) == event


@given(events)
def test_a_description_is_one_short_line(event: Event) -> None:
    if not isinstance(event, NonPrivate):
        assert 0 < len(describe(event)) < 100
        assert "\n" not in describe(event)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan, math.inf])
def test_a_rate_is_a_probability(q: float) -> None:
    with pytest.raises(InvalidParameter, match="sampling rate"):
        SampledGaussian(q=q, noise_multiplier=1.0)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_a_step_without_noise_is_no_gaussian(sigma: float) -> None:
    with pytest.raises(InvalidParameter, match="NonPrivate"):
        SampledGaussian(q=0.1, noise_multiplier=sigma)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("place", ["variance", "l2", "l1"])
def test_a_skellam_release_is_positive_and_finite(bad: float, place: str) -> None:
    numbers = {"variance": 1.0, "l2": 2.0, "l1": 3.0}
    numbers[place] = bad
    with pytest.raises(InvalidParameter):
        SkellamRelease(**numbers)


@pytest.mark.parametrize("record", [{}, {"type": "SampledLaplace", "q": 0.1}, {"type": None}])
def test_an_unknown_type_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(UnsupportedEvent, match="unknown to this version"):
        from_json(record)


def test_integers_and_floats_name_one_event() -> None:
    assert SampledGaussian(q=1, noise_multiplier=2) == SampledGaussian(q=1.0, noise_multiplier=2.0)
    assert hash(SampledGaussian(q=1, noise_multiplier=2)) == hash(SampledGaussian(q=1.0, noise_multiplier=2.0))


def test_an_older_record_without_a_failure_is_sure() -> None:
    record = {"type": "SampledSkellam", "q": 0.1, "variance": 4.0, "l2": 1.0, "l1": 1.0}
    assert from_json(record) == SampledSkellam(q=0.1, variance=4.0, l2=1.0, l1=1.0, failure=0.0)
