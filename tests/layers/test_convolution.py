"""ConvolutionFront equals a plain loop over each row's own valid steps."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.layers.convolution import ConvolutionFront
from tests.layers.gradients import gradients

pytestmark = pytest.mark.numeric

LENGTHS = np.array([0, 1, 4, 7], "int32")
causality = pytest.mark.parametrize("causal", [False, True])
# JAX computes in 32 bits unless told otherwise at start.
dtypes = pytest.mark.parametrize(
    "dtype",
    ["float32"] if keras.backend.backend() == "jax" else ["float32", "float64"],
)


def make_layer(kernel_size=3, causal=True, **kwargs):
    layer = ConvolutionFront(5, kernel_size, causal=causal, **kwargs)
    layer.build((None, None, 3))
    random = np.random.default_rng(1)  # zero biases would hide unmasked padding
    layer.set_weights([random.normal(size=w.shape) for w in layer.weights])
    return layer


def make_padded(extra=0, junk=np.nan, dtype="float32"):
    inputs = np.random.default_rng(0).normal(size=(4, 7, 3))
    inputs = np.concatenate([inputs, np.zeros((4, extra, 3))], axis=1)
    inputs[np.arange(7 + extra) >= LENGTHS[:, None]] = junk
    return inputs.astype(dtype)


def convolve_row(row, layer):
    kernel, bias = layer.get_weights()  # (kernel_size, features, filters)
    width = len(kernel)
    first = 1 - width if layer.causal else -((width - 1) // 2)
    output = np.tile(bias.astype("float64"), (len(row), 1))
    for t in range(len(row)):
        for k in range(width):
            if 0 <= t + first + k < len(row):
                output[t] += row[t + first + k] @ kernel[k]
    return np.maximum(output, 0)


@causality
@dtypes
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 9])
def test_equals_plain_loop(kernel_size, causal, dtype):
    layer, inputs = make_layer(kernel_size, causal, dtype=dtype), make_padded(2)
    output = np.asarray(layer(inputs.astype(dtype), LENGTHS))
    assert output.dtype == dtype
    for got, row, length in zip(output, inputs, LENGTHS, strict=True):
        np.testing.assert_allclose(
            got[:length], convolve_row(row[:length], layer), atol=1e-5
        )
        assert not got[length:].any()


@causality
@pytest.mark.parametrize("extra", [1, 50])
def test_padding_leaves_the_gradients(causal, extra):
    layer = make_layer(causal=causal)

    def loss(inputs):
        return ops.sum(ops.square(layer(inputs, LENGTHS)))

    variables = layer.trainable_variables
    got = gradients(lambda: loss(make_padded(extra)), variables)
    wanted = gradients(lambda: loss(make_padded(0, 1e6)), variables)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6 * np.abs(b).max())


@causality
def test_no_lengths_means_all_steps(causal):
    layer, inputs = make_layer(causal=causal), make_padded(0, 1.0)
    expected = layer(inputs, np.full(4, 7, "int32"))
    np.testing.assert_allclose(layer(inputs), expected, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_stays_close(policy):
    expected = make_layer()(make_padded(), LENGTHS)
    output = make_layer(dtype=policy)(make_padded(), LENGTHS)
    assert output.dtype == policy.removeprefix("mixed_")
    # bfloat16 has 3 digits, and each output sums nine products
    np.testing.assert_allclose(ops.cast(output, "float32"), expected, atol=0.1)


@causality
def test_compiles_in_a_functional_model(causal):
    steps, lengths = keras.Input((None, 3)), keras.Input((), dtype="int32")
    layer = ConvolutionFront(5, 4, causal=causal)
    output = layer(steps, lengths)
    assert output.shape == (None, None, 5)
    model = keras.Model([steps, lengths], output)
    model.compile("sgd", "mse", jit_compile=True)
    inputs = make_padded(2)
    model.fit([inputs, LENGTHS], np.ones((4, 9, 5)), verbose=0)
    assert all(np.isfinite(weight).all() for weight in layer.get_weights())
    twin = ConvolutionFront.from_config(layer.get_config())
    twin.build((None, None, 3))
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(twin(inputs, LENGTHS), layer(inputs, LENGTHS))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0}, "`filters` must be a whole number of at least 1.*filters=0"),
        ({"filters": 2, "kernel_size": 1.5}, "`kernel_size` must be a whole.*=1.5"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConvolutionFront(**arguments)
