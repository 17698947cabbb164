"""Units of a stream: blocks of consecutive windows that share one coin, and what lies between them.

Windows that overlap share readings. On HAPT (64 samples, stride 32) five consecutive windows make one unit: the
first four form the *item* (160 samples, one retention coin, one hold-out coin), the fifth *straddles* this item and
the next. No reading lies in two items, so a coin decides about whole readings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secure_fcl.data import Dataset

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ITEM_WINDOWS = 4
NO_ITEM = -1


@dataclass(frozen=True, eq=False)
class Units:
    """Per example: `unit` (what is dealt to clients as a whole), `item` (NO_ITEM for a straddler), `order` (time).

    `bounds`: the two public bounds where not all examples are here; None: they are read off.
    """

    unit: Ints
    item: Ints
    order: Ints
    bounds: tuple[int, int] | None = None

    @property
    def windows_per_unit(self) -> int:
        """Public bound: most examples of one unit."""
        return int(np.bincount(self.unit).max()) if self.bounds is None else self.bounds[0]

    @property
    def largest_item(self) -> int:
        """Public bound: most examples of one item."""
        return int(np.bincount(self.item[self.item != NO_ITEM]).max()) if self.bounds is None else self.bounds[1]


def make_units(data: Dataset) -> Units:
    """Return the units of every example; where readings are not shared, each example is its own unit and item."""
    n = len(data)
    if data.windows_per_reading == 1:
        each = np.arange(n, dtype=np.int64)
        return Units(each, each, each)
    stride = ITEM_WINDOWS + data.windows_per_reading - 1
    block = data.position // stride
    key = data.run * (int(block.max()) + 1) + block
    unit = np.unique(key, return_inverse=True)[1].astype(np.int64)
    straddles = data.position % stride >= ITEM_WINDOWS
    order = np.lexsort((data.position, data.run, data.session))
    rank = np.empty(n, dtype=np.int64)
    rank[order] = np.arange(n)
    return Units(unit, np.where(straddles, NO_ITEM, unit), rank)


def held_out(data: Dataset, units: Units, share: float, rng: np.random.Generator) -> Bools:
    """Return which training examples are held out as non-members: one coin per item, straddlers beside one too.

    A straddler shares readings with the items before and after it, so it leaves with either of them.
    """
    coins = rng.random(int(units.unit.max()) + 1) < share
    # A straddler carries its own unit's number, so this covers the item before it.
    out = coins[units.unit]
    straddler = units.item == NO_ITEM
    if straddler.any():
        stride = ITEM_WINDOWS + data.windows_per_reading - 1
        following = {
            (int(r), int(p) // stride): bool(out[i])
            for i, (r, p) in enumerate(zip(data.run, data.position, strict=True))
            if not straddler[i]
        }
        for i in np.flatnonzero(straddler & ~out):
            out[i] = following.get((int(data.run[i]), int(data.position[i]) // stride + 1), False)
    return np.asarray(out & data.train)
