"""The pages of studies and comparisons: what beats what, what is said of choices, and what a reader must not miss."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.comparison import render_comparison
from evaluation.errors import ComparisonError, StorageError
from evaluation.evidence import Score
from evaluation.files import read_json, write_json
from evaluation.frontier import Point, criteria, non_dominated
from evaluation.study_folder import read_study_folder
from evaluation.study_page import render_study
from evaluation.testing import write_synthetic_run

HEADER = "strategy,noise,epsilon,seed,micro,task_mean,forgetting,protection,setting,epsilon_spent,leakage\n"


def point(epsilon: float, **values: float) -> Point:
    scores = {
        name: Score(value=value, low=math.nan, high=math.nan, confidence=0.95, n=1) for name, value in values.items()
    }
    return Point(name="x", epsilon=epsilon, scores=scores, seeds=1)


def test_the_frontier_holds_what_no_other_point_beats() -> None:
    best = point(1.0, micro=0.8, forgetting=0.1)
    worse = point(1.0, micro=0.8, forgetting=0.2)
    dearer = point(2.0, micro=0.9, forgetting=0.3)
    open_ = point(math.inf, micro=0.7, forgetting=0.05)
    assert non_dominated([best, worse, dearer, open_]) == (True, False, True, True)
    assert non_dominated([best, best]) == (True, True)
    assert non_dominated([]) == ()


def test_points_are_compared_only_by_what_all_of_them_have() -> None:
    told, untold = point(1.0, micro=0.8, leakage=0.0), point(1.0, micro=0.9)
    assert criteria([told, untold]) == ("micro",)
    assert non_dominated([told, untold]) == (False, True)
    assert criteria([told]) == ("micro", "leakage")


numbers = st.sampled_from([0.1, 0.2, 0.3])


@settings(deadline=None)
@given(found=st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=8))
def test_whatever_is_not_on_the_frontier_is_beaten_by_something_on_it(found: list[tuple[float, ...]]) -> None:
    points = [point(epsilon, micro=micro, forgetting=lost) for epsilon, micro, lost in found]
    best = [one for one, chosen in zip(found, non_dominated(points), strict=True) if chosen]
    for epsilon, micro, lost in found:
        assert any(e <= epsilon and m >= micro and f <= lost for e, m, f in best)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "a-study"
    folder.mkdir()
    grid = (("local", "2", "1.991", 50), ("shared", "2", "1.991", 70), ("none", "", "", 80))
    lines = [
        f"replay,{noise},{epsilon},{seed},0.{micro},0.4,0.1,bfv,,{spent},\n"
        for noise, epsilon, spent, micro in grid
        for seed in (1, 2)
    ]
    (folder / "study.csv").write_text(HEADER + "".join(lines))
    return folder


def test_a_study_shows_its_points_and_what_was_not_charged(study: Path, page: Callable) -> None:
    html = render_study(study)
    words = page(html).words
    assert html == render_study(study)
    assert "On the frontier: 2 of 3" in words
    assert "that choice was not charged" in words
    assert "What all runs spent together is not stated" in words
    assert "Not measured everywhere, so not judged by: leakage" in words
    assert "not measured" in words
    assert "2.00" in words
    total = {"runs": 6, "private": 4, "epsilon": None, "epsilon_private": 7.001, "delta": 1e-5, "added_later": True}
    cells = [{"label": "one", "failed": None}, {"label": "two", "failed": "<b>too much</b> noise"}]
    write_json(study / "study.json", {"cells": cells, "added_later": True, "total": total})
    found = page(render_study(study))
    assert "All 6 runs together have no guarantee; the 4 that have one spend epsilon 7.01" in found.words
    assert "so this is no bound" in found.words
    assert "<b>too much</b> noise" in found.words
    total |= {"private": 6, "epsilon": 9.001, "added_later": False}
    write_json(study / "study.json", {"cells": cells, "added_later": False, "total": total})
    words = page(render_study(study)).words
    assert "spend epsilon 9.01 at delta 1e-05" in words
    assert "no bound" not in words


def test_points_of_other_settings_and_protections_stay_apart(study: Path) -> None:
    with (study / "study.csv").open("a") as file:
        file.write("replay,local,2,1,0.6,0.4,0.1,mpc,,1.991,\nreplay,local,2,1,0.6,0.4,0.1,bfv,clients 5,1.991,\n")
    names = [found.name for found in read_study_folder(study).points]
    assert names[0] == "replay, local noise, bfv"
    assert names[-2:] == ["replay, local noise, mpc", "replay, local noise, bfv, clients 5"]


def test_a_private_choice_shows_nothing_but_what_it_chose(study: Path, page: Callable) -> None:
    write_json(study / "selection.json", {"distribution": "poisson", "mean": 10, "score": "micro"})
    write_json(study / "study.json", {"cells": [{"label": "a-cell-that-failed", "failed": "because"}]})
    words = page(render_study(study)).words
    assert "The choice is not made yet" in words
    write_json(study / "winner.json", {"cell": "calm, epsilon 1", "score": 0.9, "epsilon": 3.141, "delta": 1e-6})
    html = render_study(study)
    words = page(html).words
    assert "calm, epsilon 1" in words
    assert "3.15" in words
    for hidden in ("replay", "a-cell-that-failed", "because", "<svg", "<script"):
        assert hidden not in html


def test_a_study_without_runs_or_without_a_folder(tmp_path: Path, page: Callable) -> None:
    assert "The study has no finished run." in page(render_study(tmp_path)).words
    with pytest.raises(StorageError, match="name the folder of a study"):
        render_study(tmp_path / "nowhere")


def test_a_comparison_says_what_differs(tmp_path: Path, page: Callable) -> None:
    runs = [write_synthetic_run(tmp_path / name / "run", rows=("replay",), tasks=2, seed=seed)
            for name, seed in (("a", 0), ("b", 1))]  # fmt: skip
    html = render_comparison(runs)
    words = page(html).words
    assert html == render_comparison(runs)
    assert "run · run (2)" in words
    assert "seed 0 1" in words
    assert "tasks 2 2" not in words
    assert "No certificate says whether" in words
    for digest, folder in zip("ab", runs, strict=True):
        certificate = read_json(folder / "certificate.json")
        certificate["rows"]["replay"]["scenario_digest"] = digest
        write_json(folder / "certificate.json", certificate)
    words = page(render_comparison(runs)).words
    assert "their figures must not be compared" in words
    assert "units" not in words
    for unit, folder in zip(("one window; of several", "one client's whole stream; all of it"), runs, strict=True):
        certificate = read_json(folder / "certificate.json")
        certificate["rows"]["replay"]["unit"] = unit
        write_json(folder / "certificate.json", certificate)
    assert "different units (one client's whole stream, one window)" in page(render_comparison(runs)).words
    with pytest.raises(ComparisonError, match="1 runs leave nothing to compare"):
        render_comparison(runs[:1])
