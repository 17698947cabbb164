"""A device that is killed at any write goes on, and never makes two answers to one attempt."""

from collections.abc import Callable
from typing import Any

import pytest

from crypto.errors import CryptoError
from secure_fcl.engines.deployed.claims import ClaimBook
from secure_fcl.engines.deployed.state import ChargedBudget
from secure_fcl.errors import SumAborted


def course(bench: Any) -> int:
    """Two rounds, a server that starts again in the middle of the third, and that round once more; sums that ended."""
    ended = 0
    bench.join()
    with bench.sums() as sums:
        for round in range(2):
            bench.round(sums, bench.visit(round))
            ended += 1
        visit = bench.visit(2)
        # What the server asked for is on its way when it dies.
        list(bench.parties.ask(dict.fromkeys(bench.hosts, visit)))
    bench.join()
    with bench.sums() as sums:
        list(bench.parties.ask(dict.fromkeys(bench.hosts, visit)))
        bench.round(sums, bench.visit(2))
        ended += 1
    return ended


def test_without_a_kill_every_round_ends_and_is_charged_once(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    assert course(bench) == 3
    assert bench.mortal.faults() == []
    assert len(bench.mortal.said) == 4
    # Asked again in another session, under the old entry: refused.
    assert bench.mortal.failed == ["ClaimRefused"]
    assert bench.axe.seen > 40


def _kill(bench: Any) -> None:
    try:
        course(bench)
    except SumAborted:
        # Nothing wrong left the device; a sum with one dropout of four must end all the same.
        raise
    assert bench.mortal.killed == 1
    assert bench.mortal.faults() == []
    # It is back: what it was asked last was answered.
    assert len(bench.mortal.said) >= 3


@pytest.mark.parametrize("at", [1, 7, 20, 33, 46])
def test_a_device_killed_at_a_write_goes_on(at: int, make_bench: Callable[..., Any]) -> None:
    _kill(make_bench(at))


def test_devices_that_are_started_again_go_on_in_their_sessions(make_bench: Callable[..., Any]) -> None:
    """What a session drew is drawn again, capsules included; else nobody could open the others' shares any more."""
    bench = make_bench()
    bench.join()
    with bench.sums() as sums:
        for round in range(3):
            result = bench.round(sums, bench.visit(round))
            assert sorted(result.contributors) == [0, 1, 2, 3]
            assert result.blamed == ()
            bench.start_again()


@pytest.mark.slow
@pytest.mark.campaign
def test_a_device_killed_at_any_write_goes_on(
    make_bench: Callable[..., Any], campaign: Callable[[int, int], list[int]]
) -> None:
    whole = make_bench()
    course(whole)
    for before in campaign(whole.axe.seen, 15):
        _kill(make_bench(before + 1))


def _faults_of_kills(make_bench: Callable[..., Any], points: range) -> list[str]:
    found: list[str] = []
    for at in points:
        bench = make_bench(at)
        try:
            course(bench)
        except (SumAborted, CryptoError):
            found.append("aborted")
        found += bench.mortal.faults()
    return found


def test_a_device_that_charges_nothing_is_found(
    make_bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def uncharged(self: Any, groups: Any, slot: int, round: int, retired: Any, covered: Any = frozenset()) -> None:
        self._count.take_part(groups, slot, round, retired, covered)

    monkeypatch.setattr(ChargedBudget, "take_part", uncharged)
    bench = make_bench()
    course(bench)
    assert "not charged" in bench.mortal.faults()


def test_a_device_that_resends_to_another_session_is_found(
    make_bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClaimBook, "answered", lambda self, claim: self.answer[1] if self.answer else None)
    bench = make_bench()
    bench.join()
    with bench.sums() as sums:
        bench.round(sums, bench.visit(0))
    bench.join()
    with bench.sums() as sums, pytest.raises(SumAborted):
        bench.round(sums, bench.visit(1))
