import csv
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import secure_fcl
from secure_fcl.api.cards import card_of, card_text
from secure_fcl.api.exports import export_model, export_onnx
from secure_fcl.api.inputs import read_inputs
from secure_fcl.api.table_files import export_tables, write_mlflow
from secure_fcl.cli.commands import app
from secure_fcl.data import Dataset
from secure_fcl.errors import InputRefused, SecureFclError
from secure_fcl.running.folder import RunFolder

Invoke = Callable[..., tuple[int, str, str]]


@pytest.fixture
def invoke() -> Invoke:
    def run(*arguments: object) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        return result.exit_code, result.stdout, result.stderr

    return run


def test_predictions_of_every_kind_of_file_are_the_models(
    opened: secure_fcl.Run, digits: Dataset, invoke: Invoke, tmp_path: Path
) -> None:
    x = digits.x[:6]
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "b.npz", x=x, other=x[:1])
    heading = ",".join(f"pixel{n}" for n in range(64))
    np.savetxt(tmp_path / "c.csv", x.reshape(6, -1), delimiter=",", header=heading, comments="", fmt="%.9g")
    wanted = list(opened.model("calm", 1).predict(x))
    for name in ("a.npy", "b.npz", "c.csv"):
        code, out, _ = invoke(
            "predict", opened.folder, tmp_path / name, "--strategy", "calm", "--after-task", 1, "--json"
        )
        assert code == 0
        assert [one["label"] for one in json.loads(out)] == wanted, name
    for name in ("out.csv", "out.json"):
        code, _, _ = invoke(
            "predict", opened.folder, tmp_path / "a.npy", "--strategy", "calm", "--out", tmp_path / name
        )
        assert code == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["label"] for line in lines] == list(opened.model("calm").predict(x))
    assert [one["label"] for one in json.loads((tmp_path / "out.json").read_text())] == [one["label"] for one in lines]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("x.txt", b"1", "inputs come as .csv, .npy, .npz"),
        ("x.npy", b"no array", "cannot be read as inputs"),
        ("x.csv", b"1,2\n3\n", "lines of 1 and 2 numbers"),
        ("x.csv", b"1,2\n3,x\n", "cannot be read as inputs"),
        ("x.csv", b"1,2\n", "inputs have shape (1, 2)"),
        ("x.csv", b"", "lines of no numbers"),
        ("no.npz", None, "cannot be read as inputs"),
    ],
)
def test_inputs_that_cannot_be_used_are_one_sentence(
    opened: secure_fcl.Run, invoke: Invoke, tmp_path: Path, name: str, content: bytes | None, why: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    code, out, err = invoke("predict", opened.folder, path, "--strategy", "replay")
    assert (code, out) == (2, "")
    assert why in err
    assert err.count("\n") == 1


def test_a_pickle_is_not_read_as_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputRefused, match="cannot be read"):
        read_inputs(tmp_path / "x.npy", (2,))


def test_the_card_states_the_certificates_epsilon_and_no_other(opened: secure_fcl.Run, tmp_path: Path) -> None:
    certified = opened.certificate["rows"]["class_sums"]
    card = card_of(opened, opened.model("class_sums", 1).origin)
    assert (card["privacy"]["epsilon"], card["privacy"]["delta"]) == (certified["epsilon"], certified["delta"])
    assert card["privacy"]["assumptions"] == certified["assumptions"]
    assert card["privacy"]["non_private"] == certified["non_private"]
    assert (
        card["run"]["certificate_sha256"]
        == hashlib.sha256((opened.folder / "certificate.json").read_bytes()).hexdigest()
    )
    assert card["measured"]["all_windows"] == next(
        line.all_windows for line in opened.accuracy if (line.strategy, line.after_task) == ("class_sums", 1)
    )
    own = card_of(opened, opened.model("local_only", client=1).origin)
    assert own["privacy"]["epsilon"] is None
    assert "| epsilon | none |" in card_text(own)
    begun = secure_fcl.open(RunFolder.create(tmp_path, opened.config(), "begun").path)
    bare = card_of(begun, opened.model("class_sums").origin)
    assert (bare["privacy"]["epsilon"], bare["privacy"]["guarantee"]) == (
        None,
        "none is stated: the run has no certificate",
    )


def test_a_card_cannot_be_broken_by_names(opened: secure_fcl.Run) -> None:
    origin = replace(opened.model("replay").origin, labels=("a|b", "<img>", "c\nd"))
    line = next(line for line in card_text(card_of(opened, origin)).splitlines() if line.startswith("| labels"))
    assert line == "| labels | a\\|b, &lt;img>, c d |"


