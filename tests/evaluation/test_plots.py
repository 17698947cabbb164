import math
import subprocess
import sys
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest

from evaluation import plots
from evaluation.canvas import MARKERS, SERIES, render, style_of, themed
from evaluation.matrix import AccuracyMatrix
from evaluation.plots import AttackBar, CohortBar, CostBar
from evaluation.studies import StudyLine, aggregate, plot_study

MATRIX = AccuracyMatrix.from_rows([[0.5, None], [0.25, 0.75]])
COHORTS = [
    CohortBar(group="all", arrival=0, fate="kept", epsilon=1.231),
    CohortBar(group="all", arrival=0, fate="discarded", epsilon=0.5),
]
ATTACKS = [
    AttackBar("loss", (0.6, 0.55, 0.65), (0.5, 0.45, 0.55)),
    AttackBar("none", (None,) * 3, (None,) * 3),
]
COSTS = [CostBar(row="replay", seconds={"train": 1.0, "encrypt": 0.5}, bytes_up=1e6, bytes_down=2e6)]
STUDY = aggregate(
    [
        StudyLine(
            strategy="replay", noise="local", epsilon=e, seed=s, micro=0.5 + s / 10, task_mean=0.4, forgetting=0.1
        )
        for e in (1.0, math.inf)
        for s in (0, 1)
    ]
)

FIGURES: dict[str, Callable[[], str]] = {
    "curve": lambda: plots.accuracy_over_tasks({"replay": [0.9, None, 0.5], "none": [None]}),
    "matrix": lambda: plots.accuracy_matrix(MATRIX, "replay"),
    "epsilon": lambda: plots.epsilon_per_cohort(COHORTS, "replay"),
    "attacks": lambda: plots.attack_aucs(ATTACKS),
    "cost": lambda: plots.cost(COSTS),
    "study": lambda: plot_study(STUDY),
}
EMPTY: dict[str, Callable[[], str]] = {
    "curve": lambda: plots.accuracy_over_tasks({}),
    "epsilon": lambda: plots.epsilon_per_cohort([CohortBar(group="all", arrival=0, fate="kept", epsilon=None)], "x"),
    "attacks": lambda: plots.attack_aucs([]),
    "cost": lambda: plots.cost([]),
    "study": lambda: plot_study([]),
    "matrix": lambda: plots.accuracy_matrix(AccuracyMatrix.empty(2), "x"),
}


def words(svg: str) -> list[str]:
    return [text.strip() for element in ElementTree.fromstring(svg).iter() for text in [element.text or ""] if text]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_one_deterministic_svg_element_without_a_date(name: str) -> None:
    svg = FIGURES[name]()
    assert svg == FIGURES[name]()
    assert svg.startswith("<svg")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert "dc:date" not in svg
    assert 'role="img"' in svg


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_figure_is_valid(name: str) -> None:
    assert ElementTree.fromstring(EMPTY[name]()).tag.endswith("svg")


def test_ids_carry_the_name_of_the_figure() -> None:
    first, second = (plots.accuracy_matrix(MATRIX, "x", name) for name in ("one", "two"))
    ids = [{e.get("id") for e in ElementTree.fromstring(svg).iter() if e.get("id")} for svg in (first, second)]
    assert not ids[0] & ids[1]
    assert all(identity.startswith("one-") for identity in ids[0] if identity)


def test_figures_show_the_numbers() -> None:
    matrix = words(plots.accuracy_matrix(MATRIX, "replay"))
    assert {"50", "25", "75"} <= set(matrix)
    epsilon = words(plots.epsilon_per_cohort(COHORTS, "replay"))
    assert "task 1, kept" in epsilon
    # 1.231 is an upper bound: rounded up, never down.
    assert any("1.24" in word for word in epsilon)
    assert "replay" in words(plots.accuracy_over_tasks({"replay": [0.9, 0.5]}))
    assert {"train", "encrypt"} <= set(words(plots.cost(COSTS)))
    assert "replay, local noise" in words(plot_study(STUDY))


def test_text_from_a_run_is_drawn_as_it_is() -> None:
    nasty = '<script>alert("1")</script> $\\frac{'
    for svg in (
        plots.accuracy_over_tasks({nasty: [0.5]}),
        plots.accuracy_matrix(MATRIX, nasty),
        plots.epsilon_per_cohort(
            [
                CohortBar(group=nasty, arrival=0, fate="kept", epsilon=1.0),
                CohortBar(group="b", arrival=0, fate="kept", epsilon=1.0),
            ],
            nasty,
        ),
        plots.attack_aucs([AttackBar(nasty, (0.5, 0.4, 0.6), (0.5, 0.4, 0.6))]),
        plots.cost([CostBar(row=nasty, seconds={nasty: 1.0}, bytes_up=1, bytes_down=1)]),
    ):
        assert "<script>" not in svg
        assert any(nasty in word for word in words(svg))


def test_only_the_worst_forty_cohorts_are_drawn() -> None:
    many = [CohortBar(group="all", arrival=n, fate="kept", epsilon=float(n + 1)) for n in range(60)]
    shown = words(plots.epsilon_per_cohort(many, "x"))
    assert "task 60, kept" in shown
    assert "task 21, kept" in shown
    assert "task 20, kept" not in shown


def test_series_are_told_apart_without_colour() -> None:
    styles = [style_of(index) for index in range(12)]
    assert len({(style["marker"], style["linestyle"]) for style in styles}) == 12
    assert len(set(SERIES)) == len(SERIES)
    assert len(set(MARKERS)) == len(MARKERS)


def test_themed_replaces_page_colours_only() -> None:
    svg = plots.accuracy_matrix(MATRIX, "x")
    assert "var(--" not in svg
    assert "var(--ink, #1b1f24)" in themed(svg)
    assert "#fffffe" in themed(plots.accuracy_matrix(AccuracyMatrix(np.array([[0.9]])), "x"))


def test_description_is_escaped() -> None:
    svg = render(lambda figure: None, width=1, height=1, name="n", description='a < b & "c"')
    assert ElementTree.fromstring(svg).get("aria-label") == 'a < b & "c"'


def test_importing_the_package_loads_no_plotting_library() -> None:
    code = "import sys, evaluation, evaluation.plots, evaluation.report, evaluation.summary, evaluation.studies;"
    code += "names = ('matplotlib', 'jinja2', 'rich', 'sklearn', 'torch', 'scipy.stats');"
    code += "print([name for name in names if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_pyplot_is_never_touched() -> None:
    code = "import sys; from evaluation.plots import cost; cost([]); print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.filterwarnings("error")
def test_odd_characters_in_a_name_leave_a_valid_figure() -> None:
    svg = plots.accuracy_over_tasks({"a\x00b\x0b \u4f60 \U0001f600": [0.5]})
    assert any("\u4f60" in word for word in words(svg))
