"""What travels for one phase of a row: the strategy's upload, shortened, clipped and encoded; and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crypto.vectors.encoding import FixedPoint
from privacy import RandomBytes
from secure_fcl.compression.maps import Compression
from secure_fcl.compression.recipe import Recipe
from secure_fcl.strategies.base import Phase
from secure_fcl.strategies.contribution import Part, UploadSpec, Values

_COUNT = "saturated"
_COUNTED = "update"


@dataclass(frozen=True, eq=False)
class Wire:
    """The way of one upload.

    An update that is private before it is sent brings the count of its clipped entries along, in digits that one
    entry can hold; that is post-processing. An upload that gets its noise inside the sum brings none: the count would
    be a release of its own.

    Attributes:
        source: what the strategy declares.
        sent: what the secure sum adds up.
        recipe: how parts of the length of the weights are shortened; None: nothing is.
        norm: public bound on the Euclidean norm of the sent vector before rounding and noise; 0: none.
    """

    source: UploadSpec
    sent: UploadSpec
    recipe: Recipe | None
    norm: float = 0.0

    @property
    def norm_bound(self) -> int:
        """The bound that the integers of an honest client keep: rounding moves each by less than 1. 0: none."""
        return math.ceil(self.norm * self.sent.scale + math.sqrt(self.sent.length)) if self.norm else 0

    @property
    def encoder(self) -> FixedPoint:
        """Real to integer and back."""
        return FixedPoint(scale=self.sent.scale, clip=self.sent.largest_bound)

    @property
    def coordinates(self) -> int:
        """Entries of one client's update whose clipping is counted; 0: none is."""
        return next((p.size for p in self.sent.parts if p.name == _COUNTED), 0) if self._digits else 0

    @property
    def dimension(self) -> int:
        """Entries that one release touches: those of the largest part."""
        return max(part.size for part in self.sent.parts)

    def unit(self, name: str) -> float:
        """Return what a part that travels whole is multiplied by, so that it fits a smaller bound; never above 1."""
        bounds = (part.bound for part in self.source.parts if part.name == name)
        return min(1.0, *(self.sent.largest_bound / bound for bound in bounds))

    @cached_property
    def _digits(self) -> int:
        return sum(part.size for part in self.sent.parts if part.name == _COUNT)

    def draw(self, slot: int, round: int) -> Carrier:
        """Return the way of one round."""
        return Carrier(self, self.recipe.draw(slot, round) if self.recipe else None)


@dataclass(frozen=True, eq=False)
class Carrier:
    """A `Wire` in one round."""

    wire: Wire
    map: Compression | None

    def encode(self, parts: Mapping[str, Values], coins: RandomBytes) -> NDArray[np.int64]:
        """Return one client's integers, without noise: shortened, clipped to the sent bounds, rounded at random.

        Raises:
            ConfigInvalid: parts other than declared.
            crypto.errors.EncodingError: an entry is NaN or infinite.
        """
        wire = self.wire
        made = wire.source.split(wire.source.flatten(parts))
        if self.map is not None:
            made = {
                n: self.map.compress(a.ravel()) if self._shortens(a.size) else _times(a, wire.unit(n))
                for n, a in made.items()
            }
        if wire._digits:
            bound = wire.sent.largest_bound
            beyond = int(np.count_nonzero(np.abs(made[_COUNTED]) > bound))
            made[_COUNT] = _digits(beyond, _steps(wire.sent), wire._digits) / wire.sent.scale
        flat = wire.sent.flatten(made)
        # Each is as large as the upload: what is not needed any more goes at once.
        del made
        vector, _ = wire.sent.clip(flat)
        del flat
        if wire.norm:
            # Each part by itself: a projection of all together could move one part further than its example does.
            limit = wire.norm / math.sqrt(len(wire.sent.parts))
            vector = wire.sent.flatten({n: _within(part, limit) for n, part in wire.sent.split(vector).items()})
        return wire.encoder.encode(vector, coins).values

    def decode(self, total: NDArray[np.int64]) -> dict[str, Values]:
        """Return the strategy's summed parts."""
        parts = self.wire.sent.split(self.wire.encoder.decode(total))
        parts.pop(_COUNT, None)
        if self.map is None:
            return parts
        shapes = {part.name: part.shape for part in self.wire.source.parts}
        return {
            n: self.map.expand(a).reshape(shapes[n])
            if self._shortens(int(np.prod(shapes[n])))
            else a / self.wire.unit(n)
            for n, a in parts.items()
        }

    def saturated(self, total: NDArray[np.int64]) -> int | None:
        """Return how many entries of all clients' updates were clipped; None where that is not released."""
        if not self.wire._digits:
            return None
        digits = self.wire.sent.split(self.wire.encoder.decode(total))[_COUNT] * self.wire.sent.scale
        base = _steps(self.wire.sent) + 1
        return sum(round(float(digit)) * int(base**place) for place, digit in enumerate(digits))

    def _shortens(self, size: int) -> bool:
        return self.map is not None and size == self.map.source


