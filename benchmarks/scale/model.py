"""`python -m benchmarks.scale.model`: CPU of a device and of everybody else for one sum, fitted to small sums.

Prints the constants of `secure_fcl.forecast.populations` and how far they are off on sums that they were not fitted to.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from scipy.optimize import nnls

from crypto import ClientSession, Roster, Upload, make_identities, plan, run_round, set_up
from crypto.protocols.session import Session
from crypto.running.rehearsal import rehearse
from crypto.wire.messages import Input, Item, Message
from secure_fcl.forecast.populations import terms

Point = tuple[str, int, int, float, float]

FITTED = ((10, 1_000), (10, 60_000), (30, 10_000), (60, 1_000), (60, 30_000))
HELD_OUT = (100, 20_000)
PROTOCOLS = ("plain", "bfv", "mpc", "secagg", "secagg+", "helper")


class Timed:
    """A client's session that adds up the CPU seconds spent in it."""

    def __init__(self, inner: ClientSession) -> None:
        self._inner, self.name, self.seconds = inner, inner.name, 0.0
        self.ready, self.public = False, None

    @contextmanager
    def _timing(self) -> Iterator[None]:
        begun = time.process_time()
        yield
        self.seconds += time.process_time() - begun
        self.ready = self._inner.ready

    def start(self) -> tuple[Item, ...]:
        """See `Session.start`."""
        with self._timing():
            return self._inner.start()

    def on(self, item: Input) -> tuple[Item, ...]:
        """See `Session.on`."""
        with self._timing():
            return self._inner.on(item)

    def submit(
        self, round: int, upload: str, vector: np.ndarray, noise: np.ndarray | None = None, *, model: bytes = b""
    ) -> tuple[Message, ...]:
        """See `ClientSession.submit`."""
        with self._timing():
            return self._inner.submit(round, upload, vector, noise, model=model)


def measured(protocol: str, clients: int, length: int) -> tuple[float, float]:
    """Return CPU seconds of one client, and of all other parties together, for one steady sum: the best of three."""
    upload = Upload(name="update", length=length, bound=65_535)
    loose = plan(protocol, [f"client{k}" for k in range(clients)], [upload], rounds=4, max_dropouts=clients // 20)
    known = make_identities((*loose.clients, *loose.roles))
    opened = rehearse(loose.pinned(Roster.of(known.values())), known)
    timed = {name: Timed(party) for name, party in opened.items() if isinstance(party, ClientSession)}
    parties: dict[str, Session] = {**opened, **timed}
    set_up(parties)
    vectors = {name: np.arange(length, dtype=np.int64) % 1000 for name in timed}
    found = []
    for number in range(4):
        before = sum(each.seconds for each in timed.values())
        begun = time.process_time()
        run_round(parties, number, "update", vectors)
        theirs = sum(each.seconds for each in timed.values()) - before
        found.append((theirs / clients, time.process_time() - begun - theirs))
    return min(own for own, _ in found[1:]), min(others for _, others in found[1:])


def main() -> None:
    """Measure, fit, and print one JSON object a protocol."""
    for protocol in PROTOCOLS:
        points = [(n, m, *measured(protocol, n, m)) for n, m in FITTED]
        constants, errors = [], []
        held = measured(protocol, *HELD_OUT)
        for place in (0, 1):
            rows = np.array([terms(protocol, n, m)[place] for n, m, *_ in points])
            seconds = np.array([point[2 + place] for point in points])
            scale = np.maximum((rows / seconds[:, None]).max(axis=0), 1e-300)
            solved = nnls(rows / seconds[:, None] / scale, np.ones(len(points)))[0] / scale
            constants.append([float(f"{value:.3g}") for value in solved])
            errors.append(float(np.dot(terms(protocol, *HELD_OUT)[place], solved)) / held[place] - 1)
        print(json.dumps({protocol: {"client": constants[0], "others": constants[1], "error": max(map(abs, errors))}}))


if __name__ == "__main__":
    main()
