import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import Charge, Cohort, Ledger, NonPrivate, SampledGaussian, SampledSkellam, SkellamRelease, spent
from privacy import ledger as ledger_module
from privacy.errors import LedgerClosed, LedgerDamaged, UnsupportedEvent

KEPT, DISCARDED = (
    Cohort(group="all", arrival=0, chunk=0, fate="kept"),
    Cohort(group="all", arrival=0, chunk=0, fate="discarded"),
)
STEP = SampledGaussian(q=0.25, noise_multiplier=1.4)
ROUND = [Charge(KEPT, STEP, 2), Charge(DISCARDED, STEP, 2)]
SHARED = SampledSkellam(q=0.05, variance=1e9 / 7, l2=16395.6, l1=268e6, failure=1e-15)
EVENTS = (
    STEP,
    SampledGaussian(q=1 / 3, noise_multiplier=0.1 + 0.2),
    SkellamRelease(variance=1e9 / 7, l2=16395.6, l1=268e6),
    SHARED,
    NonPrivate("ä \n"),
)
charges = st.builds(Charge, st.sampled_from([KEPT, DISCARDED]), st.sampled_from(EVENTS), st.integers(1, 9))


def filled(path: Path, entries: int) -> Path:
    with Ledger(path) as ledger:
        for number in range(entries):
            ledger.charge(ROUND, round=number)
    return path


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(charges, max_size=3), max_size=5), st.integers(0, 5))
def test_what_was_charged_is_read_back(tmp_path_factory, entries: list[list[Charge]], reopened: int) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    ledger = Ledger(path)
    for number, entry in enumerate(entries):
        if number == reopened:
            ledger.close()
            ledger = Ledger(path)
        ledger.charge(entry, row="replay", round=number)
    ledger.close()
    again = Ledger(path)
    assert again.spent() == ledger.spent() == spent([c for entry in entries for c in entry])
    assert (len(again), again.last_hash) == (len(ledger), ledger.last_hash) == (len(entries), again.last_hash)


