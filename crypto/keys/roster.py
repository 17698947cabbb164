"""Who is who: identities (Ed25519 key pairs), the public roster that pins them, and trust in what they sign.

A roster is part of the plan when it is known beforehand. Without one, the first key that a name shows counts
(trust on first use): that holds against whoever comes later, not against the first to speak.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from crypto.errors import RosterError
from crypto.keys.randomness import KEY_BYTES, RandomBytes, system_random
from crypto.keys.secrecy import holds_secrets
from crypto.wire.messages import MAX_NAME, is_name

SIGNATURE_BYTES = 64
PROOF_BYTES = KEY_BYTES + SIGNATURE_BYTES
FORMAT = "crypto roster 1"
MAX_FILE = 1 << 28
# How many signatures that held are remembered, so that they are verified once.
MOST_VERIFIED = 1 << 13
_FIELD = 2**255 - 19
_ORDER_8 = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
# The y coordinates of the eight points whose order divides 8: under such a "key" one signature fits many messages.
_SMALL_ORDER = frozenset((0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8))


@holds_secrets
class Identity:
    """A party's name and its private Ed25519 key (RFC 8032)."""

    def __init__(self, name: str, private: bytes) -> None:
        """Take a private key of 32 bytes.

        Raises:
            RosterError: another length or a bad name.
        """
        if len(private) != KEY_BYTES:
            raise RosterError(f"an identity key has {KEY_BYTES} bytes, this one {len(private)}; make a new identity")
        self.name = _checked_name(name)
        self._raw = private
        self._private = Ed25519PrivateKey.from_private_bytes(private)
        self.public = self._private.public_key().public_bytes_raw()

    @classmethod
    def new(cls, name: str, random: RandomBytes = system_random) -> Self:
        """Make a fresh identity."""
        return cls(name, random(KEY_BYTES))

    def prove(self, data: bytes) -> bytes:
        """Sign `data`: `PROOF_BYTES` bytes, the public key and the signature."""
        return self.public + self._private.sign(data)

    def agree(self, peer: bytes) -> bytes:
        """The X25519 secret of this identity key and another's (see `crypto.keys.tagging`).

        Raises:
            RosterError: `peer` is no key of an identity.
        """
        y = int.from_bytes(peer, "little") & (2**255 - 1)
        if len(peer) != KEY_BYTES or _weak(peer):
            raise RosterError("an identity key of small order, or of another length, agrees on nothing")
        u = (1 + y) * pow(1 - y, -1, _FIELD) % _FIELD
        # The scalar that Ed25519 signs with (RFC 8032, section 5.1.5); X25519 clamps it in the same way.
        scalar = X25519PrivateKey.from_private_bytes(hashlib.sha512(self._raw).digest()[:KEY_BYTES])
        try:
            return scalar.exchange(X25519PublicKey.from_public_bytes(u.to_bytes(KEY_BYTES, "little")))
        except ValueError as error:
            raise RosterError("an identity key agrees on nothing; the roster must hold keys of identities") from error

    def save(self, path: Path) -> None:
        """Write the private key to a new file that only its owner may read (mode 0600).

        Raises:
            RosterError: the file exists: an identity is never overwritten.
        """
        text = json.dumps({"format": FORMAT, "name": self.name, "private": self._raw.hex()}) + "\n"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise RosterError(f"{path} exists and is not overwritten; move it away first") from error
        with os.fdopen(descriptor, "w") as file:
            file.write(text)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RosterError: it is malformed or others may read it.
        """
        if path.stat().st_mode & 0o077:
            raise RosterError(f"{path} is open to other users; run: chmod 600 {path}")
        match _json(path.read_text(), str(path)):
            case {"format": "crypto roster 1", "name": str(name), "private": str(private), **rest} if not rest:
                return cls(name, _hex(private, str(path)))
        raise RosterError(f"{path} is no identity file of format {FORMAT!r}")


@dataclass(frozen=True)
class Roster:
    """The public keys of all parties: (name, 32 bytes), sorted by name, every key once."""

    entries: tuple[tuple[str, bytes], ...]

    def __post_init__(self) -> None:
        """Check and sort the entries.

        Raises:
            RosterError: an entry is malformed or doubled.
        """
        for name, key in self.entries:
            _checked_name(name)
            _checked_key(name, key)
        for what, several in (("name", [name for name, _ in self.entries]), ("key", [key for _, key in self.entries])):
            if len(set(several)) != len(several):
                raise RosterError(f"a {what} is in the roster twice; give every party one identity of its own")
        object.__setattr__(self, "entries", tuple(sorted(self.entries)))

    @cached_property
    def keys(self) -> Mapping[str, bytes]:
        """Keys by name."""
        return MappingProxyType(dict(self.entries))

    @classmethod
    def of(cls, identities: Iterable[Identity]) -> Self:
        """The roster of identities of one program, for simulations."""
        return cls(tuple((identity.name, identity.public) for identity in identities))

    def to_json(self) -> str:
        """The roster as text, names sorted."""
        keys = {name: key.hex() for name, key in self.entries}
        return json.dumps({"format": FORMAT, "keys": keys}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read `to_json`.

        Raises:
            RosterError: anything else, names given twice included.
        """
        match _json(text, "The roster"):
            case {"format": "crypto roster 1", "keys": dict() as keys, **rest} if not rest:
                return cls(tuple((name, _hex(key, f"the roster for {name!r}")) for name, key in keys.items()))
        raise RosterError(f"the text is no roster of format {FORMAT!r}")


