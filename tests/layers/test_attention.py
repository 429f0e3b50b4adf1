"""SelfAttentionEncoder equals plain NumPy row by row, padding or not."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.layers.attention import SelfAttentionEncoder, sinusoidal_positions
from tests.layers.gradients import gradients

pytestmark = pytest.mark.numeric

LENGTHS = np.array([0, 1, 4, 7], "int32")
causality = pytest.mark.parametrize("causal", [False, True])
# JAX computes in 32 bits unless told otherwise at start.
DOUBLE = keras.backend.backend() != "jax"


def make_inputs(dtype="float32", features=3):
    values = np.random.default_rng(0).normal(size=(4, 7, features))
    return values.astype(dtype)


def make_encoder(features=3, units=6, num_layers=2, **kwargs):
    encoder = SelfAttentionEncoder(units, num_layers=num_layers, **kwargs)
    encoder.build((None, None, features))
    random = np.random.default_rng(2)  # zero biases would hide mistakes
    encoder.set_weights(
        [
            0.5 * random.normal(size=w.shape) + (w.name == "gamma")
            for w in encoder.weights
        ]
    )
    return encoder


def with_padding(inputs, extra):
    """Appends `extra` steps and fills all padding with NaN, infinity and 1e6."""
    junk = np.array([np.nan, np.inf, 1e6, -1e6], inputs.dtype)
    padded = np.zeros((len(inputs), inputs.shape[1] + extra, inputs.shape[2]))
    padded = padded.astype(inputs.dtype)
    padded[:, : inputs.shape[1]] = inputs
    for row, length in enumerate(LENGTHS):
        padded[row, length:] = junk[row]
    return padded


def normalise(x, layer):
    gamma, beta = layer.get_weights()
    spread = np.sqrt(x.var(-1, keepdims=True) + layer.epsilon)
    return (x - x.mean(-1, keepdims=True)) / spread * gamma + beta


def dense(x, layer):
    kernel, bias = layer.get_weights()
    return x @ kernel + bias


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2)))


def attend(x, layer, causal):
    """Multi-head attention, one query step and one head at a time."""
    wq, bq, wk, bk, wv, bv, wo, bo = layer.get_weights()
    output = np.tile(bo, (len(x), 1))
    for head in range(layer.num_heads):
        query = x @ wq[:, head] + bq[head]
        key, value = x @ wk[:, head] + bk[head], x @ wv[:, head] + bv[head]
        for t in range(len(x)):
            seen = slice(0, t + 1) if causal else slice(None)
            score = key[seen] @ query[t] / math.sqrt(query.shape[-1])
            weight = np.exp(score - score.max())
            output[t] += weight @ value[seen] / weight.sum() @ wo[head]
    return output


def encode_row(encoder, row):
    """The encoder on the valid steps of one row, `(length, features)`."""
    units = encoder.units[0]
    x = dense(row, encoder.projection) if row.shape[-1] != units else row
    x = x * math.sqrt(units)
    for t in range(len(x)):
        for column in range(units):
            angle = t / 10_000 ** ((column - column % 2) / units)
            x[t, column] += math.cos(angle) if column % 2 else math.sin(angle)
    for block in encoder.blocks:
        x = x + attend(
            normalise(x, block.attention_norm), block.attention, block.causal
        )
        hidden = gelu(dense(normalise(x, block.feed_forward_norm), block.expand))
        x = x + dense(hidden, block.contract)
    return normalise(x, encoder.final_norm)


@causality
@pytest.mark.parametrize("units", [3, 6])
@pytest.mark.parametrize("dtype", ["float32", "float64"][: 1 + DOUBLE])
def test_equals_numpy_row_by_row(units, causal, dtype):
    encoder = make_encoder(units=units, causal=causal, dtype=dtype)
    inputs = make_inputs(dtype)
    output = np.asarray(encoder(with_padding(inputs, 2), LENGTHS))
    assert output.dtype == dtype
    for row, length in enumerate(LENGTHS):
        expected = encode_row(encoder, inputs[row, :length].astype("float64"))
        # LayerNormalization divides by small spreads, which magnifies rounding.
        atol = 1e-4 if dtype == "float32" else 1e-6
        np.testing.assert_allclose(output[row, :length], expected, atol=atol)
        assert not output[row, length:].any()


@pytest.mark.parametrize(("causal", "extra"), [(False, 50), (True, 1)])
def test_padding_changes_nothing(causal, extra):
    encoder = make_encoder(causal=causal)
    inputs = make_inputs()
    padded = with_padding(inputs, extra)
    np.testing.assert_allclose(
        encoder(padded, LENGTHS)[:, :7], encoder(inputs, LENGTHS), atol=1e-6, rtol=1e-6
    )
    variables = encoder.trainable_variables
    weight = np.random.default_rng(1).normal(size=(4, 1, 6)).astype("float32")

    def loss(rows):
        return ops.mean(ops.square(encoder(rows, LENGTHS)) * weight * rows.shape[1])

    for variable, got, wanted in zip(
        variables,
        gradients(lambda: loss(padded), variables),
        gradients(lambda: loss(inputs), variables),
        strict=True,
    ):
        scale = max(1.0, np.abs(wanted).max())
        assert np.abs(got - wanted).max() <= 1e-6 * scale, variable.path


def test_rows_of_length_zero_give_finite_gradients():
    encoder = make_encoder(num_layers=1)
    inputs = np.full((2, 3, 3), np.nan, "float32")
    lengths = np.zeros(2, "int32")
    assert not np.asarray(encoder(inputs, lengths)).any()
    variables = encoder.trainable_variables
    for gradient in gradients(lambda: ops.sum(encoder(inputs, lengths)), variables):
        assert not gradient.any()


def test_causal_steps_do_not_see_the_future():
    encoder = make_encoder(causal=True)
    inputs = make_inputs()
    changed = inputs.copy()
    changed[:, 4:] += 1
    before, after = np.asarray(encoder(inputs)), np.asarray(encoder(changed))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (before[:, 4:] != after[:, 4:]).any(-1).all()


def test_no_lengths_means_all_steps():
    encoder, inputs = make_encoder(), make_inputs()
    everything = encoder(inputs, np.full(4, 7, "int32"))
    np.testing.assert_allclose(encoder(inputs), everything, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_stays_close(policy):
    inputs = make_inputs()
    encoder, half = make_encoder(), make_encoder(dtype=policy)
    output = half(with_padding(inputs, 2), LENGTHS)
    assert output.dtype == policy.removeprefix("mixed_")
    exact = np.asarray(encoder(inputs, LENGTHS))
    # bfloat16 has 3 digits; outputs are normalised, of order 1
    output = np.asarray(ops.cast(output, "float32"))[:, :7]
    np.testing.assert_allclose(output, exact, atol=0.15)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_trains_compiled_in_half_precision(policy):
    steps, lengths = keras.Input((None, 3)), keras.Input((), dtype="int32")
    encoder = make_encoder(num_layers=1, dtype=policy)
    model = keras.Model([steps, lengths], encoder(steps, lengths))
    model.compile("sgd", "mse", jit_compile=True)
    before = encoder.get_weights()
    model.fit([with_padding(make_inputs(), 2), LENGTHS], np.ones((4, 9, 6)), verbose=0)
    after = encoder.get_weights()
    assert all(np.isfinite(weight).all() for weight in after)
    assert any((a != b).any() for a, b in zip(after, before, strict=True))


def test_far_positions_stay_distinct_in_half_precision():
    encoder = make_encoder(units=4, features=4, num_layers=1, dtype="mixed_bfloat16")
    output = encoder._add_positions(ops.zeros((1, 600, 4), "bfloat16"))
    late = np.asarray(ops.cast(output, "float32"))[0, 500:]
    assert len(np.unique(late, axis=0)) == 100


@pytest.mark.parametrize("units", [1, 5, 8])
def test_sinusoidal_positions(units):
    expected = np.zeros((9, units))
    for t in range(9):
        for i in range(0, units, 2):
            angle = t / 10_000 ** (i / units)
            expected[t, i : i + 2] = [math.sin(angle), math.cos(angle)][: units - i]
    got = sinusoidal_positions(9, units, "float32")
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_trains_compiled_in_a_functional_model():
    """The label tells whether the greater of two numbers came first."""
    steps, lengths = keras.Input((None, 1)), keras.Input((), dtype="int32")
    keras.utils.set_random_seed(0)
    encoder = SelfAttentionEncoder(8, num_layers=1, dropout=0.1)
    output = ops.sum(encoder(steps, lengths), axis=1)
    model = keras.Model([steps, lengths], keras.layers.Dense(1)(output))
    assert encoder(steps, lengths).shape == (None, None, 8)
    model.compile(
        "adam", keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=True
    )
    random = np.random.default_rng(0)
    rows = random.normal(size=(256, 4, 1)).astype("float32")
    rows[:, 2:] = np.nan
    labels = rows[:, 0] > rows[:, 1]
    length = np.full(256, 2, "int32")
    model.optimizer.learning_rate = 0.01
    model.fit([rows, length], labels, epochs=15, verbose=0)
    assert model.evaluate([rows, length], labels, verbose=0) < 0.2


def test_survives_config_round_trip():
    encoder = make_encoder(causal=True, num_heads=3, dropout=0.2)
    twin = SelfAttentionEncoder.from_config(encoder.get_config())
    twin.build((None, None, 3))
    twin.set_weights(encoder.get_weights())
    inputs = make_inputs()
    np.testing.assert_array_equal(twin(inputs, LENGTHS), encoder(inputs, LENGTHS))


@pytest.mark.parametrize(("units", "heads"), [(8, 4), (6, 2), (5, 1)])
def test_automatic_heads(units, heads):
    encoder = SelfAttentionEncoder((units, units), num_layers=2)
    assert [block.num_heads for block in encoder.blocks] == [heads, heads]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"units": 6, "num_heads": 4},
            "`units` must be divisible by `num_heads`.*units=6, num_heads=4",
        ),
        ({"units": 6, "num_heads": "many"}, "'auto' or a whole number.*'many'"),
        ({"units": 6, "num_heads": 0}, "`num_heads` must be a whole number.*=0"),
        (
            {"units": (4, 8), "num_layers": 2},
            r"`units` must be the same for every layer.*units=\(4, 8\)",
        ),
        ({"units": 6, "dropout": 1.0}, r"`dropout` must be a number in \[0, 1\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SelfAttentionEncoder(**arguments)
