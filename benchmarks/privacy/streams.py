"""Prefix sums of a one-pass stream: error of correlated noise against independent noise at equal privacy."""

from __future__ import annotations

from rich.console import Console

from benchmarks.privacy.page import Section, save_section
from privacy.matrix import compare


def main() -> None:
    """Print the root mean square error of all prefixes at noise multiplier 1."""
    head = ["steps", "independent", "binary tree", "square-root Toeplitz", "gain"]
    rows = [
        [str(steps), f"{independent:.2f}", f"{tree:.2f}", f"{root:.2f}", f"{independent / root:.1f}x"]
        for steps, independent, tree, root in compare([16, 128, 1024, 4096])
    ]
    made = Section("streams", [("", head, rows)])
    save_section(made)
    Console().print(made.text())


if __name__ == "__main__":
    main()
