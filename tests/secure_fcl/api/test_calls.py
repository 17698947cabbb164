import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import secure_fcl
from secure_fcl.cli.commands import app
from secure_fcl.config import load_config
from secure_fcl.data import as_dataset, save_dataset
from secure_fcl.errors import ConfigInvalid, InputRefused
from secure_fcl.running.loop import Interrupted
from secure_fcl.running.records import Tick

SMALL = (
    "scenario.partition=iid", "scenario.clients=4", "scenario.tasks=2", "privacy.max_dropouts=0", "protection=plain",
    "attacks.enabled=false", "workers=1", 'rows=["class_sums","finetune"]', "training.model=mlp", "training.rounds=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    """Made-up pictures of four named classes."""
    rng = np.random.default_rng(3)
    y = np.tile(np.arange(4), 60)
    x = rng.uniform(0, 0.3, (240, 1, 8, 8)).astype(np.float32)
    for label in range(4):
        x[y == label, 0, 2 * label : 2 * label + 2] += 0.6
    names = np.array(["north", "east", "south", "west"])
    return {"x": x, "y": names[y], "classes": tuple(names), "test": np.arange(240) % 3 == 0}


SUMS = (*SMALL, 'rows=["class_sums"]')


def quiet(tick: Tick) -> None:
    """Watch nothing."""


def test_arrays_run_and_predict(arrays: dict[str, Any], tmp_path: Path) -> None:
    ticks: list[Tick] = []
    run = secure_fcl.run(data=arrays, settings=SMALL, runs=tmp_path, name="mine", watch=ticks.append)
    assert [tick.done for tick in ticks] == list(range(1, len(ticks) + 1))
    assert run.finished
    assert run.report.is_file()
    found = run.model("class_sums").predict(arrays["x"][arrays["test"]])
    assert (found == arrays["y"][arrays["test"]]).mean() == run.accuracy[1].all_windows
    kept = run.folder / "simulation" / "data.npz"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert str(tmp_path) not in (run.folder / "config.toml").read_text()


OWN = """
from pathlib import Path

from secure_fcl.data import load_folder


def mine():
    return load_folder(Path(__file__).parent / "pictures")
"""


@pytest.mark.parametrize("source", ["folder", "own_pictures:mine"])
def test_a_run_on_data_of_every_source_predicts_and_exports(
    arrays: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    folder = tmp_path / "pictures"
    save_dataset(as_dataset(arrays), folder)
    (tmp_path / "own_pictures.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    data = {"source": source, **({"data_dir": str(folder)} if source == "folder" else {})}
    run = secure_fcl.run({"data": data}, settings=SUMS, runs=tmp_path / "runs", name="mine", watch=quiet)
    found = run.model("class_sums").predict(arrays["x"][arrays["test"]])
    assert (found == arrays["y"][arrays["test"]]).mean() == run.accuracy[1].all_windows
    asked = ["export", str(run.folder), "--out", str(tmp_path / "out"), "--trust-code"]
    exported = CliRunner().invoke(app, asked)
    assert exported.exit_code == 0, exported.stderr
    card = json.loads((tmp_path / "out" / "class_sums" / "card.json").read_text(encoding="utf-8"))
    assert card["data"]["name"] == ("pictures" if source == "folder" else source)


def test_a_run_goes_on_from_another_place(arrays: dict[str, Any], tmp_path: Path) -> None:
    def stop(tick: Tick) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        secure_fcl.run(data=arrays, settings=SUMS, runs=tmp_path / "a", name="mine", watch=stop)
    (tmp_path / "a").rename(tmp_path / "b")
    run = secure_fcl.run(runs=tmp_path / "b", name="mine", resume=True, watch=quiet)
    whole = secure_fcl.run(data=arrays, settings=SUMS, runs=tmp_path, name="whole", watch=quiet)
    digests = [one.certificate["rows"]["class_sums"]["scenario_digest"] for one in (run, whole)]
    assert digests[0] == digests[1]
    again = secure_fcl.run(data=arrays, settings=SUMS, runs=tmp_path, name="whole", resume=True, watch=quiet)
    assert again.accuracy.records() == whole.accuracy.records()
    with pytest.raises(ConfigInvalid, match="began with another configuration"):
        secure_fcl.run(settings=[*SUMS, "seed=9"], data=arrays, runs=tmp_path, name="whole", resume=True, watch=quiet)


def test_data_that_was_changed_is_found(arrays: dict[str, Any], tmp_path: Path) -> None:
    run = secure_fcl.run(data=arrays, settings=SUMS, runs=tmp_path, name="mine", watch=quiet)
    kept = run.folder / "simulation" / "data.npz"
    kept.write_bytes(kept.read_bytes()[:-40])
    with pytest.raises(secure_fcl.api.opened.RunFolderError, match=r"data\.npz"):
        secure_fcl.open(run.folder)


def test_torch_data_sets_are_taken(arrays: dict[str, Any], tmp_path: Path) -> None:
    class Pictures(torch.utils.data.TensorDataset):
        classes = arrays["classes"]

    place = {name: number for number, name in enumerate(arrays["classes"])}
    y = torch.tensor([place[name] for name in arrays["y"]])
    x, test = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["test"])
    pair = Pictures(x[~test], y[~test]), Pictures(x[test], y[test])
    forecast = secure_fcl.plan(data=pair, settings=SMALL)
    assert [row.row for row in forecast.rows] == ["class_sums", "finetune"]
    assert [row.epsilon for row in forecast.rows] == [
        r.epsilon for r in secure_fcl.plan(data=arrays, settings=SMALL).rows
    ]


def test_configurations_of_every_kind_are_one(tmp_path: Path) -> None:
    from secure_fcl.api.given import configured

    path = tmp_path / "run.toml"
    path.write_text("seed = 4\n[training]\nrounds = 3\n")
    tree = {"seed": 4, "training": {"rounds": 3}}
    wanted = load_config(path, ["workers=1"])
    for given in (path, str(path), tree, load_config(path)):
        assert configured(given, ["workers=1"]) == wanted
    assert tree == {"seed": 4, "training": {"rounds": 3}}


def test_what_cannot_be_used_is_refused_in_one_sentence(arrays: dict[str, Any], tmp_path: Path) -> None:
    lacking = {name: arrays[name] for name in ("x", "y", "test")}
    for given, why in (
        ({"data": lacking}, "label set is public"),
        ({"data": 7}, "int"),
        ({"data": {**arrays, "labels": 1}}, "labels"),
        ({"data": {**arrays, "classes": ("north", "east", "south")}}, "west"),
        ({"data": (arrays["x"], arrays["y"])}, "label set is public"),
        ({"model": 7}, "7"),
    ):
        with pytest.raises((InputRefused, ConfigInvalid, secure_fcl.data.DataError), match=why):
            secure_fcl.run(**given, runs=tmp_path, watch=quiet)  # type: ignore[arg-type]
    for both, why in (
        ({"data": arrays, "settings": ["data.name=digits"]}, "data is given, and"),
        ({"model": "softmax", "settings": ["training.model=mlp"]}, "model is given, and"),
        ({"resume": True}, "give its name"),
        ({"settings": ["data.name=arrays"]}, "stands for arrays"),
    ):
        with pytest.raises((ConfigInvalid, secure_fcl.data.DataError), match=why):
            secure_fcl.run(**both, runs=tmp_path, watch=quiet)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_says_how_to_go_on(
    arrays: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from secure_fcl.runner import StopRequest

    monkeypatch.setattr(StopRequest, "__call__", lambda self: True)
    with pytest.raises(Interrupted, match="resume=True"):
        secure_fcl.run(data=arrays, settings=SMALL, runs=tmp_path, name="mine", watch=quiet)


def test_a_study_returns_its_table(tmp_path: Path) -> None:
    base: dict[str, Any] = {
        "data": {"name": "digits"}, "scenario": {"partition": "iid", "clients": 3, "tasks": 2}, "workers": 1,
        "privacy": {"max_dropouts": 0},
    }  # fmt: skip
    study = secure_fcl.study({"base": base, "grid": {"epsilon": [1.0, 4.0]}}, out=tmp_path / "grid")
    assert [line.epsilon for line in study.runs] == [1.0, 4.0]
    assert "class_sums" in repr(study)
    with pytest.raises(ConfigInvalid, match="name its folder"):
        secure_fcl.study({"base": base})


def own_network() -> type[torch.nn.Module]:
    """A class of a network that DP-SGD cannot train as it is, made in a function, where no worker can import it."""

    class OwnNetwork(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.last = torch.nn.Linear(64, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.last(torch.relu(self.norm(self.first(x.flatten(1)))))
            return out

    return OwnNetwork


def test_a_live_network_trains_is_named_and_opened_with_trust_alone(arrays: dict[str, Any], tmp_path: Path) -> None:
    settings = (*SMALL, 'rows=["finetune"]', "training.model=auto", "training.replace_layers=true")
    run = secure_fcl.run(data=arrays, model=own_network(), settings=settings, runs=tmp_path, name="mine", watch=quiet)
    assert run.finished
    assert "BatchNorm" in (run.folder / "certificate.txt").read_text(encoding="utf-8")
    (kept,) = (run.folder / "code").iterdir()
    assert any(one["digest"] == kept.stem for one in run.certificate["outside_code"])
    found = run.model("finetune").predict(arrays["x"][arrays["test"]])
    assert (found == arrays["y"][arrays["test"]]).mean() == run.accuracy[-1].all_windows
    with pytest.raises(secure_fcl.errors.SecureFclError, match="trust"):
        secure_fcl.open(run.folder).model("finetune")
    trusted = secure_fcl.open(run.folder, trust_code=True).model("finetune")
    assert (trusted.predict(arrays["x"][:5]) == run.model("finetune").predict(arrays["x"][:5])).all()


def test_a_private_choice_shows_its_best_and_what_it_cost(tmp_path: Path) -> None:
    tree: dict[str, Any] = {
        "base": {
            "workers": 1, "data": {"name": "digits"}, "privacy": {"max_dropouts": 1},
            "scenario": {"partition": "iid", "clients": 4, "tasks": 2},
        },
        "grid": {"epsilon": [1.0, 2.0]},
        "private_selection": {"distribution": "negative-binomial", "eta": 1.0, "mean": 1.5, "test_data": "public"},
    }  # fmt: skip
    study = secure_fcl.study(tree, out=tmp_path / "choice")
    assert len(study.runs) == 0
    assert study.chosen is not None
    assert study.chosen.epsilon > 2.0
    assert str(study.chosen.cell) in repr(study)


@pytest.mark.parametrize("wrong", [5, ["rows"], b"a.toml", ("a", "b")])
def test_what_is_no_configuration_is_said_by_its_type(wrong: Any) -> None:
    for call in (secure_fcl.plan, secure_fcl.run):
        with pytest.raises(InputRefused, match=f"of type {type(wrong).__name__} is no configuration; give"):
            call(wrong)


def test_one_setting_as_a_text_is_answered_with_the_list() -> None:
    for call in (secure_fcl.plan, secure_fcl.run):
        with pytest.raises(InputRefused, match=r"settings = 'seed=1' is one text; give a list of them, \['seed=1'\]"):
            call(settings="seed=1")
