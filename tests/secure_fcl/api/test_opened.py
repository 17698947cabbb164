import json
import shutil
from pathlib import Path

import pytest

import secure_fcl
from secure_fcl.errors import RunFolderError, RunInUse
from secure_fcl.running.folder import RunFolder


def test_tables_say_what_the_files_say(opened: secure_fcl.Run) -> None:
    certified = opened.certificate["rows"]
    assert {line.strategy: line.epsilon for line in opened.epsilon} == {k: v["epsilon"] for k, v in certified.items()}
    finals = {r["row"]: r for line in (opened.folder / "metrics.jsonl").read_text().splitlines()
              if (r := json.loads(line))["kind"] == "final"}  # fmt: skip
    for line in opened.accuracy:
        if line.after_task == 2:
            assert (line.all_windows, line.class_mean) == tuple(
                finals[line.strategy][k] for k in ("micro", "class_mean")
            )
    assert [line.forgetting for line in opened.forgetting] == [finals[row]["forgetting"] for row in opened.strategies]
    assert [line.rounds for line in opened.cost] == [4, 2, 4, 4]
    assert len(opened.leakage) == 0
    assert "not been run" in repr(opened.leakage)


def test_tables_are_frozen_and_shown_in_three_ways(opened: secure_fcl.Run) -> None:
    with pytest.raises(AttributeError):
        opened.accuracy.lines = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        opened.accuracy[0].all_windows = 1.0  # type: ignore[misc]
    assert "class_sums  shared" in repr(opened.epsilon)
    assert "<td>class_sums</td>" in opened.epsilon._repr_html_()
    assert opened.accuracy.columns[5:7] == ("task 1", "task 2")
    assert opened.accuracy.records()[0]["task 1"] == opened.accuracy[0].tasks[0]


def test_html_escapes_what_files_say(opened: secure_fcl.Run, tmp_path: Path) -> None:
    from dataclasses import replace

    table = opened.epsilon
    hostile = replace(table, lines=(replace(table[0], strategy="<script>"),), note="<b>")
    assert "<script>" not in hostile._repr_html_()
    assert "<b>" not in hostile._repr_html_()


def test_without_a_certificate_no_epsilon_is_shown(opened: secure_fcl.Run, tmp_path: Path) -> None:
    folder = tmp_path / "begun"
    config = opened.config()
    found = secure_fcl.open(RunFolder.create(tmp_path, config, folder.name).path)
    assert len(found.epsilon) == 0
    assert "no epsilon is stated" in repr(found.epsilon)
    assert "8.00" not in repr(found)
    with pytest.raises(RunFolderError, match="no certificate yet"):
        _ = found.certificate
    with pytest.raises(RunFolderError, match="has finished no task yet"):
        found.model("replay")


def test_files_that_do_not_fit_are_not_shown(opened: secure_fcl.Run, tmp_path: Path) -> None:
    folder = shutil.copytree(opened.folder, tmp_path / "edited")
    certificate = folder / "certificate.json"
    certificate.write_text(certificate.read_text().replace('"epsilon": 7.', '"epsilon": 1.'))
    with pytest.raises(RunFolderError, match=r"certificate\.json is not what the run wrote"):
        secure_fcl.open(folder)


def test_a_model_is_of_files_that_still_fit(opened: secure_fcl.Run, tmp_path: Path) -> None:
    run = secure_fcl.open(shutil.copytree(opened.folder, tmp_path / "later"))
    shutil.copyfile(run.folder / "model" / "local_only.npz", run.folder / "model" / "replay.npz")
    with pytest.raises(RunFolderError, match=r"model/replay\.npz is not what the run wrote"):
        run.model("replay")


def test_a_run_in_progress_is_refused(opened: secure_fcl.Run) -> None:
    with RunFolder.named(opened.folder).locked(), pytest.raises(RunInUse):
        secure_fcl.open(opened.folder)


def test_a_report_that_is_not_there_is_named(opened: secure_fcl.Run) -> None:
    with pytest.raises(RunFolderError, match="secure-fcl report"):
        _ = opened.report


def test_runs_are_compared(opened: secure_fcl.Run, tmp_path: Path) -> None:
    other = RunFolder.create(tmp_path, opened.config().model_copy(update={"seed": 5}), "other").path
    found = secure_fcl.compare(opened, other)
    assert [(s.key, s.values) for s in found.settings] == [("seed", ("1", "5"))]
    stated = {(line.run, line.guarantee) for line in found.results}
    assert stated == {("run", "stated"), ("other", "not stated yet")}
    assert all(line.epsilon is None for line in found.results if line.run == "other")
    assert {line.unit for line in found.results} == {"example"}
    assert found.to_json()["settings"] == [{"key": "seed", "run": "1", "other": "5"}]
    persons = opened.config()
    persons = persons.model_copy(update={"privacy": persons.privacy.model_copy(update={"unit": "person"})})
    beside = secure_fcl.compare(opened, RunFolder.create(tmp_path, persons, "persons").path).results
    assert {(line.run, line.unit) for line in beside} == {("run", "example"), ("persons", "person")}
    with pytest.raises(secure_fcl.api.comparing.InputRefused, match="name two or more"):
        secure_fcl.compare(opened)


@pytest.mark.slow
def test_an_audited_run_shows_what_leaks(tmp_path: Path, tiny_settings: tuple[str, ...]) -> None:
    settings = [
        *tiny_settings, "scenario.partition=iid", "attacks.enabled=true", "attacks.row=finetune", 'rows=["finetune"]',
        "attacks.inversion_steps=5", "attacks.targets=2",
    ]  # fmt: skip
    run = secure_fcl.run(settings=settings, runs=tmp_path, name="run", watch=lambda tick: None)
    written = json.loads((run.folder / "attacks.json").read_text())["outcomes"]
    assert [(line.auc, line.void, line.control) for line in run.leakage] == [
        (one["auc"], one["void"], one["control"]) for one in written
    ]
    assert run.epsilon[0].contradicted is False
    assert "not tested" in run.leakage.note
    again = secure_fcl.audit(run)
    assert again.report.is_file()
    assert [line.game for line in again.leakage] == [line.game for line in run.leakage]
    highest = secure_fcl.compare(run, again).results[0]
    own = [line for line in again.leakage if line.control is None and not line.void]
    assert highest.highest_auc == max(line.auc for line in own if line.auc is not None)
