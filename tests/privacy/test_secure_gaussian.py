import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest, norm

from privacy.errors import InvalidParameter
from privacy.randomness import RandomBytes, key_stream, uniforms
from privacy.secure_gaussian import discrete_gaussian, exact_discrete_gaussian, gaussian, release_noise


def pmf(variance: float, reach: int) -> np.ndarray:
    k = np.arange(-reach, reach + 1)
    weights = np.exp(-(k**2) / (2 * variance))
    return weights / weights.sum()


def fits(values: np.ndarray, variance: float) -> float:
    reach = max(1, math.ceil(3 * math.sqrt(variance)))
    inside = values[np.abs(values) <= reach]
    far = pmf(variance, 20 * reach)
    wanted = far[19 * reach : 21 * reach + 1]
    counts = np.bincount(inside + reach, minlength=2 * reach + 1)
    observed = np.append(counts, len(values) - len(inside))
    expected = np.append(wanted, max(1 - wanted.sum(), 1e-300)) * len(values)
    kept = expected > 5
    observed = np.append(observed[kept], observed[~kept].sum())
    expected = np.append(expected[kept], expected[~kept].sum())
    if expected[-1] < 1e-6:
        assert observed[-1] == 0
        observed, expected = observed[:-1], expected[:-1]
    return float(chisquare(observed, expected * observed.sum() / expected.sum()).pvalue)


def test_the_normals_are_normal(keyed) -> None:
    x = gaussian(2.5, (200_000,), keyed(5)).numpy()
    assert kstest(x / 2.5, norm.cdf).pvalue > 1e-6
    assert abs(x.mean()) < 5 * 2.5 / math.sqrt(len(x))
    assert x.var() == pytest.approx(6.25, rel=5 * math.sqrt(2 / len(x)))
    assert (x[1:] * x[:-1]).mean() == pytest.approx(0, abs=5 * 6.25 / math.sqrt(len(x)))


