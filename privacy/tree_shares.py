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
    is in one node per level, so the whole stream costs `events`, whatever order the data came in, and whether all nodes
    are released or, of those that end with a step, the largest alone (`BinaryTree.last`). Holds under the dropouts and
    colluders of `node`; a client that missed a node takes part in the others as before. An example takes part in one
    step alone: `DeviceTree` refuses a second one, which could meet it in the same nodes.
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

    So do the numbers of the examples that took part. A step is `push`, or `begin` and `end` where the examples are to
    be refused before anything is computed from them. Raises nothing itself; see there.
    """

    def __init__(self, plan: TreeShares) -> None:
        self._plan = plan
        self._open = np.zeros((plan.tree.levels, plan.node.dimension))
        self._step = 0
        self._begun = False
        self._attendance = Attendance(ONCE)

    @property
    def nbytes(self) -> int:
        """Bytes kept now."""
        return self._open.nbytes + self._attendance.nbytes

    @property
    def step(self) -> int:
        """Steps that were taken to their end; the next one's number."""
        return self._step

    def begin(self, examples: Iterable[int]) -> None:
        """Count the examples of the next step, before any of it is used; numbers as in `push`.

        Raises:
            StreamEnded: the stream is over.
            ParticipationRefused: an example that took part before; the step was not begun.
            InvalidParameter: the step before has not ended.
        """
        if self._begun:
            raise InvalidParameter(f"step {self._step} was begun and did not end; end it with its sum first")
        if self._step >= self._plan.tree.steps:
            raise StreamEnded(
                f"the stream of {self._plan.tree.steps} steps is over; plan a longer one before it starts"
            )
        self._attendance.take(examples)
        self._begun = True

    def end(self, clipped_sum: Floats) -> dict[Node, Floats]:
        """Take the sum of the step that began and return the raw sum of each node that ends with it, smallest first.

        Raw: what leaves the device gets its noise first, fresh for each node (`DistributedSum.encode`).

        Raises:
            InvalidParameter: no step began, or the sum has another shape, or an entry that is not finite.
        """
        if not self._begun:
            raise InvalidParameter(f"step {self._step} did not begin; count its examples first")
        self._check(clipped_sum)
        self._open += clipped_sum
        found = {}
        for level, ended in enumerate(self._plan.tree.finished(self._step)):
            found[ended] = self._open[level].copy()
            self._open[level] = 0.0
        self._step += 1
        self._begun = False
        return found

    def skip(self, steps: int) -> None:
        """Take steps that the device was away from: nothing of it is in them, and no node that ended meanwhile is sent.

        Raises:
            StreamEnded: there are not so many left.
            InvalidParameter: steps is negative, or a step was begun and did not end.
        """
        left = self._plan.tree.steps - self._step
        if steps > left:
            raise StreamEnded(f"{steps} steps to skip of {left} that are left; plan a longer stream before it starts")
        if steps < 0 or self._begun:
            raise InvalidParameter(f"{steps} steps to skip must be at least 0, and between two steps")
        for _ in range(steps):
            self._attendance.take(())
            self._open[: len(self._plan.tree.finished(self._step))] = 0.0
            self._step += 1

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
        self._check(clipped_sum)
        self.begin(examples)
        return {node: self._plan.node.encode(raw, random) for node, raw in self.end(clipped_sum).items()}

    def _check(self, clipped_sum: Floats) -> None:
        node = self._plan.node
        if clipped_sum.shape != (node.dimension,) or not np.isfinite(clipped_sum).all():
            raise InvalidParameter(f"a sum of shape {clipped_sum.shape} for dimension={node.dimension}, or not finite")


class PrefixSteps:
    """The server's side where each step releases its largest node alone (`BinaryTree.last`): steps of the prefix sums.

    What `moved` returned so far adds up to `TreeShares.prefix`, so that SGD with it as gradient sums is
    follow-the-regularised-leader on the tree (Kairouz et al. 2021, arXiv 2103.00039). Post-processing.
    """

    def __init__(self, tree: BinaryTree) -> None:
        self._tree = tree
        self._step = 0
        self._prefix: list[tuple[Node, Floats]] = []

    def moved(self, node: Floats) -> Floats:
        """Take the node that the next step released, and return how far the prefix sum moves with that step.

        Raises:
            StreamEnded: the stream is over.
        """
        ended = self._tree.last(self._step)
        inside = [values for (start, _), values in self._prefix if start >= ended[0]]
        self._prefix = [held for held in self._prefix if held[0][0] < ended[0]] + [(ended, node)]
        self._step += 1
        return node - np.sum(inside, axis=0) if inside else node
