"""Numbers published elsewhere, with their source, the accountant and the conversion they name."""

import math

import pytest

from privacy import PldAccountant, RdpAccountant, SampledGaussian, SkellamRelease, smallest_multiplier
from privacy.accountants import ORDERS
from privacy.matrix import BinaryTree, PrefixStream

DELTA = 1e-5
FINE = PldAccountant(1e-4)
RDP = RdpAccountant()


def classic(history: dict, delta: float) -> float:
    """Mironov 2017, Proposition 3: the conversion of the older papers."""
    curve = RDP.curve(history)
    return min(rdp + math.log(1 / delta) / (order - 1) for rdp, order in zip(curve, ORDERS, strict=True))


@pytest.mark.parametrize(
    ("q", "sigma", "steps", "rdp", "pld"),
    [
        # Abadi et al. 2016, section 5's setting; improved conversion as in TensorFlow Privacy and autodp 0.2.3.
        (0.01, 4.0, 10_000, 1.0355, 0.9470),
        # The rest: dp-accounting 0.6.0 at its own orders (RDP) and at interval 1e-4 (PLD), prv-accountant 0.2.0
        # (Gopi et al. 2021) at most 0.0103 above.
        (0.01, 1.1, 10_000, 5.6320, 5.1926),
        (256 / 60_000, 1.1, 14_100, 2.6003, 2.3852),
        (0.01, 1.0, 100, 1.2248, 0.7180),
        (1.0, 1.0, 1, 4.7285, 4.3772),
        (0.001, 2.0, 1000, 0.1311, 0.0501),
        (0.5, 2.0, 100, 15.725, 14.2845),
    ],
)
def test_epsilon_at_1e_5(q: float, sigma: float, steps: int, rdp: float, pld: float) -> None:
    history = {SampledGaussian(q=q, noise_multiplier=sigma): steps}
    # Our order grid is coarser than some: at most 0.2 % above (rounded figures below).
    assert rdp * (1 - 1e-4) - 6e-5 <= RDP.epsilon(history, DELTA) <= rdp * 1.002
    assert FINE.epsilon(history, DELTA) == pytest.approx(pld, abs=6e-5)


def test_abadi_2016_by_the_classic_conversion() -> None:
    """Abadi et al. 2016, section 3: q = 0.01, sigma = 4, 10,000 steps: epsilon about 1.26."""
    assert classic({SampledGaussian(q=0.01, noise_multiplier=4.0): 10_000}, DELTA) == pytest.approx(1.2586, abs=1e-3)


@pytest.mark.parametrize(("sigma", "epochs", "epsilon"), [(1.12, 60, 2.92), (0.6, 30, 9.74), (1.2, 10, 1.20)])
def test_tensorflow_privacy_tutorial(sigma: float, epochs: int, epsilon: float) -> None:
    """TensorFlow Privacy, tutorials/README.md: MNIST, batch 256 of 60,000; by RDP and the classic conversion."""
    steps = epochs * 60_000 // 256
    assert classic({SampledGaussian(q=256 / 60_000, noise_multiplier=sigma): steps}, DELTA) == pytest.approx(
        epsilon, rel=4e-3
    )


def test_the_fourier_accountant() -> None:
    """Koskela, Jalko and Honkela 2020, printed in their repository's example: q = 0.01, sigma = 4, epsilon 1 has delta
    4.243484012034273e-06. That is the value of the 10,000 compositions of their paper, not of the script's 1000.
    """
    assert FINE.epsilon(
        {SampledGaussian(q=0.01, noise_multiplier=4.0): 10_000}, 4.243484012034273e-06
    ) == pytest.approx(1.0, abs=2e-4)


@pytest.mark.parametrize(("sigma", "epsilon"), [(1.13, 19.74), (8.83, 2.04)])
def test_tree_aggregation(sigma: float, epsilon: float) -> None:
    """Kairouz et al. 2021 (arXiv 2103.00039), as in TensorFlow Privacy's tests: one tree over 1600 steps, delta 1e-6,
    by RDP and the classic conversion.
    """
    tree = PrefixStream(
        factor=BinaryTree(1600), clipping_norm=1.0, noise_multiplier=sigma / BinaryTree(1600).sensitivity()
    )
    assert classic({tree.event: 1}, 1e-6) == pytest.approx(epsilon, abs=6e-3)


def test_dp_accounting_sampled_gaussian() -> None:
    """dp_accounting, PLD accountant tests: q = 0.2, sigma = 0.5, three times: epsilon 1 has delta 0.15594."""
    assert FINE.epsilon({SampledGaussian(q=0.2, noise_multiplier=0.5): 3}, 0.15594) == pytest.approx(1.0, abs=2e-4)


