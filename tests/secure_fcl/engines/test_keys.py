from pathlib import Path

import pytest

from crypto.keys.roster import Identity, Roster, Trust
from secure_fcl.engines.keys import write_identities
from secure_fcl.errors import SecureFclError


def test_each_private_file_proves_what_the_roster_holds(tmp_path: Path) -> None:
    roster, *private = write_identities(["ada", "server"], tmp_path / "keys")
    trust = Trust(Roster.from_json(roster.read_text()))
    assert [path.name for path in private] == ["ada.key", "server.key"]
    for path in private:
        assert path.stat().st_mode & 0o777 == 0o600
        identity = Identity.load(path)
        proof = identity.prove(b"hello")
        assert trust.holds(path.stem, b"hello", proof)
        assert not trust.holds(path.stem, b"other", proof)
        assert "private" not in roster.read_text()


def test_nothing_is_overwritten_and_names_are_checked(tmp_path: Path) -> None:
    write_identities(["ada"], tmp_path)
    before = (tmp_path / "ada.key").read_bytes()
    with pytest.raises(SecureFclError, match="never overwritten"):
        write_identities(["ada"], tmp_path)
    assert (tmp_path / "ada.key").read_bytes() == before
    for bad in (["a", "a"], ["../a"]):
        with pytest.raises(SecureFclError):
            write_identities(bad, tmp_path / "more")
    assert not (tmp_path / "more").exists()
