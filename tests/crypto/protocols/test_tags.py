"""Vectors under a tag: what the server believes, what a third party can be shown, and nonces that come once."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypto import Abort, Aggregate, Begin, Deadline, Message, Upload, open_client, open_party, plan, set_up
from crypto.errors import CryptoError, RosterError, SubmissionRefused
from crypto.keys.randomness import system_random
from crypto.keys.roster import Identity, Roster, make_identities
from crypto.keys.tagging import make_tag, tag_holds, tag_key
from crypto.protocols.envelope import is_signed
from crypto.protocols.masks import FileJournal
from crypto.running.driver import deliver
from crypto.testing import corrupt

NAMES = ("ada", "bob", "cyd", "dan", "eve", "fay")


def opened(**of_ada: Any) -> tuple[Any, dict[str, Any]]:
    loose = plan("secagg", NAMES, [Upload(name="g", length=400, bound=9)], 3, max_dropouts=2)
    identities = make_identities((*NAMES, "server"))
    made = loose.pinned(Roster.of(identities.values()))
    parties: dict[str, Any] = {
        name: open_client(made, name, identity=identities[name], **(of_ada if name == "ada" else {})) for name in NAMES
    }
    parties["server"] = open_party(made, "server", identity=identities["server"])
    set_up(parties)
    deliver(parties, (), inputs={"server": (Begin(0, "g"),)})
    return made, parties


def vector_of(parties: dict[str, Any], name: str = "ada") -> Message:
    (message,) = parties[name].submit(0, "g", np.full(400, 3))
    return message


def test_both_ends_share_a_key_that_nobody_else_has() -> None:
    ada, bob, eve = (Identity.new(name) for name in ("ada", "bob", "eve"))
    assert tag_key(ada, bob.public, b"plan") == tag_key(bob, ada.public, b"plan")
    assert (
        len({tag_key(ada, bob.public, b"plan"), tag_key(ada, bob.public, b"q"), tag_key(ada, eve.public, b"plan")}) == 3
    )
    for bad in (bytes(32), (1).to_bytes(32, "little"), b"short"):
        with pytest.raises(RosterError):
            tag_key(ada, bad, b"plan")


def test_a_tag_is_of_these_bytes_under_this_key_and_nonce() -> None:
    key, nonce, data = bytes(32), bytes(12), bytes(range(200))
    tag = make_tag(key, nonce, data[:50], data[50:])
    assert tag_holds(key, nonce, tag, data)
    flipped = bytes([tag[0] ^ 1]) + tag[1:]
    for wrong in ((key, nonce, flipped, data), (key, b"x" * 12, tag, data), (b"y" * 32, nonce, tag, data)):
        assert not tag_holds(*wrong)
    assert not tag_holds(key, nonce, tag, data[:-1])
    assert not tag_holds(key, nonce, tag[:12], data)
    assert not tag_holds(key, b"", tag, data)


def test_every_byte_and_field_of_a_vector_counts() -> None:
    _, parties = opened()
    message, envelope = vector_of(parties), parties["server"]._envelope
    for place in range(0, len(message.payload), 11):
        payload = bytearray(message.payload)
        payload[place] ^= 1
        assert not envelope.authentic(replace(message, payload=bytes(payload)))
    for place in range(len(message.proof)):
        proof = bytearray(message.proof)
        proof[place] ^= 1
        assert not envelope.authentic(replace(message, proof=bytes(proof)))
    others: list[dict[str, Any]] = [
        {"round": 1},
        {"sender": "bob"},
        {"sequence": 999},
        {"kind": "shares"},
        {"proof": b""},
    ]
    for changed in others:
        assert not envelope.authentic(replace(message, **changed))
    assert envelope.authentic(message)
    assert not envelope.authentic(message)


def test_what_a_third_party_believes_are_length_and_both_ends() -> None:
    made, parties = opened()
    message = vector_of(parties)
    assert is_signed(made, message)
    middle = bytearray(message.payload)
    middle[len(middle) // 2] ^= 1
    assert is_signed(made, replace(message, payload=bytes(middle)))
    for payload in (message.payload[:-1], b"\x01" + message.payload[1:], message.payload[:-1] + b"\x80", b""):
        assert not is_signed(made, replace(message, payload=payload))


class Repeating:
    """A source of randomness whose nonces come twice."""

    def __call__(self, n: int, /) -> bytes:
        return b"n" * 12 if n == 12 else system_random(n)


@pytest.mark.parametrize("durable", [False, True])
def test_a_nonce_never_comes_twice(durable: bool, tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal") if durable else None
    made, parties = opened(random=Repeating(), journal=journal)
    message = vector_of(parties)
    assert message.proof[96:108] == b"n" * 12
    envelope = parties["ada"]._envelope
    with pytest.raises(SubmissionRefused, match="nonce"):
        envelope.sign((message,))
    if journal is not None:
        journal.close()
        text = (tmp_path / "journal").read_text()
        assert f"{made.session} ada nonce {(b'n' * 12).hex()}" in text.splitlines()


def test_no_vector_leaves_before_the_server_was_heard() -> None:
    made = plan("secagg", NAMES, [Upload(name="g", length=2, bound=9)], 3, max_dropouts=1)
    client: Any = open_client(made, "ada")
    blank = Message(
        sender="ada", receiver="server", kind="masked", session=made.session, round=0, upload="g", payload=b""
    )
    with pytest.raises(CryptoError, match="'server'"):
        client._envelope.sign((blank,))


def test_an_ill_formed_vector_whose_signature_does_not_hold_is_unusable_and_nobody_is_blamed() -> None:
    """The server knows who sent it, and can show it to nobody: the client is left out, and counts as absent."""
    _, parties = opened()

    def cut(message: Message) -> Iterable[Message]:
        return (replace(message, payload=message.payload[:-1]),) if message.kind == "masked" else (message,)

    eve = parties["eve"] = corrupt(parties["eve"], cut)
    identity = eve._envelope._identity  # type: ignore[attr-defined]
    eve._envelope._identity = Unsigned(identity)  # type: ignore[attr-defined]
    for number in range(2):
        outcomes = deliver(parties, (), inputs={"server": (Begin(number, "g"),) if number else ()})
        for name in NAMES:
            if parties[name].ready:
                outcomes += deliver(parties, parties[name].submit(number, "g", np.full(400, 3)))
        for _ in range(6):
            outcomes = outcomes or deliver(parties, (), inputs={"server": (Deadline(number, "g"),)})
        (outcome,) = outcomes
        assert isinstance(outcome, Aggregate), isinstance(outcome, Abort) and outcome.reason
        assert outcome.total.tolist() == [15] * 400
        assert (outcome.contributors, outcome.blamed) == (tuple(n for n in NAMES if n != "eve"), ())
    assert parties["server"].faults == {}


class Unsigned:
    """An identity that agrees on keys of tags, and signs with nothing."""

    def __init__(self, inner: Identity) -> None:
        self._inner, self.name = inner, inner.name

    def prove(self, data: bytes) -> bytes:
        return bytes(96) if b"tagged" in data[:20] else self._inner.prove(data)

    def agree(self, peer: bytes) -> bytes:
        return self._inner.agree(peer)
