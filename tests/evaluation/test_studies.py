import math
from pathlib import Path

import pytest
from scipy import stats

from evaluation.errors import StorageError, StudyError
from evaluation.studies import StudyLine, aggregate, parse_study, read_study, write_study

HEADER = "strategy,noise,epsilon,seed,micro,task_mean,forgetting\n"


def test_a_table_round_trips(tmp_path: Path) -> None:
    rows = (
        StudyLine(
            strategy="replay, 5 %", noise="local", epsilon=0.5, seed=0, micro=0.8125, task_mean=0.7, forgetting=-0.01
        ),
        StudyLine(
            strategy="class_sums", noise="none", epsilon=math.inf, seed=3, micro=0.9, task_mean=0.8, forgetting=0.0
        ),
    )
    write_study(tmp_path / "study.csv", rows)
    assert read_study(tmp_path / "study.csv") == rows


def test_empty_fields_and_further_columns() -> None:
    text = "run,seed,strategy,noise,epsilon,micro,task_mean,forgetting\nx,1,replay,none,,0.5,,\n"
    (row,) = parse_study(text)
    assert (row.strategy, row.epsilon, row.micro) == ("replay", math.inf, 0.5)
    assert math.isnan(row.task_mean)
    assert math.isnan(row.forgetting)
    assert parse_study(HEADER) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "missing"),
        ("strategy,noise\n", "epsilon"),
        (HEADER + "a,local,two,0,1,1,0\n", "line 2, column epsilon"),
        (HEADER + "a,local,0,0,1,1,0\n", "positive"),
        (HEADER + "a,local,nan,0,1,1,0\n", "positive"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "study.csv"
    path.write_text(text)
    with pytest.raises(StudyError, match=message) as caught:
        read_study(path)
    assert "study.csv" in str(caught.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"study\.csv"):
        read_study(tmp_path / "study.csv")


def test_means_and_t_intervals_over_seeds() -> None:
    shares = [0.70, 0.74, 0.75]
    rows = [
        StudyLine(strategy="replay", noise="shared", epsilon=2.0, seed=seed, micro=share, task_mean=0.5, forgetting=0.1)
        for seed, share in enumerate(shares)
    ]
    rows += [
        StudyLine(
            strategy="replay", noise="shared", epsilon=1.0, seed=0, micro=0.6, task_mean=math.nan, forgetting=0.2
        ),
        StudyLine(strategy="replay", noise="local", epsilon=1.0, seed=0, micro=0.4, task_mean=0.3, forgetting=0.2),
    ]
    low, high, other = aggregate(rows)
    assert [(p.noise, p.epsilon) for p in (low, high, other)] == [
        ("shared", 1.0),
        ("shared", 2.0),
        ("local", 1.0),
    ]
    expected = stats.t.interval(0.95, 2, loc=0.73, scale=stats.sem(shares))
    assert high.micro.value == pytest.approx(0.73)
    assert (high.micro.low, high.micro.high) == pytest.approx(expected)
    assert high.micro.n == 3
    assert math.isnan(low.micro.low)
    assert low.task_mean.n == 0
    assert aggregate([]) == ()
