"""The page: what many clients cost, Flower's rounds beside ours, and the figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.scale.cells import HAPT_ROUNDS, MASKS, Line
from evaluation.canvas import render, style_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEAD = """# Many clients

Made by `make bench-scale` (resumable), which writes `benchmarks-scale.jsonl` beside this page. Federated averaging with
the local engine, one worker process, made-up data of four examples a client, network of 14,036 parameters, one DP-SGD
step a round at every client, noise on the device. Two rounds a run. CPU and memory are of the run's process, its worker
and all helper parties together, start and set-up of keys included; memory counts shared pages for each process.

{table}

What one client holds does not depend on how many others there are (`tests/secure_fcl/engines/test_many_clients.py`),
and clients of a process train a few at a time. The exception is `secagg`: every client shares secrets with every
other in every sum, and checks what all others offer. From 50 clients on `secure-fcl plan` names `secagg+`, which asks
for some thirty neighbours. Masks end at 4,096 clients; `secure-fcl plan --clients 1000000` says what each protocol
takes, and what it would cost.

![CPU seconds over clients](images/benchmarks-scale.svg)
"""

_RACE = """
## Beside Flower's simulation

100 clients; what one more round costs is the difference of a longer and a shorter run, divided by the rounds between
them. Flower 1.42 with Ray on the same machine (`--peer`): its clients send back what they were given and train
nothing. *Echo*: so do ours (`benchmarks/scale/echo.py`), and what is compared is what carries, masks, checks and adds.
*Step*: ours take a DP-SGD step with noise as well. CPU is of all processes, on a machine shared with other work.
Lengths of run: under `plain` 2 and 42 rounds, and 1 and 13 of Flower's; under `secagg+` 2 and 12, and 1 and 3. An
earlier page took 1 and 3 of Flower's under `plain` too, and made a round of it twice as dear as it is.

{table}
"""

_HAPT = """
## What shared noise and masks cost on HAPT

Replay on HAPT as the product runs it (Opacus, 2 steps a round), 30 clients, six tasks, {rounds} rounds in all, one
worker process: {both:.0f} CPU seconds of all processes with `secagg+` and noise shared inside the sum, {neither:.0f}
with neither: {times:.2f} times. With both, a round is one clipped gradient of each client; with neither, as many local
steps as are set. So this says what a user waits for, not what masks cost: where training is cheap (`training.trainer =
"stacked"`, `training.steps = 1`), a round with both took 3.7 times the CPU of one with neither (60 rounds, all clients
in one process). A fourth of a client's time there goes into agreeing on a fresh key with each of the 29 others.
"""


def page(lines: Sequence[Line]) -> str:
    """Return the page."""
    scale = [line for line in lines if line["what"] == "scale"]
    rows = [
        f"| `{line['protection']}` | {line['clients']:,} | {line['cpu_s']:.1f} | "
        f"{_times(line, scale)} | {line['peak_bytes'] / 1e9:.2f} |"
        for line in sorted(scale, key=lambda line: (line["protection"], line["clients"]))
    ]
    table = "\n".join(
        [
            "| protection | clients | CPU, s | over ten times fewer clients | peak memory, GB |",
            "|---|---:|---:|---:|---:|",
            *rows,
        ]
    )
    return _HEAD.format(table=table) + _race(lines) + _hapt(lines)


def _times(line: Line, lines: Sequence[Line]) -> str:
    for other in lines:
        if other["protection"] == line["protection"] and 10 * other["clients"] == line["clients"]:
            return f"{line['cpu_s'] / other['cpu_s']:.1f} times"
    return "-"


def round_cpu(lines: Sequence[Line], what: str, protection: str, hidden: int) -> float | None:
    """Return CPU seconds of one more round; None without two lengths of run."""
    asked = (what, protection, hidden)
    chosen = [line for line in lines if (line["what"], line["protection"], line["hidden"]) == asked]
    if len(chosen) < 2:
        return None
    short, long = (pick(chosen, key=lambda line: line["rounds"]) for pick in (min, max))
    return float(long["cpu_s"] - short["cpu_s"]) / (long["rounds"] - short["rounds"])


def _race(lines: Sequence[Line]) -> str:
    rows = []
    for protection, hidden in dict.fromkeys((ln["protection"], ln["hidden"]) for ln in lines if ln["what"] == "race"):
        echo, step, theirs = (round_cpu(lines, what, protection, hidden) for what in ("echo", "race", "peer"))
        size = next(ln["parameters"] for ln in lines if ln["what"] == "race" and ln["hidden"] == hidden)
        ratios = [_ratio(theirs, ours) for ours in (echo, step)]
        shown = [_shown(seconds) for seconds in (echo, step, theirs)]
        rows.append(f"| `{protection}` | {size:,} | {' | '.join([*shown, *ratios])} |")
    if not rows:
        return ""
    head = [
        "| sums | parameters | ours, echo: CPU s a round | ours, step | Flower, echo | times, echo | times, step |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    return _RACE.format(table="\n".join([*head, *rows]))


def _hapt(lines: Sequence[Line]) -> str:
    found = {line["protection"]: line["cpu_s"] for line in lines if line["what"] == "hapt"}
    if len(found) < 2:
        return ""
    neither, both = found["plain"], found[MASKS]
    return _HAPT.format(rounds=HAPT_ROUNDS, neither=neither, both=both, times=both / neither)


def _ratio(theirs: float | None, ours: float | None) -> str:
    return "-" if not ours or theirs is None else f"{theirs / ours:.1f}"


def _shown(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"


def plot(lines: Sequence[Line], path: Path) -> None:
    """Write the figure: CPU seconds of a run over its clients, both on logarithmic axes."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        scale = sorted((line for line in lines if line["what"] == "scale"), key=lambda line: line["clients"])
        for index, protection in enumerate(dict.fromkeys(line["protection"] for line in scale)):
            mine = [line for line in scale if line["protection"] == protection]
            points = [line["clients"] for line in mine], [line["cpu_s"] for line in mine]
            axes.plot(*points, label=protection, markersize=5, **style_of(index))
        axes.set(xscale="log", yscale="log", xlabel="clients", ylabel="CPU seconds of two rounds")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        figure.legend(loc="outside right upper", fontsize=8.5)

    described = "CPU seconds of a run of two rounds over the number of its clients, for several protections"
    path.write_text(render(draw, width=7.2, height=3.2, name="scale", description=described), encoding="utf-8")
