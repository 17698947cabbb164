"""What parties say to each other, and its bytes on the wire.

Every item is a frozen dataclass. On the wire: one version byte, one byte that says which item, then its fields one
after the other (`crypto.wire.fields`). There is no pickle, nothing is nested, and every length is checked before
anything is built from it. `crypto.protocols.envelope` numbers and signs messages, and says which are authentic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from crypto.errors import MessageError
from crypto.wire.arrays import pack, unpack
from crypto.wire.fields import Reader, write_blob, write_names, write_number, write_text
from crypto.wire.values import MAX_PAYLOAD

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


def is_name(value: object) -> bool:
    """Whether a value is text of 1 to `MAX_NAME` characters that can be a party's, an upload's or a session's name.

    Control characters, line and paragraph separators, lone surrogates and invisible marks are none: names go into logs,
    journals and reports, where they would be more than one line or look like another name.
    """
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable()


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
    found at fault in this session and leaves out (`crypto.protocols.faults`), some of whom may have contributed before,
    and those whose vectors exceeded a norm's bound in this sum.
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
    tag = _TAGS.get(type(item))
    if tag is None:
        raise MessageError(f"{type(item).__name__} is not a message; send one of {AnyItem}")
    if isinstance(item, Aggregate):
        total = np.asarray(item.total)
        if total.dtype != np.int64 or total.ndim != 1:
            raise MessageError(f"a total is a flat int64 array, not {total.dtype} of shape {total.shape}")
    checked = _checked(item)
    parts = [bytes((WIRE_VERSION, tag))]
    match checked:
        case Message():
            texts = (checked.sender, checked.receiver, checked.kind, checked.session, checked.upload)
            parts += [*map(write_text, texts), write_number(checked.round), write_number(checked.sequence)]
            parts += [write_blob(checked.payload), write_blob(checked.proof)]
        case Aggregate():
            parts += [write_text(checked.session), write_text(checked.upload), write_number(checked.round)]
            parts.append(write_blob(checked.total.astype("<i8", copy=False).tobytes()))
            parts += [write_names(checked.contributors), write_names(checked.blamed)]
        case Abort():
            parts += [write_text(checked.session), write_text(checked.upload), write_number(checked.round)]
            parts += [write_text(checked.reason), write_names(checked.blamed)]
        case Begin() | Deadline():
            parts += [write_text(checked.upload), write_number(checked.round)]
    return b"".join(parts)


def decode(data: bytes | bytearray | memoryview) -> AnyItem:
    """Read one item from bytes written by `encode`.

    *Guarantee*: allocates at most four times the frame, and a few kilobytes.

    Raises:
        MessageError: every input that is not such bytes (empty, cut, of another version, with trailing bytes, wrong
            types, or lengths beyond the caps); no other error is raised.
    """
    view = memoryview(data)
    if len(view) < 2:
        raise MessageError(f"the message has {len(view)} bytes; the sender must send what encode returned")
    if view[0] != WIRE_VERSION:
        raise MessageError(f"the message has wire version {view[0]}, this program speaks {WIRE_VERSION}")
    reader = Reader(view[2:])
    item = _read(view[1], reader)
    reader.end()
    return _checked(item)


_TAGS: dict[type, int] = {Message: 1, Aggregate: 2, Abort: 3, Begin: 4, Deadline: 5}


def _read(tag: int, reader: Reader) -> AnyItem:
    match tag:
        case 1:
            sender, receiver, kind, session, upload = (reader.text() for _ in range(5))
            return Message(
                sender=sender,
                receiver=receiver,
                kind=kind,
                session=session,
                upload=upload,
                round=reader.number(),
                sequence=reader.number(),
                payload=reader.blob(),
                proof=reader.blob(),
            )
        case 2:
            session, upload, number, raw = reader.text(), reader.text(), reader.number(), reader.blob()
            if len(raw) % 8:
                raise MessageError(f"a total has 8 bytes an entry; {len(raw)} bytes were sent")
            values = np.frombuffer(raw, dtype="<i8").astype(np.int64, copy=False)
            return Aggregate(session, number, upload, values, reader.names(), reader.names())
        case 3:
            session, upload, number = reader.text(), reader.text(), reader.number()
            return Abort(session, number, upload, reader.text(), reader.names())
        case 4 | 5:
            upload, number = reader.text(), reader.number()
            return Begin(number, upload) if tag == 4 else Deadline(number, upload)
    raise MessageError(f"unknown message tag {tag}")


def _checked(item: AnyItem) -> AnyItem:
    """Check types and caps of all fields."""
    _round(item.round)
    _text(item.upload, "upload")
    match item:
        case Message():
            for what in ("sender", "receiver", "kind", "session"):
                _text(getattr(item, what), what)
            _raw(item.payload)
            _raw(item.proof, MAX_PROOF)
            _sequence(item.sequence)
        case Aggregate():
            _text(item.session, "session")
            _names(item.contributors)
            _names(item.blamed)
        case Abort():
            _text(item.session, "session")
            _text(item.reason, "reason", MAX_REASON)
            _names(item.blamed)
    return item


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


def _names(value: object) -> None:
    names = _exact(value, tuple, "names")
    if len(names) > MAX_NAMES:
        raise MessageError(f"{len(names)} names exceed the cap of {MAX_NAMES}")
    for name in names:
        _text(name, "name")