def test_known_answers_at_the_ends_of_the_grid() -> None:
    lowest, highest = gaussian(1.0, (1,), lambda n: b"\0" * n), gaussian(1.0, (1,), lambda n: b"\xff" * n)
    assert float(lowest) == -float(highest)
    assert float(highest) == pytest.approx(norm.isf(2.0**-53), rel=1e-4)
    middle = gaussian(1.0, (1,), lambda n: (1 << 63).to_bytes(8, "little") * (n // 8))
    assert 0 < float(middle) < 1e-15
    quarter = gaussian(3.0, (1,), lambda n: (3 << 62).to_bytes(8, "little") * (n // 8))
    assert float(quarter) == pytest.approx(3.0 * norm.ppf(0.75), rel=1e-12)


def test_shape_and_bytes_drawn() -> None:
    drawn: list[int] = []

    def random(n: int, /) -> bytes:
        drawn.append(n)
        return b"\x55" * n

    assert gaussian(1.0, (3, 4), random).shape == (3, 4)
    assert sum(drawn) == 96
    assert gaussian(1.0, (0, 4), random).shape == (0, 4)
    assert torch.equal(gaussian(0.0, (2,), random), torch.zeros(2, dtype=torch.float64))
    assert sum(drawn) == 96


def test_release_noise_is_the_sum_of_two_halves(keyed) -> None:
    x = release_noise(2.5, (500, 400), keyed(6))
    assert x.shape == (500, 400)
    values = x.numpy().ravel()
    assert kstest(values / 2.5, norm.cdf).pvalue > 1e-6
    assert values.var() == pytest.approx(6.25, rel=5 * math.sqrt(2 / len(values)))
    first = keyed(6)
    parts = [gaussian(2.5 / math.sqrt(2), (500, 400), first) for _ in range(2)]
    assert torch.allclose(x, parts[0] + parts[1], rtol=1e-12)
    ends = [float(release_noise(1.0, (1,), lambda n, b=b: b * n)) for b in (b"\0", b"\xff")]
    assert -ends[0] == ends[1] == pytest.approx(math.sqrt(2) * norm.isf(2.0**-53), rel=1e-4)
    assert not release_noise(0.0, (3,), keyed(6)).any()


def test_one_variable_alone_has_gaps_in_its_tail() -> None:
    """Why releases add two: near 7 standard deviations neighbouring values are 20 float32 numbers apart."""
    u = int(norm.sf(7.0) * 2.0**52)
    near = [float(gaussian(1.0, (1,), lambda n, k=k: ((u + k) << 12).to_bytes(8, "little"))) for k in (0, 1)]
    assert near[1] - near[0] > 20 * float(np.spacing(np.float32(7.0)))


@pytest.mark.parametrize("variance", [0.05, 0.3, 1.0, 7.5, 400.0])
def test_the_discrete_gaussian_has_its_probabilities(variance: float, keyed) -> None:
    assert fits(discrete_gaussian(variance, 100_000, keyed(11)), variance) > 1e-6


@pytest.mark.parametrize("variance", [Fraction(1, 3), Fraction(5), Fraction(81, 2)])
def test_the_exact_sampler_agrees(variance: Fraction, keyed) -> None:
    random = keyed(12)
    values = np.array([exact_discrete_gaussian(variance, random) for _ in range(4000)])
    assert fits(values, float(variance)) > 1e-6


def test_a_wrong_variance_is_noticed(keyed) -> None:
    assert fits(discrete_gaussian(7.5 * 1.05, 100_000, keyed(13)), 7.5) < 1e-6


def test_a_large_variance_looks_normal(keyed) -> None:
    x = discrete_gaussian(2.0**60, 100_000, keyed(14))
    assert kstest(x / 2.0**30, norm.cdf).pvalue > 1e-6


def test_edges(keyed) -> None:
    assert not discrete_gaussian(0.0, 5, keyed(1)).any()
    assert discrete_gaussian(3.0, 0, keyed(1)).shape == (0,)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(InvalidParameter):
            gaussian(bad, (1,), keyed(1))
        with pytest.raises(InvalidParameter):
            discrete_gaussian(bad, 1, keyed(1))
    with pytest.raises(InvalidParameter):
        exact_discrete_gaussian(Fraction(0), keyed(1))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 200_000), st.integers(0, 99))
def test_equal_bytes_give_equal_noise(count: int, key: int) -> None:
    def once() -> torch.Tensor:
        return gaussian(1.0, (count,), np.random.default_rng(key).bytes)

    assert torch.equal(once(), once())
    assert torch.isfinite(once()).all()


@pytest.mark.parametrize("batch", [0, 5])
def test_opacus_with_secure_noise(batch: int, keyed) -> None:
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    from privacy.clipping import FLAT, ClippingState
    from privacy.secure_optimizer import SecureNoiseOptimizer

    def ours(sigma: float) -> torch.Tensor:
        state = ClippingState(FLAT, 0.5, sigma, 4.0, keyed(3))
        return grads(SecureNoiseOptimizer, sigma, random=keyed(2), state=state)

    torch.manual_seed(0)
    x, y = torch.randn(batch, 7), torch.zeros(batch, dtype=torch.int64)

    def grads(kind: type, sigma: float, **options: object) -> torch.Tensor:
        torch.manual_seed(1)
        module = GradSampleModule(torch.nn.Linear(7, 300), loss_reduction="sum")
        inner = torch.optim.SGD(module.parameters(), lr=1.0)
        optimizer = kind(
            inner, noise_multiplier=sigma, max_grad_norm=0.5, expected_batch_size=4, loss_reduction="mean", **options
        )
        torch.nn.functional.cross_entropy(module(x), y, reduction="sum").backward()
        optimizer.step()
        return torch.cat([p.grad.reshape(-1) for p in module.parameters()])

    clean = grads(DPOptimizer, 0.0)
    assert torch.allclose(ours(0.0), clean, atol=1e-7)
    noise = (ours(1.5) - clean) * 4 / (1.5 * 0.5)
    assert kstest(noise.numpy(), norm.cdf).pvalue > 1e-6
    assert torch.equal(ours(1.5), ours(1.5))


@pytest.mark.parametrize("count", [1, 7, 32_767, 32_769, 70_001])
def test_blocks_do_not_change_the_map(count: int) -> None:
    """Inversion of `uniforms`, term after term from one stream, whatever is done at once."""

    def stream() -> RandomBytes:
        return key_stream(lambda n: b"\x07" * n)

    def inverted(random: RandomBytes, std: float) -> torch.Tensor:
        centred = torch.from_numpy(uniforms(random, (count,))).mul_(2.0).sub_(1.0)
        return centred.erfinv_().mul_(math.sqrt(2.0) * std)

    assert torch.equal(gaussian(1.7, (count,), stream()), inverted(stream(), 1.7))
    both, half = stream(), 1.7 * math.sqrt(0.5)
    assert torch.equal(release_noise(1.7, (count,), stream()), inverted(both, half) + inverted(both, half))
