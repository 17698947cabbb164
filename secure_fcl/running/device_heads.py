"""What devices signed and what their journals say, against the ledgers of a run folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crypto.keys.roster import Trust
from privacy import Ledger
from secure_fcl.engines.journals import Head, head_from, read_journals
from secure_fcl.errors import JournalRefused
from secure_fcl.running.repeats import sayings

Why = tuple[str, str]
"""A row, and what is wrong with its ledger."""


def contradicted(
    heads: list[dict[str, Any]], ledgers: Mapping[str, Ledger], run: str, journals: Path | None
) -> Iterator[Why]:
    """Yield what devices say against the ledgers: in the folder's own records, and in their journals.

    A device has one key for all rows of a run: the first that it shows counts.
    """
    trust = Trust()
    for found in heads:
        row = str(found.get("row"))
        try:
            head = head_from(found)
        except JournalRefused as error:
            yield row, str(error)
            continue
        yield from _against(head, row, ledgers, run, trust, "in cost.jsonl")
    for row, ledger in ledgers.items():
        try:
            for attempt, saying in sayings(ledger, run, row):
                if not saying.holds(attempt, trust):
                    yield row, f"says that {attempt.device} signed for entry {attempt.entry}, and it did not"
        except JournalRefused as error:
            yield row, str(error)
    if journals is None:
        return
    for row in ledgers:
        for journal in read_journals(journals, run, row):
            try:
                head = journal.last()
                if head.attempts or head.entries:
                    yield from _against(head, row, ledgers, run, trust, "in its journal")
            except JournalRefused as error:
                yield row, str(error)


def _against(head: Head, row: str, ledgers: Mapping[str, Ledger], run: str, trust: Trust, where: str) -> Iterator[Why]:
    heads = ledgers[row].heads if row in ledgers else ()
    if not head.holds(run, row, trust):
        yield row, f"{head.device}'s head {where} is not signed by it"
    elif not 0 < head.attempts <= head.entries:
        yield (
            row,
            f"{head.device} answered {head.attempts} attempts and saw {head.entries} entries: some were not charged",
        )
    elif head.entries > len(heads) or heads[head.entries - 1] != head.head:
        yield (
            row,
            (
                f"lacks what {head.device} answered for ({where}: {head.entries} entries, head {head.head[:12]}; here "
                f"{len(heads)}): it was cut, or the whole folder was set back to an older copy"
            ),
        )
