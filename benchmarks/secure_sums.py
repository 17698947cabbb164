"""What a client pays to protect one vector, against adding it in the clear (numpy, same process, one thread)."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.timing import best
from crypto import Upload, host_parties, open_client, plan, set_up, system_random
from crypto.vectors.encoding import FixedPoint

CLIENTS, LENGTH, ROUNDS = 30, 16_384, 6


def main() -> None:
    """Print milliseconds and ratios for encoding and for each protocol's submit."""
    rng = np.random.default_rng(0)
    vector = rng.integers(-(2**16) + 1, 2**16, size=LENGTH)
    total = np.zeros(LENGTH, dtype=np.int64)
    clear = best(lambda: np.add(total, vector, out=total), 50)
    table = Table("step", "ms", "times a plain add", "bytes per entry", title=f"{LENGTH} entries, {CLIENTS} clients")
    table.add_row("plain add", f"{1e3 * clear:.3f}", "1", "8.00")
    encoder = FixedPoint(scale=2.0**16 - 1, clip=1.0)
    spent = best(lambda: encoder.encode(rng.uniform(-1, 1, LENGTH), system_random))
    table.add_row("encode", f"{1e3 * spent:.3f}", f"{spent / clear:.0f}", "")
    for protocol in ("plain", "bfv", "mpc"):
        names = [f"client{k}" for k in range(CLIENTS)]
        secure = plan(protocol, names, [Upload(name="update", length=LENGTH, bound=2**16 - 1)], ROUNDS)
        with host_parties(secure) as hosted:
            keys = set_up({**hosted.parties})
            client = open_client(secure, "client0")
            client.start()
            for message in keys:
                client.on(message)
            times = [best(lambda r=r, c=client: c.submit(r, "update", vector), 1) for r in range(ROUNDS)]
        spent = min(times)
        size = secure.client_bytes("update") / LENGTH
        table.add_row(f"{protocol}: submit", f"{1e3 * spent:.3f}", f"{spent / clear:.0f}", f"{size:.2f}")
    Console().print(table)
