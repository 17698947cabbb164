"""Arithmetic modulo p against Python's own integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.norms.field import (
    Elements,
    P,
    add,
    dot,
    evaluate,
    inverses,
    lagrange_at,
    multiply,
    root,
    subtract,
    to_field,
    to_signed,
    total,
    value_at,
)

EDGES = (0, 1, 2, P - 1, P - 2, P // 2, P // 2 + 1, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 2**33)
element = st.one_of(st.sampled_from(EDGES), st.integers(0, P - 1))


def array(values: list[int]) -> Elements:
    return np.array(values, dtype=np.uint64)


@given(st.lists(st.tuples(element, element), min_size=1, max_size=60))
@settings(max_examples=100, deadline=None)
def test_sums_differences_and_products_are_exact(pairs: list[tuple[int, int]]) -> None:
    a, b = (array([pair[k] for pair in pairs]) for k in range(2))
    assert add(a, b).tolist() == [(x + y) % P for x, y in pairs]
    assert subtract(a, b).tolist() == [(x - y) % P for x, y in pairs]
    assert multiply(a, b).tolist() == [x * y % P for x, y in pairs]
    assert int(total(a)) == sum(x for x, _ in pairs) % P
    assert int(dot(a, b)) == sum(x * y for x, y in pairs) % P


def test_every_pair_of_edges_and_long_arrays() -> None:
    a, b = np.meshgrid(array(list(EDGES)), array(list(EDGES)))
    assert multiply(a, b).tolist() == [
        [x * y % P for x, y in zip(*rows, strict=True)] for rows in zip(a.tolist(), b.tolist(), strict=True)
    ]
    long = np.full(50_000, P - 1, dtype=np.uint64)
    assert int(total(long)) == -50_000 % P
    assert int(dot(long, long)) == 50_000


@given(st.lists(st.integers(-(2**63) + 2**32, 2**63 - 2**32), max_size=20))
def test_signed_numbers_come_back(values: list[int]) -> None:
    signed = np.array(values, dtype=np.int64)
    assert to_signed(to_field(signed)).tolist() == values
    assert to_field(signed).tolist() == [value % P for value in values]


@pytest.mark.parametrize("order", [1, 2, 8, 64])
def test_polynomials_by_coefficients_and_by_values_are_the_same(order: int) -> None:
    coefficients = np.random.default_rng(order).integers(0, P, (3, order), dtype=np.uint64)
    values, point = evaluate(coefficients), 123_456_789_012_345
    for row, found in zip(coefficients.tolist(), values.tolist(), strict=True):
        here = [pow(root(order), k, P) for k in range(order)]
        assert found == [sum(c * pow(x, power, P) for power, c in enumerate(row)) % P for x in here]
        there = sum(c * pow(point, power, P) for power, c in enumerate(row)) % P
        assert int(dot(array(found), lagrange_at(order, point))) == there == value_at(array(row), point)
    assert np.array_equal(evaluate(values, inverse=True), coefficients)


def test_inverses() -> None:
    values = array([1, 2, P - 1, 987_654_321])
    assert multiply(values, inverses(values)).tolist() == [1] * 4
