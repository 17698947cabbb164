"""A dictionary of bad values, and what a registered client can sign with them in place of what the protocol says."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from crypto.errors import MessageError
from crypto.keys.roster import PROOF_BYTES, Identity
from crypto.protocols.masks.records import write_record
from crypto.testing.faults import Draws
from crypto.wire.messages import Message
from crypto.wire.values import pack_value, unpack_value

NUMBERS: tuple[object, ...] = (-1, 0, 1, 2, 255, 2**16, 2**31, 2**62, 2**63 - 1, 2**64 - 1, None, "", True, 0.5, b"")
OTHERS: tuple[object, ...] = ("", None, [], -1, {}, "a\nb", 1e308, [[]], {"": 0})
# X25519 keys of small order and not reduced, an Ed25519 key of small order, no msgpack, deep or wide msgpack.
BYTES: tuple[bytes, ...] = (
    b"", b"\0", bytes(32), bytes(96), b"\1" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f",
    b"\xee" + b"\xff" * 30 + b"\x7f", b"\xff" * 32,
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    b"\xc1", b"\x90", b"\x91" * 2000, b"\xdc\xff\xff" + b"\x90" * 65535, b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
)  # fmt: skip
# Records that the signatures inside payloads are for.
_KINDS = ("hello", "open", "capsules", "offer")
_KEPT = 64


@dataclass
class Spoiling:
    """Changes payloads, and remembers parts of them to put into later ones, of other kinds, rounds and clients.

    `signed` counts the changed payloads by kind of message.
    """

    draws: Draws
    signed: dict[str, int] = field(default_factory=dict)
    _seen: deque[bytes] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def spoiled(self, message: Message, identity: Identity | None = None) -> bytes:
        """Another payload for a message: one value in it, however deep, is a bad one. Records that `identity` signed
        inside it are signed anew.
        """
        kind = message.kind if message.kind in _KINDS else "offer"
        found = self._bad(message.payload, message.session, kind, identity)
        payload = found if isinstance(found, bytes) else b""
        self.signed[message.kind] = self.signed.get(message.kind, 0) + (payload != message.payload)
        return payload

    def _bad(self, value: object, session: str, kind: str, identity: Identity | None) -> object:
        draws = self.draws
        match value:
            case bytes() if identity is not None and value[:32] == identity.public and len(value) > PROOF_BYTES:
                body = self._bad(value[PROOF_BYTES:], session, kind, identity)
                kind = _KINDS[draws.below(len(_KINDS))] if draws.chance(0.05) else kind
                return write_record(identity, session, kind, body if isinstance(body, bytes) else b"")
            case bytes():
                inner = _list_in(value)
                if inner and draws.chance(0.9):
                    return pack_value(self._bad(inner, session, kind, identity))
                return self._bytes(value)
            case list() if value and draws.chance(0.8):
                at = draws.below(len(value))
                return [*value[:at], self._bad(value[at], session, kind, identity), *value[at + 1 :]]
            case list():
                doubled = value * 2 if len(value) < 1000 else []
                options: list[object] = [[], [*value, None], value[::-1], value[:-1], doubled, None, b"", [value]]
                return options[draws.below(len(options))]
            case int():
                near = (value + 1, value - 1) if 0 < value < 2**63 else (1,)
                return (*NUMBERS, *near)[draws.below(len(NUMBERS) + len(near))]
        return OTHERS[draws.below(len(OTHERS))]

    def _bytes(self, value: bytes) -> bytes:
        draws, size = self.draws, len(value)
        options = [bytes(size), b"\xff" * size, value[:-1], value + b"\0", draws.bytes(size), value[::-1], value * 2]
        if value:
            at = draws.below(size)
            flipped = value[:at] + bytes([value[at] ^ (1 << draws.below(8))]) + value[at + 1 :]
            number = draws.below(1 << 8) * (1 << 8 * draws.below(8))
            options += [flipped, value[:at], (value[:at] + number.to_bytes(8, "big") + value[at + 8 :])[:size]]
        options += [*BYTES, *self._seen]
        self._seen.append(value)
        return options[draws.below(len(options))]


def _list_in(value: bytes) -> list[object] | None:
    try:
        found = unpack_value(value)
    except MessageError:
        return None
    return found if isinstance(found, list) else None
