"""The page: two tables, of dropouts that a public draw makes and of clients that fall silent by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.dropouts.cells import CLIENTS, EPSILON, ROUNDS, SPARE

Line = dict[str, Any]
_NAMES = {"calm": "CALM", "class_sums": "class sums", "replay": "replay (ER)", "fedavg": "federated averaging"}
_DATA = {"hapt": "HAPT", "digits": "digits"}
_HEAD = """# What dropouts cost

Made by `make bench-dropouts` (`python -m benchmarks.dropouts --write`; resumable), which writes
`benchmarks-dropouts.jsonl` beside this page.
Whole runs with `protection = "secagg+"` and noise shared inside the sum: {clients}; six and five tasks,
class-incremental. CALM and class sums run at epsilon {closed:g}, replay and federated averaging at epsilon {trained:g},
with {rounds} rounds a task, each one step of the server; delta 1e-5. Nothing was tuned for this page: on digits the two
rows that train a network hardly learn in so few rounds (10 to 32 %, chance is 10), and only their rounds and charges
say anything. One process
plays all clients beside that of the server, on a machine shared with other work: seconds (the median of a round, and of
a whole run) are good for a factor of two. {seeds}

Two things cost, and neither is seen in epsilon. What a run is *planned* to do without costs noise: every client's share
is as large as if the planned clients were missing, so a sum of all carries more than is charged for. Who *is* away
costs what it would have sent: for sums of statistics for good, as their examples come by once; training meets them
again in the next round. All cohorts are charged as if everybody were there.

## Away by a public draw

`scenario.dropout`, the same share in every round, and `privacy.max_dropouts` for just as many. The second line of each
row is planned for 20 % and loses nobody: what it lacks to the first is the price of the plan alone.

{drawn}

The noise multiplier is that of the charge, and of a sum that lost all that it may lose. A sum of n clients of which d
may be missing and c may be corrupt carries n / (n - d - c) of that variance while nobody is missing: planned for 20 %
of 30, 30/23 instead of 30/29.

## Silent, each by itself

Nobody draws real dropouts in the right number. Here each client is silent with that probability in every round, by
itself, and the run is planned for the expected number of them, with `privacy.spare_rounds = {spare}` of each kind of
round. A sum that loses more clients than that ends below its quorum: it is aborted, nothing is released, and the run
goes on with the same round, which is charged again. Once the spare rounds are spent, the examples whose budget is spent
sit later rounds out (*retired*: rounds that some sat out). Epsilon is what all spare rounds together may cost, whether
they are used or not, so noise is larger from the start: a row that releases its sums once and may repeat that three
times has twice the noise.

{silent}

So a plan wants room above the expected number: at 20 % of 30, six planned for are too few in two rounds of five. What
was lost by then does not show in epsilon, only in accuracy and time.

## More than planned

A run whose public draw would take more clients than its plan does without is refused before anything is drawn:

> {refused}
"""


def page(lines: Sequence[Line], refused: str) -> str:
    """Return the page; `refused`: what a run says that is planned for too few dropouts."""
    drawn = _table(lines, silent=False, columns=_DRAWN)
    silent = _table(lines, silent=True, columns=_SILENT)
    seeds = sorted({line["seed"] for line in lines})
    shown = f"Seeds {', '.join(map(str, seeds))}: cells are means over them."
    if len(seeds) == 1:
        shown = "One run each: differences of a few points are chance."
    clients = ", ".join(f"{_DATA[name]} with {count} clients" for name, count in CLIENTS.items())
    return _HEAD.format(
        clients=clients, closed=EPSILON["calm"], trained=EPSILON["replay"], rounds=ROUNDS, seeds=shown, drawn=drawn,
        spare=SPARE, silent=silent, refused=refused,
    )  # fmt: skip


Column = tuple[str, Callable[[Sequence[Line]], str]]


def _mean(key: str, form: str = ".1f", factor: float = 1.0) -> Callable[[Sequence[Line]], str]:
    return lambda found: format(factor * float(np.mean([line[key] for line in found])), form)


def _first(text: Callable[[Line], str]) -> Callable[[Sequence[Line]], str]:
    return lambda found: text(found[0])


def _of_planned(found: Sequence[Line]) -> str:
    return f"{np.mean([line['released'] for line in found]):.0f} of {found[0]['planned_rounds']}"


_BEGIN: tuple[Column, ...] = (
    ("strategy", _first(lambda line: f"{_NAMES[line['row']]}, {_DATA[line['data']]}")),
    ("away", _first(lambda line: f"{100 * line['away']:.0f} %")),
    ("planned", _first(lambda line: f"{100 * line['planned']:.0f} %")),
)
_RIGHT: tuple[Column, ...] = (
    ("right, % of examples", _mean("micro", factor=100.0)),
    ("mean of tasks", _mean("task_mean", factor=100.0)),
    ("clients in a sum", _mean("in_sum")),
    ("released", _of_planned),
)
_END: tuple[Column, ...] = (
    ("epsilon", _mean("epsilon", ".3f")),
    ("noise multiplier", _mean("noise_multiplier", ".2f")),
)
_DRAWN = (
    *_BEGIN, *_RIGHT, ("aborted", _mean("aborted", ".0f")), ("retired", _mean("retired", ".0f")), *_END,
    ("s a round", _mean("round_s", ".2f")),
)  # fmt: skip
_SILENT = (
    *_BEGIN, *_RIGHT, ("aborted", _mean("aborted", ".1f")), ("charged", _mean("charged", ".1f")),
    ("retired", _mean("retired", ".1f")), *_END, ("s in all", _mean("wall_s", ".0f")),
)  # fmt: skip


def _table(lines: Sequence[Line], silent: bool, columns: Sequence[Column]) -> str:
    groups: dict[tuple[Any, ...], list[Line]] = {}
    for line in lines:
        if line["silent"] is silent:
            groups.setdefault((line["row"], line["data"], line["away"], line["planned"]), []).append(line)
    head = "| " + " | ".join(name for name, _ in columns) + " |"
    rule = "|---|" + "---:|" * (len(columns) - 1)
    return "\n".join(
        [head, rule, *("| " + " | ".join(cell(own) for _, cell in columns) + " |" for own in groups.values())]
    )
