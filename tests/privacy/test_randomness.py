import numpy as np
import pytest
from scipy.stats import kstest

from privacy.randomness import key_stream, seed64, system_bytes, uniforms


@pytest.mark.parametrize("byte", [b"\x00", b"\xff", b"\x7f", b"\x80"])
def test_neither_0_nor_1_ever_occurs(byte: bytes) -> None:
    assert 0.0 < uniforms(lambda n: byte * n, (1,))[0] < 1.0


def test_the_extremes_lie_symmetrically() -> None:
    low, high = uniforms(lambda n: bytes(n), (1,))[0], uniforms(lambda n: b"\xff" * n, (1,))[0]
    assert low == 2.0**-53
    assert high == 1.0 - 2.0**-53


def test_uniforms_are_uniform_and_shaped(keyed) -> None:
    drawn = uniforms(keyed(1), (200, 500))
    assert drawn.shape == (200, 500)
    assert drawn.dtype == np.float64
    assert kstest(drawn.ravel(), "uniform").pvalue > 1e-6


def test_an_empty_shape_draws_nothing() -> None:
    asked: list[int] = []
    assert uniforms(lambda n: asked.append(n) or bytes(n), (0,)).shape == (0,)
    assert asked == [0]


def test_seeds_fit_a_library(keyed) -> None:
    assert seed64(lambda n: b"\xff" * n) == 2**63 - 1
    assert seed64(lambda n: bytes(n)) == 0
    stream = keyed(2)
    assert len({seed64(stream) for _ in range(1000)}) == 1000


def test_a_key_stream_is_aes_256_in_counter_mode() -> None:
    """NIST's AES-256 vector for the all-zero key and block (AESAVS, GFSbox and KAT: DC95C078...)."""
    stream = key_stream(lambda n: bytes(n))
    assert stream(16).hex() == "dc95c078a2408989ad48a21492842087"
    assert stream(0) == b""


def test_a_key_stream_takes_one_key_and_goes_on(keyed) -> None:
    asked: list[int] = []
    source = keyed(3)
    stream = key_stream(lambda n: asked.append(n) or source(n))
    pieces = b"".join(stream(n) for n in (1, 15, 17, 1000))
    assert asked == [32]
    assert pieces == key_stream(keyed(3))(1033)
    assert pieces != key_stream(keyed(4))(1033)


def test_system_bytes() -> None:
    assert len(system_bytes(33)) == 33
    assert system_bytes(32) != system_bytes(32)
