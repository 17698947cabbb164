"""What is measured: single steps beside the peers, then whole sums over numbers of clients, lengths and dropouts."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.crypto import extras, peers, steps
from benchmarks.crypto.cohorts import Cohort, lazily, share_plan
from benchmarks.crypto.results import Point, Results

MILLION = 1_000_000
LENGTHS = (100_000, MILLION, 10 * MILLION)
SIZES = (10, 100, 1000)
DROPOUTS = (0.0, 0.05, 0.3)
NEIGHBOURS = 20
REPEATS = 5
SHARE_CLIENTS, SHARE_THRESHOLD = 100, 67
# Noise of a whole sum that makes entries of so many bits on the ring of 21 clients; under BFV, one field a slot.
NOISE_BITS = (24, 28, 32)
SERVER_THRESHOLD = 51
NORM_LENGTHS = (8192, 65_536)
MEMORY_SIZES = (10, 40, 160)
Say = Callable[[str], None]


def sum_name(protocol: str, n: int, length: int, dropout: float) -> str:
    """The name of a point."""
    return f"sum {protocol} n={n} m={length} drop={dropout:g}"


def measure(results: Results, full: bool, say: Say) -> None:
    """Measure every point that is not there yet; `full` takes all clients and lengths, else a few."""
    for name, take in takes(full).items():
        say(name)
        results.once(name, take)


def takes(full: bool) -> dict[str, Callable[[], Point]]:
    """How every point is measured, by name, in the order in which they are."""
    x = np.random.default_rng(0).normal(0.0, 0.3, MILLION).astype(np.float32)
    return {**_steps(x), **_peers(x), **_extras(), **_sums(full)}


def _steps(x: steps.Floats) -> dict[str, Callable[[], Point]]:
    noisy: dict[str, Callable[[], Point]] = {
        f"client secagg noise {bits} bits": partial(
            steps.client_session, "secagg", 21, x, REPEATS, noise_bound=(1 << (bits - 1)) - 1 - 21 * steps.BOUND
        )
        for bits in NOISE_BITS
    }
    return {
        "functions": partial(steps.client_functions, x, NEIGHBOURS, 23, REPEATS),
        "client secagg 21": partial(steps.client_session, "secagg", 21, x, REPEATS),
        "client secagg+ 128": partial(steps.client_session, "secagg+", 128, x, REPEATS),
        "client bfv 64": partial(steps.client_session, "bfv", 64, x, REPEATS),
        "client helper 64": partial(steps.client_session, "helper", 64, x, REPEATS),
        "client helper-2-of-3 64": partial(steps.client_session, "helper-2-of-3", 64, x, REPEATS),
        "client bfv 128": partial(steps.client_session, "bfv", 128, x, REPEATS, bound=16383),
        "encrypt": partial(steps.encrypt_only, x, REPEATS),
        "keys": partial(steps.key_steps, SHARE_CLIENTS, SHARE_THRESHOLD, REPEATS),
        **noisy,
        "client bfv noise": partial(steps.client_session, "bfv", 21, x, REPEATS, noise_bound=1 << 38),
    }


def _extras() -> dict[str, Callable[[], Point]]:
    checks: dict[str, Callable[[], Point]] = {
        f"mpc {'checked' if checked else 'unchecked'} {length}": partial(extras.norm_check, 10, length, checked)
        for length in NORM_LENGTHS
        for checked in (False, True)
    }
    proofs: dict[str, Callable[[], Point]] = {
        f"helper {'checked' if checked else 'unchecked'} {length}": partial(extras.norm_proofs, 10, length, checked)
        for length in NORM_LENGTHS
        for checked in (False, True)
    }
    return {
        **checks,
        **proofs,
        **{f"server memory {n}": partial(extras.server_memory, n, LENGTHS[0]) for n in MEMORY_SIZES},
    }


def _peers(x: steps.Floats) -> dict[str, Callable[[], Point]]:
    ckks: dict[str, Callable[[], Point]] = {"nvflare encrypt": partial(peers.nvflare_ckks, x, REPEATS)}
    if not peers.flower_here():
        return ckks
    return {
        "flower client": partial(peers.flower_client, x, NEIGHBOURS, 3),
        "flower keys": partial(peers.flower_keys, SHARE_CLIENTS, SHARE_THRESHOLD, 2),
        "flower server": partial(peers.flower_server, x.size, SERVER_THRESHOLD, 2),
        **ckks,
    }


def planned(full: bool) -> list[tuple[str, int, int, float]]:
    """(protocol, clients, length, dropouts) of the sums to run, in the order in which they are run."""
    masked: str = "secagg+"
    if not full:
        grid = [(masked, n, LENGTHS[0], dropout) for n in SIZES[:2] for dropout in DROPOUTS]
        return [*grid, (masked, 10, MILLION, 0.05), (masked, 100, MILLION, 0.05), ("bfv", 10, LENGTHS[0], 0.05)]
    small = [(masked, n, m, dropout) for n in SIZES[:2] for m in LENGTHS for dropout in DROPOUTS]
    sealed: list[tuple[str, int, int, float]] = [("bfv", n, m, 0.05) for n in SIZES[:2] for m in LENGTHS[:2]]
    large = [(masked, 1000, m, dropout) for dropout in DROPOUTS for m in LENGTHS[:2]]
    # The last one alone takes a quarter of an hour.
    largest = (masked, 1000, LENGTHS[2], 0.3)
    return [*small, *sealed, *large, ("bfv", 1000, LENGTHS[0], 0.05), largest]


def _sums(full: bool) -> dict[str, Callable[[], Point]]:
    wanted = planned(full)
    cohorts: dict[tuple[str, int, float], Callable[[], Cohort]] = {}
    found: dict[str, Callable[[], Point]] = {}
    for protocol, n, length, dropout in wanted:
        # A cohort that may lose 5 % also runs the sums in which nobody drops out.
        allowed = max(dropout, 0.05)
        if (protocol, n, allowed) not in cohorts:
            lengths = tuple(sorted({m for p, k, m, d in wanted if (p, k) == (protocol, n)}))
            cohorts[protocol, n, allowed] = lazily(partial(share_plan, protocol, n, allowed, lengths))
        get = cohorts[protocol, n, allowed]
        drops = math.ceil(dropout * n)
        found[sum_name(protocol, n, length, dropout)] = partial(_take, get, length, drops)
    return found


def _take(get: Callable[[], Cohort], length: int, drops: int) -> Point:
    return get().sum(length, drops)
