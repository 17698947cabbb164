"""Task-free streams: tasks whose boundaries blur, cut into segments that arrive once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from secure_fcl.config.streams import Online

Ints = NDArray[np.int64]


def segments(
    task: Ints, label: Ints, unit: Ints, groups: tuple[tuple[int, ...], ...], online: Online, rng: np.random.Generator
) -> Ints:
    """Return the segment of the stream in which each example arrives, -1 for one of no task, int64 (n,).

    The stream has `online.segments` segments per task. In the stretch of task t an example is drawn from
    (1 - blur) P_t + blur P_all, where P_all is over the blurry classes of all tasks: with probability `blur` a unit
    leaves its own task's stretch for a uniform one. A public share `disjoint` of the classes never leaves (i-Blurry:
    Koh et al. 2022, section 3); with 0, all classes blur. A unit's examples arrive together.

    Args:
        task: task whose class an example has, -1 for none, int64 (n,).
        label: class of each example, int64 (n,).
        unit: unit of each example, int64 (n,).
        groups: classes of each task.
        online: the configuration's section.
        rng: public generator.
    """
    classes = np.array(sorted(c for group in groups for c in group))
    stays = rng.permutation(classes)[: round(online.disjoint * len(classes))]
    count = int(unit.max()) + 1
    moves = rng.random(count) < online.blur
    where = rng.integers(0, len(groups), size=count)
    piece = rng.integers(0, online.segments, size=count)
    stretch = np.where(moves[unit] & ~np.isin(label, stays), where[unit], task)
    return np.where(task >= 0, stretch * online.segments + piece[unit], -1)
