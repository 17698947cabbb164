"""The figure of the page: cost over clients and over entries, hollow where it is modelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from benchmarks.crypto.cells import Cell
from benchmarks.crypto.grid import DROPOUTS, MILLION
from evaluation.canvas import PAPER, render, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def write_figure(grid: Sequence[Cell]) -> str:
    """Two panels: the server over clients at a million entries, and both sides over entries at 100 clients."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        for index, dropout in enumerate(DROPOUTS):
            chosen = [cell for cell in grid if cell.shape.length == MILLION and cell.dropout == dropout]
            _line(left, index, f"{100 * dropout:.0f} % dropped", chosen, lambda c: (c.shape.clients, c.server_s))
        left.set(xlabel="clients", ylabel="server, CPU seconds", title="A million entries")
        chosen = [cell for cell in grid if cell.shape.clients == 100 and cell.dropout == 0.05]
        _line(right, 0, "server", chosen, lambda c: (c.shape.length, c.server_s))
        _line(right, 1, "one client", chosen, lambda c: (c.shape.length, c.submit_s + c.keys_s))
        right.set(xlabel="entries", ylabel="CPU seconds", title="100 clients, 5 % dropped")
        for axes in (left, right):
            axes.set(xscale="log", yscale="log")
            # Powers as plain numbers: the house style draws no formulas.
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.legend(fontsize=8, loc="upper left")

    described = "Server time over clients, and server and client time over entries, of masked sums; hollow: modelled"
    return render(draw, width=7.2, height=3.0, name="bench", description=described)


def _line(
    axes: Axes, index: int, label: str, chosen: Sequence[Cell], place: Callable[[Cell], tuple[float, float]]
) -> None:
    if not chosen:
        return
    style = style_of(index)
    points = [place(cell) for cell in chosen]
    axes.plot(*zip(*points, strict=True), label=label, linewidth=1.6, markersize=5, **style)
    hollow = [point for point, cell in zip(points, chosen, strict=True) if not cell.measured]
    if hollow:
        look = {"color": style["color"], "marker": style["marker"], "markerfacecolor": PAPER}
        axes.plot(*zip(*hollow, strict=True), linestyle="none", markersize=5, zorder=3, **look)
