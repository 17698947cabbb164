"""A server that departs from the protocol, as tests of the defence: imprinting models, and a model per client.

Each probe hands crafted models to the system under test and looks at the sum that comes back. The system may refuse by
raising (the defence works), or answer; then the probe says how much of the clients' data it read. A harness that
crashes has refused nothing: an error counts as a refusal only if an honest model passes, and if it is none of a
program's own mistakes (`MISTAKES`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attacks.errors import AttackError, HarnessCrashed, InversionInvalid
from attacks.gradients.fidelity import matched, psnr
from attacks.gradients.inversion import analytic_linear
from attacks.modules.layout import last_linear

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
Summed = Callable[[NDArray[np.float32]], NDArray[np.floating]]
"""(weights (d,) sent to every client) -> the decrypted sum of gradients (d,). Raises or returns to refuse."""
PerClient = Callable[[NDArray[np.float32]], NDArray[np.floating]]
"""(weights (n, d), row j sent to client j) -> the decrypted sum of gradients (d,)."""
MISTAKES = (
    TypeError,
    NameError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    ImportError,
    MemoryError,
)
"""Errors that no defence raises on purpose."""
ISOLATED = 0.99
"""Cosine from which an update counts as isolated."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a test of the defence found.

    Attributes:
        name: of the attack.
        refused: the reason the system gave, None if it answered.
        recovered: share of targets reconstructed above the threshold; 0 if refused.
        n: number of targets.
        median_psnr: in dB over all targets, None if refused or not asked.
        similarity: cosine of what was isolated with the target's own update, None if refused or not asked.
    """

    name: str
    refused: str | None
    recovered: float
    n: int
    median_psnr: float | None
    similarity: float | None = None


@dataclass(frozen=True, kw_only=True)
class Imprint:
    """A two-layer perceptron whose first layer sorts inputs into bins (Fowl et al. 2022, "Robbing the Fed").

    Every first-layer row is the same measurement h, its bias the negated lower end of a bin; the second layer's columns
    are equal, so all rows receive the same factor per example. The gradients of neighbouring rows then differ by the
    examples of one bin, and a bin with one example gives it away, however many clients were summed.

    Attributes:
        inputs, bins, classes: sizes of the perceptron inputs-bins-classes.
        seed: public seed of h.
    """

    inputs: int
    bins: int
    classes: int
    seed: int = 0

    def weights(self, reference: NDArray[np.floating]) -> NDArray[np.float32]:
        """The crafted model, (d,), with bins at the quantiles of h . x over reference examples (k, inputs).

        Raises:
            InversionInvalid: the reference is empty or of another width.
        """
        if reference.ndim != 2 or reference.shape[1] != self.inputs or not len(reference):
            raise InversionInvalid(f"reference has shape {reference.shape}; give examples (k, {self.inputs})")
        random = np.random.default_rng(self.seed)
        measure = random.normal(size=self.inputs) / self.inputs**0.5
        values = reference @ measure
        # Fitted normal quantiles reach beyond the reference, where its own quantiles would leave the tails in one bin.
        spread = float(values.std()) + 1e-9
        from scipy.stats import norm

        edges = float(values.mean()) + spread * norm.ppf((np.arange(self.bins) + 0.5) / self.bins)
        first = np.tile(measure, (self.bins, 1))
        column = random.normal(size=self.classes)
        second = np.tile(column[:, None], (1, self.bins)) / self.bins
        parts = (first.ravel(), -edges, second.ravel(), np.zeros(self.classes))
        return np.concatenate(parts).astype(np.float32)

    def recover(self, gradient: NDArray[np.floating], smallest: float = 1e-9) -> Floats:
        """Inputs read off a sum of gradients, (k, inputs): one for each bin whose bias gradient is not 0.

        Args:
            gradient: (d,), the sum.
            smallest: differences of bias gradients below this times the largest count as 0.

        Raises:
            InversionInvalid: wrong length or not finite.
        """
        flat = np.asarray(gradient, dtype=np.float64)
        size = self.bins * self.inputs
        if flat.shape != (size + self.bins + self.classes * (self.bins + 1),) or not np.isfinite(flat).all():
            raise InversionInvalid(f"the sum has shape {flat.shape}; it must be the finite gradient of {self}")
        weight, bias = flat[:size].reshape(self.bins, self.inputs), flat[size : size + self.bins]
        weight = np.diff(weight, axis=0, append=0.0)
        bias = np.diff(bias, append=0.0)
        full = np.abs(bias) > smallest * max(float(np.abs(bias).max()), 1e-300)
        rows: Floats = weight[full] / bias[full][:, None]
        return rows


def probe_imprint(
    system: Summed,
    imprint: Imprint,
    reference: NDArray[np.floating],
    targets: NDArray[np.floating],
    above: float = 40.0,
) -> Probe:
    """Sends the imprinting model and reads examples off the sum.

    Args:
        system: the defence under test.
        imprint: the crafted model's sizes.
        reference: examples (k, inputs) from the adversary's own data.
        targets: (m, inputs), all examples the clients hold; they judge, nothing else.
        above: PSNR in dB (peak 1) from which a target counts as recovered.

    Raises:
        HarnessCrashed: the system crashed, or answered with something that is no finite sum.
        InversionInvalid: the reference does not fit.
    """
    crafted = imprint.weights(reference)
    honest = (np.random.default_rng(imprint.seed).normal(size=len(crafted)) / imprint.inputs**0.5).astype(np.float32)
    total = _answer(system, crafted, honest, len(crafted))
    if isinstance(total, str):
        return Probe(
            name="imprint",
            refused=total,
            recovered=0.0,
            n=len(targets),
            median_psnr=None,
        )
    found = imprint.recover(total)
    padded = np.concatenate([found, np.zeros((max(0, len(targets) - len(found)), imprint.inputs))])
    quality = psnr(padded[matched(padded, targets)], targets)
    return Probe(
        name="imprint",
        refused=None,
        recovered=float((quality > above).mean()),
        n=len(targets),
        median_psnr=float(np.median(quality)),
    )


def _answer(
    system: Summed | PerClient, crafted: NDArray[np.float32], honest: NDArray[np.float32], size: int
) -> Floats | str:
    """The sum that comes back, (size,), or the reason why none does."""
    try:
        total = np.asarray(system(crafted), dtype=np.float64)
    except MISTAKES as crash:
        raise HarnessCrashed(
            f"the system under test crashed ({type(crash).__name__}: {crash}), which is no refusal; mend it, or let it "
            "refuse with an error of its own"
        ) from crash
    except Exception as refusal:
        try:
            system(honest)
        except Exception as crash:
            raise HarnessCrashed(
                f"the system under test fails at an honest model too ({type(crash).__name__}: {crash}), so that its "
                "error says nothing about crafted ones; mend it"
            ) from crash
        return f"{type(refusal).__name__}: {refusal}"
    if total.shape != (size,) or not np.isfinite(total).all():
        raise HarnessCrashed(
            f"the system under test answered with shape {total.shape} and {int((~np.isfinite(total)).sum())} values "
            f"that are not finite; let it return the sum of gradients ({size},), or raise to refuse"
        )
    return total


def silenced(weights: NDArray[np.float32], first_layer: tuple[int, int]) -> NDArray[np.float32]:
    """A perceptron whose first ReLU layer (outputs, inputs) never fires: its gradient there is exactly 0.

    Raises:
        InversionInvalid: the layer does not fit the weights.
    """
    outputs, inputs = first_layer
    if weights.ndim != 1 or outputs * (inputs + 1) > len(weights):
        raise InversionInvalid(f"a layer {first_layer} does not fit weights {weights.shape}")
    quiet = weights.copy()
    quiet[: outputs * inputs] = 0.0
    quiet[outputs * inputs : outputs * (inputs + 1)] = -1.0
    return quiet


def probe_inconsistency(
    system: PerClient,
    weights: NDArray[np.float32],
    first_layer: tuple[int, int],
    target: tuple[int, NDArray[np.floating]],
    clients: int,
) -> Probe:
    """Sends the model to one client and a silenced one to all others (Pasquini et al. 2022, "gradient suppression").

    The sum's first-layer gradient is then the target's alone; for one example it is read off exactly.

    Args:
        system: the defence under test. A round that compares hashes of the models that clients received should raise.
        weights: (d,), an honest model.
        first_layer: (outputs, inputs) of its first linear layer.
        target: the client's number and its one example, flat; the example judges only.
        clients: how many there are.

    Raises:
        HarnessCrashed: the system crashed, or answered with something that is no finite sum.
        InversionInvalid: the target is no client.
    """
    client, example = target
    if not 0 <= client < clients:
        raise InversionInvalid(f"target {client} is not one of {clients} clients")
    outputs, inputs = first_layer
    sent = np.tile(silenced(weights, first_layer), (clients, 1))
    sent[client] = weights
    total = _answer(system, sent, np.tile(weights, (clients, 1)), len(weights))
    if isinstance(total, str):
        return Probe(
            name="model inconsistency",
            refused=total,
            recovered=0.0,
            n=1,
            median_psnr=None,
        )
    matrix = total[: outputs * inputs].reshape(outputs, inputs)
    try:
        found = analytic_linear(matrix, total[outputs * inputs : outputs * (inputs + 1)])
    except AttackError:
        found = np.zeros(inputs)
    quality = float(psnr(found[None], np.asarray(example, dtype=np.float64).reshape(1, -1))[0])
    return Probe(name="model inconsistency", refused=None, recovered=float(quality > 40.0), n=1, median_psnr=quality)


def silenced_head(module: torch.nn.Module, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weights with a last layer of zeros: nothing flows back through it, so all layers before it send zeros.

    Raises:
        InversionInvalid: the module has no linear layer with bias, or nothing before it.
    """
    quiet = weights.copy()
    quiet[last_linear(module).weight] = 0.0
    before_the_head(module, len(weights))
    return quiet


