"""The NumPy runtime equals Keras's layers, each row run by itself without padding."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_seq import numpy_runtime

pytestmark = pytest.mark.numeric

LENGTHS = np.array([3, 0, 7, 1, 7])
LAYERS = {
    "rnn": keras.layers.SimpleRNN,
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
}
# JAX computes in 32 bits unless told otherwise at start.
DTYPE = "float32" if keras.backend.backend() == "jax" else "float64"
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}[DTYPE]
cells = pytest.mark.parametrize("cell", LAYERS)


def make_layer(cell, units=4, features=3, seed=1, **kwargs):
    layer = LAYERS[cell](
        units, return_sequences=True, return_state=True, dtype=DTYPE, **kwargs
    )
    layer.build((None, None, features))
    random = np.random.default_rng(seed)  # biases start at 0, which hides mistakes
    layer.set_weights([random.normal(size=w.shape) for w in layer.weights])
    return layer


def make_inputs(features=3):
    inputs = np.random.default_rng(0).normal(size=(5, 7, features)).astype(DTYPE)
    inputs[np.arange(7) >= LENGTHS[:, None]] = np.nan
    return inputs


def make_state(cell, units=4):
    random = np.random.default_rng(5)
    parts = 2 if cell == "lstm" else 1
    return [random.normal(size=(5, units)).astype(DTYPE) for _ in range(parts)]


def keras_rows(layer, inputs, state, go_backwards=False):
    """Each row alone through the Keras layer, cut at its length."""
    units = state[0].shape[-1]
    outputs = np.zeros((*inputs.shape[:2], units))
    finals = [part.copy() for part in state]
    for row, length in enumerate(LENGTHS):
        if length:
            valid = inputs[row, :length][:: -1 if go_backwards else 1]
            start = [part[row : row + 1] for part in state]
            output, *final = layer(valid[None], initial_state=start)
            output = np.asarray(output)[0]
            outputs[row, :length] = output[:: -1 if go_backwards else 1]
            for part, value in zip(finals, final, strict=True):
                part[row] = np.asarray(value)[0]
    return outputs, finals


def assert_same(actual, expected):
    outputs, state = actual
    expected_outputs, expected_state = expected
    np.testing.assert_allclose(outputs, expected_outputs, atol=TOLERANCE)
    assert outputs.dtype == DTYPE
    for part, expected_part in zip(state, expected_state, strict=True):
        np.testing.assert_allclose(part, expected_part, atol=TOLERANCE)
        assert part.dtype == DTYPE


@cells
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "linear"])
def test_run_equals_keras(cell, go_backwards, activation):
    layer = make_layer(cell, activation=activation)
    inputs, state = make_inputs(), make_state(cell)
    # Scaled down, since without a bound the values grow from step to step.
    layer.set_weights([0.3 * weight for weight in layer.get_weights()])
    actual = numpy_runtime.run(
        cell,
        layer.get_weights(),
        inputs,
        LENGTHS,
        state,
        go_backwards=go_backwards,
        activation=activation,
    )
    assert_same(actual, keras_rows(layer, inputs, state, go_backwards))


@cells
def test_run_starts_from_zeros_and_takes_all_steps(cell):
    layer = make_layer(cell)
    inputs = np.nan_to_num(make_inputs(), nan=0.5)
    weights = layer.get_weights()
    expected = layer(inputs)
    assert_same(
        numpy_runtime.run(cell, weights, inputs),
        (np.asarray(expected[0]), [np.asarray(part) for part in expected[1:]]),
    )
    zeros = [np.zeros((5, 4), DTYPE) for _ in make_state(cell)]
    from_zeros = numpy_runtime.run(cell, weights, inputs, LENGTHS, zeros)
    assert_same(numpy_runtime.run(cell, weights, inputs, LENGTHS), from_zeros)


@cells
def test_steps_equal_one_run(cell):
    weights, state = make_layer(cell).get_weights(), make_state(cell)
    inputs = np.nan_to_num(make_inputs(), nan=0.5)
    expected = numpy_runtime.run(cell, weights, inputs, None, state)
    outputs = []
    for t in range(7):
        state = numpy_runtime.step(cell, weights, inputs[:, t], state)
        outputs.append(state[0])
    assert_same((np.stack(outputs, 1), state), expected)


@cells
def test_run_leaves_its_arguments_alone(cell):
    weights, inputs, state = (
        make_layer(cell).get_weights(),
        make_inputs(),
        make_state(cell),
    )
    before = [np.copy(array) for array in (*weights, inputs, *state)]
    numpy_runtime.run(cell, weights, inputs, LENGTHS, state)
    for array, copy in zip((*weights, inputs, *state), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@cells
@pytest.mark.parametrize("bidirectional", [False, True])
def test_encoder_equals_keras(cell, bidirectional):
    directions = 1 + bidirectional
    layers = [
        [
            make_layer(cell, units, features, seed=10 * units + way)
            for way in range(directions)
        ]
        for units, features in ((4, 3), (5, 4 * directions))
    ]
    sequence, expected_states, start = make_inputs(), [], []
    for units, both in zip((4, 5), layers, strict=True):
        outputs = []
        for way, layer in enumerate(both):
            state = [part * (way + 1) for part in make_state(cell, units)]
            output, final = keras_rows(layer, sequence, state, go_backwards=way == 1)
            outputs.append(output)
            start.extend(state)
            expected_states.extend(final)
        sequence = np.concatenate(outputs, -1)
    actual = numpy_runtime.run_encoder(
        cell,
        [both[0].get_weights() for both in layers],
        make_inputs(),
        LENGTHS,
        start,
        backward=[both[1].get_weights() for both in layers if bidirectional],
    )
    assert_same(actual, (sequence, expected_states))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_is_exact_and_never_overflows(dtype):
    x = np.array([-1e30, -800, -30, -1, 0, 1, 30, 800, 1e30], dtype)
    with np.errstate(all="raise", under="ignore"):
        actual = numpy_runtime.sigmoid(x)
    assert actual.dtype == dtype
    wide = np.clip(x.astype("float64"), -700, 700)
    expected = 1 / (1 + np.exp(-wide))
    np.testing.assert_allclose(actual, expected, atol=np.finfo(dtype).eps)


@cells
def test_no_rows_and_no_steps(cell):
    weights = make_layer(cell).get_weights()
    for batch, time in ((0, 7), (5, 0)):
        inputs = np.zeros((batch, time, 3), DTYPE)
        outputs, state = numpy_runtime.run(cell, weights, inputs)
        assert outputs.shape == (batch, time, 4)
        assert all(part.shape == (batch, 4) for part in state)
        assert not any(part.any() for part in state)


def test_imports_neither_keras_nor_a_backend():
    code = (
        "import sys, keras_seq.numpy_runtime; "
        "print(sorted({'keras', 'tensorflow', 'jax', 'torch', 'pandas', 'sklearn'}"
        " & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": "lsmt"}, "`cell` must be one of.*Did you mean 'lstm'"),
        ({"activation": "swish"}, "`activation` must be one of.*'swish'"),
        ({"inputs": np.ones((5, 7, 3), int)}, "floating point.*dtype=int64"),
        ({"cell": "gru"}, r"`weights` of cell='gru' must be.*shapes=\[\(3, 16\)"),
        ({"lengths": [1, 2, 3, 4, 8]}, "from 0 to time=7 for each of 5 rows"),
        ({"lengths": [1, 2, 3, 4, -1]}, "from 0 to time=7 for each of 5 rows"),
        ({"lengths": [1, 2, 3]}, "from 0 to time=7 for each of 5 rows"),
        ({"lengths": [1.0] * 5}, "one whole number.*lengths=array"),
        (
            {"initial_state": [np.zeros((5, 4))]},
            r"`initial_state` must hold.*\(5, 4\), \(5, 4\)\].*shapes=\[\(5, 4\)\]",
        ),
        ({"initial_state": np.zeros((2, 6, 4))}, r"`initial_state`.*shapes=\[\(6, 4\)"),
    ],
)
def test_bad_arguments(arguments, message):
    weights = make_layer("lstm").get_weights()
    good = {"cell": "lstm", "weights": weights, "inputs": make_inputs()}
    with pytest.raises(ValueError, match=message):
        numpy_runtime.run(**{**good, **arguments})


def test_bad_arguments_of_the_encoder():
    weights = make_layer("gru").get_weights()
    state = [np.zeros((5, 4))] * 2
    with pytest.raises(ValueError, match=r"`initial_state` must hold.*\[\(5, 4\)\]\."):
        numpy_runtime.run_encoder("gru", [weights], make_inputs(), initial_state=state)
    with pytest.raises(ValueError, match="`backward` must be empty or.*2 in `forward`"):
        numpy_runtime.run_encoder(
            "gru", [weights, weights], make_inputs(), backward=[weights]
        )
