"""What the aims' table does not show: the norm checks of "mpc" in real processes and of "helper" by proofs, and the
memory of a masking server.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.crypto.cohorts import BOUND, CLIENTS, Clock, TimedClient, TimedParty, share_plan
from benchmarks.crypto.results import Point
from crypto import (
    Aggregate,
    Begin,
    ClientSession,
    Roster,
    Upload,
    host_parties,
    make_identities,
    open_client,
    plan,
    run_round,
    set_up,
)
from crypto.protocols.masks.stream import ring_dtype
from crypto.protocols.session import Session
from crypto.running.rehearsal import rehearse

NORM, NOISE_NORM, SIZE = 30_000, 20_000, 100


def norm_check(clients: int, length: int, checked: bool, rounds: int = 4) -> Point:
    """A sum by two computing servers in processes of their own, with or without the check of norms and of noise.

    Seconds of the clock, and CPU seconds of all helper processes together, for each sum after a first one.
    """
    norm, noise_norm = (NORM, NOISE_NORM) if checked else (0, 0)
    upload = Upload(
        name="update",
        length=length,
        bound=NORM,
        noise_bound=clients * NOISE_NORM,
        norm_bound=norm,
        noise_norm_bound=noise_norm,
    )
    agreed = plan("mpc", [f"client{i}" for i in range(clients)], [upload], rounds + 1, max_dropouts=1)
    vector = np.random.default_rng(0).integers(-SIZE, SIZE + 1, length)
    vectors, halves = dict.fromkeys(agreed.clients, vector), dict.fromkeys(agreed.clients, vector // 2)
    with host_parties(agreed) as hosted:
        parties = {name: open_client(agreed, name) for name in agreed.clients} | hosted.parties
        set_up(parties)
        pids = [party.pid for party in hosted.parties.values()]
        begun, spent = time.perf_counter(), _cpu_seconds(pids)
        for number in range(rounds + 1):
            if number == 1:
                begun, spent = time.perf_counter(), _cpu_seconds(pids)
            outcome = run_round(parties, number, "update", vectors, noise=halves)
            if not isinstance(outcome, Aggregate):
                raise RuntimeError(f"The sum was aborted: {outcome.reason}")
        took, used = time.perf_counter() - begun, _cpu_seconds(pids) - spent
    return {
        "clients": clients,
        "length": length,
        "wall_s": took / rounds,
        "helpers_s": used / rounds,
        "wire_bytes": agreed.client_bytes("update") / length,
    }


def norm_proofs(clients: int, length: int, checked: bool, rounds: int = 2) -> Point:
    """A sum by server and helper, with or without a proof of every client's norm; CPU seconds of each party, a sum.

    One client's seconds are of its vector, with its proof; all parties are in this process.
    """
    upload = Upload(name="update", length=length, bound=NORM, norm_bound=NORM if checked else 0)
    loose = plan("helper", [f"client{i}" for i in range(clients)], [upload], rounds + 1, max_dropouts=1)
    identities = make_identities((*loose.clients, *loose.roles))
    agreed, clock = loose.pinned(Roster.of(identities.values())), Clock()
    parties = {
        name: TimedClient(party, clock, CLIENTS)
        if isinstance(party, ClientSession)
        else TimedParty(party, clock, "server" if name == "server" else "helper")
        for name, party in rehearse(agreed, identities).items()
    }
    set_up(parties)
    vector = np.random.default_rng(0).integers(-SIZE, SIZE + 1, length)
    for number in range(rounds + 1):
        if number == 1:
            # The first sum loads and compiles what later ones have.
            clock.reset()
        outcome = run_round(parties, number, "update", dict.fromkeys(agreed.clients, vector))
        if not isinstance(outcome, Aggregate) or not np.array_equal(outcome.total, clients * vector):
            raise RuntimeError(f"The sum is wrong: {outcome!r}.")
    return {
        "clients": clients,
        "length": length,
        "client_s": clock.of(CLIENTS) / rounds / clients,
        "server_s": clock.of("server") / rounds,
        "helper_s": clock.of("helper") / rounds,
        "wire_bytes": clock.sent["vectors"] / rounds / clients / length,
    }


def _cpu_seconds(pids: Iterable[int]) -> float:
    """CPU seconds of these processes until now (Linux: fields 14 and 15 of /proc/PID/stat)."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def server_memory(clients: int, length: int) -> Point:
    """The most memory that a masking server takes while it adds the vectors that arrive, in vectors of the ring."""
    agreed = share_plan("secagg+", clients, 0.05, (length,))
    parties: dict[str, Session] = rehearse(agreed)
    set_up(parties)
    server, name = parties["server"], str(length)
    server.on(Begin(0, name))
    vector = np.random.default_rng(0).integers(-BOUND, BOUND + 1, length)
    ours = [party for party in parties.values() if isinstance(party, ClientSession)]
    # The last vector would end the phase: it is not sent.
    messages = [message for client in ours[:-1] for message in client.submit(0, name, vector)]
    tracemalloc.start()
    for message in messages:
        server.on(message)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    one = length * ring_dtype(agreed.ring_bits(name)).itemsize
    return {"clients": clients, "length": length, "vectors": peak / one}