class Trust:
    """What one party believes about keys: the roster's, or else the first key that a name showed."""

    def __init__(self, roster: Roster | None = None) -> None:
        """Believe the roster, or learn from first use if it is None."""
        # A roster's keys are held once, however many parties of this process believe it.
        self._pinned = None if roster is None else roster.keys
        self._learnt: dict[str, bytes] = {}
        self._verified: set[bytes] = set()

    def key_of(self, name: str) -> bytes | None:
        """The identity key believed to be `name`'s, if any."""
        return (self._learnt if self._pinned is None else self._pinned).get(name)

    def holds(self, name: str, data: bytes, proof: bytes) -> bool:
        """Whether `proof` shows that `name` signed `data`.

        *Guarantee*: unforgeable without the private key (Ed25519) if there is a roster, or once a name has shown
        its key. Never raises for malformed proofs.
        """
        if len(proof) != PROOF_BYTES:
            return False
        key, signature = proof[:KEY_BYTES], proof[KEY_BYTES:]
        known = self.key_of(name)
        if _weak(key):
            return False
        # One key under two names would let one party count twice.
        if known != key and (known is not None or self._pinned is not None or key in self._learnt.values()):
            return False
        # Clients of one process that share what they check are shown the same signatures, each as often as they are.
        shown = hashlib.sha256(proof + data).digest()
        if shown not in self._verified:
            try:
                Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
            except (InvalidSignature, ValueError):
                return False
            if len(self._verified) >= MOST_VERIFIED:
                self._verified.clear()
            self._verified.add(shown)
        if self._pinned is None:
            self._learnt[name] = key
        return True


def make_identities(names: Iterable[str], random: RandomBytes = system_random) -> dict[str, Identity]:
    """Make a fresh identity for every name.

    Raises:
        RosterError: a name is given twice.
    """
    found: dict[str, Identity] = {}
    for name in names:
        if name in found:
            raise RosterError(f"the name {name!r} is given twice; name each party once")
        found[name] = Identity.new(name, random)
    return found


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not is_name(name):
        raise RosterError(f"the name {name!r} is not text of 1 to {MAX_NAME} printable characters")
    return name


def _checked_key(name: str, key: object) -> None:
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise RosterError(f"the key of {name!r} is not {KEY_BYTES} bytes; write the roster anew")
    if _weak(key):
        raise RosterError(f"the key of {name!r} is a point of small order, which anybody can sign for; replace it")


def _weak(key: bytes) -> bool:
    return (int.from_bytes(key, "little") & (2**255 - 1)) % _FIELD in _SMALL_ORDER


def _json(text: str, what: str) -> object:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise RosterError(f"{what} names something twice; write it anew")
        return found

    if len(text) > MAX_FILE:
        raise RosterError(f"{what} has {len(text)} characters; at most {MAX_FILE} are read")
    try:
        value: object = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise RosterError(f"{what} is not valid JSON: {str(error)[:100]}") from None
    return value


def _hex(value: object, what: str) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * KEY_BYTES:
        raise RosterError(f"the key in {what} is not {2 * KEY_BYTES} hexadecimal digits")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise RosterError(f"the key in {what} is not hexadecimal") from None
