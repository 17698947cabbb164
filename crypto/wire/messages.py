"""What parties say to each other, and its bytes on the wire.

Every item is a frozen dataclass. On the wire: one version byte, then a msgpack list that starts with the
item's tag. There is no pickle, no extension type, and every length is capped before anything is built from
it. `crypto.protocols.envelope` numbers and signs messages, and says which are authentic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from crypto.errors import MessageError
from crypto.wire.arrays import pack, unpack
from crypto.wire.values import MAX_PAYLOAD, pack_value, unpack_value

__all__ = [
    "Abort",
    "Aggregate",
    "AnyItem",
    "Begin",
    "Deadline",
    "Input",
    "Item",
    "Message",
    "decode",
    "encode",
    "pack",
    "unpack",
]

WIRE_VERSION = 2
MAX_NAME = 128
MAX_REASON = 2048
MAX_ROUND = 2**31 - 1
MAX_NAMES = 1_000_000
MAX_SEQUENCE = 2**63 - 1
MAX_PROOF = 256


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message from `sender` to `receiver` (a party's name, or "clients" for all of them).

    `kind` says what `payload` holds; `session`, `round` and `upload` say what it belongs to. Set-up messages
    have round 0 and upload "-". `sequence` is the sender's running number and `proof` its public key and
    signature; both are made and checked by `crypto.protocols.envelope`, and empty before.
    """

    sender: str
    receiver: str
    kind: str
    session: str
    round: int
    upload: str
    payload: bytes
    sequence: int = 0
    proof: bytes = b""

    def __repr__(self) -> str:
        """Show the envelope and the size, never the payload."""
        return (
            f"Message({self.sender} -> {self.receiver}, {self.kind}, session={self.session}, "
            f"round={self.round}, upload={self.upload}, {len(self.payload)} bytes)"
        )


@dataclass(frozen=True, eq=False)
class Aggregate:
    """The sum of one upload in one round: `total` is int64 of the upload's length, exact.

    `contributors` are the clients whose vectors are in the sum, in the plan's order; `blamed` those that the server
    found at fault in this session and leaves out (`crypto.protocols.faults`), some of whom may have contributed before.
    """

    session: str
    round: int
    upload: str
    total: npt.NDArray[np.int64]
    contributors: tuple[str, ...]
    blamed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Abort:
    """The sum of one upload in one round will not come, and why; `blamed` as in `Aggregate`.

    A client that is silent or late is absent, and not blamed.
    """

    session: str
    round: int
    upload: str
    reason: str
    blamed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Begin:
    """Tell the server that uploads of this (round, upload) may arrive from now on."""

    round: int
    upload: str


@dataclass(frozen=True)
class Deadline:
    """Tell the server to close this (round, upload) with the clients that have arrived.

    Under "mpc" a client has arrived once both computing servers have reported it. A later deadline of the same
    sum ends its next phase; when there is nothing left to wait for but a lost answer, the server aborts.
    Without effect on sums that are not open.
    """

    round: int
    upload: str


Item = Message | Aggregate | Abort
Input = Message | Begin | Deadline
AnyItem = Message | Aggregate | Abort | Begin | Deadline

_Part = TypeVar("_Part")


def encode(item: AnyItem) -> bytes:
    """Write one item as bytes.

    Raises:
        MessageError: a field has the wrong type or exceeds its cap, so that nothing is sent that `decode` would refuse.
    """
    match item:
        case Message():
            fields: list[object] = [
                "message",
                item.sender,
                item.receiver,
                item.kind,
                item.session,
                item.round,
            ]
            fields += [item.upload, item.payload, item.sequence, item.proof]
        case Aggregate():
            total = np.asarray(item.total)
            if total.dtype != np.int64 or total.ndim != 1:
                raise MessageError(f"a total is a flat int64 array, not {total.dtype} of shape {total.shape}")
            raw = total.astype("<i8", copy=False).tobytes()
            fields = [
                "aggregate",
                item.session,
                item.round,
                item.upload,
                raw,
                list(item.contributors),
                list(item.blamed),
            ]
        case Abort():
            fields = ["abort", item.session, item.round, item.upload, item.reason, list(item.blamed)]
        case Begin():
            fields = ["begin", item.round, item.upload]
        case Deadline():
            fields = ["deadline", item.round, item.upload]
        case _:
            raise MessageError(f"{type(item).__name__} is not a message; send one of {AnyItem}")
    _build(fields)
    return bytes((WIRE_VERSION,)) + pack_value(fields)


