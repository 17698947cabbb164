"""A secure sum with `crypto` alone: five clients, one drops out, and the server learns only the sum of the others.

The helper parties (server and key holder) run in processes of their own.
"""

from __future__ import annotations

import numpy as np

from crypto import Abort, FixedPoint, Party, Upload, host_parties, open_client, plan, run_round, set_up, system_random

CLIENTS = ("ada", "bob", "cyd", "dan", "eve")
LENGTH = 10_000


def main() -> None:
    """Run one sum under BFV and compare it with the sum in the clear."""
    encoder = FixedPoint(scale=2.0**16, clip=1.0)
    planned = plan(
        "bfv", CLIENTS, (Upload(name="update", length=LENGTH, bound=encoder.bound),), rounds=1, max_dropouts=1
    )
    print("assumption:", planned.assumption)
    print("bytes per client:", planned.client_bytes("update"))

    rng = np.random.default_rng(0)
    real = {name: rng.normal(0.0, 0.2, LENGTH) for name in CLIENTS}
    encoded = {name: encoder.encode(vector, system_random).values for name, vector in real.items()}

    with host_parties(planned) as hosted:
        parties: dict[str, Party] = {**hosted.parties, **{name: open_client(planned, name) for name in CLIENTS}}
        set_up(parties)
        outcome = run_round(parties, 0, "update", encoded, drop=("dan",))
    if isinstance(outcome, Abort):
        raise SystemExit(f"aborted: {outcome.reason}")

    survivors = [name for name in CLIENTS if name != "dan"]
    exact = np.array_equal(outcome.total, sum(encoded[name] for name in survivors))
    error = np.abs(encoder.decode(outcome.total) - sum(real[name] for name in survivors)).max()
    print("summed:", ", ".join(outcome.contributors))
    print("equal to the integer sum, bit for bit:", exact)
    print(f"largest rounding error of the decoded sum: {error:.1e}")


if __name__ == "__main__":
    main()
