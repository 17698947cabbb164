"""Folders of a deployment, one for each party: what each needs, and nothing of anybody else's."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from crypto.keys.roster import Roster, make_identities
from evaluation.files import atomic_write
from secure_fcl.config import Config, dump_config
from secure_fcl.engines.deployed.folder import CALENDAR, DATA, EXAMPLES, RUN, TEST, write_arrays
from secure_fcl.engines.keys import ROSTER
from secure_fcl.engines.parties import Party, party_of
from secure_fcl.errors import SecureFclError
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.streams import Scenario
from secure_fcl.streams.public import PublicCalendar, part_of, test_of

SERVER = "server"


def roles_of(rows: Iterable[RowPlan]) -> tuple[Party, ...]:
    """Return the parties besides the clients that the secure sums of some rows need, the server first."""
    found: dict[Party, None] = {SERVER: None}
    for plan in rows:
        found.update(dict.fromkeys(plan.secure_plan().roles))
    return tuple(found)


def write_folders(
    out: Path, config: Config, calendar: PublicCalendar, roles: Collection[Party], scenario: Scenario | None
) -> list[Path]:
    """Make a folder for each client and each role; return them.

    Args:
        out: new folder for all of them; each one's is named like the party.
        config: of the run; written without what is each machine's own business.
        calendar: the public part of the scenario.
        roles: the parties besides the clients.
        scenario: whose examples are dealt out; None: they are on the devices already, and the test set on the server.

    Raises:
        SecureFclError: the folder is there already.
        evaluation.errors.StorageError: the system refused.
    """
    if out.exists():
        raise SecureFclError(f"{out} exists, and identities are never overwritten; choose another folder")
    names = [*(party_of(k) for k in range(calendar.clients)), *roles]
    identities = make_identities(names)
    roster = Roster.of(identities.values()).to_json()
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    text = dump_config(_without_local(config))
    for number, name in enumerate(names):
        folder = unfinished / name
        folder.mkdir(mode=0o700, parents=True)
        identities[name].save(folder / f"{name}.key")
        atomic_write(folder / ROSTER, roster)
        atomic_write(folder / RUN, text)
        calendar.write(folder / CALENDAR)
        if scenario is not None and number < calendar.clients:
            write_arrays(folder / DATA / EXAMPLES, part_of(scenario, number))
        elif scenario is not None and name == SERVER:
            write_arrays(folder / DATA / TEST, test_of(scenario))
    # Under its name when it is whole.
    unfinished.rename(out)
    return [out / name for name in names]


def _without_local(config: Config) -> Config:
    """Return a configuration for every machine: no path of this one, and no attack, which would read training data."""
    data = type(config.data)()
    attacks = config.attacks.model_copy(update={"enabled": False})
    return config.model_copy(update={"identities": "", "workers": 0, "data": data, "attacks": attacks})
