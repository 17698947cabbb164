"""The page: the answer, the planes of forgetting and leakage, the table of memories that choose by looking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evaluation.canvas import MUTED, PAPER, render, style_of
from evaluation.evidence import Score
from evaluation.frontier import Point, non_dominated

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line = dict[str, Any]
_SETS = {"hapt": "HAPT", "mnist": "split-MNIST", "digits": "split-digits"}
_ASKED, _BUDGETS = ("hapt", "mnist"), (None, 8.0)
_HEAD = """# Does forgetting make old data private?

Made by `make bench-forgetting` (resumable), which writes `benchmarks-forgetting.jsonl` beside this page.

## What was run

{what}
Class-incremental, {clients} clients that share the examples evenly, every strategy on the same public features, made
once; networks are logistic regressions on them. Noise, where there is any, is local. *Old* are all tasks but the last.

- **Worlds.** In each world a fair coin decides about every training example (on HAPT about every block of windows
  that share readings); the strategies train on what the coins left, by the code of a run, sums in the clear. Each world
  is attacked by the others: from their models, with and without an example, the score is the log likelihood ratio of
  the example's log odds (BaVarIA-n). The adversary knows all but the attacked world's coins and noise.
- **after its task** is the model when the example's own task has closed, **in the end** the last one. Who kept the old
  model can still play against that one: what is forgotten later does not help there.
- **retrained** has the last task's examples alone ({references} world): nothing of old tasks can be found in it, and
  nothing is known of them.
- **Intervals** are 95 %, Student's over worlds, each cell for itself. Worlds attack each other, so they are not quite
  independent, and few worlds are few shadow models: a stronger adversary finds more.
- **Bound**: the epsilon that guesses about the last model prove at 95 % (one run; median over worlds), about all that
  one coin decides; beside it the ledger's for that ("-": no finite one). That of one example is 8 where there is noise.
- **Memory**: what a device keeps beside the examples at hand. `*`: not dominated in its block: no other row knows at
  least as much of the old tasks and leaks at most as much in the end, and is better in one of both. An AUC whose
  interval reaches down to one half counts as no leak.
"""
_COLUMNS = (
    "strategy", "old tasks right, after each", "in the end", "membership AUC after its task", "in the end",
    "in the end, kept in a memory", "bound / ledger", "memory", "retrained: right, AUC",
)  # fmt: skip
_MEMORIES = """## Memories that choose by looking

The replay memory of a run keeps by coins. Rules of the literature choose by content; they are declared non-private, and
no run offers them. scikit-learn's digits in two tasks, a network of 64 hidden units, {kept} examples of the first task
kept and replayed, {shadow_models} shadow models, {targets} attacked ones, seed {seed}. The game is *retained or merely
seen*: AUC with 95 % intervals over attacked models.

"""
_WAYS = {
    "blind": "rule alone, no model seen", "loss": "loss", "difference": "difference since the task closed",
    "shadows": "shadow models", "both": "rule and shadow models",
}  # fmt: skip
_SOURCES = """
*coins*: a uniform subset. *reservoir*: Vitter 1985, algorithm R. *herding*: Rebuffi et al. 2017 (iCaRL), algorithm 4.
*highest loss*: Isele and Cosgun 2018, "surprise". *rainbow*: every k-th by uncertainty, Bang et al. 2021, section 4.1,
with the entropy of one prediction. *Rule alone* counts how often the shadow memories kept an example: who knows the
rule and much of the data needs no model. Where a rule chooses by chance that count is noise, for which "rule and shadow
models" pays.

