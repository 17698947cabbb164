"""What a device has answered, on disk before it answers: one answer for each attempt at a (run, row, slot, round).

An attempt has a ledger entry of its own, whose hash names it. A device answers it once, in one session of the secure
sums; the answer is on disk before it leaves, and may be sent again, byte by byte, in that session alone. A claim
without a stored answer is one that a crash took: the device sits that attempt out. Another attempt at the same place is
another charge in the device's own ledger, unless its journal says that nothing new is released; its clients are those
of every earlier attempt, or differ from them by at least as many as a sum must have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from secure_fcl.engines.deployed.vault import SealedLog, Vault
from secure_fcl.errors import ClaimRefused

_CLAIM, _SESSION, _ENTRIES = "claim", "session", "entries"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One attempt.

    Attributes:
        slot, round: its place.
        head: hash of its ledger entry, hexadecimal.
        session: of the secure sums in which it is answered.
        asked: SHA-256 of the frame that asks for it, hexadecimal.
        clients: who takes part, by the plan of the session.
        free: whether the device's journal lets it repeat the attempt before without a charge.
    """

    slot: int
    round: int
    head: str
    session: str
    asked: str
    clients: tuple[str, ...]
    free: bool = False


class ClaimBook:
    """The claims of one device in one row, in `claims.log`."""

    def __init__(self, folder: Path, vault: Vault, name: str, answer: tuple[str, bytes] | None = None) -> None:
        """Open or begin the book of `<run> <row>`, its name. `answer`: the last one, with the hash of its entry."""
        self.answer = answer
        self._log = SealedLog(folder / "claims.log", vault, f"claims {name}")
        self.claims: list[Claim] = []
        self._sessions: dict[str, None] = {}
        self.entries: set[str] = set()
        for record in self._log.records:
            self._read(record)

    def _read(self, record: Sequence[object]) -> None:
        match record:
            case ["claim", int(slot), int(round), str(head), str(session), str(asked), list(clients), bool(free)]:
                self.claims.append(
                    Claim(
                        slot=slot, round=round, head=head, session=session, asked=asked,
                        clients=tuple(map(str, clients)), free=free,
                    )
                )  # fmt: skip
            case ["session", str(name)]:
                self._sessions[name] = None
            case ["entries", list(entries)]:
                self.entries.update(map(str, entries))

    def join(self, session: str, begun: str) -> None:
        """Keep that a session is joined; one is joined once. `begun`: the session whose log there is, "" for none.

        Raises:
            ClaimRefused: it was joined before, and something of it may have left.
        """
        last = next(reversed(self._sessions), "")
        if session in self._sessions and not (session == last and begun != session):
            raise ClaimRefused(f"session {session} was joined before; open another")
        if session not in self._sessions:
            self._append([_SESSION, session])

    def answered(self, claim: Claim) -> bytes | None:
        """Return the stored answer to an attempt that is asked for again, None for an attempt that is new.

        Raises:
            ClaimRefused: the attempt was claimed and its answer may not be sent, or there is none.
        """
        same = next((one for one in self.claims if one.head == claim.head), None)
        if same is None:
            return None
        if same != claim:
            raise ClaimRefused(
                f"entry {claim.head[:12]} was answered as another attempt or in another session; charge the round again"
            )
        if self.answer is None or self.answer[0] != claim.head:
            raise ClaimRefused(f"the answer to entry {claim.head[:12]} was lost in a crash; go on without this device")
        return self.answer[1]

    def require_new(self, claim: Claim, least: int, most: int | None) -> None:
        """Raise ClaimRefused unless an attempt may be claimed.

        Args:
            claim: the attempt.
            least: fewest clients of a sum.
            most: most attempts at one place that are charged; None: the device's own budget decides.
        """
        if self.claims and (claim.slot, claim.round) < (self.claims[-1].slot, self.claims[-1].round):
            raise ClaimRefused(
                f"slot {claim.slot}, round {claim.round} lies before what was answered; go on from there"
            )
        before = [one for one in self.claims if (one.slot, one.round) == (claim.slot, claim.round)]
        charged = 1 + sum(not one.free for one in before)
        if not claim.free and most is not None and charged > most:
            raise ClaimRefused(
                f"attempt {charged} at slot {claim.slot}, round {claim.round}: this row has {most}; raise "
                "privacy.spare_rounds in a new run"
            )
        for one in before:
            apart = len(set(one.clients) ^ set(claim.clients))
            if not claim.free and 0 < apart < least:
                raise ClaimRefused(
                    f"two attempts at slot {claim.slot}, round {claim.round} would differ by {apart} clients, and a "
                    f"sum has at least {least}; ask the same clients again"
                )

    def take(self, claim: Claim) -> None:
        """Claim an attempt: on disk before this returns.

        Raises:
            OSError: the system refused; nothing may be answered.
        """
        clients = list(claim.clients)
        self._append([_CLAIM, claim.slot, claim.round, claim.head, claim.session, claim.asked, clients, claim.free])

    def leave(self, entries: Collection[str]) -> None:
        """Keep what the journal of a session holds that is left for good."""
        if entries:
            self._append([_ENTRIES, sorted(entries)])

    def _append(self, record: list[object]) -> None:
        self._log.append(record)
        self._read(record)

    def close(self) -> None:
        """Close the file; may be called again."""
        self._log.close()


class SessionJournal:
    """The journal of one session of the secure sums (`crypto.protocols.bookkeeping.Journal`).

    Its entries follow from what is in the session's log before anything is answered, and come back when the session is
    played again. When it is left they go into the claim book, which all later sessions look into.
    """

    def __init__(self, book: ClaimBook) -> None:
        self._before = book.entries
        self.entries: set[str] = set()

    def claim(self, entry: str) -> bool:
        """See `Journal.claim`."""
        if self.holds(entry):
            return False
        self.entries.add(entry)
        return True

    def holds(self, entry: str) -> bool:
        """See `Journal.holds`."""
        return entry in self._before or entry in self.entries


def digest_of_ask(frame: bytes) -> str:
    """Return what names an ask: the SHA-256 of its frame, hexadecimal."""
    return hashlib.sha256(frame).hexdigest()
