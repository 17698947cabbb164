"""A device's journal: what it refuses, what it signs, and that it is kept before anything is answered."""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from filelock import FileLock

from crypto.keys.roster import Trust
from secure_fcl.engines.journals import Head, Journal, head_from, heads_bytes, read_journals
from secure_fcl.errors import JournalRefused
from secure_fcl.runner import require_outside

HEADS = [hashlib.sha256(bytes([n])).hexdigest() for n in range(6)]
FORK = [*HEADS[:2], *(hashlib.sha256(bytes([99, n])).hexdigest() for n in range(4))]


def opened(folder: Path, row: str = "lab:mine", device: str = "client0") -> Journal:
    found = Journal(folder, "run", row, device)
    found.open(b"")
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A journal after two attempts, at the second and at the fourth entry: one was charged in vain."""
    found = opened(tmp_path)
    for entries in (2, 4):
        found.answer(heads_bytes(HEADS[:entries]))
    return found


def test_attempts_and_the_head_are_kept_on_disk(journal: Journal, tmp_path: Path) -> None:
    again = Journal(tmp_path, "run", "lab:mine", "client0")
    assert (again.last().attempts, again.last().entries, again.last().head) == (2, 4, HEADS[3])
    assert [one.last() for one in read_journals(tmp_path, "run", "lab:mine")] == [again.last()]
    assert (tmp_path / "run" / "client0.key").stat().st_mode & 0o077 == 0
    assert sorted(p.name for p in (tmp_path / "run").iterdir() if p.name[0] != ".") == ["client0.key", "lab.mine"]
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
    fresh = opened(tmp_path, device="client1")
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
    stranger = opened(tmp_path / "elsewhere").answer(heads_bytes(HEADS)).head
    assert stranger.holds("run", "lab:mine", Trust())
    assert not stranger.holds("run", "lab:mine", trust)
    # The same device in another row.
    assert opened(tmp_path, row="other").answer(heads_bytes(HEADS)).head.holds("run", "other", trust)


def test_what_is_damaged_is_one_sentence(journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "run" / "lab.mine" / "client0.json"
    for content in ("", "{}", "[]", path.read_text().replace('"entries": 4', '"entries": "4"')):
        path.write_text(content)
        with pytest.raises(JournalRefused, match=rf"{path} is damaged.*restore"):
            journal.answer(heads_bytes(HEADS))
    path.unlink()
    journal.open(heads_bytes(HEADS[:4]))
    (tmp_path / "run" / "client0.key").write_text("")
    with pytest.raises(JournalRefused, match="restore it from a copy"):
        journal.answer(heads_bytes(HEADS))


def test_an_attempt_is_kept_before_it_is_answered(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
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


# ---- What a device says of an attempt


class Server:
    """Somebody with a ledger who asks one device anything in any order, and may harm its journal.

    `sent`: the vectors that left, by the charge under which they did: `charge`, or the one that covered repetitions go
    back to.
    """

    def __init__(self, folder: Path, again: bool) -> None:
        self.folder, self._again = folder, again
        self.journal = opened(folder)
        self.heads: list[str] = []
        self.covered: list[bool] = []
        self.flying: list[tuple[int, int]] = []
        self.sent: dict[int, set[int]] = {}
        self._drawn = 0

    @property
    def shown(self) -> bytes:
        return heads_bytes(self.heads)

    def enter(self, covered: bool) -> None:
        self.heads.append(hashlib.sha256(f"{len(self.heads)} {covered}".encode()).hexdigest())
        self.covered.append(covered and len(self.heads) > 1)

    def visit(self) -> None:
        begun = self.journal.answer(self.shown, repeats=bool(self.covered) and self.covered[-1])
        if begun.again is None:
            self._drawn += 1
        self.flying.append((len(self.heads), int(begun.again["v"]) if begun.again is not None else self._drawn))

    def send(self, number: int, power: bool) -> None:
        """Send what one attempt made, of an earlier process or this one; or lose power right after the record."""
        if not self.flying:
            return
        entry, vector = self.flying[number % len(self.flying)]
        kept = {"v": np.array(vector)} if self._again else None
        self.journal.sending(heads_bytes(self.heads[:entry]), "model", kept)
        if power:
            root = entry
            while self.covered[root - 1]:
                root -= 1
            self.sent.setdefault(root, set()).add(vector)

    def harm(self, copy: Path, how: str) -> None:
        place = self.folder / "run" / "lab.mine"
        if how == "copy":
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(place, copy)
        elif how == "restore" and copy.exists():
            for path in copy.iterdir():
                shutil.copy2(path, place / path.name)
        elif how == "lose":
            (place / "client0.json").unlink(missing_ok=True)


@pytest.mark.parametrize("again", [False, True], ids=["shared", "local"])
@pytest.mark.parametrize("seed", range(25))
def test_no_two_vectors_leave_under_one_charge(
    again: bool, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a server asks for, in whatever order, and whatever copies of the journal are put back meanwhile."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    random, server = Random(seed), Server(tmp_path, again)
    moves: dict[str, Callable[[], object]] = {
        "charge": lambda: server.enter(False), "cover": lambda: server.enter(True), "visit": server.visit,
        "send": lambda: server.send(random.choice([-1, random.randrange(99)]), random.random() < 0.7),
        "settle": lambda: server.journal.settle(server.shown, server.covered[-1:] == [True]),
        "open": lambda: server.journal.open(server.shown),
        "harm": lambda: server.harm(tmp_path / "copy", random.choice(["copy", "restore", "lose"])),
    }  # fmt: skip
    weights = {"harm": 0.3 * (seed % 2), "open": 0.5}
    names = list(moves)
    happened: Counter[str] = Counter()
    for name in random.choices(names, [weights.get(name, 1.0) for name in names], k=150):
        try:
            moves[name]()
            happened[name] += 1
        except JournalRefused:
            happened[f"{name} refused"] += 1
    assert all(len(vectors) == 1 for vectors in server.sent.values())
    assert happened["visit refused"] > 0


def refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except JournalRefused:
        return True
    return False


@pytest.mark.parametrize("again", [False, True], ids=["shared", "local"])
@pytest.mark.parametrize("later", range(3))
def test_what_is_settled_is_never_sent(again: bool, later: int, tmp_path: Path) -> None:
    """A process of the attempt is still alive when the device settles it, or one that it was never asked for."""
    server = Server(tmp_path, again)
    server.enter(False)
    server.visit()
    for _ in range(later):
        server.enter(False)
    assert server.journal.settle(server.shown).said == "unsent"
    assert refused(lambda: server.send(-1, True))
    # Nor is it answered again; the next entry may repeat it.
    assert refused(server.visit)
    server.enter(True)
    server.visit()
    assert refused(lambda: server.send(0, True))
    assert not refused(lambda: server.send(-1, True))
    assert server.sent == {later + 1: {2}}


@pytest.mark.parametrize("again", [False, True], ids=["shared", "local"])
def test_nothing_is_repeated_on_the_word_of_the_server(again: bool, tmp_path: Path) -> None:
    server = Server(tmp_path, again)
    server.enter(False)
    server.visit()
    server.send(-1, True)
    server.enter(True)
    assert refused(server.visit)
    # Nor is anything said of an entry that repeats what the device did not settle.
    assert server.journal.settle(server.shown, repeats=True).said == ""
    server.enter(True)
    assert refused(server.visit)
    assert server.sent == {1: {1}}


def test_a_device_settles_as_often_as_it_is_asked(tmp_path: Path) -> None:
    """A run that is killed between words and entry asks again, also about what it never asked for."""
    server = Server(tmp_path, again=True)
    server.enter(False)
    server.visit()
    server.send(-1, True)
    for _ in range(3):
        said = [server.journal.settle(server.shown, server.covered[-1]).said for _ in range(3)]
        assert said == ["same"] * 3
        server.enter(True)
    server.journal.settle(server.shown, repeats=True)
    server.enter(True)
    server.visit()
    server.send(-1, True)
    assert server.sent == {1: {1}}


def test_the_moves_above_reach_what_they_are_about(tmp_path: Path) -> None:
    """Negative control: the same server finds two vectors under one charge once the device takes it at its word."""
    server = Server(tmp_path, again=False)
    server.enter(False)
    server.visit()
    server.send(-1, True)
    server.enter(True)
    with pytest.raises(JournalRefused, match="refuses to repeat entry 1 of row lab:mine without a charge"):
        server.visit()
    assert server.journal.settle(heads_bytes(server.heads[:1])).said == ""
    server.enter(False)
    server.visit()
    assert server.journal.settle(server.shown).said == "unsent"
    with pytest.raises(JournalRefused, match="that attempt is over"):
        server.send(-1, True)
    server.enter(True)
    server.visit()
    server.send(-1, True)
    assert server.sent == {1: {1}, 3: {3}}


def test_a_vector_that_is_lost_is_not_drawn_anew(tmp_path: Path) -> None:
    server = Server(tmp_path, again=True)
    server.enter(False)
    server.visit()
    server.send(-1, True)
    assert server.journal.settle(server.shown).said == "same"
    (message,) = (tmp_path / "run" / "lab.mine").glob("*.npz")
    whole = message.read_bytes()
    for broken in (b"", whole[:-1]):
        message.write_bytes(broken)
        assert server.journal.settle(server.shown).said == ""
    server.enter(True)
    with pytest.raises(JournalRefused, match="is not what client0 sent; charge the round again"):
        server.visit()
    message.write_bytes(whole)
    server.visit()
    with pytest.raises(JournalRefused, match="made under another model"):
        server.journal.sending(server.shown, "another", {"v": np.array(7)})
    server.send(-1, True)
    assert server.sent == {1: {1}}


def test_a_journal_of_before_says_nothing_of_what_it_may_have_sent(tmp_path: Path) -> None:
    """Journals of a version without the record of sending hold a head alone."""
    server = Server(tmp_path, again=False)
    server.enter(False)
    server.visit()
    path = tmp_path / "run" / "lab.mine" / "client0.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({name: found[name] for name in ("device", "attempts", "entries", "head", "proof")}))
    server.journal.open(server.shown)
    assert server.journal.settle(server.shown).said == ""
    server.enter(False)
    server.visit()
    assert server.journal.settle(server.shown).said == "unsent"


def test_a_journal_that_another_process_holds_is_one_sentence(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure_fcl.engines.journals.LOCK_SECONDS", 0.05)
    with FileLock(journal._lock), pytest.raises(JournalRefused, match=r"is held by another process for 0\.05 seconds"):
        journal.settle(heads_bytes(HEADS))
