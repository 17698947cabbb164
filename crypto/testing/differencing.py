"""What several sums say together: the smallest group of clients that some combination of them speaks of alone.

Two sums that differ by many clients can be harmless each and, with a third, give away one client: sums over A+B, A and
B+v combine to v. Whether that is possible is linear algebra, and computed here exactly for small cases.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fractions import Fraction
from itertools import combinations

from crypto.running.driver import MAX_DEADLINES, deliver
from crypto.testing.bench import Bench, expect, random_vectors
from crypto.testing.hiding import determined
from crypto.wire.messages import Aggregate, Begin, Deadline


def smallest_exposed(
    cohorts: Sequence[Collection[int]], clients: int, known: Collection[int] = (), modulus: int = 0
) -> int:
    """How few of `clients` a combination of the cohorts' sums can speak of alone; 0 if there is no such combination.

    `known`: clients whose vectors the observer has, colluders; they are not counted. `modulus`: of the sums, a prime or
    a power of 2; 0 computes over the rationals. Tries all groups, so it is for few clients.
    """
    secret = [client for client in range(clients) if client not in known]
    rows = [[int(client in cohort) for client in secret] for cohort in cohorts]
    for size in range(1, len(secret) + 1):
        for group in combinations(range(len(secret)), size):
            if _speaks_of(rows, group, len(secret), modulus):
                return size
    return 0


def _speaks_of(rows: Sequence[Sequence[int]], group: Sequence[int], width: int, modulus: int) -> bool:
    others = [column for column in range(width) if column not in group]
    ordered = [[row[column] for column in (*group, *others)] for row in rows]
    if modulus:
        return bool(determined(ordered, len(group), modulus))
    return _rank(ordered) > _rank([row[len(group) :] for row in ordered])


def _rank(rows: Sequence[Sequence[int]]) -> int:
    """The rank over the rationals."""
    rest, rank = [[Fraction(entry) for entry in row] for row in rows], 0
    for column in range(len(rest[0]) if rest else 0):
        pivot = next((row for row in rest if row[column]), None)
        if pivot is None:
            continue
        rest.remove(pivot)
        rank += 1
        rest = [
            [entry - row[column] / pivot[column] * other for entry, other in zip(row, pivot, strict=True)]
            for row in rest
        ]
    return rank


def check_differencing(bench: Bench) -> None:
    """A server asks for sums of several cohorts at one model: those that are opened speak of no fewer clients together
    than a sum must hold.

    Cohorts that overlap in all ways that the plan allows are asked for, each in a round of its own, until no more are
    opened. Where nothing is hidden, whatever is opened will do.
    """
    plan = bench.plan
    upload, opened = plan.uploads[0], list[list[int]]()
    vectors = random_vectors(plan, upload, "differencing")
    names = plan.clients
    shifted = [names[place:] + names[:place] for place in range(min(4, len(names)))]
    asked = [names, *(order[: plan.min_clients] for order in shifted)]
    for cohort in asked:
        number = bench.fresh()
        outcomes = deliver(bench.parties, (), inputs={"server": (Begin(number, upload.name),)})
        for name in names:
            client = bench.client(name)
            sent = client.submit(number, upload.name, vectors[name], model=b"one model") if client.ready else ()
            # The server loses the others.
            outcomes += deliver(bench.parties, sent if name in cohort else ())
        for _ in range(MAX_DEADLINES):
            if not outcomes:
                outcomes += deliver(bench.parties, (), inputs={"server": (Deadline(number, upload.name),)})
        opened += [[names.index(n) for n in each.contributors] for each in outcomes if isinstance(each, Aggregate)]
    for modulus in () if plan.rules.hiding == "nothing" else (0, 1 << 64):
        fewest = smallest_exposed(opened, len(names), modulus=modulus)
        expect(
            fewest in range(plan.min_clients, len(names) + 1), f"sums of {opened} speak of {fewest} clients together"
        )
