"""What one secure sum costs under every protocol, for as many clients as one asks: bytes, CPU and dropouts.

CPU is modelled, not measured: constants fitted to small sums (`python -m benchmarks.scale.model`), with the error on a
sum that they were not fitted to. Machines differ more than that; the ratios between protocols differ less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crypto.errors import PlanRefused
from crypto.planning.masks import COMPLETE_BELOW, Graph, choose_parameters
from crypto.planning.plans import Plan
from crypto.planning.upload import Upload
from crypto.protocols.catalogue import entry_of
from crypto.protocols.plans import plan

#: Share of the clients that may drop out of a sum, and that are assumed to work with the server.
DROPOUTS, CORRUPT = 20, 10


@dataclass(frozen=True, kw_only=True)
class Costs:
    """CPU seconds of one sum: coefficients of `terms` for one client and for all other parties, and the error found.

    `error`: largest relative error on the sum of 100 clients and 20,000 entries, which they were not fitted to.
    """

    client: tuple[float, ...]
    others: tuple[float, ...]
    error: float


COSTS: dict[str, Costs] = {
    "plain": Costs(client=(8.42e-05, 7.21e-09), others=(0.0, 0.000437, 9.61e-09), error=0.598),
    "bfv": Costs(client=(0.00223, 2.81e-07), others=(0.0, 0.00151, 5.1e-08), error=0.315),
    "mpc": Costs(client=(0.000751, 1.48e-08), others=(0.0, 0.00171, 1.73e-08), error=0.227),
    "secagg": Costs(
        client=(0.000899, 9.08e-09, 0.000211, 8.55e-07, 4.64e-10),
        others=(0.0, 0.000957, 5.5e-09, 9.15e-06, 4.97e-07),
        error=0.299,
    ),
    "secagg+": Costs(
        client=(0.00256, 6.44e-09, 0.0, 9.63e-06, 0.0), others=(0.0, 0.00132, 1.28e-09, 0.0, 1.27e-06), error=0.287
    ),
    "helper": Costs(client=(0.000753, 1.26e-08), others=(0.0, 0.00136, 1.08e-08), error=0.321),
}


@dataclass(frozen=True, kw_only=True)
class Population:
    """One protocol for one number of clients; `refused` says why it cannot serve them, `most` how many it takes.

    Bytes are payload of one client for one sum, seconds CPU of one client and of all other parties together.
    """

    protocol: str
    clients: int
    dropouts: int | None = None
    client_bytes: int | None = None
    client_s: float | None = None
    others_s: float | None = None
    error: float | None = None
    refused: str | None = None
    most: int | None = None


def terms(protocol: str, clients: int, length: int) -> tuple[list[float], list[float]]:
    """Return what the CPU of one client, and of all other parties, grows with.

    One client: itself, its entries, and under masks its holders (neighbours and itself) and their entries. The others:
    as many of each; under masks secrets recovered of thresholds squared and one mask taken off for every client.
    """
    graph = entry_of(protocol).masks
    if graph is None:
        return [1.0, length], [1.0, clients, clients * length]
    made = choose_parameters(clients, clients // CORRUPT, clients // DROPOUTS, "semi-honest", graph == "complete")
    holders, threshold = made.neighbours + 1, made.threshold
    return (
        [1.0, length, holders, holders * threshold, holders * length],
        [1.0, clients, clients * length, clients * holders, clients * threshold**2],
    )


def population(protocol: str, clients: int, upload: Upload, rounds: int) -> Population:
    """Return what a sum of `upload` over so many clients costs, or why the protocol refuses it.

    One client in 20 may drop out, and under masks one in 10 may work with the server.
    """
    dropouts = clients // DROPOUTS
    try:
        made = _planned(protocol, clients, upload, rounds)
    except PlanRefused as refused:
        most = largest(lambda n: _planned(protocol, n, upload, rounds), clients)
        return Population(protocol=protocol, clients=clients, refused=str(refused), most=most)
    costs, (own, others) = COSTS[protocol], terms(protocol, clients, upload.length)
    return Population(
        protocol=protocol, clients=clients, dropouts=dropouts, client_bytes=made.client_bytes(upload.name),
        client_s=sum(map(float.__mul__, map(float, own), costs.client)),
        others_s=sum(map(float.__mul__, map(float, others), costs.others)), error=costs.error,
    )  # fmt: skip


def _planned(protocol: str, clients: int, upload: Upload, rounds: int) -> Plan:
    graph: Graph | None = entry_of(protocol).masks
    if graph is not None:
        # Before a million names are made for a number that is out of the question.
        choose_parameters(clients, clients // CORRUPT, clients // DROPOUTS, "semi-honest", graph == "complete")
    return plan(protocol, (f"client{k}" for k in range(clients)), [upload], rounds, clients // DROPOUTS)


def largest(planned: Callable[[int], object], refused: int) -> int:
    """Return the largest number of clients below a refused one that is taken, to three digits; 0 if none is.

    It assumes that who refuses a number refuses larger ones.
    """
    low, high = 0, refused
    while high - low > max(1, low // 1000):
        middle = (low + high) // 2 if low else max(2, min(4096, high // 2))
        try:
            planned(middle)
        except PlanRefused:
            if middle == high or (low == 0 and middle == 2):
                return 0
            high = middle
        else:
            low = middle
    return low


def recommendation(protocol: str, clients: int) -> str | None:
    """Return which protocol to take instead, in words; None if there is nothing to say.

    Under "secagg" every client shares secrets with every other: what each computes grows with the clients, and what all
    compute together with their square. "secagg+" asks a logarithmic number of neighbours.
    """
    if entry_of(protocol).masks != "complete" or clients < COMPLETE_BELOW:
        return None
    sparse = choose_parameters(clients, clients // CORRUPT, clients // DROPOUTS, "semi-honest", complete=False)
    return (
        f"protection = {protocol!r} makes each of {clients} clients share keys with {clients - 1} others in every sum; "
        f"set protection = 'secagg+', where it shares them with {sparse.neighbours}"
    )
