"""The page: one table of every size under every protection, and the figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.bytes.cells import EPSILON, PROTECTIONS, ROUNDS
from evaluation.canvas import PAPER, render, style_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Line = dict[str, Any]

_NAMES = {"class_sums": "class sums", "calm": "CALM", "replay": "replay (ER)"}
_HEAD = f"""# Fewer bytes: accuracy over what one client sends

Made by `make bench-bytes` (resumable), which writes `benchmarks-bytes.jsonl` beside this page. HAPT, 30 phones, six
tasks, class-incremental, epsilon {EPSILON:g} at delta 1e-5 for the worst cohort in every row, noise shared inside the
sum, stacked trainer. Replay trains a network of 14,052 weights for {ROUNDS} rounds a task with a memory of up to 200
examples; class sums and CALM send sums of features once a task and keep nothing. What the sizes mean:
[fewer bytes](how-to/fewer-bytes.md). No size was tuned for this page.

- *bytes*: of all messages that a client sends in all rounds of the whole run, from `cost.jsonl`: uploads with their
  envelopes, and with `secagg` the shares that close a sum. Set-up (keys) aside. `plain` hides nothing and sends eight
  bytes a number whatever its size, so few bits show under `secagg` only. BFV sends whole ciphertexts of 65 KB.
- *noise*: multiplier that reaches the epsilon. It grows where rounding weighs as much as an example: few bits.
- *plain* and `epsilon`: the same noise runs without encryption, but then the epsilon does not hold against the server.
- Accuracy is the same under every protection to the last digit, as the noise is repeated and the sums are exact. The
  page is not written if one differs.
"""


def page(lines: Sequence[Line]) -> str:
    """Return the page.

    Raises:
        ValueError: an encrypted run is not equal to the plain one.
    """
    seeds = sorted({line["seed"] for line in lines})
    parts = [_HEAD, f"Seeds: {', '.join(map(str, seeds))}. " + _spread(len(seeds)), _FIGURE, _COLUMNS]
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line["row"], line["size"]), []).append(line)
    for (row, size), found in groups.items():
        _require_equal(found)
        plain = [line for line in found if line["protection"] == "plain"]
        sizes = [_kib([line for line in found if line["protection"] == protection]) for protection in PROTECTIONS]
        shares = [100 * float(np.mean([line[key] for line in plain])) for key in ("micro", "task_mean")]
        noise = float(np.mean([line["noise_multiplier"] for line in plain]))
        cells = [_NAMES[row], size, f"{shares[0]:.1f} / {shares[1]:.1f}", f"{noise:.2f}", *sizes]
        parts[-1] += "\n| " + " | ".join(cells) + " |"
    return "\n".join(parts) + "\n"


_FIGURE = "\n![Accuracy over bytes per client](images/benchmarks-bytes.svg)\n"
_COLUMNS = (
    "| strategy | size | right, % of windows / mean of tasks | noise | plain, KiB | secagg, KiB | bfv, KiB |\n"
    "|---|---|---:|---:|---:|---:|---:|"
)


def _spread(seeds: int) -> str:
    return "One run each: differences of a few points are chance." if seeds == 1 else "Means over seeds."


def _require_equal(lines: Sequence[Line]) -> None:
    for seed in {line["seed"] for line in lines}:
        shares = {(line["micro"], line["task_mean"]) for line in lines if line["seed"] == seed}
        if len(shares) != 1:
            raise ValueError(f"{lines[0]['row']}, {lines[0]['size']}, seed {seed}: protections differ, {shares}")


def _kib(lines: Sequence[Line]) -> str:
    return f"{np.mean([line['bytes'] for line in lines]) / 1024:,.0f}" if lines else "-"


def plot(lines: Sequence[Line], path: Path) -> None:
    """Write the figure: filled under secagg, hollow without encryption."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for index, row in enumerate(_NAMES):
            style = style_of(index)
            for protection, label in (("secagg", _NAMES[row]), ("plain", f"{_NAMES[row]}, not encrypted")):
                points = _points(lines, row, protection)
                look = {**style, "linestyle": "none"} | ({"markerfacecolor": PAPER} if protection == "plain" else {})
                axes.plot(*zip(*points, strict=True), label=label, markersize=6, **look)
        axes.set(xscale="log", xlabel="KiB that one client sends in the whole run", ylim=(0, 100))
        axes.set_ylabel("right among all test windows (%)")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        figure.legend(loc="outside right upper", fontsize=8.5)

    described = "Accuracy over bytes per client on HAPT at epsilon 8, for class sums, CALM and replay"
    path.write_text(render(draw, width=7.2, height=3.2, name="bytes", description=described), encoding="utf-8")


def _points(lines: Sequence[Line], row: str, protection: str) -> list[tuple[float, float]]:
    chosen = [line for line in lines if (line["row"], line["protection"]) == (row, protection)]
    sizes = dict.fromkeys(line["size"] for line in chosen)
    return [
        (
            float(np.mean([line["bytes"] for line in chosen if line["size"] == size])) / 1024,
            100 * float(np.mean([line["micro"] for line in chosen if line["size"] == size])),
        )
        for size in sizes
    ]
