import copy
import pickle
import stat
from pathlib import Path

import pytest

from secure_fcl.errors import SecureFclError
from secure_fcl.randomness import SECRET_VARIABLE, Coins, noise_secret, public_generator, public_seed

SECRET = bytes(range(32))


def test_public_seeds_are_separated_by_purpose() -> None:
    seeds = {public_seed(s, *labels) for s in (1, 2) for labels in ((), ("a",), ("b",), ("a", 1), ("a", 2))}
    assert len(seeds) == 10
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert public_generator(1, "a").random() == public_generator(1, "a").random()


def test_coins_without_a_secret_never_repeat() -> None:
    coins = Coins(None)
    assert len({coins.stream("a")(16) for _ in range(100)}) == 100


def test_coins_with_a_secret_repeat_by_label_only() -> None:
    drawn = [Coins(SECRET).stream(*labels)(32) for labels in (("a", 1), ("a", 2), ("b", 1), ("a",), ("a", 1))]
    assert drawn[0] == drawn[4]
    assert len(set(drawn)) == 4
    assert Coins(SECRET[::-1]).stream("a", 1)(32) != drawn[0]


def test_coins_keep_their_secret() -> None:
    coins = Coins(SECRET)
    assert SECRET.hex() not in repr(coins)
    assert repr(SECRET) not in repr(coins)
    with pytest.raises(TypeError):
        pickle.dumps(coins)
    with pytest.raises(TypeError):
        copy.deepcopy(coins)


def test_the_secret_is_made_once_and_readable_by_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "secret"
    monkeypatch.setenv(SECRET_VARIABLE, str(path))
    first = noise_secret()
    assert len(first) == 32
    assert noise_secret() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_a_damaged_secret_is_refused_without_being_shown(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    monkeypatch.setenv(SECRET_VARIABLE, str(path))
    with pytest.raises(SecureFclError, match="not 32") as caught:
        noise_secret()
    assert not content or content.decode() not in str(caught.value)


def test_an_unreadable_secret_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, str(tmp_path))
    with pytest.raises(SecureFclError, match=SECRET_VARIABLE):
        noise_secret()
