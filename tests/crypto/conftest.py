from collections.abc import Callable, Iterator

import pytest

from crypto import Upload, open_client, plan, set_up
from crypto.planning.plans import Plan
from crypto.running.processes import host_parties
from crypto.running.rehearsal import rehearse
from crypto.testing import ROUNDS_NEEDED, Bench

NAMES = ("ada", "bob", "cyd", "dan", "eve")
UPLOADS = (
    Upload(name="update", length=9001, bound=1 << 16, noise_bound=1000),
    Upload(name="counts", length=3, bound=5),
    Upload(name="wide", length=40, bound=1 << 39),
)


def small_plan(protocol: str, rounds: int = 4 * ROUNDS_NEEDED) -> Plan:
    return plan(protocol, NAMES, UPLOADS, rounds, max_dropouts=2)


def in_process(planned: Plan) -> Bench:
    bench = Bench(planned, rehearse(planned))
    set_up(bench.parties)
    return bench


@pytest.fixture
def plain_bench() -> Bench:
    return in_process(small_plan("plain"))


@pytest.fixture
def bfv_bench() -> Bench:
    return in_process(small_plan("bfv"))


@pytest.fixture
def mpc_rehearsal() -> Bench:
    return in_process(small_plan("mpc"))


@pytest.fixture(scope="session")
def mpc_bench() -> Iterator[Bench]:
    planned = small_plan("mpc")
    with host_parties(planned) as hosted:
        parties = {name: open_client(planned, name) for name in planned.clients}
        bench = Bench(planned, {**parties, **hosted.parties})
        set_up(bench.parties)
        yield bench


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    return small_plan


@pytest.fixture
def make_bench() -> Callable[[Plan], Bench]:
    return in_process
