"""Files of a device at rest: encrypted under a key of the device's own, replaced as a whole or grown by records.

What another file of the same device is cannot be put in a file's place, and no record in another's: names and numbers
are authenticated with the content (AES-256-GCM). That a file is not an older copy of itself is not a vault's to tell:
journals do (`secure_fcl.engines.journals`).
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crypto.errors import CryptoError
from crypto.keys.randomness import KEY_BYTES, derive_key, encode_labels, system_random
from crypto.keys.secrecy import holds_secrets
from crypto.wire.arrays import pack, unpack
from crypto.wire.values import pack_value, unpack_value
from evaluation.files import append_synced, atomic_write, sync_folder
from secure_fcl.errors import DeviceRefused

KEY_FILE = "state.secret"
"""Name of the key's file in a device's folder."""
KEY_VARIABLE = "SECURE_FCL_STATE_KEY"
"""Environment variable: path of the key's file elsewhere, or `keyring` for the system's keyring."""
_SERVICE = "secure-fcl"
_NONCE_BYTES, _LENGTH_BYTES = 12, 4


@holds_secrets
class Vault:
    """Seals and opens the files of one device under a key of 32 bytes. Never prints or pickles."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(derive_key(key, "secure-fcl device state 1"))

    def seal(self, content: bytes, *place: str | int) -> bytes:
        """Return content that opens only for the same key and `place`."""
        nonce = system_random(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, encode_labels(place))

    def open(self, sealed: bytes, *place: str | int) -> bytes:
        """Return what was sealed.

        Raises:
            DeviceRefused: it is damaged, of another place, or under another key.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], encode_labels(place))
        except (InvalidTag, ValueError) as error:
            raise DeviceRefused(
                f"the state file {place[0]} is damaged or under another key; restore both from one copy"
            ) from error

    def write(self, path: Path, value: object, arrays: Mapping[str, Any] | None = None) -> None:
        """Replace a file by a value and arrays, atomically, readable to its owner alone.

        Raises:
            evaluation.errors.StorageError: the system refused.
        """
        _make_private(path.parent)
        atomic_write(path, self.seal(pack({"value": value}, arrays or {}), path.name), mode=0o600)

    def read(self, path: Path) -> tuple[Any, dict[str, Any]] | None:
        """Return the value and the arrays of a file, None where there is none.

        Raises:
            DeviceRefused: as `open`.
        """
        if not path.exists():
            return None
        try:
            meta, arrays = unpack(self.open(path.read_bytes(), path.name))
        except CryptoError as error:
            raise DeviceRefused(f"the state file {path} is damaged ({error}); restore it from a copy") from error
        return meta["value"], {name: array.copy() for name, array in arrays.items()}

    def save(self, path: Path, arrays: Mapping[str, Any]) -> str:
        """See `ArrayStore`."""
        self.write(path, None, arrays)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def load(self, path: Path) -> dict[str, Any]:
        """See `ArrayStore`."""
        found = self.read(path)
        return {} if found is None else found[1]


class SealedLog:
    """Records in a file that only grows; each is on disk before `append` returns.

    A last record that a crash cut short was never acted upon, and is cut off.
    """

    def __init__(self, path: Path, vault: Vault, name: str) -> None:
        """Open the log, or begin it. `name`: authenticated with every record; a log of another name does not open.

        Raises:
            DeviceRefused: a record is damaged.
            OSError: the file cannot be opened.
        """
        _make_private(path.parent)
        self._vault, self._name, self._place = vault, name, path
        self.records: list[Any] = []
        fresh = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        data, end = path.read_bytes(), 0
        for start, stop in _framed(data):
            self.records.append(unpack_value(vault.open(data[start:stop], name, len(self.records))))
            end = stop
        if end < len(data):
            os.ftruncate(self._file, end)
        if fresh:
            sync_folder(path.parent)

    def append(self, record: object) -> None:
        """Write one record and force it to disk.

        Raises:
            OSError: the system refused; nothing was recorded.
        """
        sealed = self._vault.seal(pack_value(record), self._name, len(self.records))
        append_synced(self._file, len(sealed).to_bytes(_LENGTH_BYTES, "big") + sealed)
        self.records.append(record)

    def close(self) -> None:
        """Close the file; may be called again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def state_key(folder: Path, name: str) -> bytes:
    """Return the key of a device's state, made on first use: from `KEY_VARIABLE`, or a file beside the state.

    A file beside the state protects a copy of `state/` alone; name one on another medium, or `keyring`, for more.
    `name`: of the keyring's entry, of this device alone.

    Raises:
        DeviceRefused: the file is open to others or no key, or the keyring refuses, keeps nothing, or is not there.
    """
    named = os.environ.get(KEY_VARIABLE, "")
    if named == "keyring":
        return _from_keyring(name)
    path = Path(named) if named else folder / KEY_FILE
    if not path.exists():
        atomic_write(path, system_random(KEY_BYTES), mode=0o600)
    if path.stat().st_mode & 0o077:
        raise DeviceRefused(f"{path} is open to other users; run: chmod 600 {path}")
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise DeviceRefused(f"{path} has {len(key)} bytes, a key has {KEY_BYTES}; restore it")
    return key


def delete_state_key(folder: Path, name: str) -> None:
    """Delete the key that `state_key` returns, for good; nothing is done where there is none.

    Raises:
        DeviceRefused: there is no keyring, or it refuses.
        OSError: the system refused.
    """
    named = os.environ.get(KEY_VARIABLE, "")
    if named != "keyring":
        (Path(named) if named else folder / KEY_FILE).unlink(missing_ok=True)
        return
    keyring = _keyring()
    try:
        if keyring.get_password(_SERVICE, name) is not None:
            keyring.delete_password(_SERVICE, name)
    except keyring.errors.KeyringError as error:
        raise _refused(error) from error


def _from_keyring(name: str) -> bytes:
    keyring = _keyring()
    try:
        found: str | None = keyring.get_password(_SERVICE, name)
        if found is None:
            found = system_random(KEY_BYTES).hex()
            keyring.set_password(_SERVICE, name, found)
            if keyring.get_password(_SERVICE, name) != found:
                raise DeviceRefused(
                    "the system's keyring keeps nothing, so the state would never open again; name a key file in "
                    f"{KEY_VARIABLE}"
                )
        key = bytes.fromhex(found)
    except keyring.errors.KeyringError as error:
        raise _refused(error) from error
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise DeviceRefused(
            f"the keyring's entry {_SERVICE} {name} is no key of {KEY_BYTES} bytes in hexadecimal digits; restore it"
        )
    return key


def _keyring() -> Any:
    try:
        return importlib.import_module("keyring")
    except ImportError:
        raise DeviceRefused(
            f"{KEY_VARIABLE} = keyring, and the library keyring is not installed; run: pip install keyring"
        ) from None


def _refused(error: Exception) -> DeviceRefused:
    return DeviceRefused(
        f"the system's keyring cannot be used ({type(error).__name__}); unlock it, or name a key file in {KEY_VARIABLE}"
    )


def _framed(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each whole record of a log starts and stops."""
    start = 0
    while start + _LENGTH_BYTES <= len(data):
        stop = start + _LENGTH_BYTES + int.from_bytes(data[start : start + _LENGTH_BYTES], "big")
        if stop > len(data):
            return
        yield start + _LENGTH_BYTES, stop
        start = stop


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
