"""A strategy whose upload has as many entries as is wanted, and which computes next to nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from secure_fcl.strategies import Contribution, Part, SummedOnce, SumsEntry, SumsSection, UploadSpec

VARIABLE = "SECURE_FCL_BENCH_ENTRIES"
"""How many entries; devices inherit it."""


@dataclass(frozen=True, eq=False)
class LargeSums(SummedOnce):
    """How many examples of each class there are, among many zeros."""

    name: str
    classes: int
    examples: int
    noisy: bool
    entries: int

    @property
    def uploads(self) -> dict[str, UploadSpec]:
        """See `Strategy`."""
        part = Part("sums", (self.entries,), float(self.examples))
        unit = "one example"
        return {
            "train": UploadSpec(
                name="large", parts=(part,), scale=1.0, sensitivity_l2=1.0, sensitivity_entries=1, unit=unit
            )
        }

    def noise_inside(self) -> bool:
        """See `Strategy`."""
        return self.noisy

    def initial(self) -> dict[str, Any]:
        """See `Strategy`."""
        return {"sums": np.zeros(self.entries, dtype=np.float32)}

    def contribute(self, state: Any, view: Any, step: Any, coins: Any) -> Contribution:
        """See `Strategy`."""
        return Contribution({"sums": np.bincount(view.current.y, minlength=self.entries).astype(np.float32)})

    def apply(self, state: Any, step: Any, total: Any, clients: int) -> dict[str, Any]:
        """See `Strategy`."""
        return {"sums": state["sums"] + total["sums"].astype(np.float32)}

    def scores(self, state: Any, x: Any) -> Any:
        """See `Strategy`."""
        return np.tile(state["sums"][: self.classes], (len(x), 1))


sums = SumsEntry(
    section=SumsSection(),
    build=lambda section, numbers: LargeSums(
        numbers.name, numbers.classes, numbers.examples, numbers.noisy, int(os.environ[VARIABLE])
    ),
)
