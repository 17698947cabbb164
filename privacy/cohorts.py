"""Cohorts: who is charged together, and what each of them has been charged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from privacy.errors import InvalidParameter
from privacy.events import Event, from_json, to_json

Fate = Literal["kept", "discarded", "whole"]


@dataclass(frozen=True, order=True, kw_only=True)
class Cohort:
    """The examples of one client group that arrived in one task and chunk and shared one fate; or its clients.

    `group` names clients with the same calendar (their data are disjoint, so they do not add up). `fate` is
    "kept" for examples that enter the replay memory when their task closes and are sampled again until they are
    retired, else "discarded". "whole" is no fate of examples: the unit is then a client of the group with its whole
    stream, over all tasks, and arrival and chunk are 0 and say nothing (`of_clients`).

    Raises:
        InvalidParameter: another fate, or the arrival or chunk of a client with its whole stream.
    """

    group: str
    arrival: int
    chunk: int
    fate: Fate

    def __post_init__(self) -> None:
        if self.fate not in get_args(Fate):
            raise InvalidParameter(f"fate={self.fate!r} must be one of {get_args(Fate)}")
        if self.fate == "whole" and (self.arrival or self.chunk):
            raise InvalidParameter(
                f"arrival={self.arrival} and chunk={self.chunk} of a client's whole stream must be 0: it has neither"
            )

    @staticmethod
    def of_clients(group: str) -> Cohort:
        """Return the cohort of a group's clients, each with its whole stream over all tasks."""
        return Cohort(group=group, arrival=0, chunk=0, fate="whole")

    def to_json(self) -> dict[str, Any]:
        """Return the cohort as a JSON object."""
        return {"group": self.group, "arrival": self.arrival, "chunk": self.chunk, "fate": self.fate}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Cohort:
        """Return the cohort of a JSON object made by `to_json`.

        Raises:
            KeyError: a missing field.
        """
        return Cohort(
            group=record["group"], arrival=int(record["arrival"]), chunk=int(record["chunk"]), fate=record["fate"]
        )


@dataclass(frozen=True)
class Charge:
    """`count` times `event` for every example of `cohort`.

    Raises:
        InvalidParameter: the count is below 1.
    """

    cohort: Cohort
    event: Event
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InvalidParameter(f"count={self.count}: a charge counts at least one event")

    def to_json(self) -> dict[str, Any]:
        """Return the charge as a JSON object."""
        return {"cohort": self.cohort.to_json(), "event": to_json(self.event), "count": self.count}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Charge:
        """Return the charge of a JSON object made by `to_json`."""
        return Charge(Cohort.from_json(record["cohort"]), from_json(record["event"]), int(record["count"]))


Spent = dict[Cohort, Counter[Event]]


def spent(charges: Iterable[Charge]) -> Spent:
    """Return per cohort how often each event happened; order of the charges does not matter."""
    total: Spent = {}
    add_to(total, charges)
    return total


def add_to(total: Spent, charges: Iterable[Charge]) -> None:
    """Add `charges` to `total` in place."""
    for charge in charges:
        total.setdefault(charge.cohort, Counter())[charge.event] += charge.count


def undominated(histories: Iterable[Mapping[Event, int]]) -> list[dict[Event, int]]:
    """Return the histories that no other history contains: only these can be the worst cohort.

    Events counted 0 times are left out; an empty history is contained in every other.

    Raises:
        InvalidParameter: a count is negative.
    """
    unique: dict[frozenset[tuple[Event, int]], dict[Event, int]] = {}
    for history in histories:
        counted = {event: count for event, count in history.items() if count != 0}
        for event, count in counted.items():
            if count < 0:
                raise InvalidParameter(f"count={count} of {event} must be at least 0")
        unique[frozenset(counted.items())] = counted
    return [
        mine
        for key, mine in unique.items()
        if not any(
            other != key and all(theirs.get(event, 0) >= count for event, count in mine.items())
            for other, theirs in unique.items()
        )
    ]
