"""What was answered stays answered, through a crash."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crypto import Begin
from crypto.errors import SubmissionRefused
from crypto.keys.randomness import KeyedStream, derive_key
from crypto.protocols.bookkeeping import Journal
from crypto.protocols.masks.client import MaskClient
from crypto.protocols.masks.errors import JournalError
from crypto.protocols.masks.journal import FileJournal, MemoryJournal
from crypto.protocols.masks.requests import UnmaskRequest
from crypto.running.processes import child_environment
from crypto.wire.messages import Message


@pytest.fixture(params=["memory", "file"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Journal:
    return MemoryJournal() if request.param == "memory" else FileJournal(tmp_path / "journal")


def test_an_entry_is_claimed_once(journal: Journal) -> None:
    assert [journal.claim(entry) for entry in ("a 1", "a 2", "a 1", "a 12", "a 2")] == [True, True, False, True, False]


def test_entries_outlast_the_process(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = FileJournal(path)
    assert first.claim("s 1 answered")
    first.close()
    first.close()
    second = FileJournal(path)
    assert not second.claim("s 1 answered")
    assert second.claim("s 2 answered")
    assert path.read_text() == "s 1 answered\ns 2 answered\n"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", range(1, 13))
def test_an_entry_cut_short_counts(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text("s 1 answered"[:cut])
    journal = FileJournal(path)
    assert not journal.claim("s 1 answered")
    assert journal.claim("t 1 answered")
    journal.close()
    assert not FileJournal(path).claim("t 1 answered")


def test_what_cannot_be_recorded_is_an_error(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal")
    for entry in ("", "two\nlines", "line\n"):
        with pytest.raises(JournalError):
            journal.claim(entry)
    journal.close()
    with pytest.raises(JournalError, match="cannot be written"):
        journal.claim("late")
    with pytest.raises(JournalError, match="cannot be opened"):
        FileJournal(tmp_path / "no folder" / "journal")


def twin(cohort: Any, journal: Journal, log: list[Message]) -> MaskClient:
    """Client 0 with coins that can be replayed, fed with every message of the log that is for it."""
    stream = KeyedStream(derive_key(bytes(32), "twin"))
    client = MaskClient(cohort.plan, cohort.identities["client000"], stream, journal=journal)
    client.start()
    for message in log:
        client.on(message)
    return client


def crash_scene(cohort: Any, journal: Journal) -> tuple[list[Message], MaskClient, dict[str, Any]]:
    """A sum that stands before its unmask request, client 0 with replayable coins."""
    cohort.parties["client000"] = client = twin(cohort, journal, [])
    log: list[Message] = []
    cohort.lose = lambda message: (
        message.kind == "unmask" or bool(message.receiver in ("client000", "clients") and log.append(message))
    )
    # The twin has said hello already; it says the same again.
    hello = Message(
        sender="client000",
        receiver="server",
        kind="hello",
        session=cohort.plan.session,
        round=0,
        upload="-",
        payload=client._enrolment.hello(),
    )
    others = [item for name in cohort.plan.clients[1:] for item in cohort.parties[name].start()]
    cohort.carry([hello, *others])
    vectors = cohort.vectors("crash")
    cohort.give("server", Begin(0, "update"))
    for name, vector in vectors.items():
        cohort.submit(0, "update", name, vector)
    return log, client, vectors


def unmask(cohort: Any, survivors: tuple[int, ...]) -> Message:
    dropped = tuple(place for place in range(8) if place not in survivors)
    request = UnmaskRequest(0, survivors, dropped, {}).to_bytes()
    return Message(
        sender="server",
        receiver="client000",
        kind="unmask",
        session=cohort.plan.session,
        round=0,
        upload="update",
        payload=request,
    )


class ForgetfulJournal:
    """The weak design: nothing is remembered."""

    def claim(self, entry: str) -> bool:
        return True


def answers_after_crash(make_masks: Callable[..., Any], journal: Callable[[], Journal]) -> int:
    """Client 0 answers, crashes, comes back with the same keys, and is asked for the other half of the secrets."""
    cohort = make_masks(bare=True, ready=False)
    log, client, vectors = crash_scene(cohort, journal())
    count = len(client.on(unmask(cohort, tuple(range(8)))))
    again = twin(cohort, journal(), log)
    try:
        again.submit(0, "update", vectors["client000"])
    except SubmissionRefused:
        return count
    return count + len(again.on(unmask(cohort, tuple(range(7)))))


def test_a_crash_cannot_make_a_client_answer_twice(make_masks: Callable[..., Any], tmp_path: Path) -> None:
    assert answers_after_crash(make_masks, ForgetfulJournal) == 2
    opened: list[FileJournal] = []

    def reopened() -> Journal:
        # The end of a process closes its files.
        for journal in opened:
            journal.close()
        opened.append(FileJournal(tmp_path / "journal"))
        return opened[-1]

    assert answers_after_crash(make_masks, reopened) == 1


def test_two_sessions_cannot_have_one_journal_open(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = FileJournal(path)
    with pytest.raises(JournalError, match="open elsewhere"):
        FileJournal(path)
    program = (
        "import sys; from pathlib import Path; from crypto.protocols.masks import FileJournal\n"
        "try: print(FileJournal(Path(sys.argv[1])).claim('a'))\n"
        "except Exception as error: print(type(error).__name__)"
    )

    def elsewhere() -> str:
        done = subprocess.run(
            [sys.executable, "-c", program, str(path)],
            capture_output=True,
            text=True,
            env=child_environment(),
            check=True,
        )
        return done.stdout.strip()

    assert elsewhere() == "JournalError"
    assert first.claim("a")
    first.close()
    assert elsewhere() == "False"


def test_the_record_is_written_before_the_answer_leaves(make_masks: Callable[..., Any], tmp_path: Path) -> None:
    class Broken:
        """A disk that fills up at the first answer."""

        def __init__(self) -> None:
            self.entries: list[str] = []

        def claim(self, entry: str) -> bool:
            if "answered" in entry:
                raise JournalError("no space left")
            self.entries.append(entry)
            return True

    cohort = make_masks(bare=True, ready=False)
    broken = Broken()
    _, client, _ = crash_scene(cohort, broken)
    assert not client.on(unmask(cohort, tuple(range(8))))
    assert [entry.split()[-1] for entry in broken.entries] == ["start", "sent"]
