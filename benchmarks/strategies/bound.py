"""Joint training without privacy on CALM's own features, as a check for leaks: `python -m benchmarks.strategies.bound`.

Central, all examples at once: multinomial logistic regression on the features and, as in CALM, on turned copies of
every example. No strategy without noise may be better by more than chance; one that is reads what it must not.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.strategies.cells import DATA, Cell
from benchmarks.strategies.runs import Line
from secure_fcl.config import load_config
from secure_fcl.data import load
from secure_fcl.rows.build import build_row
from secure_fcl.strategies.closed_form.calm import Calm
from secure_fcl.streams import build_scenario

ROW = "central"


def bound(data: str, data_dir: str) -> Line:
    """Return a line of results for central joint training."""
    begun = time.monotonic()
    config = load_config(
        None, [*Cell(data, float("inf"), "none", 1, ("calm",)).settings(), f"data.data_dir={data_dir}"]
    )
    scenario = build_scenario(load(config.data.name, config.data.data_dir or None), config)
    strategy = build_row(config, scenario, "calm", 0.0).strategy
    if not isinstance(strategy, Calm):
        raise TypeError("the row 'calm' is not CALM")
    train, test = np.flatnonzero(scenario.data.train & (scenario.owner >= 0)), scenario.test_indices()
    copies = [strategy.features(copy) for copy in strategy.variations(scenario.x[train])]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=10.0, max_iter=200))
    model.fit(np.concatenate(copies), np.tile(scenario.data.y[train], len(copies)))
    right = model.predict(strategy.features(scenario.x[test])) == scenario.data.y[test]
    tasks = [float(right[scenario.part[test] == task].mean()) for task in range(scenario.parts)]
    return {
        "cell": f"{data}-{ROW}", "data": data, "row": ROW, "noise": "none", "seed": 0, "target": None, "epsilon": None,
        "micro": float(right.mean()), "task_mean": float(np.mean(tasks)), "forgetting": None,
        "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip


def main() -> int:
    """Print one line for each data set."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategies.bound", description=__doc__)
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    parser.add_argument("--data-dir", default=os.environ.get("SECURE_FCL_DATA", ""), help="folder with MNIST's files")
    options = parser.parse_args()
    for data in options.data:
        found = bound(data, options.data_dir)
        print(
            f"{data}: joint, central, no privacy: {100 * found['micro']:.1f} % of the test examples, "
            f"{100 * found['task_mean']:.1f} % averaged over tasks",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
