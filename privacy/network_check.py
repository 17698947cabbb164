"""Whether a network has per-example gradients that clipping bounds, tried on made-up inputs before anything is spent.

A trainer's clipped sums are compared with the examples' own gradients, taken one by one by plain autograd. What Opacus
gets wrong without a word then shows: padding modes of convolutions, a weight used outside its layer, sequences packed
by length, an axis that is taken for the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from privacy.batches import Batch
from privacy.errors import UnsuitableModel

if TYPE_CHECKING:
    import torch

    ClippedSum = Callable[[torch.Tensor, float], torch.Tensor]
    """(x (B, ...), clipping norm) -> flat sum of the examples' clipped gradients of `made_up_loss`."""

#: Largest batch that is tried, beside 1, 2 and 3: the sizes of the example's own axes, which a wrong axis would match.
_LARGEST = 64
#: Difference to one-by-one gradients that counts as rounding, over one's largest entry; and of a norm over the clip.
_ROUNDING, _OVER = 2e-3, 1e-4
#: Clips over the median norm: all examples are clipped, or none.
_CLIPS = (0.05, 1e4)
_SEED = 20_221


def made_up_loss(outputs: torch.Tensor, _batch: Batch) -> torch.Tensor:
    """Return a loss (B,) of outputs of any shape (B, ...), each of its own row alone."""
    return (outputs.flatten(1) - 0.3).square().mean(1) if outputs.ndim > 1 else (outputs - 0.3).square()


def batch_of(x: torch.Tensor) -> Batch:
    """Return inputs as a batch of one stratum without columns; all labels are 0."""
    import torch

    none = torch.zeros((len(x), 0), dtype=torch.float32, device=x.device)
    zeros = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    return Batch(x, zeros, none, zeros)


def architecture(model: torch.nn.Module) -> object:
    """Return all that a forward pass depends on but the weights; None where that cannot be told.

    Classes, settings, shapes, ties, what is frozen. A setting that is no plain value may hide anything.
    """
    layers = []
    for name, layer in model.named_modules():
        own = {key: value for key, value in vars(layer).items() if not key.startswith("_") and key != "training"}
        if not all(isinstance(value, bool | int | float | str | tuple | None) for value in own.values()):
            return None
        layers.append((name, type(layer), repr(own), layer.extra_repr()))
    places: dict[int, int] = {}
    weights = tuple(
        (name, tuple(p.shape), p.dtype, p.requires_grad, places.setdefault(id(p), len(places)))
        for name, p in model.named_parameters(remove_duplicate=False)
    )
    return tuple(layers), weights


def check_forward(model: torch.nn.Module, shape: Sequence[int], dtype: torch.dtype) -> None:
    """Refuse a network whose forward pass changes a weight or a buffer, draws coins of its own, or mixes up the batch.

    Args:
        model: in training mode; its weights are as before afterwards.
        shape: of one example.
        dtype: of the inputs.

    Raises:
        UnsuitableModel: names the tensor or the axis, and the remedy.
    """
    import torch

    held = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for factor in (1.0, 4.0):
        with without_dropout(model), _made_up_weights(model, factor), torch.no_grad():
            x = made_up_inputs(model, shape, dtype, 3)
            before = {name: tensor.clone() for name, tensor in held.items()}
            first = _output(model, x)
            for name, tensor in held.items():
                if not torch.equal(tensor, before[name]):
                    raise UnsuitableModel(
                        f"a forward pass changes {name!r}, which nothing clips and no noise covers; build its layer "
                        "without that (max_norm=None, track_running_stats=False)"
                    )
            if not isinstance(first, torch.Tensor) or first.ndim < 1 or len(first) != 3:
                found = tuple(first.shape) if isinstance(first, torch.Tensor) else type(first).__name__
                raise UnsuitableModel(
                    f"3 examples have outputs {found}; return one tensor whose first axis is that of the examples"
                )
            if not torch.equal(torch.nan_to_num(first), torch.nan_to_num(model(x))):
                raise UnsuitableModel(
                    "two forward passes on the same inputs differ, so the network draws random numbers of its own; "
                    "use torch's dropout layers, which are known"
                )


def wrong_layer(
    model: torch.nn.Module, clipped_sum: ClippedSum, shape: Sequence[int], dtype: torch.dtype
) -> str | None:
    """Return in words where a trainer's clipped sums differ from the examples taken one by one; None: nowhere.

    Tried for batches of 1, 2 and 3 and as many as each axis of an example has entries (a wrong axis then fits), for
    examples of several lengths (zeros at the end), for a clip that all exceed and one that none does. The step of a
    single example must keep the clip.

    Args:
        model: at the weights that `clipped_sum` uses, in training mode, without the hooks of a trainer.
        clipped_sum: of the trainer.
        shape: of one example.
        dtype: of the inputs.
    """
    import torch

    sizes = sorted({1, 2, 3, *(size for size in shape if 1 < size <= _LARGEST)})
    for size in sizes:
        x = made_up_inputs(model, shape, dtype, size)
        # One gradient at a time: all of them in double precision take gigabytes at a million weights.
        norms = torch.stack([_gradient(model, x[i : i + 1]).double().norm() for i in range(size)])
        middle = float(norms.median())
        if not middle > 0.0:
            continue
        clips = [relative * middle for relative in _CLIPS]
        for clip, (wanted, largest) in zip(clips, _clipped_one_by_one(model, x, norms, clips), strict=True):
            found = clipped_sum(x, clip).double()
            if size == 1 and float(found.norm()) > clip * (1.0 + _OVER):
                return f"one example weighs {float(found.norm()) / clip:.3g} times the clipping norm"
            off = (found - wanted).abs()
            # Over the largest term: a sum of few entries may cancel whole. NaN differs from everything.
            if not bool((off <= _ROUNDING * largest).all()):
                return f"{_layer_of(model, int(torch.nan_to_num(off, nan=torch.inf).argmax()))}, a batch of {size}"
    return None