def wire_of(
    source: UploadSpec, recipe: Recipe | None = None, bound: float | None = None, scale: float | None = None,
    name: str | None = None,
) -> Wire:  # fmt: skip
    """Return the way of an upload; `bound` and `scale` of shortened parts, `name` of what is sent: None keeps."""
    scale = source.scale if scale is None else scale
    parts = tuple(_sent(part, recipe, bound) for part in source.parts)
    entries = source.sensitivity_entries and max(part.size for part in parts)
    sent = UploadSpec(
        name=name or source.name,
        parts=parts,
        scale=scale,
        sensitivity_l2=source.sensitivity_l2,
        sensitivity_entries=entries,
        unit=source.unit,
    )
    counted = [part for part in parts if part.name == _COUNTED]
    if source.sensitivity_l2 is None and counted:
        digits = Part(_COUNT, (_places(counted[0].size, _steps(sent)),), sent.largest_bound)
        sent = UploadSpec(
            name=sent.name,
            parts=(*parts, digits),
            scale=scale,
            sensitivity_l2=None,
            sensitivity_entries=None,
            unit=sent.unit,
        )
    return Wire(source, sent, recipe)


def with_norm(wire: Wire, norm: float) -> Wire:
    """Return the same way with a bound on the norm; 0 changes nothing.

    A count of clipped entries is then not brought along: its digits would take most of the norm.
    """
    if not norm:
        return wire
    parts = tuple(part for part in wire.sent.parts if part.name != _COUNT)
    return replace(wire, sent=replace(wire.sent, parts=parts), norm=norm)


def as_declared(uploads: Mapping[Phase, UploadSpec]) -> dict[Phase, tuple[Wire, ...]]:
    """Return the ways of uploads that are sent as they are, in every slot."""
    return {phase: (wire_of(upload),) for phase, upload in uploads.items()}


def _times(values: Values, factor: float) -> Values:
    return values if factor == 1.0 else values * factor


def _within(part: Values, limit: float) -> Values:
    """Return the nearest array of a norm within the limit; a projection, which moves no two arrays apart."""
    norm = float(np.linalg.norm(part))
    return part if norm <= limit else part * (limit / norm)


def _sent(part: Part, recipe: Recipe | None, bound: float | None) -> Part:
    shortened = recipe is not None and part.size == recipe.source
    shape = (recipe.target,) if recipe is not None and shortened else part.shape
    return Part(part.name, shape, part.bound if bound is None else bound)


def _steps(sent: UploadSpec) -> int:
    # Bound times scale is a whole number up to rounding where the scale was made from it.
    return int(sent.largest_bound * sent.scale + 1e-6)


def _places(largest: int, steps: int) -> int:
    places = 1
    while (steps + 1) ** places <= largest:
        places += 1
    return places


def _digits(count: int, steps: int, places: int) -> Values:
    return np.array([count // (steps + 1) ** i % (steps + 1) for i in range(places)], dtype=np.float64)
