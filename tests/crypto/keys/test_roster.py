import copy
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import RosterError, SecretExposed
from crypto.keys.roster import Identity, Roster, Trust, make_identities

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def point(encoded: bytes) -> tuple[int, int] | None:
    """Decompress a point of edwards25519 (RFC 8032, section 5.1.3)."""
    y = (int.from_bytes(encoded, "little") & (2**255 - 1)) % P
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x, y) if x * x % P == square else None


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    t = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + t, -1, P) % P
    return x, (a[1] * b[1] + a[0] * b[0]) * pow(1 - t, -1, P) % P


def test_a_signature_of_rfc_8032() -> None:
    # RFC 8032, section 7.1, test 2.
    secret = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
    public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    signature = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert Identity("a", bytes.fromhex(secret)).prove(b"\x72").hex() == public + signature


def test_trust_holds_for_the_pinned_key_only() -> None:
    own = make_identities(("a", "b"))
    trust = Trust(Roster.of(own.values()))
    proof = own["a"].prove(b"data")
    assert trust.holds("a", b"data", proof)
    assert not trust.holds("b", b"data", proof)
    assert not trust.holds("z", b"data", proof)
    assert not trust.holds("a", b"other", proof)
    assert not trust.holds("a", b"data", Identity.new("a").prove(b"data"))
    for bad in (b"", proof[:-1], bytes(96), proof + b"\x00"):
        assert not trust.holds("a", b"data", bad)


def test_without_a_roster_the_first_key_counts() -> None:
    first, second = Identity.new("a"), Identity.new("a")
    trust = Trust()
    assert not trust.holds("a", b"1", second.prove(b"other"))
    assert trust.holds("a", b"1", first.prove(b"1"))
    assert not trust.holds("a", b"2", second.prove(b"2"))
    assert not trust.holds("b", b"3", first.prove(b"3"))
    assert trust.holds("a", b"2", first.prove(b"2"))


SMALL = [
    (0).to_bytes(32, "little"),
    (1).to_bytes(32, "little"),
    (P - 1).to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    P.to_bytes(32, "little"),
    (P + 1).to_bytes(32, "little"),
    (1 | 1 << 255).to_bytes(32, "little"),
]


@pytest.mark.parametrize("key", SMALL, ids=lambda key: key.hex()[:6])
def test_keys_of_small_order_are_refused(key: bytes) -> None:
    decoded = point(key)
    assert decoded is not None
    for _ in range(3):
        decoded = add(decoded, decoded)
    assert decoded == (0, 1)
    assert not any(Trust().holds("a", bytes([i]), key + key + bytes(32)) for i in range(32))
    with pytest.raises(RosterError, match="small order"):
        Roster((("a", key),))


def test_identities_stay_secret_and_private_on_disk(tmp_path: Path) -> None:
    identity = Identity.new("ada")
    path = tmp_path / "ada.key"
    identity.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Identity.load(path).public == identity.public
    with pytest.raises(RosterError, match="not overwritten"):
        identity.save(path)
    path.chmod(0o644)
    with pytest.raises(RosterError, match="chmod 600"):
        Identity.load(path)
    path.chmod(0o600)
    path.write_text('{"format": "crypto roster 1"}')
    with pytest.raises(RosterError, match="no identity file"):
        Identity.load(path)
    assert "secrets not shown" in repr(identity)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SecretExposed):
            leak(identity)


@given(st.lists(st.text(min_size=1, max_size=20).filter(str.isprintable), unique=True, max_size=4))
def test_rosters_survive_their_text(names: list[str]) -> None:
    roster = Roster.of(make_identities(names).values())
    assert Roster.from_json(roster.to_json()) == roster


def test_malformed_rosters_are_refused() -> None:
    key = Identity.new("a").public.hex()
    for text in (
        "",
        "[]",
        "{",
        '{"format": "crypto roster 2", "keys": {}}',
        '{"format": "crypto roster 1", "keys": {}, "more": 1}',
        f'{{"format": "crypto roster 1", "keys": {{"a": "{key}", "a": "{key}"}}}}',
        f'{{"format": "crypto roster 1", "keys": {{"a": "{key}", "b": "{key}"}}}}',
        f'{{"format": "crypto roster 1", "keys": {{"": "{key}"}}}}',
        '{"format": "crypto roster 1", "keys": {"a": 7}}',
        f'{{"format": "crypto roster 1", "keys": {{"a": "{"z" * 64}"}}}}',
        "[" * 100_000,
    ):
        with pytest.raises(RosterError):
            Roster.from_json(text)
    with pytest.raises(RosterError, match="bytes"):
        Identity("a", b"short")
    with pytest.raises(RosterError, match="twice"):
        make_identities(("a", "a"))
