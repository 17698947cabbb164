"""What a party's answer to a question may be: whoever answers may be corrupt, and its answer reaches the secure sum."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping

from crypto.wire.messages import Item, Message
from secure_fcl.engines.commands import (
    Answered,
    Command,
    Deliver,
    Disclose,
    Done,
    Failed,
    GiveClear,
    GiveCoins,
    GiveHeld,
    GiveKept,
    Given,
    GiveOwn,
    Keys,
    Reply,
    Sent,
    Settle,
    Settled,
    Visit,
)
from secure_fcl.engines.frames import from_untrusted
from secure_fcl.engines.journals import head_from
from secure_fcl.engines.parties import Party
from secure_fcl.errors import FrameRefused, JournalRefused

_GIVES = (Disclose, GiveCoins, GiveHeld, GiveKept, GiveOwn, GiveClear)
_ANSWERS: Mapping[type[Command], type[Reply]] = {
    Keys: Answered, Deliver: Answered, Visit: Sent, Settle: Settled, **dict.fromkeys(_GIVES, Given),
}  # fmt: skip
"""How each question is answered; all others with `Done`. Only a simulation asks for what is `Given`."""
MAX_TEXT = 4096


def read_reply(party: Party, ask: Command, frame: bytes) -> Reply:
    """Return a party's answer to `ask`, or that it failed.

    *Guarantee*: takes memory of a small multiple of the frame's length; what is returned is of the kind that `ask`
    wants, and every message in it is the party's own: none can be taken for the outcome of a sum, or for another's.

    Raises:
        FrameRefused: anything else.
    """
    wanted = _ANSWERS.get(type(ask), Done)
    reply = from_untrusted(frame, (wanted, Failed))
    match reply:
        case Failed():
            if not (reply.error.isidentifier() and len(reply.error) <= 64) or reply.text or reply.trace:
                raise FrameRefused(f"{party} says more of a failure than the name of a class; update it")
        case Answered():
            _require_own(party, reply.items)
        case Sent():
            _require_own(party, reply.items)
            if not all(math.isfinite(seconds) and seconds >= 0.0 for seconds in (reply.train, reply.encrypt)):
                raise FrameRefused(f"{party} took a number of seconds that is none; update it")
            _require_head(party, reply.journal)
        case Settled():
            if len(reply.said) + len(reply.proof) > MAX_TEXT:
                raise FrameRefused(f"{party} says more of an attempt than there is to say; update it")
        case Done() | Given():
            pass
        case _:
            raise FrameRefused(f"{party} answered {type(reply).__name__}, which nothing asks for; update it")
    return reply


def _require_own(party: Party, items: Collection[Item]) -> None:
    if not all(isinstance(item, Message) and item.sender == party for item in items):
        raise FrameRefused(f"{party} sent what is no message of its own; exclude it")


def _require_head(party: Party, journal: str) -> None:
    if not journal:
        return
    try:
        found = json.loads(journal[: MAX_TEXT + 1])
        if not isinstance(found, dict) or head_from(found).device != party:
            raise FrameRefused(f"{party} sent a journal's head of another device; exclude it")
    except (ValueError, TypeError, RecursionError, JournalRefused) as error:
        raise FrameRefused(f"{party} sent what is no head of a journal ({type(error).__name__}); update it") from error
