"""What must hold of a short vector, as sums of squares and of products (PINE, section 4; draft-chen-cfrg-vdaf-pine-01).

The squared norm S = v must be that of v's bits and have a u with v + u = bound^2, u in bits too: so S mod p is at most
bound^2. That S is not larger by multiples of p is what `CHECKS` random projections tell, with entries -1, 0, 0, 1 drawn
after the shares are fixed: each must lie in [-E + 1, E], E the power of two from 8.7 times the bound on.

*Soundness*: if some |x_i| > 2E, modulo p and in (-p/2, p/2), each projection passes with at most 1/2, as in
`crypto.planning.norms`, so all with at most 2^-100. Else S <= 4 d E^2, which is below p: longer vectors or larger
bounds are refused. *Completeness*: a vector of norm at most the bound fails with at most 2 CHECKS exp(-8.7^2) < 2^-100.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from crypto.errors import PlanRefused
from crypto.norms.expanding import Expanded
from crypto.norms.field import Elements, P, add, dot, fresh_powers, multiply, powers, subtract, to_field, total
from crypto.norms.gadgets import Gadget

Ints = npt.NDArray[np.int64]
CHECKS = 100
ALPHA = 8.7
_PIECE = 1 << 12
#: What two bits of the stream stand for: 00 is -1, 01 and 10 are 0, 11 is 1; four to a byte, lowest first.
_DIRECTIONS = np.array([[(-1, 0, 0, 1)[byte >> 2 * k & 3] for k in range(4)] for byte in range(256)], dtype=np.int8)


@dataclass(frozen=True, kw_only=True)
class Short:
    """The statement that a vector of `length` integers has an L2 norm of at most `bound`.

    `squares`, `products`: how many squares, and pairs, a call of a gadget takes; 0: about the fewest bytes. `checks`:
    projections.

    Raises:
        PlanRefused: a square or a projection of so long a vector, or under so large a bound, could wrap.
    """

    length: int
    bound: int
    squares: int = 0
    products: int = 0
    checks: int = CHECKS

    def __post_init__(self) -> None:
        if min(self.length, self.bound, self.checks) < 1 or 4 * self.length * self.edge**2 >= P:
            raise PlanRefused(
                f"a norm of {self.bound} of {self.length} entries cannot be proven in 64 bits: with E = {self.edge}, "
                f"4 times {self.length} E^2 must stay below 2^64; lower the scale"
            )

    @property
    def edge(self) -> int:
        """E: the largest projection that passes."""
        return 1 << max(0, math.ceil(ALPHA * self.bound)).bit_length()

    @property
    def norm_bits(self) -> int:
        """Bits of the squared bound."""
        return (self.bound**2).bit_length()

    @property
    def check_bits(self) -> int:
        """Bits of a projection."""
        return (2 * self.edge - 1).bit_length()

    @property
    def first_length(self) -> int:
        """Elements that are fixed before the directions are drawn: the entries, v and u in bits."""
        return self.length + 2 * self.norm_bits

    @property
    def bits(self) -> int:
        """Elements that must be bits: those of v and u, of every projection, and one for each that says it passed."""
        return 2 * self.norm_bits + self.checks * (self.check_bits + 1)

    @property
    def shared_length(self) -> int:
        """Elements that are shared between the verifiers."""
        return self.length + self.bits

    @cached_property
    def norm(self) -> Gadget:
        """The gadget of the squared norm."""
        size = self.squares or max(1, math.isqrt(self.length))
        return Gadget(kind="squares", arity=size, calls=-(-self.length // size))

    @cached_property
    def rest(self) -> Gadget:
        """The gadget of everything else."""
        size = self.products or max(1, math.isqrt(self.bits // 2))
        return Gadget(kind="products", arity=2 * size, calls=-(-self.bits // size) + -(-self.checks // size))

    def encode(self, vector: Ints) -> Elements:
        """Return entries, v and u of a vector that keeps the bound, (first_length,)."""
        square = int((vector.astype(object) ** 2).sum()) if vector.size else 0
        bits = [_bits(square, self.norm_bits), _bits(self.bound**2 - square, self.norm_bits)]
        return np.concatenate([to_field(vector), *bits])

    def encode_checks(self, projections: Elements) -> Elements:
        """Return the projections in bits, (checks * (check_bits + 1),); whether all pass is for the circuit to say."""
        above = add(projections, np.full(self.checks, self.edge - 1, dtype=np.uint64))
        return np.concatenate([np.append(_bits(int(each), self.check_bits), np.uint64(1)) for each in above])

    def norm_output(self, shared: Elements, outputs: Elements) -> int:
        """Return (a share of) what must be 0: v minus the sum of squares."""
        v = _number(shared[self.length : self.length + self.norm_bits])
        return (v - int(total(outputs))) % P

    def products_of(self, shared: Elements, projections: Elements, joint: Elements, verifiers: int) -> Elements:
        """Return the inputs of the gadget of products: every bit times itself less 1, and every projection's error
        times the bit that says it passed, each weighted by powers of joint randomness.
        """
        bits, size = shared[self.length :], self.rest.arity // 2
        one = np.uint64(_fraction(1, verifiers))
        weighted = multiply(fresh_powers(int(joint[0]), len(bits)), bits)
        first = _padded(np.stack([weighted, subtract(bits, np.broadcast_to(one, bits.shape))], axis=1), size)
        told, passed = self._told(bits)
        edge = np.broadcast_to(np.uint64(_fraction(self.edge - 1, verifiers)), told.shape)
        wrong = subtract(projections, subtract(told, edge))
        second = np.stack([multiply(fresh_powers(int(joint[1]), self.checks), wrong), passed], axis=1)
        return np.concatenate([first, second.reshape(-1)])

    def rest_output(self, shared: Elements, outputs: Elements, joint: Elements, verifiers: int) -> int:
        """Return (a share of) what must be 0: of bits, of v + u, of projections and of how many passed."""
        bits, calls = shared[self.length :], -(-self.bits // (self.rest.arity // 2))
        r = int(joint[2])
        v, u = _number(bits[: self.norm_bits]), _number(bits[self.norm_bits : 2 * self.norm_bits])
        in_range = v + u - _fraction(self.bound**2, verifiers)
        count = int(total(self._told(bits)[1])) - _fraction(self.checks, verifiers)
        parts = (int(total(outputs[:calls])), in_range, int(total(outputs[calls:])), count)
        return sum(part * pow(r, place, P) for place, part in enumerate(parts)) % P

    def _told(self, bits: Elements) -> tuple[Elements, Elements]:
        """(Shares of) the projections as the bits tell them, shifted, and whether each passed."""
        rows = bits[2 * self.norm_bits :].reshape(self.checks, self.check_bits + 1)
        return dot(rows[:, :-1], powers(2, self.check_bits)), rows[:, -1]

    def project(self, entries: Elements, stream: Expanded) -> Elements:
        """Return (shares of) the projections of (shares of) the entries, (checks,), along directions from a stream."""
        row = -(-self.length // 4)
        drawn = np.frombuffer(stream.take(self.checks * row), dtype=np.uint8).reshape(self.checks, row)
        # Limbs of 22 bits: their sums over 2^27 entries are exact in a double.
        sums = np.zeros((self.checks, 3))
        for first in range(0, row, _PIECE):
            part = entries[4 * first : 4 * (first + _PIECE)]
            limbs = np.stack([part >> np.uint64(22 * k) & np.uint64((1 << 22) - 1) for k in range(3)], axis=1)
            z = _DIRECTIONS[drawn[:, first : first + _PIECE]].reshape(self.checks, -1)[:, : len(part)]
            sums += z.astype(np.float64) @ limbs.astype(np.float64)
        whole = [to_field(sums[:, k].astype(np.int64)) for k in range(3)]
        scaled = [multiply(limb, np.full(self.checks, 1 << 22 * k, dtype=np.uint64)) for k, limb in enumerate(whole)]
        return add(add(scaled[0], scaled[1]), scaled[2])


def _padded(pairs: Elements, size: int) -> Elements:
    """Pairs flat, with zeros up to a whole call."""
    return np.pad(pairs, ((0, -len(pairs) % size), (0, 0))).reshape(-1)


def _fraction(constant: int, verifiers: int) -> int:
    """What each of the verifiers counts as a public constant."""
    return constant * pow(verifiers, -1, P) % P


def _bits(value: int, count: int) -> Elements:
    """The lowest bits of a number, lowest first."""
    return np.array([value >> place & 1 for place in range(count)], dtype=np.uint64)


def _number(bits: Elements) -> int:
    return int(dot(bits, powers(2, len(bits))))
