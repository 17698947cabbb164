"""The folder of a deployed device, and the server's: what each reads at its start, all of it its own.

A device's folder: `run.toml`, `calendar.json` (public), `data/examples.npz`, `roster.json`, `<name>.key`, `tls/`, and
`state/`, which the device makes. The server's: `run.toml`, `calendar.json`, `data/test.npz`, `roster.json`,
`server.key`, `tls/`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from crypto.errors import CryptoError
from crypto.keys.roster import Identity, Roster
from evaluation.errors import EvaluationError
from evaluation.files import read_text
from secure_fcl.config import Config, load_config
from secure_fcl.data import load_chosen
from secure_fcl.engines.deployed.digests import run_digest
from secure_fcl.engines.keys import ROSTER
from secure_fcl.engines.parties import Party, parties_of
from secure_fcl.engines.simulation import load_arrays
from secure_fcl.engines.tls.contexts import TLS
from secure_fcl.engines.tls.revocations import REVOKED, read_revoked
from secure_fcl.errors import DeviceRefused, SecureFclError
from secure_fcl.streams import Scenario
from secure_fcl.streams.public import PublicCalendar, own_part, own_test

RUN, CALENDAR, DATA, STATE = "run.toml", "calendar.json", "data", "state"
EXAMPLES, TEST = "examples.npz", "test.npz"
LOCK = ".lock"
"""In `state/`: held by the one process that plays the device."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceFolder:
    """What a device reads once, at its start.

    Attributes:
        path: the folder.
        name: under which it takes part in the secure sums, and
        client: its number in the calendar.
        config: its own configuration.
        calendar: the public part of the scenario.
        roster: public keys of all parties.
    """

    path: Path
    name: Party
    client: int
    config: Config
    calendar: PublicCalendar
    roster: Roster

    @staticmethod
    def read(path: Path) -> DeviceFolder:
        """Read a device's folder.

        Raises:
            DeviceRefused: a file is missing or damaged, or they do not belong together.
            ConfigInvalid: `run.toml` or the calendar is not valid.
        """
        config, calendar, roster = _public_of(path)
        keys = sorted(path.glob("*.key"))
        if len(keys) != 1:
            raise DeviceRefused(f"{path} holds {len(keys)} private keys, not 1; give every device a folder of its own")
        name = _identity(keys[0]).name
        numbers = parties_of(calendar.clients)
        if keys[0].stem != name or name not in numbers:
            raise DeviceRefused(f"{keys[0]} is of {name!r}, no client of this calendar; restore the device's own key")
        return DeviceFolder(path=path, name=name, client=numbers[name], config=config, calendar=calendar, roster=roster)

    @property
    def state(self) -> Path:
        """Folder of all that the device writes."""
        return self.path / STATE

    @property
    def tls(self) -> Path:
        """Folder of `ca.pem`, `cert.pem` and `key.pem`."""
        return self.path / TLS

    @cached_property
    def digest(self) -> str:
        """What a server's `Join` must name."""
        return run_digest(self.config, self.calendar)

    @cached_property
    def label(self) -> str:
        """The device's name and the begin of its public key's SHA-256: no two deployments' devices share it."""
        return f"{self.name}-{hashlib.sha256(self.roster.keys[self.name]).hexdigest()[:16]}"

    def identity(self) -> Identity:
        """Return the device's private identity, read anew.

        Raises:
            DeviceRefused: the file is missing, damaged or open to others.
        """
        return _identity(self.path / f"{self.name}.key")

    def scenario(self) -> Scenario:
        """Return the scenario as this device knows it: the calendar, and its own examples.

        They are those of `data/examples.npz`; where there is none, of the source that the device's `run.toml` names.

        Raises:
            ConfigInvalid: the examples do not fit the calendar.
            DeviceRefused: there are none, or their file is damaged.
            DataError: as `load_chosen`.
        """
        if self.config.data.source != "catalogue" and not (self.path / DATA / EXAMPLES).exists():
            part = own_part(load_chosen(self.config.data), self.calendar)
            return self.calendar.with_part(self.client, part)
        return self.calendar.with_part(self.client, read_arrays(self.path / DATA / EXAMPLES))

    def revoked(self) -> frozenset[str]:
        """Return the names whose certificates and keys count no more.

        Raises:
            DeviceRefused: the list is damaged.
        """
        try:
            return read_revoked(self.path / REVOKED).names
        except SecureFclError as error:
            raise DeviceRefused(f"{error}: nobody is let in on a damaged list") from error


@dataclass(frozen=True, kw_only=True, eq=False)
class ServerFolder:
    """What the server of a deployment reads: no example of any device. Attributes as those of `DeviceFolder`."""

    path: Path
    config: Config
    calendar: PublicCalendar
    roster: Roster

    @staticmethod
    def read(path: Path) -> ServerFolder:
        """Read a server's folder.

        Raises:
            DeviceRefused, ConfigInvalid: as `DeviceFolder.read`.
        """
        config, calendar, roster = _public_of(path)
        # Its own roster, wherever the folder was put: a key that is every machine's own business.
        config = config.model_copy(update={"identities": str(path)})
        return ServerFolder(path=path, config=config, calendar=calendar, roster=roster)

    @cached_property
    def digest(self) -> str:
        """What devices are asked to join."""
        return run_digest(self.config, self.calendar)

    def scenario(self) -> Scenario:
        """Return the scenario as the server knows it: the calendar, and the test set, found as a device's examples are.

        Raises:
            ConfigInvalid, DeviceRefused: as `DeviceFolder.scenario`.
        """
        if self.config.data.source != "catalogue" and not (self.path / DATA / TEST).exists():
            return self.calendar.with_test(own_test(load_chosen(self.config.data), self.calendar))
        return self.calendar.with_test(read_arrays(self.path / DATA / TEST))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file, nothing unpickled.

    Raises:
        DeviceRefused: the file is missing or damaged.
    """
    if not path.is_file():
        raise DeviceRefused(f"{path} is missing; put the device's examples there, or run secure-fcl deploy again")
    try:
        return load_arrays(path)
    except Exception as error:
        raise DeviceRefused(f"{path} is damaged ({type(error).__name__}); restore it") from error


def _public_of(path: Path) -> tuple[Config, PublicCalendar, Roster]:
    config, calendar = load_config(path / RUN), PublicCalendar.read(path / CALENDAR)
    if config.training.schedule == "planned":
        raise DeviceRefused(
            f"{path / RUN} has training.schedule = 'planned', but a device takes numbers, which its digest is of; make "
            "the deployment anew with that setting, and `secure-fcl deploy` writes them out"
        )
    try:
        roster = Roster.from_json(read_text(path / ROSTER))
    except (EvaluationError, CryptoError) as error:
        raise DeviceRefused(f"{path / ROSTER} cannot be used ({error}); restore it") from error
    return config, calendar, roster


def _identity(path: Path) -> Identity:
    try:
        return Identity.load(path)
    except (CryptoError, OSError, ValueError) as error:
        raise DeviceRefused(f"the key {path} cannot be used ({error}); restore the device's own") from error
