import numpy as np
import pytest
from hypothesis import given, settings

from secure_fcl.streams import IDLE, NEVER, Calendar
from secure_fcl.streams.cohorts import largest_cohort, met_slots, most_waiting, release_slots, waits
from secure_fcl.testing.streams import Meeting, meetings


def calendar(*rows: list[int], present: list[list[int]] | None = None) -> Calendar:
    met = np.array(rows, dtype=np.int64)
    return Calendar(met, np.array(present, dtype=np.bool_) if present else np.ones(met.shape, dtype=np.bool_))


def anyone(clients: int, classes: int) -> np.ndarray:
    return np.ones((clients, classes), dtype=np.bool_)


PAIRS = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], dtype=np.bool_)


def test_a_lone_client_waits_for_the_others() -> None:
    late = calendar([0, 1, IDLE], [IDLE, 0, 1], [IDLE, 0, 1])
    release = release_slots(late, PAIRS, anyone(3, 4), 3)
    # Task 0 has three holders in slot 1, task 1 in slot 2.
    assert release.tolist() == [[1, 2], [1, 2], [1, 2]]
    assert most_waiting(late, release) == 2
    found = waits(late, PAIRS, anyone(3, 4), release)
    assert [(w.label, w.met, w.released, w.longest, w.never, w.cohort) for w in found] == [
        (0, 0, 1, 1, 0, 3), (1, 0, 1, 1, 0, 3), (2, 1, 2, 1, 0, 3), (3, 1, 2, 1, 0, 3),
    ]  # fmt: skip


def test_without_a_minimum_nothing_waits() -> None:
    late = calendar([0, 1, IDLE], [IDLE, 0, 1], [IDLE, 0, 1])
    release = release_slots(late, PAIRS, anyone(3, 4), 1)
    # The negative control: client 0's task leaves its device while nobody else holds its classes.
    assert release.tolist() == [[0, 1], [1, 2], [1, 2]]
    assert most_waiting(late, release) == 0
    assert min(w.cohort or 0 for w in waits(late, PAIRS, anyone(3, 4), release)) == 1


def test_a_class_with_too_few_holders_is_never_released_and_not_kept() -> None:
    only = calendar([0, 1], [0, IDLE], [0, IDLE])
    release = release_slots(only, PAIRS, anyone(3, 4), 2)
    assert release.tolist() == [[0, NEVER], [0, NEVER], [0, NEVER]]
    assert [(w.label, w.released, w.never) for w in waits(only, PAIRS, anyone(3, 4), release)][2:] == [
        (2, None, 1), (3, None, 1),
    ]  # fmt: skip
    assert most_waiting(only, release) == 0


def test_who_comes_after_the_cohort_waits_for_one_of_its_own() -> None:
    late = calendar([0, IDLE, IDLE], [0, IDLE, IDLE], [IDLE, 0, IDLE], [IDLE, IDLE, 0])
    release = release_slots(late, PAIRS[:1, :2], anyone(4, 2), 2)
    assert release[:, 0].tolist() == [0, 0, 2, 2]


def test_who_leaves_takes_along_what_waits() -> None:
    present = [[1, 0, 0], [1, 1, 1], [1, 1, 1]]
    left = calendar([0, IDLE, IDLE], [IDLE, 0, IDLE], [IDLE, IDLE, 0], present=present)
    assert release_slots(left, PAIRS[:1, :2], anyone(3, 2), 2)[:, 0].tolist() == [NEVER, 2, 2]
    assert release_slots(left, PAIRS[:1, :2], anyone(3, 2), 3)[:, 0].tolist() == [NEVER] * 3


def test_only_announced_holders_count() -> None:
    both = calendar([0], [0], [0])
    # Client 0 alone may hold class 1: its experience waits, and with it class 0 of the others if that needs three.
    dealt = np.array([[1, 1], [1, 0], [1, 0]], dtype=np.bool_)
    announced = np.ones((1, 2), dtype=np.bool_)
    assert release_slots(both, announced, dealt, 2)[:, 0].tolist() == [NEVER, 0, 0]
    assert release_slots(both, announced, dealt, 3)[:, 0].tolist() == [NEVER] * 3


@given(meetings())
@settings(max_examples=150, deadline=None)
def test_every_released_class_has_its_cohort(meeting: Meeting) -> None:
    release = release_slots(meeting.calendar, meeting.announced, meeting.dealt, meeting.minimum)
    met = met_slots(meeting.calendar, len(meeting.announced))
    assert (release[met == NEVER] == NEVER).all()
    done = release != NEVER
    assert (release[done] >= met[done]).all()
    for slot in range(meeting.calendar.met.shape[1]):
        for label in range(meeting.announced.shape[1]):
            who = ((release == slot) & meeting.announced[:, label]).any(axis=1) & meeting.dealt[:, label]
            assert who.sum() == 0 or who.sum() >= meeting.minimum
        clients = np.flatnonzero((release == slot).any(axis=1))
        assert meeting.calendar.present[clients, slot].all()
    if meeting.minimum == 1:
        np.testing.assert_array_equal(release, met)


@given(meetings(max_clients=3, max_tasks=3))
@settings(max_examples=100, deadline=None)
def test_the_cohort_is_the_largest_there_is(meeting: Meeting) -> None:
    waiting = met_slots(meeting.calendar, len(meeting.announced)) != NEVER
    found = largest_cohort(waiting, meeting.announced, meeting.dealt, meeting.minimum)
    cells = np.argwhere(waiting)
    best = 0
    for choice in range(2 ** len(cells)):
        part = np.zeros_like(waiting)
        for bit, (client, task) in enumerate(cells):
            part[client, task] = bool(choice >> bit & 1)
        holders = ((part.astype(int) @ meeting.announced.astype(int) > 0) & meeting.dealt).sum(axis=0)
        if ((holders == 0) | (holders >= meeting.minimum)).all():
            best = max(best, int(part.sum()))
            assert not (part & ~found).any()
    assert best == found.sum()


@given(meetings())
@settings(max_examples=100, deadline=None)
def test_the_order_of_clients_changes_nothing_and_a_larger_cohort_never_hurries(meeting: Meeting) -> None:
    release = release_slots(meeting.calendar, meeting.announced, meeting.dealt, meeting.minimum)
    order = np.arange(len(release))[::-1]
    turned = Calendar(meeting.calendar.met[order], meeting.calendar.present[order])
    np.testing.assert_array_equal(
        release_slots(turned, meeting.announced, meeting.dealt[order], meeting.minimum), release[order]
    )
    met = met_slots(meeting.calendar, len(meeting.announced))
    held = [int(((met != NEVER) & (release > met)).sum(axis=1).max(initial=0))]
    assert most_waiting(meeting.calendar, release) <= max(held)
    never = [w.never for w in waits(meeting.calendar, meeting.announced, meeting.dealt, release)]
    assert sum(never) <= (met != NEVER).sum() * meeting.announced.shape[1]


@pytest.mark.parametrize("minimum", [1, 2])
def test_waits_leave_out_classes_that_nobody_meets(minimum: int) -> None:
    dates = calendar([0], [0])
    announced = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.bool_)
    release = release_slots(dates, announced, anyone(2, 3), minimum)
    assert [w.label for w in waits(dates, announced, anyone(2, 3), release)] == [0]
