"""What the server and the corrupt clients together can compute: the honest sum and nothing else.

With every secret that they do not know as a variable, a vector of each honest client is one equation
y_u = x_u + (unknown masks). A combination of the y's is free of unknowns if it lies in the left null space of
the mask coefficients; the honest sum is such a combination, and must be the only one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crypto import Begin
from crypto.planning.masks import Mode
from crypto.protocols.masks import epoch
from crypto.protocols.masks.keys import AgreementKey, MaskContext
from crypto.protocols.masks.offers import PAIR, SELF
from crypto.protocols.masks.requests import Shares
from crypto.protocols.masks.stream import Ring
from crypto.testing import determined

PRIME = 2_147_483_647


def known_secrets(cohort: Any, corrupt: set[int]) -> set[tuple[int, int]]:
    """(dealer, kind) of every secret of the first sum that server and corrupt clients can reconstruct.

    Each honest client's answer gives the shares in it; a corrupt client gives both shares of all its dealers.
    """
    clients, plan = cohort.plan.clients, cohort.plan
    setup = next(iter(cohort.parties[clients[0]].public.setups.values()))
    holders: dict[tuple[int, int], set[int]] = {}
    for message in cohort.sent:
        if message.kind == "shares":
            holder = clients.index(message.sender)
            for dealer, kind, _ in Shares.from_bytes(message.payload).triples:
                holders.setdefault((dealer, kind), set()).add(holder)
    for dealer in range(len(clients)):
        for kind in (SELF, PAIR):
            holders.setdefault((dealer, kind), set()).update(corrupt & set(setup.holders(dealer)))
    return {secret for secret, known in holders.items() if len(known) >= plan.masks.threshold or secret[0] in corrupt}


def free_combinations(cohort: Any, corrupt: set[int], known: set[tuple[int, int]]) -> tuple[int, bool]:
    """(dimension of the combinations of honest vectors free of unknowns, whether the survivors' sum is one)."""
    clients = cohort.plan.clients
    setup = next(iter(cohort.parties[clients[0]].public.setups.values()))
    senders = [clients.index(message.sender) for message in cohort.sent if message.kind == "masked"]
    rows = [place for place in senders if place not in corrupt]
    unknown: dict[tuple[int, int], int] = {}
    entries = []
    for row, place in enumerate(rows):
        if (place, SELF) not in known:
            entries.append((row, unknown.setdefault((place, place), len(unknown)), 1))
        for peer in setup.neighbours[place]:
            if (place, PAIR) in known or (peer, PAIR) in known:
                continue
            pair = (min(place, peer), max(place, peer))
            entries.append((row, unknown.setdefault(pair, len(unknown)), 1 if place < peer else PRIME - 1))
    matrix = np.zeros((len(rows), len(unknown)), dtype=np.int64)
    for row, column, sign in entries:
        matrix[row, column] = sign
    alive = [1 if (place, SELF) in known else 0 for place in rows]
    summed = np.array(alive) @ np.where(matrix == PRIME - 1, -1, matrix)
    return len(rows) - rank(matrix), not summed.any()


def rank(matrix: np.ndarray[Any, np.dtype[np.int64]]) -> int:
    """Rank modulo a prime; every entry stays below 2^31, so products fit."""
    work, found = matrix % PRIME, 0
    for column in range(work.shape[1]):
        below = np.flatnonzero(work[found:, column])
        if not below.size:
            continue
        pivot = found + below[0]
        work[[found, pivot]] = work[[pivot, found]]
        work[found] = work[found] * pow(int(work[found, column]), -1, PRIME) % PRIME
        others = np.flatnonzero(work[:, column])
        others = others[others != found]
        work[others] = (work[others] - work[others, column][:, None] * work[found]) % PRIME
        found += 1
        if found == work.shape[0]:
            break
    return found


CASES = [("secagg", "semi-honest", 10, 2, 2), ("secagg", "active", 10, 2, 2), ("secagg+", "semi-honest", 60, 6, 3)]


@pytest.mark.parametrize(("protocol", "mode", "n", "dropouts", "corrupt"), CASES)
def test_elimination_gives_the_honest_sum_and_nothing_else(
    protocol: str, mode: Mode, n: int, dropouts: int, corrupt: int, make_masks: Callable[..., Any]
) -> None:
    cohort = make_masks(protocol, mode, n=n, dropouts=dropouts, corrupt=corrupt, bare=True)
    gone = set(range(0, 2 * dropouts, 2))
    cohort.lose = lambda message: message.kind == "masked" and cohort.plan.clients.index(message.sender) in gone
    vectors = cohort.vectors("hiding")
    cohort.expect(cohort.run(0, vectors), vectors, [name for p, name in enumerate(vectors) if p not in gone])
    rng = np.random.default_rng(3)
    for _ in range(5):
        bad = set(rng.choice(n, corrupt, replace=False).tolist())
        known = known_secrets(cohort, bad)
        assert not any((place, SELF) in known and (place, PAIR) in known for place in range(n) if place not in bad)
        assert free_combinations(cohort, bad, known) == (1, True)


def test_the_test_sees_a_split_and_a_double_answer(make_masks: Callable[..., Any]) -> None:
    """Negative controls: two secrets of one client, and the pair keys of all neighbours of another."""
    cohort = make_masks(n=10, corrupt=0, bare=True)
    cohort.run(0, cohort.vectors("control"))
    known = known_secrets(cohort, set())
    assert free_combinations(cohort, set(), known) == (1, True)
    assert free_combinations(cohort, set(), known | {(4, PAIR)})[0] == 2
    split = known | {(place, PAIR) for place in range(1, 10)}
    assert free_combinations(cohort, set(), split)[0] == 10


def test_two_worlds_of_one_sum_look_alike(make_masks: Callable[..., Any]) -> None:
    """Exactly: the masks that turn one world's messages into the other's exist and keep every known secret.

    With unknown masks uniform, messages y in world x and in world x' (equal honest sums) are equally likely: the
    difference x - x' is a combination of columns of unknown masks.
    """
    cohort = make_masks(n=10, corrupt=2, bare=True)
    cohort.run(0, cohort.vectors("worlds"))
    corrupt = {0, 1}
    setup = next(iter(cohort.parties["client000"].public.setups.values()))
    honest = [place for place in range(10) if place not in corrupt]
    edges = [(u, v) for u in honest for v in setup.neighbours[u] if u < v and v not in corrupt]
    columns = np.zeros((len(honest), len(edges)), dtype=np.int64)
    for column, (u, v) in enumerate(edges):
        columns[honest.index(u), column], columns[honest.index(v), column] = 1, -1
    rng = np.random.default_rng(1)
    change = rng.integers(-100, 100, len(honest))
    change[-1] -= change.sum()
    assert rank(np.column_stack([columns % PRIME, change % PRIME])) == rank(columns % PRIME)
    change[-1] += 1
    assert rank(np.column_stack([columns % PRIME, change % PRIME])) == rank(columns % PRIME) + 1


@pytest.mark.parametrize("number", range(3))
def test_a_masked_vector_is_uniform_on_its_ring(number: int, make_masks: Callable[..., Any]) -> None:
    """Not proof of hiding (a weak generator passes as well), but a mask left out would show."""
    from scipy import stats

    from crypto.protocols.masks.adding import unpack_bits
    from crypto.protocols.masks.requests import read_masked

    cohort = make_masks(bare=True)
    cohort.give("server", Begin(number, "update"))
    for name in cohort.plan.clients:
        cohort.submit(number, "update", name, np.zeros(301, dtype=np.int64))
    bits = cohort.plan.ring_bits("update")
    rows = [read_masked(m.payload)[2] for m in cohort.sent if m.kind == "masked"]
    values = np.concatenate([unpack_bits(row, 301, bits) for row in rows]) >> (bits - 4)
    assert stats.chisquare(np.bincount(values, minlength=16)).pvalue > 1e-6


class Recorder:
    """Which keys the clients' code itself puts on each vector, and what each key is called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: dict[bytes, tuple[str, ...]] = {}
        self.applied: list[tuple[list[bytes], list[bytes]]] = []
        real_self, real_pair, real_apply = MaskContext.self_key, MaskContext.pair_key, epoch.apply_masks

        def self_key(context: MaskContext, seed: bytes, name: str) -> bytes:
            return self.called(real_self(context, seed, name), name)

        def pair_key(
            context: MaskContext, mine: AgreementKey, peer: bytes, first: str, second: str, secret: bytes | None
        ) -> bytes:
            assert secret is not None
            return self.called(real_pair(context, mine, peer, first, second, secret), first, second)

        def apply_masks(vector: Ring, add: list[bytes], subtract: list[bytes]) -> None:
            self.applied.append((add, subtract))
            real_apply(vector, add, subtract)

        monkeypatch.setattr(MaskContext, "self_key", self_key)
        monkeypatch.setattr(MaskContext, "pair_key", pair_key)
        monkeypatch.setattr(epoch, "apply_masks", apply_masks)

    def called(self, key: bytes, *names: str) -> bytes:
        assert self.names.setdefault(key, names) == names
        return key


def what_the_code_gives_away(cohort: Any, recorder: Recorder, corrupt: set[int]) -> list[list[int]]:
    """The combinations of the honest vectors, in the order in which they were sent, that elimination over the ring of
    the sum finds, with every key stream that server and corrupt clients do not know as a variable.
    """
    clients, known = cohort.plan.clients, known_secrets(cohort, corrupt)

    def hidden(names: tuple[str, ...]) -> bool:
        kind = SELF if len(names) == 1 else PAIR
        return not any((clients.index(name), kind) in known for name in names)

    unknown = [key for key, names in recorder.names.items() if hidden(names)]
    columns = {key: column for column, key in enumerate(unknown)}
    senders = [clients.index(message.sender) for message in cohort.sent if message.kind == "masked"]
    honest = [row for row, place in enumerate(senders) if place not in corrupt]
    rows = []
    for index, row in enumerate(honest):
        coefficients = [int(index == other) for other in range(len(honest))] + [0] * len(columns)
        for sign, keys in zip((1, -1), recorder.applied[row], strict=True):
            for key in keys:
                if key in columns:
                    coefficients[len(honest) + columns[key]] += sign
        rows.append(coefficients)
    return determined(rows, len(honest), 1 << cohort.plan.ring_bits("update"))


@pytest.mark.parametrize(("protocol", "mode", "n", "dropouts", "corrupt"), CASES)
def test_the_code_gives_away_the_honest_sum_and_nothing_else(
    protocol: str,
    mode: Mode,
    n: int,
    dropouts: int,
    corrupt: int,
    make_masks: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cohort = make_masks(protocol, mode, n=n, dropouts=dropouts, corrupt=corrupt, bare=True)
    gone = set(range(0, 2 * dropouts, 2))
    cohort.lose = lambda message: message.kind == "masked" and cohort.plan.clients.index(message.sender) in gone
    recorder, vectors = Recorder(monkeypatch), cohort.vectors("code")
    cohort.expect(cohort.run(0, vectors), vectors, [name for p, name in enumerate(vectors) if p not in gone])
    bad = {n - 1 - 2 * i for i in range(corrupt)}
    survivors = [int(place not in gone) for place in range(n) if place not in bad]
    assert what_the_code_gives_away(cohort, recorder, bad) == [survivors]


def test_a_client_that_leaves_out_a_mask_is_seen(
    make_masks: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: one client's pairwise masks are not applied, so its vector is open once its own mask is."""
    cohort = make_masks(n=8, corrupt=0, bare=True)
    recorder, vectors = Recorder(monkeypatch), cohort.vectors("control")
    cohort.run(0, vectors)
    add, subtract = recorder.applied[3]
    recorder.applied[3] = ([key for key in add if len(recorder.names[key]) == 1], [])
    assert len(subtract) == 3
    found = what_the_code_gives_away(cohort, recorder, set())
    assert [int(place == 3) for place in range(8)] in found
