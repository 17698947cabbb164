"""What linear observations determine about the inputs, by elimination over the ring.

A view that is linear in inputs and in uniform unknowns (expanded seeds, pads) hides everything about the inputs
except the combinations that come out with no unknown left. `determined` finds all of them; a protocol is sound
if they are multiples of the honest sum. It treats every pseudo-random expansion as an independent uniform
unknown, so the protocol's real guarantee is computational.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from crypto.errors import CryptoError

Row = list[int]


def determined(observations: Sequence[Sequence[int]], inputs: int, modulus: int) -> list[Row]:
    """The combinations of the inputs that the observations determine: rows of `inputs` coefficients in echelon form.

    `observations`: one row of coefficients for each observed ring element, first of the inputs, then of the
    unknowns, which are uniform and independent. `modulus`: a prime or a power of 2.

    Raises:
        CryptoError: rows of different lengths or fewer coefficients than inputs.
    """
    width = len(observations[0]) if observations else inputs
    if width < inputs or any(len(row) != width for row in observations):
        raise CryptoError(f"every observation has one coefficient for each of {inputs} inputs and each unknown")
    # Unknowns first: what is left of a row once all unknowns are gone speaks of inputs alone.
    rows = [[entry % modulus for entry in (*row[inputs:], *row[:inputs])] for row in observations]
    unknowns = width - inputs
    for column in range(unknowns):
        rows = _eliminate(rows, column, modulus)[1]
    found: list[Row] = []
    rest = [row[unknowns:] for row in rows]
    for column in range(inputs):
        pivot, rest = _eliminate(rest, column, modulus)
        found += pivot
    return found


def probe(view: Callable[[Row], Sequence[int]], width: int) -> list[Row]:
    """The coefficients of a linear view, found by trying it: `view` maps inputs and unknowns, `width` integers in
    all, to what is observed. Returns one row for each observed element.

    Raises:
        CryptoError: the view is not linear (checked on one more point) or observes at zero what is not zero.
    """
    if any(view([0] * width)):
        raise CryptoError("the view of zeros is not zero; pass a linear view")
    columns = [view([int(at == column) for at in range(width)]) for column in range(width)]
    rows = [list(row) for row in zip(*columns, strict=True)]
    point = [3 + column for column in range(width)]
    expected = [sum(a * b for a, b in zip(row, point, strict=True)) for row in rows]
    if any((a - b) % (1 << 64) for a, b in zip(view(point), expected, strict=True)):
        raise CryptoError("the view is not linear in its inputs and unknowns; observe it modulo the ring")
    return rows


def _eliminate(rows: list[Row], column: int, modulus: int) -> tuple[list[Row], list[Row]]:
    """Clear a column: the pivot row, if any, and the other rows with zeros there."""
    live = [row for row in rows if row[column]]
    rest = [row for row in rows if not row[column]]
    if not live:
        return [], [row for row in rest if any(row)]
    # In Z/2^k the entry with the fewest factors of two divides the others; in a field any entry does.
    pivot = min(live, key=lambda row: _twos(row[column], modulus))
    live.remove(pivot)
    power = _twos(pivot[column], modulus)
    unit = pow(pivot[column] >> power, -1, modulus)
    pivot = [entry * unit % modulus for entry in pivot]
    for row in live:
        factor = row[column] >> power
        rest.append([(entry - factor * other) % modulus for entry, other in zip(row, pivot, strict=True)])
    if power:
        # A multiple that kills the pivot entry speaks of the other columns alone.
        rest.append([entry * (modulus >> power) % modulus for entry in pivot])
    return [pivot], [row for row in rest if any(row)]


def _twos(value: int, modulus: int) -> int:
    return 0 if modulus % 2 else (value & -value).bit_length() - 1
