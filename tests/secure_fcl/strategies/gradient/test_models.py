import numpy as np
import pytest
import torch

from secure_fcl.config import load_config
from secure_fcl.errors import ConfigInvalid
from secure_fcl.strategies.gradient.models import build_model, load_vector, logits, to_vector


@pytest.mark.parametrize(
    ("kind", "shape", "classes"),
    [
        ("auto", (6, 64), 12),
        ("cnn", (1, 8, 8), 10),
        ("auto", (1, 28, 28), 47),
        ("mlp", (6, 64), 12),
        ("mlp", (1, 3), 2),
    ],
)
def test_networks_answer_any_number_of_examples(kind: str, shape: tuple[int, ...], classes: int) -> None:
    model = build_model(kind, shape, classes, 1)
    x = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    assert logits(model, x).shape == (5, classes)
    assert logits(model, x[:0]).shape == (0, classes)
    np.testing.assert_allclose(logits(model, x, batch=2), logits(model, x), atol=1e-5)
    assert not any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in model.modules())


def test_the_networks_of_the_main_job_are_small() -> None:
    assert len(to_vector(build_model("auto", (6, 64), 12, 1))) == 744 + 5_808 + 7_500
    assert len(to_vector(build_model("auto", (1, 28, 28), 10, 1))) < 62_000


def test_initial_weights_follow_the_seed_and_nothing_else() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = to_vector(build_model("auto", (6, 64), 12, 1))
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(6)
    np.testing.assert_array_equal(to_vector(build_model("auto", (6, 64), 12, 1)), first)
    assert (to_vector(build_model("auto", (6, 64), 12, 2)) != first).any()


def test_vectors_are_copies() -> None:
    model = build_model("mlp", (1, 3), 2, 1)
    vector = to_vector(model)
    load_vector(model, vector + 1.0)
    np.testing.assert_allclose(to_vector(model), vector + 1.0)
    given = vector.copy()
    load_vector(model, given)
    given += 5.0
    np.testing.assert_array_equal(to_vector(model), vector)


def test_vectors_of_another_length_are_refused() -> None:
    with pytest.raises((RuntimeError, ValueError)):
        load_vector(build_model("mlp", (1, 3), 2, 1), np.zeros(7, dtype=np.float32))


@pytest.mark.parametrize("shape", [(6, 8), (1, 4, 4)])
def test_shapes_without_a_convolution_ask_for_mlp(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigInvalid, match="use mlp"):
        build_model("auto", shape, 2, 1)
    build_model("mlp", shape, 2, 1)


def test_vectors_get_logistic_regression() -> None:
    model = build_model("auto", (5,), 3, 1)
    assert [tuple(p.shape) for p in model.parameters()] == [(3, 5), (3,)]
    np.testing.assert_array_equal(to_vector(build_model("softmax", (5,), 3, 1)), to_vector(model))
    assert [tuple(p.shape) for p in build_model("softmax", (2, 4), 3, 1).parameters()] == [(3, 8), (3,)]


def test_a_perceptron_is_named_by_its_widths_and_unit() -> None:
    model = build_model("mlp:7,5:relu", (2, 3), 4, 1)
    assert [tuple(p.shape) for p in model.parameters()] == [(7, 6), (7,), (5, 7), (5,), (4, 5), (4,)]
    kinds = [type(layer).__name__ for layer in model]
    assert kinds == ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    for name in ("mlp:64", "mlp:64:tanh"):
        np.testing.assert_array_equal(
            to_vector(build_model(name, (1, 3), 2, 1)), to_vector(build_model("mlp", (1, 3), 2, 1))
        )


@pytest.mark.parametrize("kind", ["mlp:", "mlp:0", "mlp:4,", "mlp:4:gelu", "mlp:4:relu:x", "mlp:100000", "", "resnet"])
def test_networks_that_are_none_are_refused(kind: str) -> None:
    with pytest.raises(ConfigInvalid, match="mlp:400,400:relu"):
        build_model(kind, (1, 3), 2, 1)
    with pytest.raises(ConfigInvalid, match=r"training\.model"):
        load_config(None, [f"training.model='{kind}'"])
