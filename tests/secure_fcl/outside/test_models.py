"""Runs on a network of the user's own: every strategy that trains one, the certificate, resuming, objects by value."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from secure_fcl.auditing import audit
from secure_fcl.config import Config, load_config
from secure_fcl.config.outside import outside_references
from secure_fcl.errors import RunFolderError
from secure_fcl.references import is_pickled, load_code, reference_of
from secure_fcl.runner import resume, start, train
from secure_fcl.running.folder import RunFolder
from secure_fcl.strategies.catalogue import ENTRIES
from secure_fcl.strategies.entry import GradientEntry

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.flat = nn.Sequential(nn.LazyLinear(8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.flat(self.body(x)))
"""
SETTINGS = (
    "protection=plain", "workers=1", "data.name=digits", "scenario.clients=3", "scenario.tasks=2", "memory.keep=0.5",
    "scenario.partition=iid", "training.rounds=1", "training.steps=1", "privacy.max_dropouts=0",
    "attacks.enabled=false", "training.replace_layers=true", "storage.budget_kib=4000",
    "side_channels=['glfc.prototype_gradients', 'fedweit.task_weights']",
)  # fmt: skip
#: Rows whose noise is on the device alone.
ON_DEVICES = ("local_only", "fedweit", "fedweit_safe")
TRAINED = tuple(name for name, entry in ENTRIES.items() if isinstance(entry, GradientEntry))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a network in it that is on nobody's path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_net", raising=False)
    (tmp_path / "own_net.py").write_text(NET)
    return tmp_path


def config_of(rows: tuple[str, ...], *more: str) -> Config:
    settings = (*SETTINGS, *more)
    if "glfc" not in rows:
        settings = tuple(one for one in settings if not one.startswith("side"))
    return load_config(None, [f"rows={json.dumps(list(rows))}", *settings])


def trained(here: Path, config: Config) -> Path:
    prepared, folder = start(config, here / "runs", "mine")
    train(prepared, folder)
    return folder.path


def assert_trained(run: Path, rows: tuple[str, ...], reference: str) -> None:
    certificate = json.loads((run / "certificate.json").read_text())
    (code,) = certificate["outside_code"]
    assert code["reference"] == reference
    assert code["digest"] == hashlib.sha256(Path(code["path"]).read_bytes()).hexdigest()
    for name in rows:
        row = certificate["rows"][name]
        assert f"on the user's own network {reference}" in row["mechanism"]
        assert any("body.1 (BatchNorm2d(4)) by GroupNorm(1, 4)" in fact for fact in row["public"])
    finals = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [one["row"] for one in finals if one["kind"] == "final"] == list(rows)


def test_strategies_train_it(here: Path) -> None:
    rows = ("finetune", "replay", "fedewc")
    assert_trained(trained(here, config_of(rows, "training.model=own_net:Net")), rows, "own_net:Net")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["local", "shared"])
def test_every_strategy_trains_it(here: Path, place: str) -> None:
    rows = tuple(name for name in TRAINED if place == "local" or name not in ON_DEVICES)
    places = [f"{name}.noise={place}" for name in rows]
    assert_trained(trained(here, config_of(rows, "training.model=own_net:Net", *places)), rows, "own_net:Net")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["last", "last_later"])
def test_its_last_layer_trains_alone(here: Path, what: str) -> None:
    run = trained(here, config_of(("finetune",), "training.model=own_net:Net", f"compression.trained={what}"))
    assert_trained(run, ("finetune",), "own_net:Net")


def test_the_stacked_trainer_says_which_one_to_take(here: Path) -> None:
    from secure_fcl.errors import ConfigInvalid

    with pytest.raises(ConfigInvalid, match=r"cannot take .* \(layer Net cannot be stacked\); set training.trainer ="):
        start(config_of(("finetune",), "training.model=own_net:Net", "training.trainer=stacked"), here / "runs", "no")
    assert not (here / "runs").exists()


@pytest.mark.slow
def test_attacks_that_need_a_layer_it_lacks_are_not_tested_and_the_others_are_played(here: Path) -> None:
    (here / "own_conv.py").write_text(
        "from torch import nn\n"
        "def net(shape, classes):\n"
        "    return nn.Sequential(nn.Conv2d(1, classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    config = config_of(
        ("finetune",), "training.model=own_conv:net", "attacks.enabled=true", "attacks.row=finetune",
        "attacks.targets=2", "attacks.inversion_steps=2", "scenario.clients=4",
    )  # fmt: skip
    prepared, folder = start(config, here / "runs", "mine")
    train(prepared, folder)
    found = audit(prepared, folder)
    said = "the module has no linear layer with bias, so labels cannot be read off its gradient"
    assert f"gradient inversion: {said}" in found["not_tested"]  # type: ignore[operator]
    assert f"class arrival from the sum: {said}" in found["not_tested"]  # type: ignore[operator]
    assert not found["failed"]
    assert {one["game"] for one in found["outcomes"]} >= {"membership"}  # type: ignore[attr-defined]


def test_its_reference_is_code_and_a_width_is_not() -> None:
    assert outside_references(config_of(("finetune",), "training.model=own_net:Net").model_dump()) == ("own_net:Net",)
    assert not outside_references(config_of(("finetune",), "training.model=mlp:8:relu").model_dump())


class Local(nn.Module):
    """A network that only this test's process can import, with weights that nothing else draws."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(144, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


@pytest.mark.parametrize("live", [True, False], ids=["a network with weights", "a function"])
def test_a_live_object_is_kept_in_the_folder_and_asks_for_trust(
    here: Path, live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Local()
    nn.init.constant_(net.body[1].weight, 3.0)
    reference = reference_of(net if live else lambda shape, classes: Local())
    assert is_pickled(reference)
    run = trained(here, config_of(("finetune",), f"training.model={reference}"))
    assert_trained(run, ("finetune",), reference)
    (kept,) = (run / "code").iterdir()
    assert kept.stem == reference.partition(":")[2]
    with pytest.raises(RunFolderError, match="names code that opening it would run: pickled:"):
        resume(run)
    assert resume(run, trust_code=True)[0].config.training.model == reference
    kept.write_bytes(kept.read_bytes() + b".")
    with pytest.raises(RunFolderError, match=r"is not what run .* began with"):
        RunFolder.existing(run, trust_code=True)


def test_what_workers_can_import_goes_by_its_name(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = load_code("own_net:Net")
    assert reference_of(net) == "own_net:Net"
    assert reference_of(nn.Linear) == "torch.nn.modules.linear:Linear"
    monkeypatch.chdir(here.parent)
    # The same object in a process that starts elsewhere, where no worker would find its file.
    assert is_pickled(reference_of(net))
    assert "own_net" in sys.modules
