"""What a strategy sends beside the sums: declared by name, outside every guarantee, refused unless it is allowed.

A `Contribution` is only ever seen summed over clients. Some published strategies need what one client says by itself;
that is a side channel, of a type of its own, so that it can neither be summed by mistake nor pass unnoticed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from secure_fcl.strategies.base import DeviceView, Floats, State, StepContext


@dataclass(frozen=True)
class SideChannel:
    """One array that every client sends by itself in the first round of a slot.

    Attributes:
        name: as the configuration's `side_channels` has it.
        what: what the array is, for the certificate.
        shape: of one client's array, float32.
        lag: how many slots back the array speaks of.
        of_classes: how loud one client's array is about each class, (classes,), for the audit; None: its first axis
            has an entry for each class.
    """

    name: str
    what: str
    shape: tuple[int, ...]
    lag: int = 0
    of_classes: Callable[[Floats], Floats] | None = None

    @property
    def size(self) -> int:
        """Bytes of one client's message."""
        return 4 * math.prod(self.shape)

    def loudness(self, sent: Floats) -> Floats:
        """Return the largest size of what one client's array says of each class, (classes,)."""
        if self.of_classes is not None:
            return self.of_classes(sent)
        return np.asarray(np.abs(sent).reshape(len(sent), -1).max(axis=1))


Disclosed = Mapping[str, Floats]
"""What the server got in a slot: by name of the channel, (clients, *shape), in the order of the clients."""


@runtime_checkable
class Discloses(Protocol):
    """A strategy with side channels, beside what every `Strategy` has."""

    @property
    def side_channels(self) -> tuple[SideChannel, ...]:
        """The channels; none is allowed, and then nothing is ever sent beside the sums."""

    def disclose(self, state: State, view: DeviceView, step: StepContext) -> Mapping[str, Floats]:
        """The client's side: one array for each channel, as declared. Reads private data; no noise covers it."""

    def informed(self, state: State, step: StepContext, disclosed: Disclosed) -> State:
        """The server's side, after `apply` of every training round of the slot."""


def side_channels(strategy: object) -> tuple[SideChannel, ...]:
    """Return the channels of a strategy; most have none."""
    return strategy.side_channels if isinstance(strategy, Discloses) else ()
