"""`secure-fcl audit-model`: a folder of files in, a page out, and one sentence for whatever is wrong with them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from secure_fcl.cli.commands import app
from secure_fcl.data.hapt import load_hapt

BASE = """
model = "audited_nets:network"
checkpoints = "model.pt"
members = "members.npz"
nonmembers = "others.npz"
"""
CODE = """
import torch

def network():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(384, 24), torch.nn.BatchNorm1d(24), torch.nn.ReLU(),
                               torch.nn.Linear(24, 12))

def wider():
    return torch.nn.Linear(384, 13)

def text():
    return "a network"

def failing():
    raise KeyError("weights")

def short(model, x, y):
    return torch.zeros(3)

def train(x, y, seed):
    return wider()

number = 3
"""


@pytest.fixture(scope="module")
def hapt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: windows of 30 people, a network that knows half of them by heart, and who was which half."""
    folder, data = tmp_path_factory.mktemp("hapt"), load_hapt()
    random = np.random.default_rng(0)
    rows = np.flatnonzero(data.train)[random.permutation(int(data.train.sum()))[:600]]
    coin = random.random(600) < 0.5
    (folder / "audited_nets.py").write_text(CODE, encoding="utf-8")
    names: dict[str, object] = {}
    exec(CODE, names)
    torch.manual_seed(0)
    module: torch.nn.Module = names["network"]()  # type: ignore[operator]
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    y = (data.y[rows] + random.integers(0, 12, 600) * (random.random(600) < 0.5)) % 12
    for _ in range(150):
        optimiser.zero_grad()
        logits = module(torch.from_numpy(data.x[rows][coin]))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(y[coin])).backward()
        optimiser.step()
    torch.save(module.state_dict(), folder / "model.pt")
    for name, chosen in (("members", coin), ("others", ~coin)):
        np.savez(folder / f"{name}.npz", x=data.x[rows][chosen], y=y[chosen])
    return folder


@pytest.fixture
def invoke(hapt: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    def run(text: str, *options: str) -> Result:
        monkeypatch.chdir(hapt)
        path = hapt / f"{tmp_path.name}.toml"
        path.write_text(text, encoding="utf-8")
        return CliRunner().invoke(app, ["audit-model", str(path), "--out", str(tmp_path / "out"), *options])

    return run


def test_a_leak_of_windows_is_found_and_a_claim_refuted(invoke: Callable[..., Result], tmp_path: Path) -> None:
    done = invoke(BASE + "coins = { claimed_epsilon = 0.1 }\n")
    assert done.exit_code == 2
    assert "the claimed epsilon 0.1 is refuted" in done.stderr
    assert "report.html" in done.stdout
    found = json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))
    assert found["answers"][0]["verdict"] == "found"
    (code,) = found["code"]
    assert code["reference"] == "audited_nets:network"
    assert len(code["digest"]) == 64
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert found["answers"][0]["said"].split(",")[0] in page
    assert len(page) < 1_000_000
    for word in ("<script", "http://www.example", "@import", "<link", "src="):
        assert word not in page