def test_opacus_rdp() -> None:
    """Opacus, accountants_test.py: q = 0.04, sigma = 1.5, 2250 steps: 7.32911117143 (finer orders than ours)."""
    claimed = RDP.epsilon({SampledGaussian(q=0.04, noise_multiplier=1.5): 2250}, DELTA)
    assert 7.32911117143 - 1e-9 <= claimed <= 7.3311


def test_opacus_prv() -> None:
    """Opacus, accountants_test.py: 2249 steps by PRV: 6.777395712150674, which includes its error bound of 0.01."""
    claimed = FINE.epsilon({SampledGaussian(q=0.04, noise_multiplier=1.5): 2249}, DELTA)
    assert 6.777395712150674 - 0.011 <= claimed <= 6.777395712150674


def test_opacus_noise_multiplier() -> None:
    """Opacus, get_noise_multiplier tests: epsilon 8, q = 0.04, 90 epochs: 1.416 by RDP, 1.34765625 by PRV."""
    found = smallest_multiplier(lambda sigma: [{SampledGaussian(q=0.04, noise_multiplier=sigma): 2250}], 8.0, DELTA)
    assert 1.34 <= found <= 1.34765625
    assert RDP.epsilon({SampledGaussian(q=0.04, noise_multiplier=1.416): 2250}, DELTA) == pytest.approx(8.0, abs=0.02)


def test_dp_accounting_calibration() -> None:
    """dp_accounting, mechanism calibration test: one query, q = 0.01, epsilon 1, delta 1e-5: 0.67379294682."""
    found = smallest_multiplier(
        lambda sigma: [{SampledGaussian(q=0.01, noise_multiplier=sigma): 1}], 1.0, DELTA, tolerance=1e-5
    )
    assert found == pytest.approx(0.67379294682, rel=2e-5)


def test_dp_accounting_pld() -> None:
    """dp_accounting, PLD tests: sigma 1/3 has (1, 0.78760074); sigma sqrt(3) three times has (1, 0.126936)."""
    assert FINE.epsilon({SampledGaussian(q=1.0, noise_multiplier=1 / 3): 1}, 0.78760074) == pytest.approx(1.0, abs=1e-4)
    assert FINE.epsilon({SampledGaussian(q=1.0, noise_multiplier=math.sqrt(3.0)): 3}, 0.126936) == pytest.approx(
        1.0, abs=1e-4
    )


def test_sixteen_gaussians_of_sigma_4_are_one_of_sigma_1() -> None:
    """Balle and Wang 2018, Theorem 8, at mu = 1: epsilon 4.3772."""
    assert FINE.epsilon({SampledGaussian(q=1.0, noise_multiplier=4.0): 16}, DELTA) == pytest.approx(4.3772, abs=1e-4)


@pytest.mark.parametrize(
    ("sigma", "q_memory", "discarded", "kept"),
    [
        (1.0, 0.1, 1.33, 39.7),
        (1.0, 0.02, 1.33, 5.80),
        (1.0, 0.025, 1.33, 7.41),
        (2.0, 0.1, 0.43, 12.6),
        (2.0, 0.02, 0.43, 2.00),
    ],
)
def test_a_small_memory_is_the_bottleneck(sigma: float, q_memory: float, discarded: float, kept: float) -> None:
    """Five tasks of 500 steps at q = 0.01; who is kept is sampled in 2000 more. By dp-accounting."""
    current = {SampledGaussian(q=0.01, noise_multiplier=sigma): 500}
    pld = PldAccountant()
    assert pld.epsilon(current, DELTA) == pytest.approx(discarded, abs=0.006)
    assert pld.epsilon(current | {SampledGaussian(q=q_memory, noise_multiplier=sigma): 2000}, DELTA) == pytest.approx(
        kept, rel=2e-3
    )


@pytest.mark.parametrize(("scale", "epsilon"), [(64, 18.40), (256, 6.019), (1024, 4.834)])
def test_skellam_approaches_the_gaussian_as_the_scale_grows(scale: int, epsilon: float) -> None:
    """Agarwal, Kairouz and Liu 2021 with the rounded norm of Kairouz, Liu and Steinke 2021: d = 131,072, variance
    scale^2, one round. By the accounting code of google-research/federated. Without rounding: the Gaussian's 4.753.
    """
    d = 131_072
    root = math.sqrt(d)
    l2 = min(scale + root, math.sqrt(scale**2 + d / 4 + math.sqrt(2 * 0.5) * (scale + root / 2)))
    event = SkellamRelease(variance=float(scale**2), l2=l2, l1=min(root * l2, l2 * l2))
    assert RDP.epsilon({event: 1}, DELTA) == pytest.approx(epsilon, rel=1e-3)
