"""Windows in other units than declared are told of in plan, certificate and report, from test windows alone."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.forecast.cost import plan_run
from secure_fcl.rows.build import build_row
from secure_fcl.rows.values_cut import values_cut
from secure_fcl.streams import build_scenario

METRES = np.array([9.81] * 3 + [1.0] * 3, dtype=np.float32)[:, None]
CLOSED = ("scenario.tasks=6", "attacks.enabled=false", "protection=plain")


@pytest.fixture
def said(hapt: Dataset, make_config: Callable[..., Config]) -> Callable[..., list[str]]:
    def of(row: str, where: str, *settings: str) -> list[str]:
        scaled = np.where(getattr(hapt, where)[:, None, None], hapt.x * METRES, hapt.x)
        config = make_config(*CLOSED, f'rows=["{row}"]', *settings)
        scenario = build_scenario(replace(hapt, x=scaled, digest=""), config)
        described = config.training.features if row == "finetune" else "none"
        return values_cut(build_row(config, scenario.described(described), row, 1.0))

    return of


@pytest.mark.parametrize(
    ("row", "settings"),
    [
        ("calm", ()),
        ("class_sums", ()),
        ("slda", ("slda.features=plain",)),
        ("finetune", ("training.features=refined",)),
    ],
)
def test_test_windows_in_metres_are_told_of(
    said: Callable[..., list[str]], row: str, settings: tuple[str, ...]
) -> None:
    (found,) = said(row, "test", *settings)
    assert "more than 1 % of the values of the test windows are beyond 4 g or 8 rad/s" in found


@pytest.mark.parametrize(
    ("row", "settings"),
    [("finetune", ()), ("calm", ("calm.features=general",)), ("class_sums", ("class_sums.features=general",))],
)
def test_rows_that_know_no_sensor_say_nothing(
    said: Callable[..., list[str]], row: str, settings: tuple[str, ...]
) -> None:
    assert said(row, "test", *settings) == []


def test_training_windows_are_not_looked_at(said: Callable[..., list[str]]) -> None:
    assert said("calm", "train") == []


def test_a_plan_says_it_once_for_all_rows(hapt: Dataset, make_config: Callable[..., Config]) -> None:
    config = make_config(*CLOSED, 'rows=["calm", "class_sums"]')
    wrong = plan_run(config, alternatives=False, data=replace(hapt, x=hapt.x * METRES, digest="")).advice
    assert sum("beyond 4 g" in one for one in wrong) == 1
    assert not any("beyond 4 g" in one for one in plan_run(config, alternatives=False, data=hapt).advice)