def test_tensors_come_back_from_the_file(opened: secure_fcl.Run, tmp_path: Path) -> None:
    safe = pytest.importorskip("safetensors")
    from safetensors.torch import load_file

    for strategy in ("replay", "calm"):
        model = opened.model(strategy)
        path, card, _ = export_model(opened, model, tmp_path / strategy)
        found = load_file(path)
        assert found.keys() == model.state_dict().keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())
        with safe.safe_open(path, "pt") as file:
            assert float(file.metadata()["epsilon"]) == json.loads(card.read_text())["privacy"]["epsilon"]


def test_exports_by_command(opened: secure_fcl.Run, invoke: Invoke, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    code, _, _ = invoke("export", opened.folder, "--out", tmp_path)
    assert code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calm", "class_sums", "replay"]
    assert invoke("export", opened.folder, "--out", tmp_path, "--strategy", "local_only", "--client", 2)[0] == 0
    assert (tmp_path / "local_only-client2" / "README.md").is_file()
    code, _, err = invoke("export", opened.folder, "--out", tmp_path, "--strategy", "calm", "--onnx")
    assert (code, "is a closed form" in err) == (2, True)


def test_onnx_scores_as_the_network_does(opened: secure_fcl.Run, digits: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model = opened.model("replay")
    session = runtime.InferenceSession(str(export_onnx(model, tmp_path / "model.onnx")))
    for n in (1, 5):
        (scores,) = session.run(["scores"], {"x": digits.x[:n]})
        assert np.allclose(scores, model.scores(digits.x[:n]), atol=1e-5)


def test_tables_as_files_hold_what_the_tables_hold(opened: secure_fcl.Run, tmp_path: Path) -> None:
    export_tables(opened, tmp_path, "csv")
    with (tmp_path / "accuracy.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [float(line["all windows"]) for line in found] == [line.all_windows for line in opened.accuracy]
    assert (tmp_path / "leakage.csv").read_text().startswith("strategy,game")
    assert "audit has not been run" in json.loads((tmp_path / "notes.json").read_text())["leakage"]
    export_tables(opened, tmp_path, "json")
    assert [line["epsilon"] for line in json.loads((tmp_path / "epsilon.json").read_text())] == [
        line.epsilon for line in opened.epsilon
    ]


def test_parquet_holds_what_the_tables_hold(opened: secure_fcl.Run, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export_tables(opened, tmp_path, "parquet")
    found = parquet.read_table(tmp_path / "epsilon.parquet").to_pydict()
    assert found["epsilon"] == [line.epsilon for line in opened.epsilon]


def test_pandas_holds_what_the_tables_hold(opened: secure_fcl.Run) -> None:
    pytest.importorskip("pandas")
    frame = opened.accuracy.to_pandas()
    assert list(frame.columns) == list(opened.accuracy.columns)
    assert frame["all windows"].tolist() == [line.all_windows for line in opened.accuracy]


def test_what_is_not_installed_is_named(
    opened: secure_fcl.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pandas", "pyarrow", "mlflow.tracking", "onnx", "safetensors.torch"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    network = opened.model("replay")
    for call in (
        opened.cost.to_pandas,
        lambda: export_tables(opened, tmp_path / "t", "parquet"),
        lambda: write_mlflow(opened, tmp_path / "m"),
        lambda: export_onnx(network, tmp_path / "o.onnx"),
        lambda: export_model(opened, network, tmp_path / "s"),
    ):
        with pytest.raises(SecureFclError, match="is not installed; run: pip install"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_mlflow_gets_settings_and_figures(opened: secure_fcl.Run, tmp_path: Path) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    import os

    address = write_mlflow(opened, tmp_path / "store")
    assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    try:
        store = tracking.MlflowClient(tracking_uri=address)
        runs = store.search_runs([store.get_experiment_by_name("secure-fcl").experiment_id])
    finally:
        del os.environ["MLFLOW_ALLOW_FILE_STORE"]
    found = {one.info.run_name.partition("/")[2]: one.data for one in runs}
    assert found.keys() == set(opened.strategies)
    for line in opened.epsilon:
        assert found[line.strategy].metrics["epsilon"] == line.epsilon
        assert found[line.strategy].params["scenario.clients"] == "5"
        assert f"{line.strategy}.epsilon" in found[line.strategy].params


def test_runs_are_compared_by_command(opened: secure_fcl.Run, invoke: Invoke, tmp_path: Path) -> None:
    other = RunFolder.create(tmp_path, opened.config().model_copy(update={"seed": 5}), "other").path
    code, out, _ = invoke("compare", opened.folder, other)
    assert code == 0
    assert "seed: 1 | 5" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "class_sums" in out
    code, out, _ = invoke("compare", opened.folder, other, "--json")
    assert {line["guarantee"] for line in json.loads(out)["results"]} == {"stated", "not stated yet"}
    assert invoke("compare", opened.folder)[0] == 2
