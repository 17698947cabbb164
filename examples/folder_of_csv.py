"""From a folder of CSV files and a network with BatchNorm to accuracy, forgetting, epsilon and predictions.

On the command line: `secure-fcl data inspect walks`, `secure-fcl run` with the same settings, `secure-fcl predict`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

import secure_fcl
from secure_fcl.data.folder.inspect import propose


def record(folder: Path) -> None:
    """Make the data: a file for each of nine people, 25 readings of eight sensors a second; rhythm tells activities."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for person in range(9):
        lines = ["seconds,a,b,c,d,e,f,g,h,activity"]
        for row, label in enumerate(np.repeat(["rest", "walk", "run", "jump"] * 2, 400)):
            level, time = row // 400 % 4, row / 25
            waves = level * np.sin(2 * np.pi * (0.5 + level) * time + np.arange(8)) + rng.normal(0, 0.2, 8)
            lines.append(",".join([f"{time:.2f}", *(f"{value:.3f}" for value in waves), label]))
        (folder / f"person{person}.csv").write_text("\n".join(lines), encoding="utf-8")


def network(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a network as one has it; BatchNorm, which DP-SGD forbids, is replaced below."""
    return nn.Sequential(
        nn.Conv1d(shape[0], 16, 5, stride=2), nn.BatchNorm1d(16), nn.ReLU(),
        nn.AdaptiveAvgPool1d(8), nn.Flatten(), nn.Linear(128, classes),
    )  # fmt: skip


def main() -> None:
    """Declare the folder, run two strategies on two tasks, print the tables, predict."""
    folder = Path("walks").resolve()
    record(folder)
    proposed = propose(folder).text()
    print(proposed)  # says which of these numbers were read off the data
    (folder / "data.toml").write_text(proposed.replace("to be declared", "g"), encoding="utf-8")

    run = secure_fcl.run(
        {
            "rows": ["replay", "class_sums"],
            "data": {"source": "folder", "data_dir": str(folder)},
            "scenario": {"clients": 9, "tasks": 2},
            "training": {"rounds": 6, "replace_layers": True},
            "attacks": {"enabled": False},
        },
        model=network,
    )
    for table in (run.accuracy, run.forgetting, run.epsilon):
        print(table)
    readings = np.loadtxt(folder / "person0.csv", delimiter=",", skiprows=1, usecols=range(1, 9), max_rows=64)
    print("predicted:", *run.model("replay").predict(readings.T[None]))
    print("report:", run.report)


if __name__ == "__main__":
    main()