def test_what_a_query_returns_is_the_caller_s_own(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.charge(ROUND)
        taken = ledger.spent()
        taken[KEPT][STEP] = 99
        del taken[DISCARDED]
        assert ledger.spent() == {KEPT: {STEP: 2}, DISCARDED: {STEP: 2}}


class CountedStep(SampledGaussian):
    """Counts how often it is looked up: once for each charge that is counted."""

    looked_up = 0

    def __hash__(self) -> int:
        CountedStep.looked_up += 1
        return hash((self.q, self.noise_multiplier))


def test_a_query_does_not_count_the_entries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    step, entries = CountedStep(q=0.25, noise_multiplier=1.4), 10_000
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        for number in range(entries):
            ledger.charge([Charge(KEPT, step, 2)], round=number)
        assert CountedStep.looked_up <= 4 * entries
        CountedStep.looked_up = 0
        found = ledger.spent()
        assert CountedStep.looked_up <= 4
        assert found[KEPT][step] == 2 * entries


def test_an_empty_ledger_changes_nothing_on_disk(tmp_path: Path) -> None:
    with Ledger(tmp_path / "new" / "ledger.jsonl") as ledger:
        assert (len(ledger), ledger.spent(), ledger.last_hash) == (0, {}, "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_the_entry_is_on_disk_when_charge_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "ledger.jsonl", []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_size), real(fd))[1])
    ledger = Ledger(path)
    for number in range(3):
        ledger.charge(ROUND, round=number)
        assert synced[-1] == path.stat().st_size
        assert len(Ledger(path)) == number + 1


@pytest.mark.parametrize("entry", range(3))
def test_a_changed_number_is_noticed(tmp_path: Path, entry: int) -> None:
    path = filled(tmp_path / "ledger.jsonl", 3)
    lines = path.read_text().splitlines(keepends=True)
    lines[entry] = lines[entry].replace('"count": 2', '"count": 1', 1)
    path.write_text("".join(lines))
    with pytest.raises(LedgerDamaged, match=f"entry {entry + 1} does not continue the hash chain"):
        Ledger(path)


def test_a_removed_inserted_or_swapped_entry_is_noticed(tmp_path: Path) -> None:
    path = filled(tmp_path / "ledger.jsonl", 3)
    a, b, c = path.read_text().splitlines(keepends=True)
    for lines in ([b, c], [a, c], [a, a, b, c], [b, a, c], [a, b, c, c]):
        path.write_text("".join(lines))
        with pytest.raises(LedgerDamaged, match="restore the file from a backup"):
            Ledger(path)


def test_a_dropped_end_shows_in_the_head(tmp_path: Path) -> None:
    """The chain cannot know its own end; the quoted head does."""
    path = filled(tmp_path / "ledger.jsonl", 3)
    head = Ledger(path).last_hash
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    assert Ledger(path).last_hash != head


@pytest.mark.parametrize("line", [b"{}", b"[1]", b"7", b"null", b"\xff\xfe", b"", b'{"hash": 1}', b'"text"'])
def test_what_is_no_entry_is_refused(tmp_path: Path, line: bytes) -> None:
    path = filled(tmp_path / "ledger.jsonl", 1)
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(LedgerDamaged, match="entry 2"):
        Ledger(path)


def test_an_event_of_a_later_version_is_refused_not_skipped(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    record = {"cohort": KEPT.to_json(), "event": {"type": "TreeAggregation", "depth": 3}, "count": 1}
    body = {"previous": "0" * 64, "what": {}, "charges": [record]}
    path.write_text(json.dumps({**body, "hash": ledger_module._digest(body)}) + "\n")
    with pytest.raises(UnsupportedEvent, match="TreeAggregation"):
        Ledger(path)


def test_a_torn_last_line_is_cut_wherever_it_tore(tmp_path: Path) -> None:
    whole = filled(tmp_path / "ledger.jsonl", 3).read_bytes()
    path = tmp_path / "torn.jsonl"
    start = whole[:-1].rindex(b"\n") + 1
    for end in (*range(start, len(whole), 37), len(whole) - 1):
        path.write_bytes(whole[:end])
        with Ledger(path) as ledger:
            assert len(ledger) == 2
            assert path.read_bytes() == whole[:end]
            ledger.charge(ROUND, round=2)
        assert path.read_bytes() == whole
        assert len(Ledger(path)) == 3


def test_a_failed_write_closes_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disk full, say: nothing may be released on that charge, nor on a later one of this object."""
    path = filled(tmp_path / "ledger.jsonl", 1)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with Ledger(path) as ledger:
        ledger.charge(ROUND, round=1)
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            ledger.charge(ROUND, round=2)
        monkeypatch.undo()
        with pytest.raises(LedgerClosed, match="open the ledger again"):
            ledger.charge(ROUND, round=3)
        assert len(ledger) == 2
    with Ledger(path) as ledger:
        # The line was whole when the sync failed, so it stays charged.
        assert len(ledger) == 3
        ledger.charge(ROUND, round=3)
    assert len(Ledger(path)) == 4


def test_an_interrupt_inside_a_charge_closes_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.charge(ROUND, round=0)

    def interrupted(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ledger.charge(ROUND, round=1)
    monkeypatch.undo()
    with pytest.raises(LedgerClosed):
        ledger.charge(ROUND, round=2)
    assert len(Ledger(path)) == 2


def test_two_writers_are_refused(tmp_path: Path) -> None:
    path = filled(tmp_path / "ledger.jsonl", 1)
    first, second = Ledger(path), Ledger(path)
    first.charge(ROUND, round=1)
    with pytest.raises(LedgerDamaged, match="another process"):
        second.charge(ROUND, round=1)
    first.charge(ROUND, round=2)
    assert len(Ledger(path)) == 3


def test_a_closed_ledger_still_answers_but_charges_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.charge(ROUND, round=0)
    assert ledger.spent()[KEPT][STEP] == 2
    ledger.close()
    with pytest.raises(LedgerClosed):
        ledger.charge(ROUND, round=1)


NURSERY = """
import os, sys
from collections.abc import Iterator
from pathlib import Path
from privacy import Charge, Cohort, Ledger, SampledGaussian
step = SampledGaussian(q=0.25, noise_multiplier=1.4)
charge = [Charge(Cohort(group="all", arrival=0, chunk=k, fate="kept"), step, 2) for k in range(3)]
for _ in sys.stdin:
    child = os.fork()
    if not child:
        ledger = Ledger(Path(sys.argv[1]))
        while True:
            ledger.charge(charge, round=len(ledger))
            os.write(1, b".")  # the release
    os.write(2, b"%d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"|")
"""


def lives(path: Path, seeds: Sequence[int]) -> Iterator[int]:
    """Let one process after the other charge and release until it is killed from outside; yield its releases."""
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
    ) as nursery:  # fmt: skip
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        assert nursery.stderr is not None
        for seed in seeds:
            draw = random.Random(seed)
            nursery.stdin.write(b"\n")
            child = int(nursery.stderr.readline())
            # One life in five may end before its first release, or while it reads the ledger.
            seen = nursery.stdout.read(1) if draw.random() < 0.8 else b""
            time.sleep(draw.uniform(0.0, 0.03))
            os.kill(child, signal.SIGKILL)
            while not seen.endswith(b"|"):
                seen += nursery.stdout.read(1)
            yield len(seen) - 1
        nursery.stdin.close()


def survives(path: Path, seeds: Sequence[int]) -> None:
    releases = 0
    for finished, more in enumerate(lives(path, seeds), 1):
        releases += more
        spent = Ledger(path).spent()
        charged = {events[STEP] // 2 for events in spent.values()} or {0}
        assert len(charged) == 1
        # At most one charge of each life had no release.
        assert releases <= charged.pop() <= releases + finished
    assert releases > len(seeds) // 2


def test_sigkill_never_leaves_a_release_uncharged(tmp_path: Path) -> None:
    survives(tmp_path / "ledger.jsonl", range(1000, 1025))


@pytest.mark.slow
@pytest.mark.campaign
def test_sigkill_two_hundred_times(tmp_path: Path, campaign: Callable[[int, int], list[int]]) -> None:
    survives(tmp_path / "ledger.jsonl", campaign(200, 100))


def test_resuming_one_state_twice_charges_twice(tmp_path: Path) -> None:
    """A ledger copied aside, as a snapshot would: each continuation charges its own round, and none is forgotten."""
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.charge(ROUND, round=0)
    for _ in range(2):
        # The state says round 1 is next, both times.
        with Ledger(path) as ledger:
            ledger.charge(ROUND, round=1)
    assert Ledger(path).spent()[KEPT][STEP] == 3 * 2


def test_every_entry_has_its_head_and_its_labels(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        assert (ledger.heads, ledger.labels) == ((), ())
        last = []
        for n in range(3):
            ledger.charge([], round=n, row="r")
            last.append(ledger.last_hash)
        assert ledger.heads == tuple(last)
    again = Ledger(path)
    assert again.heads == tuple(last)
    assert [labels["round"] for labels in again.labels] == [0, 1, 2]
    assert again.labels == ledger.labels