"""


def page(lines: Sequence[Line], memories: Sequence[Line]) -> str:
    """Return the page."""
    sets = list(dict.fromkeys(line["data"] for line in lines))
    counts = "".join(f"- {_SETS[name]}: {_facts(_of(lines, name))}.\n" for name in sets)
    references = max(line["references"] for line in lines)
    parts = [
        _HEAD.format(what=counts, clients=lines[0]["clients"], references=references),
        "## The answer\n", f"{_summary(lines)}\n",
        *(f"- {sentence}" for sentence in answers(lines)), *_not_run(lines), "",
        "![Accuracy on old tasks and membership of old examples, by strategy](images/forgetting-and-leakage.svg)\n",
        "A line leads from the model after each task (small) to the last one; filled: not dominated.\n",
    ]  # fmt: skip
    for name in sets:
        for epsilon in _BUDGETS:
            block = [line for line in _of(lines, name) if line["epsilon"] == epsilon]
            if block:
                parts += [f"## {_SETS[name]}, {_budget(epsilon)}\n", _table(block), ""]
    head = ["memory", *_WAYS.values(), "first task right"]
    rows = ["| " + " | ".join(head) + " |", "|---|" + "---|" * (len(head) - 1)]
    parts.append(_MEMORIES.format(**memories[0]) + "\n".join([*rows, *(_memory_row(line) for line in memories)]))
    return "\n".join(parts) + "\n" + _SOURCES + _memory_answer(memories) + "\n"


def answers(lines: Sequence[Line]) -> list[str]:
    """Sentences that say for each data set and budget what forgetting did to leakage, by intervals."""
    found = []
    for name in dict.fromkeys(line["data"] for line in lines):
        for epsilon in _BUDGETS:
            block = [line for line in _of(lines, name) if line["epsilon"] == epsilon]
            if block:
                found.append(f"**{_SETS[name]}, {_budget(epsilon)}:** {_answer(block)}")
    return found


def _answer(block: Sequence[Line]) -> str:
    gone = [line for line in block if above(line["forgotten"], 0.0)]
    hidden = [line for line in gone if above(line["auc_then"], 0.5) and not above(line["auc_last"], 0.5)]
    less = [line for line in gone if above(line["auc_fallen"], 0.0) and above(line["auc_last"], 0.5)]
    still = [line for line in gone if above(line["auc_last"], 0.5) and line not in less]
    never = [line for line in gone if not above(line["auc_then"], 0.5) and not above(line["auc_last"], 0.5)]
    kept = [line for line in block if line not in gone]
    parts = [
        (gone, "forgot"), (hidden, "of these, found after its task and not in the end"),
        (less, "still found in the end, less than before"), (still, "found in the end no less than before"),
        (never, "found neither time"),
        ([line for line in kept if above(line["auc_last"], 0.5)], "did not forget and is found in the end"),
        ([line for line in kept if not above(line["auc_last"], 0.5)], "did not forget and is not found in the end"),
    ]  # fmt: skip
    return "; ".join(f"{words}: {', '.join(line['row'] for line in rows)}" for rows, words in parts if rows) + "."


def _summary(lines: Sequence[Line]) -> str:
    """One sentence over all data sets and budgets."""
    found = [line for line in lines if above(line["auc_then"], 0.5)]
    hidden = [line for line in found if not above(line["auc_last"], 0.5)]
    kept = [line for line in found if line not in hidden]
    mean = [sum(line["forgotten"][0] for line in part) / max(len(part), 1) for part in (hidden, kept)]
    return (
        f"Of {len(lines)} rows below, old examples are found in {len(found)} after their own task; in {len(hidden)} of "
        f"these no longer in the end, which forgot {100 * mean[0]:.0f} points of the old tasks on average, and in "
        f"{len(kept)} still, which forgot {100 * mean[1]:.0f}. Who kept the old model finds all {len(found)}."
    )


def _not_run(lines: Sequence[Line]) -> list[str]:
    """A line for each data set and budget that the results lack."""
    there = {(line["data"], line["epsilon"]) for line in lines}
    missing = [(name, epsilon) for name in _ASKED for epsilon in _BUDGETS if (name, epsilon) not in there]
    return [f"- **{_SETS[name]}, {_budget(epsilon)}:** not run yet." for name, epsilon in missing]


def above(interval: Sequence[float | None], value: float) -> bool:
    """Whether a whole interval [value, low, high] lies above a number."""
    return interval[1] is not None and interval[1] > value


def best_of(block: Sequence[Line]) -> tuple[bool, ...]:
    """Which rows of a block no other dominates, in old tasks right and advantage 2 AUC - 1 in the end."""
    points = []
    for line in block:
        leak = 2 * line["auc_last"][0] - 1 if above(line["auc_last"], 0.5) else 0.0
        scores = {"micro": _score(line["right_last"][0]), "leakage": _score(leak)}
        points.append(Point(name=line["row"], epsilon=line["epsilon"] or math.inf, scores=scores, seeds=line["worlds"]))
    return non_dominated(points)


def _score(value: float) -> Score:
    return Score(value=value, low=math.nan, high=math.nan, confidence=0.95, n=1)


def _of(lines: Sequence[Line], name: str) -> list[Line]:
    return [line for line in lines if line["data"] == name]


def _budget(epsilon: float | None) -> str:
    return "no noise" if epsilon is None else f"epsilon {epsilon:g}"


def _facts(lines: Sequence[Line]) -> str:
    worlds = sorted({line["worlds"] for line in lines})
    return (
        f"{lines[0]['tasks']} tasks, {lines[0]['members']:,} training examples, {lines[0]['coins']:,} coins about old "
        f"tasks, {' to '.join(map(str, dict.fromkeys((worlds[0], worlds[-1]))))} worlds (seeds 0 to {worlds[-1] - 1})"
    )


def _table(block: Sequence[Line]) -> str:
    rows = ["| " + " | ".join(_COLUMNS) + " |", "|---|" + "---|" * (len(_COLUMNS) - 1)]
    for line, best in zip(block, best_of(block), strict=True):
        cells = [
            line["row"] + (" *" if best else ""), _percent(line["right_then"]), _percent(line["right_last"]),
            _auc(line["auc_then"]), _auc(line["auc_last"]), _auc(line["auc_kept"]),
            f"{line['bound_last']:.2f} / " + ("-" if line["block"] is None else f"{line['block']:.1f}"),
            f"{line['memory'] / 1024:.0f} KiB",
            f"{100 * line['right_retrained'][0]:.0f} %, {line['auc_retrained'][0]:.3f}",
        ]  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _percent(interval: Sequence[float | None]) -> str:
    value, low, high = (math.nan if number is None else 100 * number for number in interval)
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def _auc(interval: Sequence[float | None]) -> str:
    if interval[0] is None:
        return "-"
    value, low, high = (math.nan if number is None else number for number in interval)
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _memory_row(line: Line) -> str:
    ways = [_auc(line[way]) for way in _WAYS]
    return "| " + " | ".join([line["rule"], *ways, _percent(line["right"])]) + " |"


def _memory_answer(memories: Sequence[Line]) -> str:
    best = {line["rule"]: max((line[way] for way in _WAYS), key=lambda score: float(score[0])) for line in memories}
    coins = best.pop("coins")
    more = [f"{rule} ({score[0]:.3f})" for rule, score in best.items() if score[1] > coins[2]]
    alike = [f"{rule} ({score[0]:.3f})" for rule, score in best.items() if score[1] <= coins[2]]
    return (
        f"By the best of the five ways, coins give away {coins[0]:.3f}. More, by intervals that do not meet: "
        f"{', '.join(more) or 'none'}. The rest: {', '.join(alike) or 'none'}."
    )


def plot(lines: Sequence[Line]) -> str:
    """Return the planes as SVG: a panel for each data set and budget."""
    blocks = [
        (name, epsilon, block)
        for name in dict.fromkeys(line["data"] for line in lines)
        for epsilon in _BUDGETS
        if (block := [line for line in _of(lines, name) if line["epsilon"] == epsilon])
    ]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(math.ceil(len(blocks) / 2), 2, squeeze=False).ravel()
        for axes, (name, epsilon, block) in zip(panels, blocks, strict=False):
            _plane(axes, block)
            axes.set(title=f"{_SETS[name]}, {_budget(epsilon)}", xlabel="old tasks right (%)", ylabel="membership AUC")
        for axes in panels[len(blocks) :]:
            axes.set_axis_off()
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)

    described = "Share of old tasks' test examples that are right and membership AUC of old examples, by strategy"
    height = 1.0 + 2.7 * math.ceil(len(blocks) / 2)
    return render(draw, width=7.6, height=height, name="forgetting", description=described)


def _plane(axes: Axes, block: Sequence[Line]) -> None:
    axes.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=":")
    for index, (line, best) in enumerate(zip(block, best_of(block), strict=True)):
        style = style_of(index)
        color, marker = style["color"], style["marker"]
        path = [[100 * line[f"right_{way}"][0] for way in ("then", "last")], [line["auc_then"][0], line["auc_last"][0]]]
        axes.plot(*path, color=color, linewidth=0.9, alpha=0.6)
        axes.plot(path[0][:1], path[1][:1], color=color, marker=marker, markersize=3)
        right, auc = line["right_last"], line["auc_last"]
        axes.errorbar(
            path[0][1:], path[1][1:], xerr=100 * (right[2] - right[0]), yerr=auc[2] - auc[0], color=color,
            marker=marker,
            markersize=6.5, markerfacecolor=color if best else PAPER, capsize=2, linewidth=1, linestyle="none",
            label=line["row"],
        )  # fmt: skip
