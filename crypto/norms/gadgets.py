"""Fully linear proofs that many squares or products on secret wires were summed right.

Boneh, Boyle, Corrigan-Gibbs, Gilboa and Ishai 2019 (ia.cr/2019/188), theorem 4.3, as in draft-irtf-cfrg-vdaf-11,
section 7.3. A gadget takes `arity` inputs a call. Input j of all calls, behind a random seed, gives the values of a
polynomial w_j at the roots of unity; the proof is the seeds and the polynomial g = gadget(w_1, w_2, ...), whose values
are the outputs. Verifiers compute shares of outputs, and of w_j(t) and g(t) at a secret point t: all linear. They then
see whether g(t) is what the gadget makes of the w_j(t); a wrong g passes with at most 2 (order - 1) / (p - order). The
seeds make the w_j(t) uniform, so that they say nothing, at one point: a second one is never answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from crypto.errors import MessageError
from crypto.norms.field import Elements, P, add, dot, evaluate, lagrange_at, multiply, total, value_at

#: Wires whose polynomials are in memory at once.
_WIRES = 64


@dataclass(frozen=True, kw_only=True)
class Gadget:
    """A sum of squares of `arity` inputs, or of products of `arity` / 2 pairs of neighbours, called `calls` times."""

    kind: Literal["squares", "products"]
    arity: int
    calls: int

    @cached_property
    def order(self) -> int:
        """How many values a wire's polynomial has: the seed's, those of the calls, and zeros up to a power of two."""
        return 1 << self.calls.bit_length()

    @property
    def proof_length(self) -> int:
        """Elements of a proof: the seeds and a polynomial of degree 2 (order - 1)."""
        return self.arity + 2 * self.order - 1

    @property
    def verifier_length(self) -> int:
        """Elements of a verifier's message: the circuit's output, and the values at the secret point."""
        return 1 + self.arity + 1

    def wires(self, seeds: Elements, inputs: Elements) -> Elements:
        """Return the wires' values (arity, order) for inputs of all calls, (calls * arity,) or fewer."""
        found = np.zeros((self.arity, self.order), dtype=np.uint64)
        padded = np.zeros(self.calls * self.arity, dtype=np.uint64)
        padded[: len(inputs)] = inputs
        found[:, 0] = seeds
        found[:, 1 : self.calls + 1] = padded.reshape(self.calls, self.arity).T
        return found

    def prove(self, seeds: Elements, inputs: Elements) -> Elements:
        """Return the proof (proof_length,) for inputs in the clear; `seeds`: (arity,), uniform and used once."""
        wires = self.wires(seeds, inputs)
        values = np.zeros(2 * self.order, dtype=np.uint64)
        for first in range(0, self.arity, _WIRES):
            coefficients = evaluate(wires[first : first + _WIRES], inverse=True)
            values = add(values, self._outputs(evaluate(np.pad(coefficients, ((0, 0), (0, self.order))))))
        return np.concatenate([seeds, evaluate(values, inverse=True)[: 2 * self.order - 1]])

    def _outputs(self, wires: Elements) -> Elements:
        """The sums over wires (even number, n) of squares or products, (n,)."""
        pairs = (wires, wires) if self.kind == "squares" else (wires[0::2], wires[1::2])
        return total(multiply(*map(np.ascontiguousarray, pairs)), axis=0)

    def outputs(self, proof: Elements) -> Elements:
        """Return (shares of) the outputs of all calls, read off (a share of) the proof."""
        polynomial = np.append(proof[self.arity :], np.uint64(0))
        folded = add(polynomial[: self.order], polynomial[self.order :])
        return evaluate(folded)[1 : self.calls + 1]

    def at_point(self, proof: Elements, inputs: Elements, point: int) -> Elements:
        """Return (shares of) the wires' values and the polynomial's at a secret point, (arity + 1,).

        Raises:
            MessageError: the point is one of the roots, where the values would be the inputs; order / p.
        """
        if pow(point, self.order, P) == 1:
            raise MessageError("the point of this proof is a root of unity; give the vector another nonce")
        wires = dot(self.wires(proof[: self.arity], inputs), lagrange_at(self.order, point))
        return np.append(wires, np.uint64(value_at(proof[self.arity :], point)))

    def accepts(self, verifier: Elements) -> bool:
        """Whether output and values, shares put together, are those of a valid vector and a right proof."""
        return int(verifier[0]) == 0 and int(self._outputs(verifier[1:-1, None])[0]) == int(verifier[-1])
