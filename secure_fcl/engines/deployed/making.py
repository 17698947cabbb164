"""Folders of a deployment, one for each party: what each needs, and nothing of anybody else's."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from crypto.keys.roster import Roster, make_identities
from evaluation.files import atomic_write
from secure_fcl.config import Config, dump_config
from secure_fcl.engines.deployed.folder import CALENDAR, DATA, EXAMPLES, RUN, TEST
from secure_fcl.engines.keys import ROSTER
from secure_fcl.engines.parties import Party, parties_of
from secure_fcl.engines.simulation import save_arrays
from secure_fcl.engines.tls.certificates import SERVER
from secure_fcl.errors import SecureFclError
from secure_fcl.rows.row_plan import RowPlan
from secure_fcl.streams import Scenario
from secure_fcl.streams.public import PublicCalendar, part_of, test_of


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
        config: as `for_every_machine` returns it; its data are each machine's own, and left out.
        calendar: the public part of the scenario.
        roles: the parties besides the clients.
        scenario: whose examples are dealt out; None: they are on the devices already, and the test set on the server.

    Raises:
        SecureFclError: the folder is there already.
        evaluation.errors.StorageError: the system refused.
    """
    if out.exists():
        raise SecureFclError(f"{out} exists, and identities are never overwritten; choose another folder")
    names = [*parties_of(calendar.clients), *roles]
    identities = make_identities(names)
    roster = Roster.of(identities.values()).to_json()
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    text = dump_config(config.model_copy(update={"data": type(config.data)()}))
    for number, name in enumerate(names):
        folder = unfinished / name
        folder.mkdir(mode=0o700, parents=True)
        identities[name].save(folder / f"{name}.key")
        atomic_write(folder / ROSTER, roster)
        atomic_write(folder / RUN, text)
        calendar.write(folder / CALENDAR)
        if scenario is not None and number < calendar.clients:
            save_arrays(folder / DATA / EXAMPLES, 0o600, **part_of(scenario, number))
        elif scenario is not None and name == SERVER:
            save_arrays(folder / DATA / TEST, 0o600, **test_of(scenario))
    # Under its name when it is whole.
    unfinished.rename(out)
    return [out / name for name in names]


def for_every_machine(config: Config) -> Config:
    """Return a configuration for the machines of a deployment: no path of this one, deployed devices, and no attacks.

    Attacks would read training data. `data` is each machine's own: who has its data already names the source there.
    """
    attacks = config.attacks.model_copy(update={"enabled": False})
    engine = "tls" if config.engine == "local" else config.engine
    return config.model_copy(update={"identities": "", "workers": 0, "attacks": attacks, "engine": engine})
