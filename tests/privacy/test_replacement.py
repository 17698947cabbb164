"""What DP-SGD forbids is named, and replaced with its trained weights."""

import copy

import pytest
import torch
from torch import nn

from privacy import DpSgdTrainer
from privacy.errors import UnsuitableModel
from privacy.replacement import forbidden_layers, replace_forbidden


def trained(layer: nn.Module) -> nn.Module:
    """A layer whose weights are not those it began with."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.linspace(0.5, 2.0, parameter.numel()).view_as(parameter))
    return layer


@pytest.mark.parametrize(
    ("layer", "shape", "groups"),
    [
        (nn.BatchNorm1d(32), (32,), 1), (nn.BatchNorm1d(32), (32, 5), 8), (nn.BatchNorm2d(6), (6, 4, 4), 1),
        (nn.BatchNorm2d(24), (24, 4, 4), 6), (nn.BatchNorm2d(256), (256, 2, 2), 32),
        (nn.BatchNorm3d(8), (8, 2, 2, 2), 2), (nn.SyncBatchNorm(8), (8, 3), 2), (nn.BatchNorm1d(7), (7, 5), 1),
    ],
)  # fmt: skip
def test_scale_and_shift_stay(layer: nn.Module, shape: tuple[int, ...], groups: int) -> None:
    layer.eps = 0.01  # type: ignore[assignment]
    model = nn.Sequential(nn.Identity(), nn.Sequential(trained(layer)))
    new, found = replace_forbidden(model, torch.randn(2, *shape))
    norm = new[1][0]  # type: ignore[index]
    assert isinstance(norm, nn.GroupNorm)
    assert (norm.num_groups, norm.eps) == (groups, 0.01)
    torch.testing.assert_close(norm.weight, layer.weight)
    torch.testing.assert_close(norm.bias, layer.bias)
    assert [one.name for one in found] == ["1.0"]
    assert str(found[0]).endswith(f"its replacement is GroupNorm({groups}, {layer.num_features})")
    assert model[1][0] is layer
    DpSgdTrainer(new).check(torch.Size(shape), torch.float32)


def test_a_group_behind_a_linear_layer_is_never_one_number() -> None:
    """One channel a group there would make every output its shift, whatever the input."""
    model = nn.Sequential(nn.Linear(4, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
    new, _ = replace_forbidden(model, torch.randn(2, 4))
    assert not torch.allclose(*new(torch.randn(2, 4)))


def test_what_is_frozen_stays_frozen_and_what_has_no_weights_is_found() -> None:
    model = nn.Sequential(
        nn.BatchNorm2d(8).requires_grad_(False), nn.BatchNorm2d(8, affine=False),
        nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
    )  # fmt: skip
    trained(model[2])
    assert [one.name for one in forbidden_layers(model)] == ["0", "1", "2"]
    new, found = replace_forbidden(model, torch.randn(2, 8, 4, 4))
    assert len(found) == 3
    assert [p.requires_grad for p in new.parameters()] == [False, False, True, True]
    assert [layer.affine for layer in new] == [True, False, True]  # type: ignore[union-attr]
    torch.testing.assert_close(new[2].weight, model[2].weight)  # type: ignore[index]
    assert not forbidden_layers(new)


def test_a_layer_in_two_places_is_replaced_by_one() -> None:
    norm = nn.BatchNorm1d(4)
    new, found = replace_forbidden(nn.Sequential(norm, nn.ReLU(), norm), torch.randn(2, 4))
    assert new[0] is new[2]  # type: ignore[index]
    assert len(found) == 1
    alone, _ = replace_forbidden(norm, torch.randn(2, 4))
    assert isinstance(alone, nn.GroupNorm)


class Last(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)[0][:, -1]


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_layers_keep_what_they_compute(kind: type[nn.Module]) -> None:
    model, x = Last(kind(3, 5, batch_first=True)), torch.randn(2, 7, 3)
    new, (one,) = replace_forbidden(model, x)
    assert one.replacement == f"opacus.layers.DP{kind.__name__}"
    torch.testing.assert_close(new(x), model(x), atol=1e-5, rtol=1e-4)


class Attention(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 2, batch_first=batch_first)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x, x, x)[0]


def test_a_replacement_that_computes_something_else_is_refused() -> None:
    """With `batch_first` Opacus's attention has the weights of torch's and other outputs (Opacus 1.6)."""
    x = torch.randn(2, 7, 4)
    with pytest.raises(UnsuitableModel, match=r"DPMultiheadAttention: the network then computes something else"):
        replace_forbidden(Attention(batch_first=True), x)
    model = Attention(batch_first=False)
    torch.testing.assert_close(replace_forbidden(model, x)[0](x), model(x))


def test_nothing_forbidden_is_left_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.GroupNorm(2, 4))
    before = copy.deepcopy(model.state_dict())
    new, found = replace_forbidden(model, torch.randn(2, 4))
    assert not found
    torch.testing.assert_close(new.state_dict(), before)
