"""The parts of a client's weights in FedWeIT: where they are kept, what they make together, how a step moves them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from secure_fcl.strategies.base import Floats, Ints, State
from secure_fcl.strategies.gradient.method import own_or


@dataclass(frozen=True, eq=False, kw_only=True)
class Layout:
    """A device's one array: base, attention, the slot it is of, and for each slot a mask and sparse weights.

    Attributes:
        row_of: int64 (P,), the output that a weight leads to: which entry of the mask it takes.
        kept: entries of one slot's sparse weights.
        peers: clients whose sparse weights are borrowed.
    """

    row_of: Ints
    kept: int
    peers: int

    @property
    def size(self) -> int:
        """Number of weights."""
        return len(self.row_of)

    @property
    def rows(self) -> int:
        """Number of entries of a mask."""
        return int(self.row_of[-1]) + 1

    @property
    def of_slot(self) -> int:
        """Entries of one slot."""
        return self.rows + 2 * self.kept

    def length(self, slots: int) -> int:
        """Return the length of the array."""
        return self.size + self.peers + 1 + slots * self.of_slot

    def read(self, own: Floats, common: Floats) -> Factors:
        """Return the parts; a device that never trained has the common base."""
        head, slots = own[: self.size + self.peers + 1], own[self.size + self.peers + 1 :].reshape(-1, self.of_slot)
        return Factors(
            base=own_or(common, head[: self.size]),
            attention=head[self.size : -1],
            attention_of=int(head[-1]) - 1,
            masks=1.0 + slots[:, : self.rows],
            adaptive=slots[:, self.rows :].reshape(len(slots), 2, self.kept),
        )

    def write(self, factors: Factors) -> Floats:
        """Return the array of parts; zeros stand for what starts."""
        slots = np.concatenate([factors.masks - 1.0, factors.adaptive.reshape(len(factors.masks), -1)], axis=1)
        marker = np.array([factors.attention_of + 1])
        return np.concatenate([factors.base, factors.attention, marker, slots.ravel()]).astype(np.float32)


@dataclass(frozen=True, eq=False, kw_only=True)
class Factors:
    """One client's parts: base (P,), attention (peers,) and its slot, masks (slots, R), adaptive (slots, 2, kept)."""

    base: Floats
    attention: Floats
    attention_of: int
    masks: Floats
    adaptive: Floats

    def weights(self, slot: int, layout: Layout, borrowed: Floats) -> Floats:
        """Return the weights of a slot's model: B * m + A, and what is borrowed."""
        own = self.base * self.masks[slot][layout.row_of] + dense(self.adaptive[slot], layout.size) + borrowed
        return np.asarray(own, dtype=np.float32)


def dense(stored: Floats, size: int) -> Floats:
    """Return sparse weights (2, kept), values above positions, as a vector (size,)."""
    found = np.zeros(size, dtype=np.float32)
    np.add.at(found, stored[1].astype(np.int64), stored[0])
    return found


def largest(vector: Floats, kept: int) -> Floats:
    """Return the largest entries of a vector as sparse weights (2, kept); equal ones by their position."""
    positions = np.sort(np.argsort(-np.abs(vector), kind="stable")[:kept])
    return np.stack([vector[positions], positions]).astype(np.float32)


def borrowed_by(state: State, factors: Factors, slot: int) -> Floats:
    """Return what a slot's model takes from others, (P,); nothing where their weights of that slot are here no more."""
    size = len(factors.base)
    if not len(factors.attention) or factors.attention_of != slot or int(state["knowledge_of"][0]) != slot:
        return np.zeros(size, dtype=np.float32)
    others = np.stack([dense(each, size) for each in state["knowledge"]])
    return np.asarray(factors.attention @ others, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class LearningNumbers:
    """Weights of the penalties: `sparse` of |A|, `drift` of what the base does to earlier tasks' models."""

    sparse: float
    drift: float


@dataclass(eq=False, kw_only=True)
class Learning:
    """One client's parts while they learn: those of the running slot as vectors, moved in place by `step`."""

    numbers: LearningNumbers
    layout: Layout
    start: Floats
    factors: Factors
    slot: int
    others: Floats
    base: Floats
    mask: Floats
    adaptive: Floats
    attention: Floats

    @staticmethod
    def started(numbers: LearningNumbers, layout: Layout, state: State, own: Floats, slot: int) -> Learning:
        """Return the parts as a visit finds them: base from the server; what an older slot borrowed is made its own."""
        factors, size = layout.read(own, state["weights"]), layout.size
        before = factors.attention_of
        if layout.peers and before not in (slot, -1):
            whole = dense(factors.adaptive[before], size) + borrowed_by(state, factors, before)
            adaptive = factors.adaptive.copy()
            adaptive[before] = largest(whole, layout.kept)
            factors = replace(factors, adaptive=adaptive)
        attention = factors.attention.copy() if before == slot else np.zeros(layout.peers, dtype=np.float32)
        others = [dense(each, size) for each in state["knowledge"]] if layout.peers else []
        return Learning(
            numbers=numbers, layout=layout, start=state["weights"], factors=factors, slot=slot,
            others=np.stack(others) if others else np.zeros((0, size), dtype=np.float32),
            base=state["weights"].copy(), mask=factors.masks[slot].copy(),
            adaptive=dense(factors.adaptive[slot], size), attention=attention,
        )  # fmt: skip

    @property
    def weights(self) -> Floats:
        """The client's weights, (P,)."""
        own = self.base * self.mask[self.layout.row_of] + self.adaptive
        return np.asarray(own + self.attention @ self.others if len(self.attention) else own, dtype=np.float32)

    def step(self, gradient: Floats, rate: float, attends: bool) -> None:
        """Step on every part along a noisy gradient at `weights`, (P,)."""
        row_of, numbers = self.layout.row_of, self.numbers
        on_mask = np.bincount(row_of, weights=gradient * self.base, minlength=self.layout.rows)
        moved = self.base - rate * gradient * self.mask[row_of]
        held = rate * numbers.drift * (self.factors.masks[: self.slot] ** 2).sum(axis=0)[row_of]
        self.base = ((moved + held * self.start) / (1.0 + held)).astype(np.float32)
        self.mask = np.clip(self.mask - rate * on_mask, 0.0, 1.0).astype(np.float32)
        raw = self.adaptive - rate * gradient
        self.adaptive = (np.sign(raw) * np.maximum(np.abs(raw) - rate * numbers.sparse, 0.0)).astype(np.float32)
        if attends:
            self.attention = np.clip(self.attention - rate * (self.others @ gradient), 0.0, 1.0).astype(np.float32)

    def ended(self) -> Factors:
        """Return the parts that the device keeps; sparse weights of earlier slots follow the base where they are."""
        masks, adaptive = self.factors.masks.copy(), self.factors.adaptive.copy()
        change = self.base - self.factors.base
        for slot in range(self.slot):
            at = adaptive[slot, 1].astype(np.int64)
            follows = adaptive[slot, 0] != 0.0
            adaptive[slot, 0] -= follows * change[at] * masks[slot][self.layout.row_of[at]]
        masks[self.slot], adaptive[self.slot] = self.mask, largest(self.adaptive, self.layout.kept)
        return Factors(base=self.base, attention=self.attention, attention_of=self.slot, masks=masks, adaptive=adaptive)
