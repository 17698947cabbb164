"""Layers that DP-SGD forbids: which, what may stand in their place, and that replacement with its trained weights.

Opacus has fixers of its own (`ModuleValidator.fix`). Its GroupNorm starts from ones and zeros, so that a trained scale
and shift are lost; it has one group for each of up to 32 channels, so that behind a linear layer every output is its
shift and nothing else; and it passes over layers that are frozen or have no weights. Normalisation is therefore
replaced here; recurrent and attention layers are Opacus's own, which keep their weights, and are compared.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from privacy.errors import UnsuitableModel

if TYPE_CHECKING:
    import torch

#: Most groups, and fewest channels of one: Wu and He 2018 (arXiv 1803.08494), section 4.1, take 32 groups of 2 to 64.
_MOST_GROUPS, _FEWEST_CHANNELS = 32, 4


@dataclass(frozen=True, kw_only=True)
class Forbidden:
    """A layer that DP-SGD cannot train.

    Attributes:
        name: of the layer in its network; empty: the network itself.
        layer: its class and size.
        why: what forbids it.
        replacement: what may stand in its place.
    """

    name: str
    layer: str
    why: str
    replacement: str

    def __str__(self) -> str:
        return f"layer {self.name or self.layer!r} ({self.layer}) {self.why}; its replacement is {self.replacement}"


def forbidden_layers(model: torch.nn.Module, example: torch.Tensor | None = None) -> tuple[Forbidden, ...]:
    """Return the layers that DP-SGD forbids, frozen ones and those without weights included, in their order.

    Args:
        model: left as it is.
        example: made-up inputs (B, ...), which tell what shape each layer sees; without them, or where the network
            fails on them, every BatchNorm1d is taken to see (B, channels).
    """
    flat = _flat_inputs(model, example)
    return tuple(
        Forbidden(name=name, layer=_sized(layer), why=why, replacement=_words(layer, name in flat))
        for name, layer in model.named_modules()
        if (why := _why(layer)) is not None
    )


def replace_forbidden(model: torch.nn.Module, example: torch.Tensor) -> tuple[torch.nn.Module, tuple[Forbidden, ...]]:
    """Return a copy of a network without layers that DP-SGD forbids, and what was replaced.

    BatchNorm becomes GroupNorm with its epsilon, scale and shift, frozen where they were; one group where its input
    has no axis but that of the channels. InstanceNorm loses its running statistics and nothing else. Recurrent and
    attention layers become Opacus's, with their weights. A layer that stands in several places still does.

    Args:
        model: left as it is.
        example: made-up inputs (B, ...).

    Raises:
        UnsuitableModel: a layer cannot be replaced, or the network fails, or with a recurrent or attention layer of
            Opacus computes something else; names the layer.
    """
    found = forbidden_layers(model, example)
    model = copy.deepcopy(model)
    flat = _flat_inputs(model, example)
    before = _outputs(model, example)
    old = {one.name: model.get_submodule(one.name) for one in found}
    made = {id(old[one.name]): _replacement(old[one.name], one.name in flat, one) for one in found}
    for name, layer in list(model.named_modules(remove_duplicate=False)):
        if id(layer) not in made:
            continue
        new = made[id(layer)].train(layer.training)
        parent, _, last = name.rpartition(".")
        if name:
            setattr(model.get_submodule(parent), last, new)
        else:
            model = new
    if found:
        _refuse_another_network(found, before, _outputs(model, example))
    return model, found


def _refuse_another_network(
    found: Sequence[Forbidden], before: torch.Tensor | None, after: torch.Tensor | None
) -> None:
    import torch

    # A network that fails on these inputs as it is fails later, where its own error is told.
    if before is None:
        return
    same = after is not None and (any(map(_normalises, found)) or torch.allclose(before, after, atol=1e-4))
    if not same:
        raise UnsuitableModel(
            f"layer {found[0].name!r} ({found[0].layer}) cannot be replaced by {found[0].replacement}: the network "
            f"then {'fails' if after is None else 'computes something else'}; {_instead(found)}"
        )


def _instead(found: Sequence[Forbidden]) -> str:
    if any(one.layer.startswith("MultiheadAttention") for one in found):
        return "give torch's layer batch_first=False and transpose around it, as Opacus's is another one otherwise"
    return "write the replacement yourself"


def _why(layer: torch.nn.Module) -> str | None:
    from torch import nn
    from torch.nn.modules import batchnorm, instancenorm

    if isinstance(layer, batchnorm._BatchNorm):
        return "uses statistics of the batch, so no example has a gradient of its own"
    if isinstance(layer, instancenorm._InstanceNorm) and layer.track_running_stats:
        return "keeps running statistics of the examples, which no noise covers"
    if type(layer) in (nn.LSTM, nn.GRU, nn.MultiheadAttention):
        return "computes inside one call of a library, where no example's gradient can be seen"
    return None


def _normalises(one: Forbidden) -> bool:
    return "statistics" in one.why


def _sized(layer: torch.nn.Module) -> str:
    features = getattr(layer, "num_features", None)
    return type(layer).__name__ if features is None else f"{type(layer).__name__}({features})"


def _words(layer: torch.nn.Module, flat: bool) -> str:
    from torch.nn.modules import batchnorm, instancenorm

    if isinstance(layer, batchnorm._BatchNorm):
        return f"GroupNorm({_groups(layer.num_features, flat)}, {layer.num_features})"
    if isinstance(layer, instancenorm._InstanceNorm):
        return f"{type(layer).__name__}({layer.num_features}, track_running_stats=False)"
    return f"opacus.layers.DP{type(layer).__name__}"


def _groups(channels: int, flat: bool) -> int:
    """Return the most groups, up to 32, of at least 4 channels each; 1 where a group would be a few numbers."""
    if flat:
        return 1
    most = min(_MOST_GROUPS, channels // _FEWEST_CHANNELS)
    return next((groups for groups in range(most, 0, -1) if channels % groups == 0), 1)


def _replacement(layer: Any, flat: bool, one: Forbidden) -> torch.nn.Module:
    import torch
    from torch import nn
    from torch.nn.modules import batchnorm, instancenorm

    # Building a layer draws its weights, which are replaced; no global generator may move for it.
    with torch.random.fork_rng(devices=[]):
        if isinstance(layer, batchnorm._BatchNorm):
            groups = _groups(layer.num_features, flat)
            new: nn.Module = nn.GroupNorm(groups, layer.num_features, eps=layer.eps, affine=layer.affine)
            return _with_weights(new, layer)
        if isinstance(layer, instancenorm._InstanceNorm):
            new = type(layer)(layer.num_features, eps=layer.eps, affine=layer.affine, track_running_stats=False)
            return _with_weights(new, layer)
        return _of_opacus(layer, one)


def _with_weights(new: torch.nn.Module, layer: Any) -> torch.nn.Module:
    """Give a layer the scale and shift of another: the very tensors, with their type, device and whether they train."""
    if layer.affine:
        new.weight, new.bias = layer.weight, layer.bias
    return new


def _of_opacus(layer: torch.nn.Module, one: Forbidden) -> torch.nn.Module:
    from opacus.validators import ModuleValidator

    try:
        new: torch.nn.Module = ModuleValidator.FIXERS[type(layer)](layer)
    except Exception as error:
        raise UnsuitableModel(
            f"{one}, which Opacus cannot make of it ({type(error).__name__}: {error}); use another layer"
        ) from error
    return new


def _flat_inputs(model: torch.nn.Module, example: torch.Tensor | None) -> frozenset[str]:
    """Return the names of the BatchNorm1d layers whose input has no axis but the examples' and the channels'.

    Without an example, or where the network fails on it: of all BatchNorm1d.
    """
    from torch import nn
    from torch.nn.modules import batchnorm

    layers = {n: m for n, m in model.named_modules() if isinstance(m, batchnorm._BatchNorm)}
    sizes: dict[str, Sequence[int]] = {}
    if example is not None and layers:
        hooks = [
            m.register_forward_pre_hook(lambda _, given, name=n: sizes.__setitem__(name, given[0].shape))
            for n, m in layers.items()
        ]
        _outputs(model, example)
        for hook in hooks:
            hook.remove()
    return frozenset(
        n for n, m in layers.items() if (len(sizes[n]) == 2 if n in sizes else isinstance(m, nn.BatchNorm1d))
    )


def _outputs(model: torch.nn.Module, example: torch.Tensor) -> torch.Tensor | None:
    """Return the outputs in evaluation mode, None where the network's own code fails."""
    import torch

    training = {name: layer.training for name, layer in model.named_modules()}
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            found = model(example)
    except Exception:
        return None
    finally:
        for name, layer in model.named_modules():
            layer.training = training[name]
    return found if isinstance(found, torch.Tensor) else None
