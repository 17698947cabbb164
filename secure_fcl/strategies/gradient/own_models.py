"""Networks of a user's own: `training.model = "module:name"` of a function, or of a class of networks."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crypto.errors import CodeNotFound
from privacy.errors import UnsuitableModel
from privacy.network_check import made_up_inputs
from privacy.replacement import Forbidden, forbidden_layers, replace_forbidden
from secure_fcl.errors import ConfigInvalid
from secure_fcl.randomness import public_seed
from secure_fcl.references import file_of, is_pickled, load_code

if TYPE_CHECKING:
    import torch

Factory = Callable[..., object]

_KEY = "training.model"
_WRITE = "write def net(shape, classes): ... that returns a torch.nn.Module"


@dataclass(frozen=True, eq=False)
class OwnNetwork:
    """A network as the user's code built it, made fit for DP-SGD.

    Attributes:
        module: the network; its weights are the public initial ones.
        replaced: layers that others stand in for, because the configuration asks for it.
    """

    module: torch.nn.Module
    replaced: tuple[Forbidden, ...] = ()


def own_network(reference: str, shape: tuple[int, ...], classes: int, seed: int, replace: bool) -> OwnNetwork:
    """Return the network of `module:name` with public initial weights: its own code's, under a seeded generator.

    The module is imported, which runs its code. What it names is called with `shape` (of one example, without the
    examples' axis) and `classes`, as far as it has arguments of these names, or else with nothing.

    Args:
        reference: `module:name`.
        shape: of one example.
        classes: size of the public label set.
        seed: of the configuration; torch's generator follows it while the network is built.
        replace: whether layers that DP-SGD forbids are replaced; else they are refused.

    Raises:
        ConfigInvalid: it cannot be imported, is no such thing, fails, or holds layers that DP-SGD forbids.
    """
    import torch

    factory = factory_of(reference)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(public_seed(seed, "model"))
        made = _called(factory, reference, shape, classes)
        if not isinstance(made, torch.nn.Module):
            raise ConfigInvalid(f"{_where(reference)} returns what is of type {type(made).__name__}; {_WRITE}")
        _materialise(made, reference, shape)
    return _allowed(made, reference, shape, replace)


def factory_of(reference: str) -> Factory:
    """Return what `module:name` calls the function or class of a network; imports it.

    Raises:
        ConfigInvalid: it cannot be imported, or is neither.
    """
    import torch

    try:
        found = load_code(reference)
    except CodeNotFound as error:
        raise ConfigInvalid(f"{_KEY} = {error}") from error
    if isinstance(found, torch.nn.Module) and is_pickled(reference):
        # Its weights are in the bytes that the reference names, so all processes have the same.
        return lambda: copy.deepcopy(found)
    if isinstance(found, torch.nn.Module):
        raise ConfigInvalid(
            f"{_where(reference)} is a network that is there already, whose weights each process would draw anew; "
            f"{_WRITE}, or name its class"
        )
    if not callable(found) or (isinstance(found, type) and not issubclass(found, torch.nn.Module)):
        what = f"the class {found.__name__}" if isinstance(found, type) else f"of type {type(found).__name__}"
        raise ConfigInvalid(f"{_where(reference)} is {what}; {_WRITE}")
    return found


def _where(reference: str) -> str:
    return f"{_KEY} = {reference!r}: {reference.partition(':')[2]} in {file_of(reference)}"


def _called(factory: Factory, reference: str, shape: tuple[int, ...], classes: int) -> object:
    positional, named = _arguments(factory, reference, {"shape": shape, "classes": classes})
    try:
        return factory(*positional, **named)
    except Exception as error:
        raise ConfigInvalid(
            f"{_where(reference)} fails for examples of shape {shape} and {classes} classes with "
            f"{type(error).__name__}: {_first_line(error)}; mend it there"
        ) from error


def _arguments(factory: Factory, reference: str, facts: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a factory is called with. A second meaning of an argument is never guessed: names decide."""
    parameters = inspect.signature(factory).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    wanted = {p.name: facts[p.name] for p in named if p.name in facts and p.kind is not p.POSITIONAL_ONLY}
    needed = [p.name for p in named if p.default is p.empty and p.name not in wanted]
    if len(needed) == 2 and not wanted:
        return tuple(facts.values()), {}
    if needed:
        raise ConfigInvalid(
            f"{_where(reference)} needs {', '.join(needed)}, which nobody gives it; it may take shape and classes by "
            "these names, and anything else needs a default"
        )
    return (), wanted


def _materialise(module: torch.nn.Module, reference: str, shape: tuple[int, ...]) -> None:
    """Give lazy layers their weights by one forward pass on made-up inputs."""
    import torch
    from torch.nn.parameter import is_lazy

    if not any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
        return
    module.eval()
    with torch.no_grad():
        try:
            module(torch.zeros((2, *shape)))
        except Exception as error:
            raise _fails(reference, shape, error) from error
    module.train()


def _allowed(module: torch.nn.Module, reference: str, shape: tuple[int, ...], replace: bool) -> OwnNetwork:
    if not any(p.requires_grad for p in module.parameters()):
        frozen = sum(p.numel() for p in module.parameters())
        raise ConfigInvalid(
            f"{_where(reference)} has {frozen} weights and all of them frozen; let some require a gradient"
            if frozen
            else f"{_where(reference)} has no weights, so there is nothing to train; {_WRITE} with some"
        )
    inputs = example_of(module, shape)
    if not replace:
        found = forbidden_layers(module, inputs)
        if not found:
            return OwnNetwork(module)
        more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
        raise ConfigInvalid(
            f"{_where(reference)}: {found[0]}{more}; write that there, or set training.replace_layers = true, which "
            "keeps trained weights"
        )
    try:
        return OwnNetwork(*replace_forbidden(module, inputs))
    except UnsuitableModel as error:
        raise ConfigInvalid(f"{_where(reference)}: {error}") from error


def example_of(module: torch.nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """Return two made-up examples, (2, *shape), on the network's device."""
    import torch

    return made_up_inputs(module, shape, torch.float32, 2)


def _fails(reference: str, shape: tuple[int, ...], error: Exception) -> ConfigInvalid:
    return ConfigInvalid(
        f"{_where(reference)} fails on made-up examples of shape {shape} with {type(error).__name__}: "
        f"{_first_line(error)}; mend its forward()"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")
