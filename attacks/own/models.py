"""The user's own functions: what makes the network, what scores examples, and what trains shadow models."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attacks.errors import AttackError, AuditInvalid
from attacks.games.attack import Candidates, FloatArray
from attacks.games.judging import purpose_seed
from attacks.games.views import Capability, View
from attacks.modules.functions import flat_weights, losses_of, named_weights
from attacks.own.settings import Shadows
from attacks.shadows.any_module import ModuleTrainer
from attacks.shadows.models import ShadowModels
from attacks.shadows.schedules import balanced_coins

if TYPE_CHECKING:
    import torch

Load = Callable[[str, str], object]
"""(`module:function`, key of the audit file) -> what it names. Importing runs code, and is the caller's to allow."""

Train = Callable[[NDArray[np.float32], NDArray[np.int64], int], object]
_CHUNK = 512


def called(key: str, reference: str, function: object, *arguments: object) -> Any:
    """What a function of the user's own returns.

    Raises:
        AuditInvalid: it cannot be called, or raises; one sentence with the first line of its error.
    """
    if not callable(function):
        raise AuditInvalid(f"{key} = {reference!r} is a {type(function).__name__}; name a function")
    try:
        return function(*arguments)
    except AttackError:
        raise
    except Exception as error:
        first = (str(error) or "no message").strip().splitlines()[0].rstrip(".")
        raise AuditInvalid(f"{key} = {reference!r} failed with {type(error).__name__}: {first}; correct it") from error


def made_module(reference: str, function: object) -> torch.nn.Module:
    """The architecture that a function of the user's own makes.

    Raises:
        AuditInvalid: it fails, or returns something else or a module without parameters.
    """
    import torch

    module = called("model", reference, function)
    if not isinstance(module, torch.nn.Module):
        raise AuditInvalid(f"model = {reference!r} returns a {type(module).__name__}; return a torch.nn.Module")
    lazy = [type(part).__name__ for part in module.modules() if isinstance(part, torch.nn.modules.lazy.LazyModuleMixin)]
    if lazy or not any(True for _ in module.parameters()):
        what = f"layers without shape ({lazy[0]})" if lazy else "no parameters"
        raise AuditInvalid(f"model = {reference!r} returns a module with {what}; return the network that was saved")
    return module


def require_fits(module: torch.nn.Module, weights: NDArray[np.float32], asked: Candidates, reference: str) -> None:
    """Raise AuditInvalid unless the model takes the examples and returns logits for their classes."""
    few = asked.take(np.arange(min(2, len(asked))))
    called("model", f"{reference} on examples of shape {few.x.shape[1:]}", losses_of(module), weights, few.x, few.y)


def at_weights(module: torch.nn.Module, weights: NDArray[Any]) -> torch.nn.Module:
    """A copy of the module in evaluation mode that has these weights and running statistics."""
    import torch

    own = copy.deepcopy(module).eval()
    tensors = {**dict(own.named_parameters()), **dict(own.named_buffers())}
    with torch.no_grad():
        for name, part in named_weights(own, torch.tensor(weights, dtype=torch.float32)).items():
            tensors[name].copy_(part)
    return own


@dataclass(frozen=True, eq=False)
class FunctionScore:
    """A score of the user's own on the final model: `function(model, x, y)`, one number for each example."""

    module: torch.nn.Module = field(repr=False)
    function: object = field(repr=False)
    reference: str
    name: str = "score of your own"
    requires: frozenset[Capability] = frozenset({Capability.FINAL_MODEL})

    def score(self, view: View, candidates: Candidates) -> FloatArray:
        """Scores, (n,).

        Raises:
            AuditInvalid: the function fails, or returns another shape or values that are not finite.
        """
        import torch

        model, parts = at_weights(self.module, view.array("final_model")), []
        for start in range(0, len(candidates), _CHUNK):
            part = candidates.take(np.arange(start, min(start + _CHUNK, len(candidates))))
            with torch.no_grad():
                found = called(
                    "score", self.reference, self.function, model, torch.tensor(part.x), torch.tensor(part.y)
                )
            values = np.asarray(found.detach().cpu() if isinstance(found, torch.Tensor) else found)
            if values.dtype.kind not in "fiub" or values.shape != (len(part),) or not np.isfinite(values).all():
                raise AuditInvalid(
                    f"score = {self.reference!r} returned {values.dtype} {values.shape} for {len(part)} examples; "
                    "return one finite number for each"
                )
            parts.append(values.astype(np.float64))
        return np.concatenate(parts) if parts else np.zeros(0)


