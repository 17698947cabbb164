"""Any key of the configuration is an axis of a study, and every cell is checked before anything runs."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secure_fcl.errors import ConfigInvalid
from secure_fcl.studies import Study, load_study, study_of
from secure_fcl.studies.crew import shares


def grid(base: dict[str, Any] | None = None, **axes: Any) -> Study:
    return study_of({"base": {"data": {"name": "digits"}} | (base or {}), "grid": axes}, "study it")


def test_any_key_is_an_axis() -> None:
    study = grid(**{"scenario.clients": [4, 6], "training.model": ["softmax", "mlp:8"], "seed": [1, 2]})
    assert len(study.cells) == 8 == len({cell.key for cell in study.cells})
    found = {(c.config.scenario.clients, c.config.training.model, c.config.seed) for c in study.cells}
    assert found == {(n, m, s) for n in (4, 6) for m in ("softmax", "mlp:8") for s in (1, 2)}
    assert [cell.seed for cell in study.cells[:2]] == [1, 2]
    assert study.cells[0].setting == "scenario.clients = 4, training.model = softmax"


def test_a_table_of_axes_is_the_same_as_dotted_keys() -> None:
    assert grid(scenario={"clients": [4, 6]}).cells == grid(**{"scenario.clients": [4, 6]}).cells


def test_keys_of_a_strategy_are_axes_of_its_cells_alone() -> None:
    study = grid(
        strategy=["finetune", "class_sums"], **{"finetune.epsilon": [1.0, 4.0], "class_sums.scale_bits": [8, 10]}
    )
    assert [(c.strategy, c.epsilon, c.settings) for c in study.cells] == [
        ("finetune", 1.0, ()), ("finetune", 4.0, ()),
        ("class_sums", 2.0, (("class_sums.scale_bits", 8),)), ("class_sums", 2.0, (("class_sums.scale_bits", 10),)),
    ]  # fmt: skip
    assert study.cells[1].config.finetune.epsilon == 4.0


def test_a_key_of_a_strategy_names_it() -> None:
    cells = grid(**{"finetune.epsilon": [1.0, math.inf]}).cells
    assert [(c.strategy, c.epsilon, c.noise) for c in cells] == [
        ("finetune", 1.0, "local"),
        ("finetune", math.inf, "none"),
    ]


def test_what_the_base_says_holds_where_no_axis_does() -> None:
    base = {"seed": 7, "protection": "bfv", "rows": ["class_sums", "finetune"], "finetune": {"epsilon": 3.0}}
    cells = grid(base).cells
    assert [(c.strategy, c.seed, c.protection, c.epsilon) for c in cells] == [
        ("class_sums", 7, "bfv", 2.0), ("finetune", 7, "bfv", 3.0),
    ]  # fmt: skip


def test_attacks_are_on_the_strategy_of_the_cell() -> None:
    cells = grid({"attacks": {"enabled": True}}, strategy=["finetune", "class_sums"]).cells
    assert cells[0].config.attacks.row == "finetune"
    assert cells[0].config.transcript == "full"
    (plain,) = grid(strategy=["finetune"]).cells
    assert not plain.config.attacks.enabled
    assert plain.config.transcript == "latest"


@pytest.mark.parametrize(
    ("axes", "named"),
    [
        ({"scenario.clientz": [4]}, "scenario.clientz = 4, seed = 1: unknown configuration key 'scenario.clientz'"),
        ({"scenario.clients": [4, 0]}, "scenario.clients = 0, seed = 1: configuration scenario.clients = 0"),
        ({"scenario": {"clients": 4}}, "grid.scenario.clients = 4 must be a list"),
        ({"scenario": {}}, "grid.scenario = {} must be a list"),
        ({"rows": [["finetune"]]}, "name the axis strategy"),
        ({"strategy": ["class_sums"], "finetune.epsilon": [1.0]}, "keys of finetune, which no cell runs"),
        ({"strategy": ["finetune"], "epsilon": [1.0], "finetune.epsilon": [1.0]}, "both epsilon and finetune.epsilon"),
        ({"data.name.x": [1]}, "base.data.name = 'digits' must be a section"),
        ({"strategy": [["finetune"]]}, "grid.strategy has ['finetune']"),
    ],
)
def test_a_wrong_cell_is_named_with_its_key(axes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        grid(**axes)
    assert str(caught.value).startswith("study it")
    assert named in str(caught.value)


SELECTION = {"distribution": "negative-binomial", "eta": 0.0, "mean": 5.0, "test_data": "public"}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"distribution": "fixed"}, "distribution = 'fixed'"),
        ({"eta": -1.0}, "eta = -1.0"),
        ({"eta": None}, "needs eta"),
        ({"gamma": 0.1}, "either gamma or mean"),
        ({"mean": 1.0}, "leaves nothing to choose"),
        ({"distribution": "poisson"}, "needs mean alone"),
        ({"test_data": "secret"}, "test_data = 'secret'"),
        ({"score": "loss"}, "score = 'loss'"),
        ({"test_data": "private"}, "score_noise, the standard deviation"),
        ({"test_data": "private", "score_noise": 3.0, "score": "task_mean"}, "needs score = 'micro'"),
        ({"score_noise": 3.0}, "leave it out"),
        ({"runs": 3}, "unknown configuration key 'private_selection.runs'"),
    ],
)
def test_a_wrong_choice_is_one_sentence(changed: dict[str, Any], named: str) -> None:
    section = {key: value for key, value in (SELECTION | changed).items() if value is not None}
    with pytest.raises(ConfigInvalid) as caught:
        study_of({"private_selection": section}, "study it")
    assert named in str(caught.value)


def test_whether_test_data_are_public_is_never_assumed() -> None:
    with pytest.raises(ConfigInvalid, match="test_data"):
        study_of({"private_selection": {k: v for k, v in SELECTION.items() if k != "test_data"}})


def test_cells_alone_cannot_keep_a_choice_private(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('[private_selection]\ndistribution = "poisson"\nmean = 3\ntest_data = "public"\n')
    with pytest.raises(ConfigInvalid, match="cannot be run one by one"):
        load_study(path)


def test_jobs_and_workers_keep_within_the_cores() -> None:
    def of(workers: int) -> Callable[[int | None, int], tuple[int, int]]:
        configs = [cell.config for cell in grid({"workers": workers}, seed=[1, 2, 3]).cells]

        def found(jobs: int | None, cores: int) -> tuple[int, int]:
            count, per_run = shares(configs, jobs, cores)
            return count, per_run(configs[0])

        return found

    assert of(0)(None, 2) == (2, 1)
    assert of(0)(None, 8) == (3, 2)
    assert of(2)(None, 8) == (3, 2)
    assert of(4)(None, 8) == (2, 4)
    assert of(16)(None, 8) == (1, 16)
    assert of(0)(1, 8) == (1, 8)
    assert shares([], None, 8)[0] == 1
