"""Who plays one run, as its loop gets it from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from crypto.planning.plans import Plan
from crypto.running.driver import Party as Helper
from crypto.running.processes import host_parties
from secure_fcl.engines.lab import SimulationLab
from secure_fcl.engines.parties import Lab, Parties, Party, Simulation, parties_of
from secure_fcl.engines.simulation import file_stem

Helpers = Callable[[Plan, Mapping[str, Path], Mapping[str, Path]], AbstractContextManager[Mapping[str, Helper]]]
"""Starts the helper parties of a plan, given the file of each one's private key; they end with the block."""


@contextmanager
def helper_processes(
    plan: Plan, files: Mapping[str, Path], journals: Mapping[str, Path]
) -> Iterator[Mapping[str, Helper]]:
    """Start every helper party in a process of its own; `files` hold its identity, `journals` what it answered."""
    with host_parties(plan, identities=files, journals=journals) as hosted:
        yield hosted.parties


@dataclass(frozen=True, kw_only=True, eq=False)
class Federation:
    """Who plays one run.

    Attributes:
        clients: how many clients the run has, present or not.
        parties: those who play them.
        lab: what a simulation sees of them beside; None: nothing, and then nothing of it is written.
        helpers: starts server, key holder and computing servers.
        deadline: seconds after which a silent client is left out; None: wait for all.
        journals: folder in which simulated devices, and helper parties, keep journals; None: they keep none.
        digest: of configuration and calendar, which deployed devices compare with their own.
    """

    clients: int
    parties: Parties
    lab: Lab | None = None
    helpers: Helpers = helper_processes
    deadline: float | None = None
    journals: Path | None = None
    digest: str = ""

    @property
    def signs(self) -> bool:
        """Whether devices keep journals: deployed ones always do."""
        return self.journals is not None or self.lab is None

    @cached_property
    def numbers(self) -> dict[Party, int]:
        """Number of every client by its name."""
        return parties_of(self.clients)


def simulated(parties: Simulation, clients: int, journals: Path | None = None) -> Federation:
    """Return the federation of a simulation: its parties, and the lab over them; `journals`: of its devices."""
    return Federation(clients=clients, parties=parties, lab=SimulationLab(parties, clients), journals=journals)


def deployed(
    parties: Parties, clients: int, digest: str, helpers: Helpers = helper_processes, deadline: float | None = None
) -> Federation:
    """Return the federation of a deployment: its parties, and no lab; attributes as those of `Federation`."""
    return Federation(clients=clients, parties=parties, helpers=helpers, deadline=deadline, digest=digest)


def answers_folder(folder: Path, run: str, row: str) -> Path:
    """Make, and return, where the helper parties of one row keep what they answered, beside the devices' journals."""
    found = folder / run / file_stem(row)
    found.mkdir(parents=True, exist_ok=True)
    return found