def declared_training(make: Callable[[], torch.nn.Module], recipe: Shadows) -> Train:
    """Training as the recipe declares it: fresh networks, shuffled batches, cross-entropy, in training mode."""

    def train(x: NDArray[np.float32], y: NDArray[np.int64], seed: int) -> torch.nn.Module:
        import torch

        order = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            # Layers start from torch's global generator, and dropout draws from it.
            torch.manual_seed(seed)
            module = make().train()
            optimiser = _optimiser(module, recipe)
            inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
            for _ in range(recipe.epochs):
                for rows in torch.split(torch.randperm(len(x), generator=order), recipe.batch):
                    if len(rows) == 1 < len(x):
                        # BatchNorm has no variance of a single example.
                        continue
                    optimiser.zero_grad()
                    torch.autograd.backward(torch.nn.functional.cross_entropy(module(inputs[rows]), labels[rows]))
                    optimiser.step()
        return module

    return train


def _optimiser(module: torch.nn.Module, recipe: Shadows) -> torch.optim.Optimizer:
    import torch

    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(module.parameters(), lr=rate, momentum=recipe.momentum, weight_decay=decay)
    kind = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
    return kind(module.parameters(), lr=rate, weight_decay=decay)


def train_shadows(
    module: torch.nn.Module,
    train: tuple[str, object],
    pool: Candidates,
    background: Candidates | None,
    *,
    models: int,
    task: int,
    seed: int,
    watch: Callable[[str], None],
) -> ShadowModels:
    """Shadow models of a plain training: each on half of the candidates, by balanced coins, and all of the background.

    Args:
        module: the audited architecture.
        train: name and function, called as `train(x, y, seed)`.
        pool: the candidates; those of one cluster share a coin.
        background: what the audited model was trained on besides; None for nothing.
        models: how many.
        task: of the checkpoint that they stand beside.
        seed: public.
        watch: told after every model.

    Raises:
        AuditInvalid: the function fails, or returns another network.
    """
    unit = np.unique(pool.cluster, return_inverse=True)[1]
    coins = balanced_coins(models, int(unit.max()) + 1, purpose_seed(seed, "attacks.own.shadow_coins"))[:, unit]
    rows, size = [], len(flat_weights(module))
    for number in range(models):
        inside = pool.take(np.flatnonzero(coins[number]))
        sets = [inside, *([] if background is None else [background])]
        x, y = np.concatenate([part.x for part in sets]), np.concatenate([part.y for part in sets])
        own = purpose_seed(seed, f"attacks.own.shadow.{number}") % 2**31
        made = called("shadows.train", train[0], train[1], x, y, own)
        rows.append(_shadow_vector(made, module, size, train[0]))
        watch(f"shadow model {number + 1} of {models}")
    return ShadowModels(
        ModuleTrainer(module), pool, np.stack(rows)[:, None], np.array([task]), coins, np.zeros_like(coins)
    )


def _shadow_vector(made: object, module: torch.nn.Module, size: int, reference: str) -> NDArray[np.float32]:
    import torch

    if not isinstance(made, torch.nn.Module):
        raise AuditInvalid(f"shadows.train = {reference!r} returned a {type(made).__name__}; return the trained module")
    vector = flat_weights(made)
    names = [name for name, _ in made.named_parameters()]
    if names != [name for name, _ in module.named_parameters()] or len(vector) != size:
        raise AuditInvalid(
            f"shadows.train = {reference!r} returned a network of {len(vector)} numbers in {len(names)} tensors, the "
            f"audited one has {size}; train the architecture of `model`"
        )
    if not np.isfinite(vector).all():
        raise AuditInvalid(f"shadows.train = {reference!r} returned weights that are not finite; lower its step size")
    return vector
