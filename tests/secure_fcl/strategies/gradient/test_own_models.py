"""Networks of a user's own: how they are built, made fit for DP-SGD, cut before the last layer, and tried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies import Networks
from secure_fcl.strategies.gradient.checked import check_network
from secure_fcl.strategies.gradient.last_split import split_at_last
from secure_fcl.strategies.gradient.models import build_model, is_own, load_vector, without_frozen
from secure_fcl.strategies.gradient.own_models import own_network

SHAPE, CLASSES = (2, 8), 3
NETS = """
import torch
from torch import nn


class Normed(nn.Module):
    '''BatchNorm in a branch and behind a linear layer, trained weights, a frozen one, and a head of its own.'''

    def __init__(self, shape, classes):
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 2.0), requires_grad=False)
        self.branch = nn.ModuleDict({"one": nn.Sequential(nn.Conv1d(shape[0], 8, 3), nn.BatchNorm1d(8))})
        self.flat = nn.Sequential(nn.Flatten(), nn.LazyLinear(5), nn.BatchNorm1d(5), nn.ReLU())
        self.head = nn.Linear(5, classes)
        nn.init.constant_(self.flat[2].weight, 3.0)

    def forward(self, x):
        return self.head(self.flat(self.branch["one"](x)) * self.scale)


def by_name(classes, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.Tanh(), nn.Linear(width, classes))


def by_place(inputs, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs[0] * inputs[1], outputs))


def nothing():
    return by_name(3)


class Early(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.head = nn.Linear(4, classes)
        self.body = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x.flatten(1))))


def tied():
    first, last = nn.Linear(3, 16, bias=False), nn.Linear(16, 3)
    first.weight = nn.Parameter(last.weight.T)

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = last

        def forward(self, x):
            return self.last(torch.tanh(self.last(x.flatten(1)) @ self.last.weight))

    return Tied()
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_nets.py").write_text(NETS)


def networks(name: str, **settings: object) -> Networks:
    return Networks(kind=f"own_nets:{name}", shape=SHAPE, classes=CLASSES, seed=1, **settings)  # type: ignore[arg-type]


def test_a_width_is_no_module() -> None:
    assert [is_own(kind) for kind in ("mlp:400,400:relu", "mlp", "auto", "lab:net", "pickled:ab")] == [
        False, False, False, True, True
    ]  # fmt: skip


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize("trainer", ["opacus", "stacked"])
@pytest.mark.parametrize("name", ["by_name", "by_place", "nothing"])
def test_functions_are_called_with_what_they_name(name: str, trainer: str) -> None:
    made = networks(name, trainer=trainer)
    check_network(made, split=True)
    assert made.outputs(made.initial, np.zeros((4, *SHAPE), dtype=np.float32)).shape == (4, CLASSES)


@pytest.mark.usefixtures("nets")
def test_batchnorm_is_named_and_on_request_replaced_with_its_weights() -> None:
    with pytest.raises(ConfigInvalid, match=r"layer 'branch\.one\.1' \(BatchNorm1d\(8\)\) uses statistics .*GroupNorm"):
        check_network(networks("Normed"))
    made = networks("Normed", replace_layers=True)
    check_network(made, split=True)
    own = own_network(made.kind, SHAPE, CLASSES, 1, replace=True)
    assert [one.name for one in own.replaced] == ["branch.one.1", "flat.2"]
    torch.testing.assert_close(own.module.flat[2].weight, torch.full((5,), 3.0))  # type: ignore[index, union-attr]
    assert made.replaced[1] == "flat.2 (BatchNorm1d(5)) by GroupNorm(1, 5)"
    # What is frozen is no part of the vector, and attacks read it as a constant.
    named = dict(without_frozen(made.fresh()).named_parameters())
    assert sum(p.numel() for p in named.values()) == len(made.initial)
    assert "scale" not in named


@pytest.mark.usefixtures("nets")
def test_features_and_the_last_layer_make_the_outputs() -> None:
    made = networks("Normed", replace_layers=True)
    weights = made.initial + np.random.default_rng(0).normal(size=made.initial.shape).astype(np.float32)
    x = np.random.default_rng(1).normal(size=(6, *SHAPE)).astype(np.float32)
    features = made.features(weights, x)
    assert features.shape == (6, 5)
    np.testing.assert_allclose(
        made.last.outputs(weights[made.frozen :], features), made.outputs(weights, x), rtol=1e-5, atol=1e-5
    )
    assert made.frozen == len(weights) - 6 * CLASSES


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize("name", ["Early", "tied"])
def test_where_no_last_layer_stands_alone_only_those_who_need_one_are_refused(name: str) -> None:
    check_network(networks(name))
    with pytest.raises(ConfigInvalid, match=r"has no torch\.nn\.Linear that gives its outputs and holds the last"):
        check_network(networks(name), split=True)


def test_networks_of_ours_are_cut_as_before() -> None:
    whole = build_model("cnn", (6, 64), 4, 1)
    split = split_at_last(whole, "cnn", (6, 64))
    assert split.last is whole[-1]
    assert len(split.body) == len(whole) - 1  # type: ignore[arg-type]


@pytest.mark.usefixtures("nets")
def test_weights_follow_the_seed_and_no_global_generator_moves() -> None:
    before = torch.random.get_rng_state()
    first, again, other = networks("Normed", replace_layers=True), networks("Normed", replace_layers=True), None
    np.testing.assert_array_equal(first.initial, again.initial)
    other = Networks(kind=first.kind, shape=SHAPE, classes=CLASSES, seed=2, replace_layers=True)
    assert (other.initial != first.initial).any()
    assert torch.equal(torch.random.get_rng_state(), before)
    load_vector(first.fresh(), first.initial)