def before_the_head(module: torch.nn.Module, size: int) -> NDArray[np.bool_]:
    """Which entries of a flat vector lie before the last linear layer, bool (size,).

    Raises:
        InversionInvalid: as `silenced_head`.
    """
    head, early = last_linear(module), np.ones(size, dtype=np.bool_)
    early[head.weight] = early[head.bias] = False
    if not early.any():
        raise InversionInvalid("the module is one linear layer: nothing lies before it that could be silenced")
    return early


def probe_suppression(
    system: PerClient,
    module: torch.nn.Module,
    weights: NDArray[np.float32],
    target: tuple[int, NDArray[np.floating]],
    clients: int,
) -> Probe:
    """Sends the model to one client and one with a silenced head to all others, and looks at the sum.

    Before the last layer the sum then holds the target's update alone, whatever secure aggregation hides.

    Args:
        system: the defence under test. Clients that compare hashes of the models they received should raise.
        module: the architecture, its last linear layer with bias.
        weights: (d,), an honest model.
        target: the client's number, and its own update without noise (d,); the update judges only.
        clients: how many there are.

    Raises:
        HarnessCrashed: the system crashed, or answered with something that is no finite sum.
        InversionInvalid: the target is no client, or the module has no layer to silence.
    """
    client, alone = target
    if not 0 <= client < clients:
        raise InversionInvalid(f"target {client} is not one of {clients} clients")
    early = before_the_head(module, len(weights))
    sent = np.tile(silenced_head(module, weights), (clients, 1))
    sent[client] = weights
    total = _answer(system, sent, np.tile(weights, (clients, 1)), len(weights))
    if isinstance(total, str):
        return Probe(
            name="a model for each client",
            refused=total,
            recovered=0.0,
            n=1,
            median_psnr=None,
        )
    one, other = total[early], np.asarray(alone, dtype=np.float64)[early]
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    cosine = float(one @ other) / scale if scale > 0 else 0.0
    return Probe(
        name="a model for each client",
        refused=None,
        recovered=float(cosine > ISOLATED),
        n=1,
        median_psnr=None,
        similarity=cosine,
    )