def test_json_goes_to_standard_output_alone(invoke: Callable[..., Result]) -> None:
    done = invoke(BASE, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["kind"] == "audit of a model"


def broken(folder: Path) -> None:
    """Files that are wrong, each in one way."""
    few = dict(np.load(folder / "members.npz"))
    state = torch.load(folder / "model.pt", weights_only=True)
    torch.save({"state_dict": state, "epoch": 3}, folder / "nested.pt")
    torch.save(torch.nn.Linear(2, 2), folder / "pickled.pt")
    torch.save({**state, "4.bias": state["4.bias"] * float("nan")}, folder / "diverged.pt")
    torch.save({name: value for name, value in state.items() if name != "4.bias"}, folder / "lacking.pt")
    (folder / "cut.safetensors").write_bytes(b"\x80\x00\x00\x00\x00\x00\x00\x00{")
    (folder / "notes.txt").write_text("x", encoding="utf-8")
    np.savez(folder / "no_labels.npz", x=few["x"])
    np.savez(folder / "objects.npz", x=np.array([{}, {}]), y=[0, 1])
    np.savez(folder / "unequal.npz", x=few["x"], y=few["y"][1:])
    np.savez(folder / "infinite.npz", x=np.full_like(few["x"], np.inf), y=few["y"])
    np.savez(folder / "classes.npz", x=few["x"], y=few["y"] + 12)
    np.savez(folder / "shorter.npz", x=few["x"][:, :, :60], y=few["y"])
    np.savez(folder / "one.npz", x=few["x"][:1], y=few["y"][:1])
    np.savez(folder / "names.npz", x=few["x"], y=few["y"], weight=few["y"])
    np.savez(folder / "canaries.npz", x=few["x"], y=few["y"])
    np.savez(folder / "early.npz", x=few["x"], y=few["y"], task=few["y"] * 0 + 5)


WRONG = {
    "no TOML": ("model = ", "cannot be read"),
    "a key missing": (BASE.replace("members", "memberz", 1), "'members' is missing"),
    "an unknown key": (BASE + "mebers = 3", "unknown key 'mebers'; known are model, checkpoints"),
    "an unknown key of a section": (BASE + "shadows = { modles = 3 }", "unknown key 'shadows.modles'; known are"),
    "a model that is no reference": (BASE.replace("nets:network", "nets.network"), "not of the form module:function"),
    "a module that is not there": (BASE.replace("audited_nets", "no_such_nets"), "Python finds no module"),
    "a function that is not there": (BASE.replace(":network", ":nothing"), "defines no 'nothing'"),
    "a model that is no function": (BASE.replace(":network", ":number"), "is a int; name a function"),
    "a model that fails": (BASE.replace(":network", ":failing"), "failed with KeyError"),
    "a model that is no network": (BASE.replace(":network", ":text"), "returns a str; return a torch.nn.Module"),
    "another architecture": (BASE.replace(":network", ":wider"), "missing"),
    "no checkpoint": (BASE.replace("model.pt", "gone.pt"), "gone.pt cannot be read"),
    "a checkpoint of another kind": (BASE.replace("model.pt", "notes.txt"), "ends in '.txt'"),
    "a pickled module": (BASE.replace("model.pt", "pickled.pt"), "nothing in it was unpickled"),
    "a nested state": (BASE.replace("model.pt", "nested.pt"), "not all tensors by name"),
    "damaged safetensors": (BASE.replace("model.pt", "cut.safetensors"), "not a sound safetensors file"),
    "a diverged model": (BASE.replace("model.pt", "diverged.pt"), "4.bias has 12 values that are not finite"),
    "a checkpoint without a layer": (BASE.replace("model.pt", "lacking.pt"), "lacks 4.bias (1 missing, 0 left over)"),
    "checkpoints without tasks": (BASE.replace('"model.pt"', '["model.pt", "model.pt"]'), "2 checkpoints and no tasks"),
    "tasks that decrease": (
        BASE.replace('"model.pt"', '["model.pt", "model.pt"]') + "tasks = [1, 0]", "must not decrease",
    ),
    "members without labels": (BASE.replace("members.npz", "no_labels.npz", 1), "have no array 'y'"),
    "members that are objects": (BASE.replace("members.npz", "objects.npz", 1), "save it without objects"),
    "unequal lengths": (BASE.replace("members.npz", "unequal.npz", 1), "give one for each"),
    "infinite members": (BASE.replace("members.npz", "infinite.npz", 1), "values that are not finite"),
    "labels of no class": (BASE.replace("members.npz", "classes.npz", 1), "are outside 0 to 11"),
    "members of another shape": (BASE.replace("members.npz", "shorter.npz", 1), "must be examples of one kind"),
    "one member": (BASE.replace("members.npz", "one.npz", 1), "two of each"),
    "an unknown array": (BASE.replace("members.npz", "names.npz", 1), "an array 'weight'; known are x, y"),
    "a task without checkpoint": (BASE.replace("members.npz", "early.npz", 1), "are of task 5, and checkpoints of"),
    "no members": (BASE.replace("members.npz", "gone.npz", 1), "gone.npz cannot be read"),
    "members in a text": (BASE.replace("members.npz", "notes.txt", 1), "end in '.txt'; read are .npz, .npy and .csv"),
    "canaries without coins": (BASE + 'canaries = { file = "canaries.npz" }', "have no array 'inserted'"),
    "a rate of one": (BASE + "coins = { rate = 1.0 }", "coins.rate = 1.0: input should be less than 1"),
    "coins per cluster without clusters": (BASE + "coins = { per_cluster = true }", "members name no clusters"),
    "a score of another length": (BASE + 'score = "audited_nets:short"', "one finite number for each"),
    "shadows of another network": (BASE + 'shadows = { train = "audited_nets:train" }', "train the architecture of"),
    "too few shadows": (BASE + "shadows = { models = 2 }", "shadows.models = 2: input should be greater"),
    "updates without truth": (BASE + 'updates = { files = ["u.npz"] }', "'updates.truth' is missing"),
    "an update that is not there": (
        BASE + 'updates = { files = ["u.npz"], truth = "members.npz" }', "u.npz cannot be read",
    ),
    "an update without tensors": (
        BASE + 'updates = { files = ["one.npz"], truth = "one.npz" }', "has nothing for the parameter 1.weight",
    ),
    "a checkpoint that updates lack": (
        BASE + 'updates = { files = ["one.npz"], truth = "one.npz", checkpoint = 3 }', "is none of the 1 checkpoints",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_gets_one_sentence(
    invoke: Callable[..., Result], hapt: Path, tmp_path: Path, text: str, sentence: str
) -> None:
    broken(hapt)
    done = invoke(text)
    assert done.exit_code == 2, (done.output, done.exception)
    assert isinstance(done.exception, SystemExit)
    said = done.stderr.strip()
    assert sentence in said, said
    assert said.startswith("secure-fcl: ")
    assert len(said.splitlines()) == 1
    assert not said.endswith(".")
    # Half an audit leaves nothing that looks like a whole one.
    assert not (tmp_path / "out" / "audit.json").exists()


def test_a_file_that_is_not_there_is_said() -> None:
    done = CliRunner().invoke(app, ["audit-model", "no_such.toml"])
    assert done.exit_code == 2
    assert "audit file no_such.toml does not exist; check the path" in done.stderr
