"""Normalisation by valid steps only, against NumPy on the steps packed together."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.layers.normalization import SequenceNormalization
from tests.layers.gradients import gradients

pytestmark = pytest.mark.numeric

LENGTHS = np.array([0, 1, 3, 5], "int32")
kinds = pytest.mark.parametrize("normalization", ["layer", "batch"])
# JAX computes in 32 bits unless told otherwise at start.
dtypes = pytest.mark.parametrize(
    "dtype",
    ["float32"] if keras.backend.backend() == "jax" else ["float32", "float64"],
)


def make_layer(normalization, features=6, **kwargs):
    layer = SequenceNormalization(normalization, momentum=0.7, **kwargs)
    layer.build((None, None, features))
    random = np.random.default_rng(1)
    layer.set_weights([random.uniform(0.5, 2, size=w.shape) for w in layer.weights])
    return layer


def make_padded(extra=0, junk=np.nan, features=6, dtype="float32"):
    """Four rows of five steps, `extra` more of padding, all padding `junk`."""
    inputs = 3 + 2 * np.random.default_rng(0).normal(size=(4, 5, features))
    inputs = np.concatenate([inputs, np.zeros((4, extra, features))], axis=1)
    inputs[np.arange(5 + extra) >= LENGTHS[:, None]] = junk
    return inputs.astype(dtype)


def valid(sequence):
    """The valid steps of all rows, packed: `(sum(LENGTHS), features)`."""
    rows = zip(np.asarray(sequence, "float64"), LENGTHS, strict=True)
    return np.concatenate([row[:length] for row, length in rows])


def expected_steps(steps, mean, variance, gamma, beta):
    return (steps - mean) / np.sqrt(variance + 1e-5) * gamma + beta


@kinds
@dtypes
@pytest.mark.parametrize("features", [1, 6])
@pytest.mark.parametrize("junk", [np.nan, -np.inf, 1e9])
def test_training_equals_numpy(normalization, features, dtype, junk):
    layer = make_layer(normalization, features, dtype=dtype)
    gamma, beta, *moving = layer.get_weights()
    inputs = make_padded(2, junk, features, dtype)
    output = layer(inputs, LENGTHS, training=True)
    assert output.dtype == dtype
    steps = valid(inputs)
    axis, keep = (-1, True) if normalization == "layer" else (0, False)
    mean, variance = steps.mean(axis, keepdims=keep), steps.var(axis, keepdims=keep)
    tolerance = {"atol": 1e-5 if dtype == "float32" else 1e-12, "rtol": 1e-6}
    expected = expected_steps(steps, mean, variance, gamma, beta)
    np.testing.assert_allclose(valid(output), expected, **tolerance)
    for row, length in zip(np.asarray(output), LENGTHS, strict=True):
        assert not row[length:].any()
    for after, before, new in zip(
        layer.get_weights()[2:], moving, (mean, variance), strict=False
    ):
        np.testing.assert_allclose(after, 0.7 * before + 0.3 * new, **tolerance)


@kinds
def test_inference_equals_numpy_and_moves_nothing(normalization):
    layer = make_layer(normalization)
    before = layer.get_weights()
    inputs = make_padded(1)
    output = layer(inputs, LENGTHS, training=False)
    for a, b in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    steps = valid(inputs)
    gamma, beta, *moving = before
    mean, variance = moving or (steps.mean(-1)[:, None], steps.var(-1)[:, None])
    expected = expected_steps(steps, mean, variance, gamma, beta)
    np.testing.assert_allclose(valid(output), expected, atol=1e-5)


@kinds
@pytest.mark.parametrize(("extra", "fillers"), [(1, 0), (50, 3)])
def test_padding_and_filler_rows_change_nothing(normalization, extra, fillers):
    lengths = np.r_[LENGTHS, np.zeros(fillers, "int32")]
    padded = make_padded(extra, 1e6)
    padded = np.concatenate([padded, np.full_like(padded[:fillers], np.nan)])
    plain, layer = make_layer(normalization), make_layer(normalization)
    wanted = plain(make_padded(0), LENGTHS, training=True)
    got = layer(padded, lengths, training=True)
    np.testing.assert_allclose(got[:4, :5], wanted, atol=1e-6, rtol=1e-6)
    assert not np.asarray(got[4:]).any()
    for a, b in zip(layer.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-6)

    # Through a product before it, so that the gradient passes the statistics too.
    kernel = keras.Variable(np.random.default_rng(3).normal(size=(6, 6)))
    target = np.random.default_rng(4).normal(size=(1, 1, 6)).astype("float32")

    def loss(steps, row_lengths):
        # NaN times a kernel would reach the kernel: the caller's padding is zero.
        hidden = ops.matmul(np.nan_to_num(steps), kernel)
        output = layer(hidden, row_lengths, training=True)
        return ops.sum(ops.square(output) * target)

    variables = [kernel, layer.gamma, layer.beta]
    for a, b in zip(
        gradients(lambda: loss(padded, lengths), variables),
        gradients(lambda: loss(make_padded(0), LENGTHS), variables),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-6 * np.abs(b).max())


@kinds
def test_only_padding_leaves_everything_as_it_was(normalization):
    layer = make_layer(normalization)
    before = layer.get_weights()
    inputs, lengths = np.full((2, 3, 6), np.nan, "float32"), np.zeros(2, "int32")
    assert not np.asarray(layer(inputs, lengths, training=True)).any()
    for a, b in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    variables = layer.trainable_variables
    for gradient in gradients(
        lambda: ops.sum(layer(inputs, lengths, training=True)), variables
    ):
        assert not gradient.any()


@kinds
def test_no_lengths_means_all_steps(normalization):
    inputs = np.random.default_rng(0).normal(size=(4, 5, 6)).astype("float32")
    one, other = make_layer(normalization), make_layer(normalization)
    wanted = other(inputs, np.full(4, 5, "int32"), training=True)
    np.testing.assert_allclose(one(inputs, training=True), wanted, atol=1e-6)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@kinds
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_statistics_are_exact_in_half_precision(normalization, policy):
    layer, half = make_layer(normalization), make_layer(normalization, dtype=policy)
    # Whole numbers up to 128 are exact in both halves, their squares' sum is not.
    inputs = np.round(20 * make_padded(0, 0.0)).clip(-128, 128)
    expected = layer(inputs, LENGTHS, training=True)
    output = half(inputs, LENGTHS, training=True)
    assert output.dtype == policy.removeprefix("mixed_")
    np.testing.assert_allclose(ops.cast(output, "float32"), expected, rtol=0.01)
    for a, b in zip(half.get_weights(), layer.get_weights(), strict=True):
        assert a.dtype == "float32"
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_frozen_layer_uses_its_moving_averages():
    layer = make_layer("batch")
    expected = layer(make_padded(), LENGTHS, training=False)
    layer.trainable = False
    before = layer.get_weights()
    np.testing.assert_array_equal(
        layer(make_padded(), LENGTHS, training=True), expected
    )
    for a, b in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@kinds
def test_compiles_in_a_functional_model(normalization):
    steps, lengths = keras.Input((None, 6)), keras.Input((), dtype="int32")
    layer = SequenceNormalization(normalization)
    output = layer(steps, lengths)
    assert output.shape == (None, None, 6)
    model = keras.Model([steps, lengths], output)
    model.compile("sgd", "mse", jit_compile=True)
    inputs = make_padded(2)
    model.fit([inputs, LENGTHS], np.ones((4, 7, 6)), epochs=2, verbose=0)
    if normalization == "batch":
        mean = (1 - 0.9**2) * valid(inputs).mean(0)
        np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-5)
    assert all(np.isfinite(weight).all() for weight in layer.get_weights())
    twin = SequenceNormalization.from_config(layer.get_config())
    twin.build((None, None, 6))
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(twin(inputs, LENGTHS), layer(inputs, LENGTHS))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"normalization": "bacth"}, "Did you mean 'batch'.*normalization='bacth'"),
        ({"momentum": 1.0}, "`momentum` must be a finite number above 0 and below 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SequenceNormalization(**arguments)
