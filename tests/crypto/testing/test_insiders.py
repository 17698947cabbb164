"""Insiders against every protocol, through the check that third parties can use too."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto import Upload, plan
from crypto.keys.roster import Identity, Roster, make_identities
from crypto.protocols.session import Session
from crypto.running.rehearsal import rehearse
from crypto.testing import Bench, ConformanceError, check_insiders
from crypto.wire.messages import Input, Item, Message

NAMES = ("ada", "bob", "cyd", "dan", "eve", "fay")
UPLOADS = (Upload(name="g", length=30, bound=1000), Upload(name="h", length=2, bound=5, noise_bound=9))


def bench_of(protocol: str) -> tuple[Bench, dict[str, Identity]]:
    loose = plan(protocol, NAMES, UPLOADS, 20, max_dropouts=2)
    identities = make_identities((*NAMES, *loose.roles))
    made = loose.pinned(Roster.of(identities.values()))
    return Bench(made, rehearse(made, identities)), identities


@pytest.mark.parametrize("protocol", ["plain", "bfv", "mpc", "secagg", "secagg+", "helper", "helper-2-of-3"])
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 2**32), rate=st.sampled_from([0.2, 0.6, 1.0]))
def test_an_insider_and_a_silent_client_or_two_insiders_end_nothing(protocol: str, seed: int, rate: float) -> None:
    for insiders, silent in ((("bob", "eve"), ()), (("bob",), ("eve",))):
        bench, identities = bench_of(protocol)
        came = check_insiders(bench, insiders, identities, silent=silent, seed=str(seed), rate=rate, sums=3)
        assert came > 0


class Unfair:
    """A server whose outcomes blame an honest client."""

    name = "server"

    def __init__(self, inner: Session) -> None:
        self.inner = inner

    def start(self) -> tuple[Item, ...]:
        return self.inner.start()

    def on(self, item: Input) -> tuple[Item, ...]:
        return tuple(self._changed(self.inner.on(item)))

    def _changed(self, items: Iterable[Item]) -> Iterable[Item]:
        for item in items:
            if not isinstance(item, Message):
                object.__setattr__(item, "blamed", ("ada",))
            yield item


class Fragile(Unfair):
    """A server that gives a sum up as soon as somebody is at fault, and names nobody."""

    def _changed(self, items: Iterable[Item]) -> Iterable[Item]:
        for item in items:
            if isinstance(item, Message) or not item.blamed:
                yield item


@pytest.mark.parametrize("kind", [Unfair, Fragile])
def test_unfair_and_fragile_servers_are_found(kind: type[Unfair]) -> None:
    bench, identities = bench_of("secagg")
    parties = {**bench.parties, "server": kind(bench.parties["server"])}  # type: ignore[arg-type]
    with pytest.raises(ConformanceError):
        check_insiders(Bench(bench.plan, parties), ("bob", "eve"), identities, rate=1.0)
