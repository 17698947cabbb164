"""Whatever is fed to an attendance, what it accepts keeps the plan."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import InvalidParameter
from privacy.participation import ONCE, Attendance, Participation, ParticipationRefused

plans = st.builds(Participation, times=st.integers(1, 3), separation=st.integers(1, 4))
streams = st.lists(st.lists(st.integers(0, 4), max_size=4), max_size=15)


def keeps(accepted: list[list[int]], plan: Participation) -> bool:
    steps = {example: [t for t, own in enumerate(accepted) for e in own if e == example] for example in range(5)}
    return all(
        len(own) <= plan.times and all(b - a >= plan.separation for a, b in pairwise(own)) for own in steps.values()
    )


@given(plan=plans, stream=streams)
def test_it_accepts_what_keeps_the_plan_and_nothing_else(plan: Participation, stream: list[list[int]]) -> None:
    attendance, accepted = Attendance(plan), list[list[int]]()
    for own in stream:
        fits = keeps([*accepted, own], plan)
        try:
            attendance.take(own)
        except ParticipationRefused:
            assert not fits
        else:
            assert fits
            accepted.append(own)
    assert attendance.nbytes == 24 * len({example for own in accepted for example in own})


@given(plan=plans, steps=st.integers(1, 20))
def test_the_most_is_what_an_attendance_lets_through(plan: Participation, steps: int) -> None:
    attendance, found = Attendance(plan), 0
    for _ in range(steps):
        try:
            attendance.take([0])
            found += 1
        except ParticipationRefused:
            attendance.take([])
    assert found == plan.most(steps)


def test_refusals_name_the_bound_and_no_example() -> None:
    attendance = Attendance(ONCE)
    attendance.take([123456])
    attendance.take([])
    with pytest.raises(ParticipationRefused) as refused:
        attendance.take([123456])
    assert "123456" not in str(refused.value)
    assert "planned for 1" in str(refused.value)
    for bad in ({"times": 0}, {"separation": 0}):
        with pytest.raises(InvalidParameter, match="at least 1"):
            Participation(**bad)