def decode(data: bytes | bytearray | memoryview) -> AnyItem:
    """Read one item from bytes written by `encode`.

    Raises:
        MessageError: every input that is not such bytes (empty, cut, of another version, with trailing bytes, wrong
            types, or lengths beyond the caps); no other error is raised.
    """
    view = memoryview(data)
    if len(view) == 0:
        raise MessageError("the message is empty; the sender must send what encode returned")
    if view[0] != WIRE_VERSION:
        raise MessageError(f"the message has wire version {view[0]}, this program speaks {WIRE_VERSION}")
    return _build(unpack_value(view[1:]))


def _build(fields: object) -> AnyItem:
    """Check tag, number and types of the fields, and make the item."""
    if not isinstance(fields, list) or not fields or not isinstance(fields[0], str):
        raise MessageError("the message is not a list that starts with a tag")
    match fields:
        case ["message", sender, receiver, kind, session, number, upload, payload, sequence, proof]:
            return Message(
                sender=_text(sender, "sender"),
                receiver=_text(receiver, "receiver"),
                kind=_text(kind, "kind"),
                session=_text(session, "session"),
                round=_round(number),
                upload=_text(upload, "upload"),
                payload=_raw(payload),
                sequence=_sequence(sequence),
                proof=_raw(proof, MAX_PROOF),
            )
        case ["aggregate", session, number, upload, total, names, blamed]:
            raw = _raw(total)
            if len(raw) % 8:
                raise MessageError(f"a total has 8 bytes an entry; {len(raw)} bytes were sent")
            values = np.frombuffer(raw, dtype="<i8").astype(np.int64, copy=False)
            place = (_text(session, "session"), _round(number), _text(upload, "upload"))
            return Aggregate(*place, values, _names(names), _names(blamed))
        case ["abort", session, number, upload, reason, blamed]:
            text = _text(reason, "reason", MAX_REASON)
            return Abort(_text(session, "session"), _round(number), _text(upload, "upload"), text, _names(blamed))
        case ["begin", number, upload]:
            return Begin(_round(number), _text(upload, "upload"))
        case ["deadline", number, upload]:
            return Deadline(_round(number), _text(upload, "upload"))
    raise MessageError(f"unknown message tag or wrong number of fields: {fields[0][:32]!r} with {len(fields)}")


def _exact(value: object, kind: type[_Part], what: str) -> _Part:
    if type(value) is not kind:
        raise MessageError(f"the field {what} is {type(value).__name__}, not {kind.__name__}")
    return value


def _text(value: object, what: str, cap: int = MAX_NAME) -> str:
    text = _exact(value, str, what)
    if not 0 < len(text) <= cap:
        raise MessageError(f"the field {what} has {len(text)} characters; 1 to {cap} are allowed")
    return text


def _round(value: object) -> int:
    number = _exact(value, int, "round")
    if not 0 <= number <= MAX_ROUND:
        raise MessageError(f"round {number} is outside 0 to {MAX_ROUND}")
    return number


def _sequence(value: object) -> int:
    number = _exact(value, int, "sequence")
    if not 0 <= number <= MAX_SEQUENCE:
        raise MessageError(f"sequence {number} is outside 0 to {MAX_SEQUENCE}")
    return number


def _raw(value: object, cap: int = MAX_PAYLOAD) -> bytes:
    data = _exact(value, bytes, "payload")
    if len(data) > cap:
        raise MessageError(f"{len(data)} bytes exceed the cap of {cap}; split the upload")
    return data


def _names(value: object) -> tuple[str, ...]:
    names = _exact(value, list, "contributors")
    if len(names) > MAX_NAMES:
        raise MessageError(f"{len(names)} names exceed the cap of {MAX_NAMES}")
    return tuple(_text(name, "contributor") for name in names)
