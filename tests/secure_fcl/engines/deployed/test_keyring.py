"""The key of a device's state in the system's keyring: with a keyring in memory, one that keeps nothing, and none."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("keyring", reason="keyring is not installed; pip install '.[keyring]'")

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.backends.null
import keyring.errors

from secure_fcl.engines.deployed.folder import DeviceFolder
from secure_fcl.engines.deployed.host import DeployedHost
from secure_fcl.engines.deployed.vault import KEY_VARIABLE, delete_state_key, state_key
from secure_fcl.engines.deployed.withdrawal import withdraw
from secure_fcl.errors import DeviceRefused


class InMemory(keyring.backend.KeyringBackend):
    """A keyring as the library defines one, in memory."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.kept:
            raise keyring.errors.PasswordDeleteError("no such password")
        del self.kept[service, username]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], Any]]:
    """`use(keyring)`: makes it the system's for one test."""
    before = keyring.get_keyring()
    monkeypatch.setenv(KEY_VARIABLE, "keyring")

    def use(backend: Any) -> Any:
        keyring.set_keyring(backend)
        return backend

    yield use
    keyring.set_keyring(before)


def test_a_device_keeps_its_key_in_the_keyring_and_goes_on(
    make_bench: Callable[..., Any], use: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.delenv(KEY_VARIABLE)
        bench = make_bench()
        bench.hosts["client1"].close()
    folder, backend = bench.out / "client1", use(InMemory())
    for left in folder.glob("state*"):
        assert left.name in ("state", "state.secret")
    place = DeviceFolder.read(folder)
    state_key(folder, place.label)
    assert list(backend.kept) == [("secure-fcl", place.label)]
    key = bytes.fromhex(backend.kept["secure-fcl", place.label])
    assert len(key) == 32
    assert state_key(folder, place.label) == key
    # Another deployment's device of that name has a key of its own.
    other = place.label[:-1] + ("0" if place.label[-1] != "0" else "1")
    assert state_key(folder, other) != key
    withdraw(place)
    assert list(backend.kept) == [("secure-fcl", other)]
    delete_state_key(folder, place.label)


def test_a_restarted_device_opens_its_state_with_the_keyrings_key(
    make_bench: Callable[..., Any], use: Callable[[Any], Any]
) -> None:
    use(InMemory())
    bench = make_bench()
    # Its state was made under the key of a file, which the keyring does not hold.
    assert {type(reply).__name__ for reply in bench.join().values()} == {"Failed"}
    for party in bench.hosts:
        (bench.out / party / "state.secret").unlink()
        for path in (bench.out / party / "state").rglob("*"):
            if path.is_file() and path.name != ".lock":
                path.unlink()
    assert {type(reply).__name__ for reply in bench.join().values()} == {"Done"}
    bench.start_again()
    with bench.sums() as sums:
        assert sorted(bench.round(sums, bench.visit(0)).contributors) == [0, 1, 2, 3]
    assert not list(bench.out.glob("*/state.secret"))


def test_a_keyring_that_keeps_nothing_or_refuses_is_refused(
    use: Callable[[Any], Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(keyring.backends.null.Keyring())
    with pytest.raises(DeviceRefused, match="keeps nothing"):
        state_key(tmp_path, "client0")
    use(keyring.backends.fail.Keyring())
    for asked in (state_key, delete_state_key):
        with pytest.raises(DeviceRefused, match=r"cannot be used \(NoKeyringError\); unlock it"):
            asked(tmp_path, "client0")
    backend = use(InMemory())
    for wrong in ("abcd", "no digits"):
        backend.set_password("secure-fcl", "client0", wrong)
        with pytest.raises(DeviceRefused, match="is no key of 32 bytes"):
            state_key(tmp_path, "client0")


def test_the_device_says_in_one_sentence_what_its_keyring_lacks(
    make_bench: Callable[..., Any], use: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.delenv(KEY_VARIABLE)
        bench = make_bench()
        bench.hosts["client1"].close()
    use(keyring.backends.null.Keyring())
    with pytest.raises(DeviceRefused, match=KEY_VARIABLE):
        DeployedHost(DeviceFolder.read(bench.out / "client1"))
