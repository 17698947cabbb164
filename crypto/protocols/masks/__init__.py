"""Sums under masks: "secagg" (all pairs of clients) and "secagg+" (a regular graph of neighbours).

Open sessions with `crypto.open_client` and `crypto.open_party`. In this folder, from the ground up: `stream`,
`bits`, `shamir`, `keys`, `listing`, `vault` (primitives); `graph` (which neighbours; how many:
`crypto.planning.masks`); `records`, `members`, `channels`, `offers`, `requests` (what is said); `enrolment`, `epoch`,
`rules`, `journal`, `client` and `gathering`, `keyring`, `recovery`, `server` (who says it).
"""

from __future__ import annotations

from crypto.protocols.bookkeeping import Journal
from crypto.protocols.masks.journal import FileJournal, MemoryJournal

__all__ = ["FileJournal", "Journal", "MemoryJournal"]
