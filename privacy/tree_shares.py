"""One-pass streams across secure sums: a binary tree whose nodes are summed one by one, each with fresh noise shares.

Correlated noise has no owner inside a secure sum, and a dropout would break its cancellation. A tree needs none: every
node is a sum of its own over clients and steps, released once with independent integer noise. The price is that the
device keeps raw sums of the open nodes between rounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.distributed import DistributedSum
from privacy.errors import InvalidParameter
from privacy.events import Event
from privacy.matrix import BinaryTree, StreamEnded
from privacy.participation import ONCE, Attendance
from privacy.randomness import RandomBytes

Floats = NDArray[np.float64]
Node = tuple[int, int]


@dataclass(frozen=True)
class TreeShares:
    """A stream of `tree.steps` steps whose nodes are released through `node`: mechanism and event made together.

    *Guarantee*: an example that adds at most `node.clipping_norm` to one client's sum of one step, added or removed,
    is in one node per level, so the whole stream costs `events`, whatever order the data came in. Holds under the
    dropouts and colluders of `node`; a client that missed a node takes part in the others as before. An example takes
    part in one step alone: `DeviceTree` refuses a second one, which could meet it in the same nodes.
    """

    tree: BinaryTree
    node: DistributedSum

    def events(self) -> Counter[Event]:
        """Return what the whole stream charges each of its examples: one release per level, not sampled."""
        return Counter({self.node.event(1.0): self.tree.levels})

    @property
    def storage_bytes(self) -> int:
        """Bytes of raw node sums that a device keeps between rounds: one vector of doubles per level.

        Beside them it keeps 24 bytes for each example that took part.
        """
        return 8 * self.node.dimension * self.tree.levels

    def prefix(self, steps: int, released: Mapping[Node, Floats]) -> Floats:
        """Return the noisy sum of the first `steps` steps, float64 (dimension,), from released nodes; 0 gives zeros.

        Raises:
            StreamEnded: the prefix is longer than the stream.
            InvalidParameter: a node that it needs is missing.
        """
        nodes = self.tree.nodes(steps)
        missing = [node for node in nodes if node not in released]
        if missing:
            raise InvalidParameter(f"node {missing[0]} was not released; its round was aborted or is still to come")
        return np.sum([released[n] for n in nodes], axis=0) if nodes else np.zeros(self.node.dimension)


class DeviceTree:
    """One client's open nodes. They are raw sums of its data: they stay on the device and count as its storage.

    So do the numbers of the examples that took part. Raises nothing itself; see `push`.
    """

    def __init__(self, plan: TreeShares) -> None:
        self._plan = plan
        self._open = np.zeros((plan.tree.levels, plan.node.dimension))
        self._step = 0
        self._attendance = Attendance(ONCE)

    @property
    def nbytes(self) -> int:
        """Bytes kept now."""
        return self._open.nbytes + self._attendance.nbytes

    def push(
        self, clipped_sum: Floats, random: RandomBytes, *, examples: Iterable[int]
    ) -> dict[Node, NDArray[np.int64]]:
        """Take the next step's clipped sum and return the integers to send for each node that ends with it.

        A step without examples pushes zeros, and is sent like any other. `examples`: numbers of those in the sum, in
        any numbering that tells this client's apart.

        Raises:
            StreamEnded: the stream is over.
            ParticipationRefused: an example that took part before; the step was not taken.
            InvalidParameter: the sum has another shape, or an entry that is not finite.
        """
        node = self._plan.node
        if clipped_sum.shape != (node.dimension,) or not np.isfinite(clipped_sum).all():
            raise InvalidParameter(f"a sum of shape {clipped_sum.shape} for dimension={node.dimension}, or not finite")
        if self._step >= self._plan.tree.steps:
            raise StreamEnded(
                f"the stream of {self._plan.tree.steps} steps is over; plan a longer one before it starts"
            )
        self._attendance.take(examples)
        self._open += clipped_sum
        found = {}
        for level, ended in enumerate(self._plan.tree.finished(self._step)):
            found[ended] = node.encode(self._open[level], random)
            self._open[level] = 0.0
        self._step += 1
        return found
