"""The lab of a simulation: asks its parties for what no deployed device would hand out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from secure_fcl.engines.commands import (
    Disclose,
    Done,
    GiveClear,
    GiveCoins,
    GiveHeld,
    GiveKept,
    Given,
    GiveOwn,
    Identify,
    LabAsk,
    PerClient,
    Restore,
)
from secure_fcl.engines.parties import Party, Simulation, parties_of, party_of
from secure_fcl.strategies import State


class SimulationLab:
    """The `Lab` over simulated parties, of which there are `clients`. Who is silent is missing from what it returns."""

    def __init__(self, parties: Simulation, clients: int) -> None:
        self._parties = parties
        self._numbers = parties_of(clients)

    @property
    def processes(self) -> Sequence[int]:
        """See `Lab`."""
        return self._parties.processes

    def identify(self, folder: Path) -> None:
        """See `Lab`."""
        self._tell(dict.fromkeys(self._numbers, Identify(folder=folder)))

    def coins(self) -> PerClient:
        """See `Lab`."""
        return self._given(self._numbers, GiveCoins())

    def restore(self, coins: PerClient, kept: PerClient) -> None:
        """See `Lab`."""
        known = sorted(coins.keys() | kept.keys())
        self._tell({party_of(k): Restore(coins=coins.get(k, {}), kept=kept.get(k, {})) for k in known})

    def held(self) -> PerClient:
        """See `Lab`."""
        return self._given(self._numbers, GiveHeld())

    def kept(self) -> PerClient:
        """See `Lab`."""
        return self._given(self._numbers, GiveKept())

    def own(self) -> PerClient:
        """See `Lab`."""
        return self._given(self._numbers, GiveOwn())

    def clear(self) -> PerClient:
        """See `Lab`."""
        return {k: arrays for k, arrays in self._given(self._numbers, GiveClear()).items() if arrays}

    def disclosed(self, clients: Iterable[Party], slot: int, round: int, state: State) -> PerClient:
        """See `Lab`."""
        return self._given(clients, Disclose(slot=slot, round=round, state=state))

    def _given(self, asked: Iterable[Party], ask: LabAsk) -> PerClient:
        answers = self._parties.ask(dict.fromkeys(asked, ask))
        found = {self._numbers[answer.party]: dict(answer.of(Given).arrays) for answer in answers}
        return dict(sorted(found.items()))

    def _tell(self, asks: Mapping[Party, LabAsk]) -> None:
        for answer in self._parties.ask(asks):
            answer.of(Done)
