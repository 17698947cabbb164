"""How many helpers there are, how many of them must answer, and which of them hold which pad."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from crypto.errors import PlanRefused

MOST_HELPERS = 5
_NAME = re.compile(r"helper(?:-([1-9])-of-([1-9]))?")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """`threshold` of `helpers` answer. Every pad is held by helpers - threshold + 1 of them: any `threshold` hold all
    pads together, and fewer lack one.

    Two lists could be opened if honest helpers were told different ones: with c helpers that answer both, that takes
    2 (threshold - c) honest ones of helpers - c, so it is impossible while c < 2 threshold - helpers.

    Raises:
        PlanRefused: too many helpers, or so low a threshold that honest helpers alone could open two lists.
    """

    threshold: int
    helpers: int

    def __post_init__(self) -> None:
        t, h = self.threshold, self.helpers
        if not 1 <= t <= h <= MOST_HELPERS:
            raise PlanRefused(f"{t} of {h} helpers: choose 1 to {MOST_HELPERS} helpers, and as many to answer at most")
        if 2 * t <= h:
            raise PlanRefused(
                f"with {t} of {h} helpers, half of them could open one list and half another; ask {h // 2 + 1} of them"
            )

    @property
    def roles(self) -> tuple[str, ...]:
        """The names of the helpers."""
        return ("helper",) if self.helpers == 1 else tuple(f"helper{place}" for place in range(self.helpers))

    @property
    def tolerated(self) -> int:
        """How many helpers may work with the server, and no second list is opened."""
        return 2 * self.threshold - self.helpers - 1

    @cached_property
    def pads(self) -> tuple[tuple[int, ...], ...]:
        """For each pad of a client, the places of the helpers that hold it."""
        return tuple(combinations(range(self.helpers), self.helpers - self.threshold + 1))

    def held(self, place: int) -> tuple[int, ...]:
        """The pads that one helper holds, ascending."""
        return tuple(index for index, holders in enumerate(self.pads) if place in holders)

    @property
    def shared(self) -> bool:
        """Whether a pad has several holders, so that its seed travels to each of them."""
        return self.threshold < self.helpers


def shape_of(protocol: str) -> Shape | None:
    """The shape that a protocol's name says: "helper", or "helper-T-of-H"; None for other names.

    Raises:
        PlanRefused: as `Shape`; also "helper-1-of-1", which is "helper".
    """
    found = _NAME.fullmatch(protocol)
    if found is None:
        return None
    if found[1] is None:
        return Shape(threshold=1, helpers=1)
    if found[2] == "1":
        raise PlanRefused(f"{protocol!r} is 'helper'; write that")
    return Shape(threshold=int(found[1]), helpers=int(found[2]))
