"""The public conformance suite on one helper, on all of several and on some of several."""

from collections.abc import Callable

import pytest

from crypto.testing import CHECKS, Bench

Check = Callable[[Bench], None]


@pytest.mark.parametrize("protocol", ["helper", "helper-2-of-2", "helper-2-of-3"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conforms(check: Check, protocol: str, make_bench: Callable[[str], Bench]) -> None:
    bench = make_bench(protocol)
    check(bench)
    assert bench.next_round > 0
