"""RecurrentEncoder equals a plain loop and masked Keras layers, padding or not."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.layers.padding import reverse_valid_steps
from keras_seq.layers.recurrent import CELLS, RecurrentEncoder
from tests.layers.gradients import gradients
from tests.layers.numpy_reference import run_encoder

pytestmark = pytest.mark.numeric

LENGTHS = np.array([0, 1, 4, 7], "int32")
TOLERANCE = {"float32": 1e-4, "float64": 1e-5}
structures = pytest.mark.parametrize("num_layers", [1, 2])
directions = pytest.mark.parametrize("bidirectional", [False, True])
cells = pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])

# JAX computes in 32 bits unless told otherwise at start.
dtypes = pytest.mark.parametrize(
    "dtype",
    ["float32"] if keras.backend.backend() == "jax" else ["float32", "float64"],
)


def make_inputs(dtype="float32", time=7):
    values = np.random.default_rng(0).normal(size=(4, time, 3))
    return values.astype(dtype)


def make_encoder(cell, bidirectional, num_layers, dtype="float32", **kwargs):
    keras.utils.set_random_seed(1)
    encoder = RecurrentEncoder(
        tuple(range(4, 4 + num_layers)),
        cell=cell,
        num_layers=num_layers,
        bidirectional=bidirectional,
        return_state=True,
        dtype=dtype,
        **kwargs,
    )
    encoder.build((None, None, 3))
    random = np.random.default_rng(2)  # biases start at 0, which would hide mistakes
    encoder.set_weights([random.normal(size=w.shape) for w in encoder.weights])
    return encoder


def masked_keras(encoder, inputs, mask):
    """The same weights in Keras's own layers, with a mask: output and states."""
    sequence, states = inputs, []
    for index, units in enumerate(encoder.units):
        outputs = []
        for layers, backwards in ((encoder.forward, False), (encoder.backward, True)):
            if not layers:
                continue
            layer = CELLS[encoder.cell](
                units,
                return_sequences=True,
                return_state=True,
                go_backwards=backwards,
                dtype=encoder.dtype_policy,
            )
            # The same variables, so that gradients reach the encoder's.
            layer.cell = layers[index].cell
            output, *state = layer(sequence, mask=mask)
            outputs.append(ops.flip(output, 1) if backwards else output)
            states.extend(state)
        sequence = ops.concatenate(outputs, -1)
    return sequence, states


def assert_close(actual, expected, tolerance):
    actual, expected = np.asarray(actual), np.asarray(expected)
    scale = max(np.abs(expected).max(), 1e-30)
    assert np.abs(actual - expected).max() <= tolerance * scale


@cells
@directions
@structures
@dtypes
def test_equals_plain_loop(cell, bidirectional, num_layers, dtype):
    encoder = make_encoder(cell, bidirectional, num_layers, dtype)
    inputs = make_inputs(dtype)
    output, states = encoder(inputs, LENGTHS)
    expected, expected_states = run_encoder(encoder, inputs, LENGTHS)
    assert_close(output, expected, TOLERANCE[dtype])
    assert len(states) == len(expected_states)
    for state, expected_state in zip(states, expected_states, strict=True):
        assert_close(state, expected_state, TOLERANCE[dtype])


@cells
@directions
@structures
@dtypes
def test_equals_masked_keras_with_gradients(cell, bidirectional, num_layers, dtype):
    encoder = make_encoder(cell, bidirectional, num_layers, dtype)
    inputs, lengths = make_inputs(dtype), LENGTHS
    mask = np.arange(7) < lengths[:, None]
    random = np.random.default_rng(3)
    weight = (random.normal(size=(4, 7, 1)) * mask[..., None]).astype(dtype)

    def ours():
        return encoder(inputs, lengths)

    def keras_s_own():
        return masked_keras(encoder, ops.convert_to_tensor(inputs), mask)

    def loss(outputs):
        sequence, states = outputs
        # states count with different weights, so that none can stand for another
        parts = [ops.sum(s) * (k + 1.0) for k, s in enumerate(states)]
        return ops.sum(sequence * weight) + sum(parts)

    (sequence, states), (expected, expected_states) = ours(), keras_s_own()
    shown = mask[..., None]
    tolerance = TOLERANCE[dtype]
    assert_close(sequence * shown, ops.convert_to_numpy(expected) * shown, tolerance)
    for state, expected_state in zip(states, expected_states, strict=True):
        assert_close(state, expected_state, tolerance)
    variables = encoder.trainable_variables
    got = gradients(lambda: loss(ours()), variables)
    wanted = gradients(lambda: loss(keras_s_own()), variables)
    for variable, a, b in zip(variables, got, wanted, strict=True):
        assert np.abs(b).max() > 0, variable.path
        assert_close(a, b, tolerance)


