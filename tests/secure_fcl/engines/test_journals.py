"""A device's journal: what it refuses, what it signs, and that it is kept before anything is answered."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from crypto.keys.roster import Trust
from secure_fcl.engines.journals import Head, Journal, head_from, heads_bytes, read_journals, require_outside
from secure_fcl.errors import JournalRefused

HEADS = [hashlib.sha256(bytes([n])).hexdigest() for n in range(6)]
FORK = [*HEADS[:2], *(hashlib.sha256(bytes([99, n])).hexdigest() for n in range(4))]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A journal after two attempts, at the second and at the fourth entry: one was charged in vain."""
    found = Journal(tmp_path, "run", "lab:mine", "client0")
    for entries in (2, 4):
        found.answer(heads_bytes(HEADS[:entries]))
    return found


def test_attempts_and_the_head_are_kept_on_disk(journal: Journal, tmp_path: Path) -> None:
    again = Journal(tmp_path, "run", "lab:mine", "client0")
    assert (again.last().attempts, again.last().entries, again.last().head) == (2, 4, HEADS[3])
    assert [one.last() for one in read_journals(tmp_path, "run", "lab:mine")] == [again.last()]
    assert (tmp_path / "run" / "client0.key").stat().st_mode & 0o077 == 0
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["client0.key", "lab.mine"]
    again.answer(heads_bytes(HEADS[:5]))
    assert journal.last().attempts == 3


@pytest.mark.parametrize("shown", [[], HEADS[:1], HEADS[:3], FORK[:4], FORK], ids=lambda heads: str(len(heads)))
def test_a_ledger_that_does_not_go_on_is_refused(journal: Journal, shown: list[str]) -> None:
    for ask in (journal.check, journal.answer):
        with pytest.raises(JournalRefused, match=r"client0 refuses .* answered 2 attempts, the last after 4 entries"):
            ask(heads_bytes(shown))
    assert journal.last().attempts == 2


def test_no_attempt_without_an_entry_of_its_own(journal: Journal, tmp_path: Path) -> None:
    journal.check(heads_bytes(HEADS[:4]))
    fresh = Journal(tmp_path, "run", "lab:mine", "client1")
    for one, shown in ((journal, HEADS[:4]), (fresh, [])):
        with pytest.raises(JournalRefused, match="charge the round first"):
            one.answer(heads_bytes(shown))


def test_a_head_holds_for_its_device_run_and_row_alone(journal: Journal, tmp_path: Path) -> None:
    head, trust = journal.last(), Trust()
    assert head.holds("run", "lab:mine", trust)
    others = [replace(head, **{field: value}) for field, value in
              (("attempts", 1), ("entries", 5), ("head", HEADS[0]), ("device", "client1"), ("proof", ""))]  # type: ignore[arg-type]  # fmt: skip
    assert not any(other.holds("run", "lab:mine", Trust()) for other in others)
    assert not head.holds("other", "lab:mine", Trust())
    assert not head.holds("run", "other", Trust())
    # Another key under the same name, once one is known.
    stranger = Journal(tmp_path / "elsewhere", "run", "lab:mine", "client0").answer(heads_bytes(HEADS)).head
    assert stranger.holds("run", "lab:mine", Trust())
    assert not stranger.holds("run", "lab:mine", trust)
    # The same device in another row.
    assert Journal(tmp_path, "run", "other", "client0").answer(heads_bytes(HEADS)).head.holds("run", "other", trust)


def test_what_is_damaged_is_one_sentence(journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "run" / "lab.mine" / "client0.json"
    for content in ("", "{}", "[]", path.read_text().replace('"entries": 4', '"entries": "4"')):
        path.write_text(content)
        with pytest.raises(JournalRefused, match=rf"{path} is damaged.*restore"):
            journal.answer(heads_bytes(HEADS))
    path.unlink()
    (tmp_path / "run" / "client0.key").write_text("")
    with pytest.raises(JournalRefused, match="restore it from a copy"):
        journal.answer(heads_bytes(HEADS))


def test_an_attempt_is_kept_before_it_is_answered(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def fails(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(Exception, match="No space left"):
        journal.answer(heads_bytes(HEADS))
    assert journal.last().attempts == 2


def test_heads_of_json_have_all_fields() -> None:
    assert head_from({"device": "a", "attempts": 1, "entries": 1, "head": "", "proof": "", "row": "x"}) == Head(
        device="a", attempts=1, entries=1
    )
    with pytest.raises(JournalRefused):
        head_from({"device": "a", "attempts": True, "entries": 1, "head": "", "proof": ""})


def test_journals_lie_outside(tmp_path: Path) -> None:
    require_outside(tmp_path / "journals", tmp_path / "run")
    for inside in (tmp_path / "run", tmp_path / "run" / "deep" / "er", tmp_path / "run" / ".." / "run" / "x"):
        with pytest.raises(JournalRefused, match="name a folder outside"):
            require_outside(inside, tmp_path / "run")
