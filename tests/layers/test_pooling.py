"""Pooling over valid steps only, against NumPy row by row."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.layers.pooling import SequencePooling
from tests.layers.gradients import gradients

pytestmark = pytest.mark.numeric

LENGTHS = np.array([0, 1, 3, 5], "int32")


def pool_row(row, pooling, half):
    if not len(row):
        return np.zeros(row.shape[-1])
    if pooling == "last":
        return row[-1] if half is None else np.r_[row[-1, :half], row[0, half:]]
    return getattr(row, pooling)(axis=0)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["last", "mean", "max", "concat"])
@pytest.mark.parametrize("junk", [np.nan, 1e9, -1e9])
def test_equals_numpy_whatever_the_padding(pooling, bidirectional, junk):
    inputs = np.random.default_rng(0).normal(size=(4, 5, 6)).astype("float32") - 2
    inputs[np.arange(5) >= LENGTHS[:, None]] = junk
    layer = SequencePooling(pooling, bidirectional=bidirectional)
    half = 3 if bidirectional else None
    modes = ("mean", "max", "last") if pooling == "concat" else (pooling,)
    expected = [
        np.concatenate([pool_row(row[:length], mode, half) for mode in modes])
        for row, length in zip(inputs, LENGTHS, strict=True)
    ]
    np.testing.assert_allclose(layer(inputs, LENGTHS), expected, rtol=1e-5, atol=1e-6)


def make_attention(dtype="float32"):
    layer = SequencePooling("attention", dtype=dtype)
    layer.build((None, None, 6))
    random = np.random.default_rng(1)
    layer.set_weights([random.normal(size=w.shape) for w in layer.weights])
    return layer


def make_padded(extra=0, junk=np.nan):
    inputs = np.random.default_rng(0).normal(size=(4, 5, 6)).astype("float32")
    padding = np.zeros((4, extra, 6), "float32")
    inputs = np.concatenate([inputs, padding], axis=1)
    inputs[np.arange(5 + extra) >= LENGTHS[:, None]] = junk
    return inputs


def attend_row(row, weights):
    kernel, bias, query = weights
    total, pooled = 0.0, np.zeros(row.shape[-1])
    for step in row.astype("float64"):
        weight = np.exp(np.tanh(step @ kernel + bias) @ query[:, 0])
        total, pooled = total + weight, pooled + weight * step
    return pooled / max(total, 1e-300)


@pytest.mark.parametrize("junk", [np.nan, np.inf, 1e9])
def test_attention_equals_numpy(junk):
    layer, inputs = make_attention(), make_padded(3, junk)
    expected = [
        attend_row(row[:length], layer.get_weights())
        for row, length in zip(inputs, LENGTHS, strict=True)
    ]
    np.testing.assert_allclose(layer(inputs, LENGTHS), expected, atol=1e-6)


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "concat", "attention"])
def test_no_lengths_means_all_steps(pooling):
    inputs = np.random.default_rng(0).normal(size=(4, 5, 6)).astype("float32")
    layer = SequencePooling(pooling)
    expected = layer(inputs, np.full(4, 5, "int32"))
    np.testing.assert_allclose(layer(inputs), expected, atol=1e-6)


@pytest.mark.parametrize("extra", [1, 50])
def test_padding_leaves_the_gradients_of_attention(extra):
    layer = make_attention()

    def loss(inputs):
        return ops.sum(ops.square(layer(inputs, LENGTHS)))

    variables = layer.trainable_variables
    got = gradients(lambda: loss(make_padded(extra)), variables)
    wanted = gradients(lambda: loss(make_padded(0, 7.0)), variables)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6 * max(1.0, np.abs(b).max()))


def test_empty_rows_give_attention_finite_gradients():
    layer = make_attention()
    inputs, lengths = np.full((2, 5, 6), np.nan, "float32"), np.zeros(2, "int32")
    assert not np.asarray(layer(inputs, lengths)).any()
    variables = layer.trainable_variables
    for gradient in gradients(lambda: ops.sum(layer(inputs, lengths)), variables):
        assert not gradient.any()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_attention_in_half_precision(policy):
    expected = np.asarray(make_attention()(make_padded(), LENGTHS))
    output = make_attention(policy)(make_padded(), LENGTHS)
    assert output.dtype == policy.removeprefix("mixed_")
    # the scores come from products in bfloat16, which has 3 digits
    np.testing.assert_allclose(ops.cast(output, "float32"), expected, atol=0.05)


def test_attention_compiles_in_a_functional_model():
    steps, lengths = keras.Input((None, 6)), keras.Input((), dtype="int32")
    pool = SequencePooling("attention")
    model = keras.Model([steps, lengths], pool(steps, lengths))
    assert model.output_shape == (None, 6)
    model.compile("sgd", "mse", jit_compile=True)
    model.fit([make_padded(), LENGTHS], np.ones((4, 6)), verbose=0)
    assert all(np.isfinite(weight).all() for weight in pool.get_weights())
    twin = SequencePooling.from_config(pool.get_config())
    twin.build((None, None, 6))
    twin.set_weights(pool.get_weights())
    np.testing.assert_allclose(
        twin(make_padded(), LENGTHS), pool(make_padded(), LENGTHS), atol=1e-6
    )


def test_only_attention_has_weights():
    for pooling in ("last", "mean", "max", "concat"):
        layer = SequencePooling(pooling)
        layer(make_padded(), LENGTHS)
        assert not layer.weights


def test_unknown_pooling_is_suggested():
    with pytest.raises(ValueError, match="Did you mean 'mean'"):
        SequencePooling("maen")
