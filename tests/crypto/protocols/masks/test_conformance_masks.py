"""The public conformance suite on both protocols, both modes."""

from collections.abc import Callable
from typing import Any

import pytest

from crypto.planning.masks import Mode
from crypto.testing import CHECKS, Bench

Check = Callable[[Bench], None]
KINDS = [(protocol, mode) for protocol in ("secagg", "secagg+") for mode in ("semi-honest", "active")]


@pytest.mark.parametrize(("protocol", "mode"), KINDS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conforms(check: Check, protocol: str, mode: Mode, make_masks: Callable[..., Any]) -> None:
    bench = make_masks(protocol, mode).bench()
    check(bench)
    assert bench.next_round > 0
