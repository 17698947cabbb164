"""What must be on disk before anything leaves: a client's use of a pad, and the one list that a helper answers."""

from __future__ import annotations

import hashlib

from crypto.errors import SubmissionRefused
from crypto.keys.randomness import encode_labels
from crypto.planning.plans import Plan
from crypto.protocols.bookkeeping import Journal, Key
from crypto.protocols.helper.statements import MAX_ATTEMPT

MAX_STARTS = 64


def claim_attempt(journal: Journal, plan: Plan, name: str, key: Key, keys: tuple[bytes, ...]) -> int:
    """Record that a client is about to use the pads of its next attempt at one sum, and return the attempt's number.

    All attempts at one sum are under the same helpers' keys (`keys`, their digests): a helper that was set back to an
    older journal has other keys, and does not get a second vector for a sum that it may have answered before.

    Raises:
        SubmissionRefused: an earlier attempt was made under other keys, or there were too many.
        JournalError: it cannot be recorded.
    """
    under = _entry("keys", plan, name, *key, *keys)
    for attempt in range(MAX_ATTEMPT + 1):
        if journal.claim(_entry("pad", plan, name, *key, attempt)):
            if attempt == 0:
                journal.claim(under)
            if journal.holds(under):
                return attempt
            raise SubmissionRefused(
                f"the journal of {name!r} shows that round {key[0]}, upload {key[1]!r} was sent under other keys of "
                "the helpers; sit this sum out"
            )
    raise SubmissionRefused(f"round {key[0]}, upload {key[1]!r} was sent {MAX_ATTEMPT + 1} times; sit this sum out")


def claim_start(journal: Journal, plan: Plan, role: str) -> int | None:
    """Record that a helper starts with fresh keys, and return how often it started before; None if too often."""
    for start in range(MAX_STARTS):
        if journal.claim(_entry("start", plan, role, start)):
            return start
    return None


def claim_list(journal: Journal, plan: Plan, role: str, key: Key) -> bool:
    """Record that a helper answers its one list of one sum; False if it did before."""
    return journal.claim(_entry("list", plan, role, *key))


def _entry(what: str, plan: Plan, *labels: str | int | bytes) -> str:
    digest = hashlib.sha256(encode_labels(("helper journal 1", what, plan.digest, plan.session, *labels))).hexdigest()
    return f"helper {what} {digest}"
