"""Flower's simulation of as many clients, FedAvg or SecAgg+, in a process of its own: `one_run` for the other side.

It needs a Python with `flwr[simulation]` and nothing of this project. Its clients train nothing: they send the weights
they were given, so that all that is measured is what carries, masks and adds them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}

import numpy as np
from flwr.client import ClientApp, NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.common import Context, ndarrays_to_parameters
from flwr.server import Grid, LegacyContext, ServerApp, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.simulation import run_simulation

# As this project plans 100 clients of secagg+: 30 neighbours and oneself, of whom 21 recover a secret.
SHARES, THRESHOLD = 31, 21


class Echo(NumPyClient):
    """Sends back what it was given."""

    def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        """See `NumPyClient`."""
        del config
        return parameters, 1, {}


def main(clients: int, protection: str, hidden: int, rounds: int) -> None:
    """Run, and print the costs."""
    size = 64 * hidden + hidden + 10 * hidden + 10
    walls: list[float] = []

    class Timed(FedAvg):
        def configure_fit(self, *args: Any, **more: Any) -> Any:
            walls.append(time.perf_counter())
            return super().configure_fit(*args, **more)

    strategy = Timed(
        fraction_fit=1.0, fraction_evaluate=0.0, min_fit_clients=clients, min_available_clients=clients,
        initial_parameters=ndarrays_to_parameters([np.zeros(size, dtype=np.float32)]),
    )  # fmt: skip
    server = ServerApp()

    @server.main()
    def run(grid: Grid, context: Context) -> None:
        legacy = LegacyContext(context=context, config=ServerConfig(num_rounds=rounds), strategy=strategy)
        masked = SecAggPlusWorkflow(num_shares=SHARES, reconstruction_threshold=THRESHOLD, timeout=3600.0)
        DefaultWorkflow(fit_workflow=None if protection == "plain" else masked)(grid, legacy)
        walls.append(time.perf_counter())

    mods = [] if protection == "plain" else [secaggplus_mod]
    client = ClientApp(client_fn=lambda _context: Echo().to_client(), mods=mods)
    begun = time.perf_counter()
    run_simulation(
        server_app=server, client_app=client, num_supernodes=clients,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 2}},
    )  # fmt: skip
    if len(walls) != rounds + 1:
        raise RuntimeError(f"{len(walls) - 1} of {rounds} rounds were begun and ended")
    steps = sorted(np.diff(walls).tolist())
    found = {
        "clients": clients, "protection": protection, "parameters": size, "rounds": rounds,
        "round_s": steps[len(steps) // 2],
        "wall_s": time.perf_counter() - begun,
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
