"""The page: one table of every budget with and without the check, and the figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.poisoning.runs import EPSILONS, ROWS
from evaluation.canvas import SERIES, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Line = dict[str, Any]
_NAMES = {"class_sums": "class sums", "replay": "replay (ER)"}
_COLUMNS: dict[tuple[bool, str], str] = {
    (False, "none"): "honest, no bound",
    (False, "1000 times"): "1000 times, no bound",
    (True, "none"): "honest, bound",
    (True, "1000 times"): "1000 times, bound",
    (True, "within"): "within the bound",
}
_HEAD = """# One client sends 1,000 times its update

Made by `make bench-poisoning` (resumable), which writes `benchmarks-poisoning.jsonl` beside this page. HAPT, 30
phones, six tasks, class-incremental; every sum by real processes (`protection = "mpc"`), noise shared inside the sums;
share of all test windows that are right, in percent.

- *1000 times*: phone 0 goes around its own program in every round and shares 1,000 times its vector. Its entries stop
  at half of what the whole sum may reach: a sum beyond that is refused, and would end the run.
- *bound*: `norm_bound`, checked on shares. Honest phones clip to it. For class sums 5 was tried too.
- *within the bound*: phone 0 knows the check and stays within it: its vector turned round, as long as the bound
  allows, and where noise is shared its share of noise too, which has a bound of its own. No check can stop this.

How to read it: the check stops what is far too long, and nothing else. A multiple of an honest vector is a mild
attack on sums of features, whose classes stay apart, and the end of a network. Within the bound a vector can still
point the wrong way every round: without noise that ruins replay too. The bound clips honest phones, which costs replay
some points. Where noise leaves little to lose, at epsilon 1, differences of one run say nothing. A poisoned vector that
is zero, of an empty batch, keeps every bound and is summed.
"""


def page(lines: Sequence[Line]) -> str:
    """Return the page."""
    seeds = sorted({line["seed"] for line in lines})
    head = "| strategy | epsilon | " + " | ".join(_COLUMNS.values()) + " | enforced: vector + share of noise |"
    parts = [
        _HEAD,
        f"Seeds: {', '.join(map(str, seeds))}; cells are means over those that a strategy has: {_counts(lines)}.",
        _FIGURE,
        head,
    ]
    parts.append("|---|---:|" + "---:|" * len(_COLUMNS) + "---|")
    for row in dict.fromkeys(line["row"] for line in lines):
        for epsilon in EPSILONS:
            here = _at(lines, row, epsilon)
            cells = [_cell(here, *column) for column in _COLUMNS]
            name = "none" if epsilon == float("inf") else f"{epsilon:g}"
            parts.append("| " + " | ".join([_NAMES[row], name, *cells, _enforced(here)]) + " |")
    return "\n".join([*parts, "", *_facts(lines)]) + "\n"


_FIGURE = "\n![Accuracy under attack, with and without the check](images/benchmarks-poisoning.svg)\n"


def _counts(lines: Sequence[Line]) -> str:
    seeds = {row: len({line["seed"] for line in lines if line["row"] == row}) for row in ROWS}
    return ", ".join(f"{_NAMES[row]} {count}" for row, count in seeds.items() if count)


def _at(lines: Sequence[Line], row: str, epsilon: float) -> list[Line]:
    return [line for line in lines if line["row"] == row and (line["epsilon"] or float("inf")) == epsilon]


def _of(lines: Sequence[Line], checked: bool, attack: str) -> list[Line]:
    return [line for line in lines if (line["checked"], line["attack"]) == (checked, attack)]


def _shares(lines: Sequence[Line]) -> list[float]:
    return [100 * line["micro"] for line in lines if "micro" in line]


def _cell(lines: Sequence[Line], checked: bool, attack: str) -> str:
    found = _of(lines, checked, attack)
    if any("stopped" in line for line in found):
        return "the run stopped"
    return f"{np.mean(_shares(found)):.1f}" if found else "-"


def _enforced(lines: Sequence[Line]) -> str:
    norms = [line["norms"][0] for line in lines if line.get("norms")]
    if not norms:
        return "-"
    numbers = [word.rstrip(",:") for word in norms[0].split() if word.rstrip(",:").replace(".", "").isdigit()]
    return " + ".join(numbers[:2]) if len(numbers) > 2 else numbers[0]


def _facts(lines: Sequence[Line]) -> list[str]:
    attacked = [line for line in _of(lines, True, "1000 times") if "sums" in line]
    caught = sum(line["times_left_out"] for line in attacked)
    wrong = sum(line["left_out"] != [0] for line in attacked)
    honest = sum(line["times_left_out"] for line in _of(lines, True, "none") if "sums" in line)
    bounds = ", ".join(f"{bound:g} for {_NAMES[row]}" for row, (_, bound) in ROWS.items())
    sums = sum(line["sums"] for line in attacked)
    return [
        f"Bounds: {bounds}. Of {sums} poisoned vectors, {caught} were left out; in {wrong} runs anybody else was. "
        f"Without an attack {honest} were. Seconds that a sum took (set-up aside, a machine shared with other work): "
        f"{_seconds(lines, False):.2f} without the check, {_seconds(lines, True):.2f} with it."
    ]


def _seconds(lines: Sequence[Line], checked: bool) -> float:
    found = [line["seconds_of_a_sum"] for line in _of(lines, checked, "none") if "sums" in line]
    return float(np.mean(found)) if found else float("nan")


def plot(lines: Sequence[Line], path: Path) -> None:
    """Write the figure: bars per budget, one panel a strategy."""
    rows = list(dict.fromkeys(line["row"] for line in lines))

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(rows), squeeze=False, sharey=True)[0]
        for axes, row in zip(panels, rows, strict=True):
            for place, (column, label) in enumerate(_COLUMNS.items()):
                heights = []
                for epsilon in EPSILONS:
                    here = _at(lines, row, epsilon)
                    shares = _shares(_of(here, *column))
                    heights.append(float(np.mean(shares)) if shares else 0.0)
                at = np.arange(len(EPSILONS)) + 0.16 * (place - 2)
                axes.bar(at, heights, width=0.15, color=SERIES[place], label=label)
            axes.set(title=_NAMES[row], ylim=(0, 100))
            axes.set_xticks(range(len(EPSILONS)), ["no noise", *(f"epsilon {e:g}" for e in EPSILONS[1:])])
        panels[0].set_ylabel("right among all test windows (%)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8.5)

    described = (
        "Accuracy when one client sends 1,000 times its update, with and without a check of norms, at three budgets"
    )
    path.write_text(render(draw, width=8.4, height=3.2, name="poisoning", description=described), encoding="utf-8")