@cells
@directions
@pytest.mark.parametrize("extra", [1, 50])
def test_padding_changes_nothing(cell, bidirectional, extra):
    encoder = make_encoder(cell, bidirectional, 2)
    inputs = make_inputs()
    junk = np.full((4, extra, 3), np.nan, "float32")
    padded = np.concatenate([inputs, junk], axis=1)
    for row, length in enumerate(LENGTHS):
        padded[row, length:] = 1e6 * (row + 1)

    def loss(rows):
        sequence, states = encoder(rows, LENGTHS)
        return ops.sum(ops.square(sequence)) + sum(ops.sum(s) for s in states)

    plain, plain_states = encoder(inputs, LENGTHS)
    output, states = encoder(padded, LENGTHS)
    np.testing.assert_allclose(output[:, :7], plain, atol=1e-6)
    assert not np.asarray(output[:, 7:]).any()
    for a, b in zip(states, plain_states, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    variables = encoder.trainable_variables
    got = gradients(lambda: loss(padded), variables)
    wanted = gradients(lambda: loss(inputs), variables)
    for a, b in zip(got, wanted, strict=True):
        assert_close(a, b, 1e-5)


@cells
@directions
def test_no_lengths_means_all_steps(cell, bidirectional):
    encoder = make_encoder(cell, bidirectional, 2)
    inputs = make_inputs()
    output, states = encoder(inputs)
    expected, expected_states = encoder(inputs, np.full(4, 7, "int32"))
    np.testing.assert_allclose(output, expected, atol=1e-6)
    for a, b in zip(states, expected_states, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_reverse_valid_steps():
    rows = np.arange(10, dtype="float32").reshape(2, 5, 1)
    reversed_rows = reverse_valid_steps(rows, np.array([3, 0]))
    expected = [[2, 1, 0, 3, 4], [5, 6, 7, 8, 9]]
    np.testing.assert_array_equal(reversed_rows[..., 0], expected)


def test_forget_bias():
    encoder = RecurrentEncoder(2, forget_bias=3.0)
    encoder.build((None, None, 1))
    bias = np.asarray(encoder.forward[0].cell.bias)
    np.testing.assert_array_equal(bias, [0, 0, 3, 3, 0, 0, 0, 0])


def test_dropout_between_layers_keeps_one_mask_per_sequence():
    encoder = RecurrentEncoder((8, 8), num_layers=2, dropout=0.5)
    ones = np.ones((3, 6, 8), "float32")
    dropped = np.asarray(encoder.dropouts[0](ones, training=True))
    assert set(np.unique(dropped)) == {0.0, 2.0}
    assert (dropped == dropped[:, :1]).all()
    assert not (dropped[0] == dropped[1]).all()


def test_survives_config_round_trip():
    encoder = make_encoder("gru", True, 2)
    twin = RecurrentEncoder.from_config(encoder.get_config())
    twin.build((None, None, 3))
    twin.set_weights(encoder.get_weights())
    inputs = make_inputs()
    np.testing.assert_array_equal(twin(inputs, LENGTHS)[0], encoder(inputs, LENGTHS)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0}, r"`units` must be a whole number of at least 1.*units=0"),
        ({"units": (3, 4)}, r"one entry per layer.*num_layers=1.*\(3, 4\)"),
        ({"units": 3, "cell": "lsmt"}, "must be one of.*Did you mean 'lstm'"),
        ({"units": 3, "dropout": 1.0}, r"`dropout` must be a number in \[0, 1\)"),
        (
            {"units": 3, "recurrent_dropout": 0.1, "return_state": True},
            "cannot be combined with `recurrent_dropout`",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RecurrentEncoder(**arguments)