def _clipped_one_by_one(
    model: torch.nn.Module, x: torch.Tensor, norms: torch.Tensor, clips: Sequence[float]
) -> list[tuple[torch.Tensor, float]]:
    """Return for each clip the examples' clipped gradients' sum, float64 (P,), and their largest entry's size."""
    import torch

    sums: list[torch.Tensor] = []
    largest = [0.0] * len(clips)
    for i, norm in enumerate(norms):
        row = _gradient(model, x[i : i + 1]).double()
        if not sums:
            sums = [torch.zeros_like(row) for _ in clips]
        entry = row.abs().max()
        for place, clip in enumerate(clips):
            factor = (clip / norm).clamp(max=1.0).nan_to_num(nan=1.0)
            sums[place].add_(factor * row)
            # Not max(): NaN must stay, so that it differs from everything.
            largest[place] = float(torch.maximum(torch.tensor(largest[place], dtype=torch.float64), factor * entry))
    return list(zip(sums, largest, strict=True))


def made_up_inputs(model: torch.nn.Module, shape: Sequence[int], dtype: torch.dtype, count: int) -> torch.Tensor:
    """Return inputs (count, *shape): normals, or tokens that every embedding has; all but the first end in zeros."""
    import torch
    from torch import nn

    coins = torch.Generator().manual_seed(_SEED + count)
    if dtype.is_floating_point:
        x = torch.randn((count, *shape), generator=coins).to(dtype)
    else:
        tables = [layer.num_embeddings for layer in model.modules() if isinstance(layer, nn.Embedding)]
        x = torch.randint(0, min(tables, default=2), (count, *shape), generator=coins).to(dtype)
    for axis, size in enumerate(shape, 1):
        for row in range(axis, count, len(shape) + 1):
            length = 1 + int(torch.randint(0, size, (1,), generator=coins))
            x[row].narrow(axis - 1, length, size - length).zero_()
    # Drawn on the CPU, so that all devices see the same.
    return x.to(next(model.parameters()).device)


@contextmanager
def made_up(model: torch.nn.Module) -> Iterator[None]:
    """Give a network made-up weights, without dropout, while the block runs; no global generator moves."""
    with without_dropout(model), _made_up_weights(model, 1.0):
        yield


@contextmanager
def without_dropout(model: torch.nn.Module) -> Iterator[None]:
    """Switch torch's dropout layers off while the block runs; no global generator moves."""
    import torch
    from torch.nn.modules.dropout import _DropoutNd

    dropouts = [layer for layer in model.modules() if isinstance(layer, _DropoutNd) and layer.training]
    with torch.random.fork_rng(devices=[]):
        for layer in dropouts:
            layer.eval()
        try:
            yield
        finally:
            for layer in dropouts:
                layer.train()


def _output(model: torch.nn.Module, x: torch.Tensor) -> object:
    # The network's own code, on inputs it may not expect: whatever it raises is a reason.
    try:
        return model(x)
    except Exception as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise UnsuitableModel(
            f"the forward pass fails on a batch of {len(x)} made-up examples of shape {tuple(x.shape[1:])} ({why}); "
            "keep the first axis for examples"
        ) from error


@contextmanager
def _made_up_weights(model: torch.nn.Module, factor: float) -> Iterator[None]:
    """Move every weight a little, so that none is zero, times `factor`; all are restored afterwards."""
    import torch

    coins = torch.Generator().manual_seed(_SEED)
    held = [*model.parameters(), *model.buffers()]
    before = [tensor.detach().clone() for tensor in held]
    try:
        with torch.no_grad():
            for parameter in model.parameters():
                moved = parameter.cpu() + 0.1 * torch.randn(parameter.shape, generator=coins)
                parameter.copy_(factor * moved)
        yield
    finally:
        with torch.no_grad():
            for tensor, old in zip(held, before, strict=True):
                tensor.copy_(old)


def _gradient(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    import torch

    parameters = [p for p in model.parameters() if p.requires_grad]
    loss = made_up_loss(model(x), batch_of(x)).sum()
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat([
        (torch.zeros_like(p) if g is None else g).reshape(-1) for p, g in zip(parameters, found, strict=True)
    ])  # fmt: skip


def _layer_of(model: torch.nn.Module, entry: int) -> str:
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            if entry < parameter.numel():
                layer, _, _ = name.rpartition(".")
                return f"the gradient of {name!r} ({type(model.get_submodule(layer)).__name__})"
            entry -= parameter.numel()
    return "the gradient"
