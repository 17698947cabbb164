import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from privacy import Ledger
from secure_fcl.cli.commands import app
from secure_fcl.cli.plan_tables import as_json, plot_plan, print_plan, write_plan
from secure_fcl.config import Config
from secure_fcl.forecast import cost as planning
from secure_fcl.forecast.cost import Alternative, Forecast, plan_run, with_setting
from secure_fcl.rows.build import calibrated_row
from secure_fcl.running.certificate import row_certificate
from secure_fcl.streams import build_scenario

ROWS = 'rows=["replay","class_sums"]'


@pytest.fixture(scope="module")
def config(make_config: Callable[..., Config]) -> Config:
    return make_config(ROWS, "replay.epsilon=1")


@pytest.fixture(scope="module")
def plan(config: Config) -> Forecast:
    with pytest.MonkeyPatch.context() as patch:
        # Each point of the curve is a calibration of its own.
        patch.setattr(planning, "EPSILONS", (1.0, 2.0))
        return plan_run(config)


def found(plan: Forecast, row: str, key: str) -> dict[object, Alternative]:
    return {a.value: a for a in plan.alternatives if (a.row, a.key) == (row, key)}


def test_the_plan_is_what_a_run_is_certified(plan: Forecast, config: Config, digits, tmp_path: Path) -> None:
    """The ledger of the finished row certifies the very epsilons that were planned."""
    for cost in plan.rows:
        row, multiplier = calibrated_row(config, build_scenario(digits, config), cost.row)
        with Ledger(tmp_path / cost.row) as ledger:
            for slot, round in row.schedule():
                ledger.charge(row.charges(slot, round))
            certified = row_certificate(row, ledger, multiplier)
        assert cost.epsilon == certified["epsilon"]
        assert cost.noise_multiplier == multiplier
        assert len(cost.cohorts) == len(certified["cohorts"])
        assert sum(cost.storage.values()) == row.storage.used
        assert cost.bytes_in_all >= cost.bytes_per_round * row.scenario.slots


def test_kept_examples_spend_more_the_earlier_they_came(plan: Forecast) -> None:
    replay = plan.rows[0]
    kept, discarded = replay.by_arrival("kept"), replay.by_arrival("discarded")
    assert [t for t, _ in kept] == [0, 1]
    assert kept[0][1] > kept[1][1] == pytest.approx(discarded[1][1])
    assert plan.rows[1].by_arrival("kept") == []


def test_other_choices_cost_what_they_should(plan: Forecast) -> None:
    replay = plan.rows[0]
    assert replay.epsilon is not None
    rounds = found(plan, "replay", "training.rounds")
    assert rounds[1].epsilon < replay.epsilon < rounds[4].epsilon
    assert rounds[1].noise_multiplier < replay.noise_multiplier < rounds[4].noise_multiplier
    memory = found(plan, "replay", "training.q_memory")
    assert memory[0.025].epsilon < replay.epsilon < memory[0.1].epsilon
    # Keeping is each item's own coin: it changes who is in the memory, not what a kept example spends.
    assert {a.epsilon for a in found(plan, "replay", "memory.keep").values()} == {replay.epsilon}
    capacity = found(plan, "replay", "memory.capacity")
    assert capacity[272].storage > capacity[68].storage > 0


def test_noise_shared_in_the_sum_is_smaller_and_dropouts_cost_noise(plan: Forecast) -> None:
    sums = plan.rows[1]
    assert sums.noise == "shared"
    local = found(plan, "class_sums", "class_sums.noise")["local"]
    assert local.noise_in_sum > 1.5 * sums.noise_in_sum
    dropouts = found(plan, "class_sums", "privacy.max_dropouts")
    assert dropouts[0].noise_in_sum < sums.noise_in_sum
    assert dropouts[0].epsilon == pytest.approx(sums.epsilon)


def test_a_budget_needs_less_noise_the_larger_it_is(plan: Forecast) -> None:
    for points in plan.curves.values():
        assert [e for e, _ in points] == sorted(e for e, _ in points)
        noises = [n for _, n in points]
        assert noises == sorted(noises, reverse=True)
        assert len(points) == 2


def test_what_cannot_be_is_part_of_the_answer(make_config: Callable[..., Config]) -> None:
    # Ten classes do not divide into twenty tasks; the sentence says so.
    many = plan_run(make_config('rows=["class_sums"]', "scenario.tasks=10"))
    (refused,) = [a for a in many.alternatives if a.refused]
    assert (refused.key, refused.value) == ("scenario.tasks", 20)
    assert refused.epsilon is refused.noise_multiplier is refused.noise_in_sum is refused.storage is None


def test_a_row_without_noise_has_no_epsilon(make_config: Callable[..., Config]) -> None:
    planned = plan_run(make_config('rows=["finetune"]', "finetune.noise=none", "finetune.epsilon=inf"), False)
    (cost,) = planned.rows
    assert cost.epsilon is cost.budget is cost.noise_in_sum is None
    text = io.StringIO()
    print_plan(planned, Console(file=text, width=160))
    assert "none" in text.getvalue()
    assert as_json(planned)["rows"][0]["epsilon"] is None
    assert "<svg" in plot_plan(planned)


def test_tables_json_and_figure(plan: Forecast, tmp_path: Path) -> None:
    text = io.StringIO()
    print_plan(plan, Console(file=text, width=160))
    for said in ("replay", "class_sums", "training.q_memory", "privacy.max_dropouts", "task 1", "kept"):
        assert said in text.getvalue()
    data, figure = write_plan(plan, tmp_path / "plan")
    assert json.loads(data.read_text())["rows"][0]["epsilon"] == plan.rows[0].epsilon
    assert "replay, kept" in figure.read_text()
    refused = replace(plan, alternatives=(Alternative(row="replay", key="a.b", value=3, refused="no [such] thing"),))
    print_plan(refused, Console(file=text, width=160))
    assert "a.b = 3: no [such] thing" in text.getvalue()


def test_one_setting_at_a_time(config: Config) -> None:
    changed = with_setting(config, "training.rounds", 7)
    assert changed.training.rounds == 7
    assert with_setting(changed, "training.rounds", config.training.rounds) == config


def test_the_command(tiny_settings: tuple[str, ...], tmp_path: Path) -> None:
    settings = [word for s in (*tiny_settings, 'rows=["class_sums"]') for word in ("--set", s)]
    done = CliRunner().invoke(app, ["plan", *settings, "--brief", "--out", str(tmp_path / "p")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "p" / "plan.json").exists()
    assert (tmp_path / "p" / "plan.svg").exists()
    assert not list(Path(tmp_path).rglob("ledger*"))
