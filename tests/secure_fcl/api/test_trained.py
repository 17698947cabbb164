from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import secure_fcl
from secure_fcl.api.trained import RunModel
from secure_fcl.data import load
from secure_fcl.errors import InputRefused, RunFolderError
from secure_fcl.strategies.catalogue import ENTRIES
from secure_fcl.streams import build_scenario


def measured(run: secure_fcl.Run, strategy: str, after_task: int) -> float:
    """Accuracy of the models on all test windows, as the run weighs them: over clients, where each has its own."""
    config = run.config()
    scenario = build_scenario(load(config.data.name, config.data.data_dir or None), config)
    test = scenario.test_indices()
    own = range(scenario.clients) if strategy in ("local_only", "fedweit", "fedweit_safe") else [None]
    right = []
    for client in own:
        model = run.model(strategy, after_task, client=client)
        right.append(_classes(model, scenario.x[test], scenario.part[test]) == scenario.data.y[test])
    return float(np.concatenate(right).mean())


def _classes(model: RunModel, x: Any, part: Any) -> Any:
    if not model.origin.tasks:
        return model.classes(x)
    found = np.zeros(len(x), dtype=np.int64)
    for task in np.unique(part):
        found[part == task] = model.classes(x[part == task], task=int(task) + 1)
    return found


def test_models_predict_as_the_run_measured(opened: secure_fcl.Run) -> None:
    assert len(opened.accuracy) == 8
    for line in opened.accuracy:
        assert measured(opened, line.strategy, line.after_task) == line.all_windows, line


@pytest.mark.parametrize(
    "settings",
    [
        ("training.features=refined", 'rows=["finetune","joint"]'),
        ("scenario.kind=task", 'rows=["finetune","class_sums"]'),
        ("scenario.kind=domain", "scenario.domains=rotated", 'rows=["finetune","slda"]'),
    ],
    ids=["features", "task", "domain"],
)
def test_models_of_other_inputs_and_tests_do_too(run_tiny: Callable[..., Any], settings: tuple[str, ...]) -> None:
    run = secure_fcl.open(run_tiny(*settings).path)
    assert len(run.accuracy) >= 3
    for line in run.accuracy:
        assert measured(run, line.strategy, line.after_task) == line.all_windows, line


@pytest.mark.slow
def test_models_of_all_strategies_predict_as_the_run_measured(run_tiny: Callable[..., Any]) -> None:
    rows = ",".join(f'"{name}"' for name in ENTRIES)
    channels = sorted({name for entry in ENTRIES.values() for name in entry.channels})
    allowed = ",".join(f'"{name}"' for name in channels)
    run = secure_fcl.open(run_tiny(f"rows=[{rows}]", f"side_channels=[{allowed}]").path)
    assert {line.strategy for line in run.accuracy} == set(ENTRIES)
    for line in run.accuracy:
        assert measured(run, line.strategy, line.after_task) == line.all_windows, line


def test_a_model_is_a_module_with_names(opened: secure_fcl.Run, digits: secure_fcl.Dataset) -> None:
    x = digits.x[:7]
    network, sums = opened.model("replay"), opened.model("class_sums", 1)
    assert set(network.predict(x)) <= set(digits.classes)
    assert network(torch.from_numpy(x)).requires_grad
    for model in (network, sums):
        assert np.array_equal(model(torch.from_numpy(x)).detach().numpy().argmax(axis=1), model.classes(x))
    assert list(sums.state_dict()) == ["state_sums"]
    assert network.classes(x[:0]).shape == (0,)


def test_inputs_and_names_that_do_not_fit_are_refused(opened: secure_fcl.Run, digits: secure_fcl.Dataset) -> None:
    model = opened.model("replay")
    wrong = digits.x[:2].copy()
    wrong[1, 0, 0, 0] = np.nan
    for given, why in ((digits.x[:2, 0], "have shape"), (wrong, "input 1 "), (np.array(["a"]), "type <U1")):
        with pytest.raises(InputRefused, match=why):
            model.predict(given)
    with pytest.raises(InputRefused, match="leave task out"):
        model.predict(digits.x[:2], task=1)
    for ask, why in (
        ({"strategy": "fedavg"}, "it has replay, class_sums"),
        ({"strategy": "replay", "after_task": 3}, "tasks 1 to 2"),
        ({"strategy": "replay", "client": 0}, "leave client out"),
        ({"strategy": "local_only"}, "say whose: 0 to 4"),
        ({"strategy": "local_only", "client": 5}, "say whose: 0 to 4"),
    ):
        with pytest.raises(RunFolderError, match=why):
            opened.model(**ask)  # type: ignore[arg-type]


def test_without_the_transcript_only_the_last_model_is_there(run_tiny: Callable[..., Any]) -> None:
    run = secure_fcl.open(run_tiny('rows=["finetune"]', "transcript=latest").path)
    assert measured(run, "finetune", 2) == run.accuracy[1].all_windows
    with pytest.raises(RunFolderError, match="after_task = 2"):
        run.model("finetune", 1)
