"""RecurrentEncoder equals a plain loop and masked Keras layers, on each way it runs."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.layers import paths
from keras_seq.layers.loops import BLOCK
from keras_seq.layers.normalization import SequenceNormalization
from keras_seq.layers.padding import reverse_valid_steps
from keras_seq.layers.recurrent import CELLS, RecurrentEncoder
from tests.grids import often
from tests.layers.gradients import values_and_gradients
from tests.layers.numpy_reference import run_encoder

pytestmark = pytest.mark.numeric

JAX = keras.backend.backend() == "jax"
# JAX computes in 32 bits unless told otherwise at start.
EXACT = "float32" if JAX else "float64"
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
# Ends before, at and after the borders of blocks, and none.
LENGTHS = np.array([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 3])
BATCH, TIME = len(LENGTHS), 2 * BLOCK + 3
cells = pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
one_cell = pytest.mark.parametrize("cell", often(["rnn", "lstm", "gru"], "lstm"))
directions = pytest.mark.parametrize("bidirectional", [False, True])
# One layer one way, and all there is to stack.
structures = pytest.mark.parametrize(
    ("bidirectional", "num_layers"), [(False, 1), (True, 2)]
)
tensorflow_only = pytest.mark.skipif(JAX, reason="TensorFlow's graphs")


def take(way, monkeypatch):
    """Makes all layers run this way, also where it is not the fastest."""
    monkeypatch.setattr(paths, "choose_path", lambda *_, **__: paths.Path(way, ""))


@pytest.fixture(params=["hoisted", "plain"] if JAX else ["packed", "hoisted", "plain"])
def way(request, monkeypatch):
    take(request.param, monkeypatch)
    return request.param


def make_inputs(dtype="float32", batch=BATCH, time=TIME):
    values = np.random.default_rng(0).normal(size=(batch, time, 3))
    return values.astype(dtype)


def make_encoder(
    cell="lstm", bidirectional=True, num_layers=2, dtype="float32", **options
):
    keras.utils.set_random_seed(1)
    encoder = RecurrentEncoder(
        tuple(range(4, 4 + num_layers)),
        cell=cell,
        num_layers=num_layers,
        bidirectional=bidirectional,
        dtype=dtype,
        **{"return_state": True, **options},
    )
    encoder.build((None, None, 3))
    random = np.random.default_rng(2)  # biases start at 0, which would hide mistakes
    encoder.set_weights([0.7 * random.normal(size=w.shape) for w in encoder.weights])
    return encoder


def make_variables(encoder, inputs):
    """Initial states and inputs as variables, to ask for their gradients."""
    random, dtype = np.random.default_rng(3), inputs.dtype.name
    states = [random.normal(size=(len(inputs), units)) for units in encoder.state_units]
    return [keras.Variable(s, dtype=dtype) for s in (*states, inputs)]


def poison(inputs, lengths, value=np.nan):
    """The inputs with something else at their padding."""
    mask = np.arange(inputs.shape[1]) < lengths[:, None]
    return np.where(mask[..., None], inputs, np.asarray(value, inputs.dtype))


def loss_of(outputs):
    """Weighs all steps and states differently, so that none can stand for another."""
    sequence, states = outputs
    batch, time, width = sequence.shape
    time = min(time, TIME)  # what follows is padding, and has to be zero
    weight = np.random.default_rng(4).normal(size=(batch, time, width))
    weight = ops.convert_to_tensor(weight, sequence.dtype)
    parts = [ops.sum(ops.square(s)) * (k + 1.0) for k, s in enumerate(states)]
    return ops.sum(sequence[:, :time] * weight) + sum(parts)


def run_ours(encoder, inputs, lengths):
    """Outputs and all gradients: of the weights, the initial states and the inputs."""
    variables = make_variables(encoder, inputs)

    def run():
        *states, rows = [ops.convert_to_tensor(v) for v in variables]
        outputs = encoder(rows, lengths, initial_state=states)
        return loss_of(outputs), outputs

    return values_and_gradients(run, [*encoder.trainable_variables, *variables])


def masked_keras(encoder, inputs, mask, initial_state):
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
            parts = 2 if encoder.cell == "lstm" else 1
            initial = initial_state[len(states) : len(states) + parts]
            output, *state = layer(sequence, mask=mask, initial_state=initial)
            outputs.append(ops.flip(output, 1) if backwards else output)
            states.extend(state)
        sequence = ops.concatenate(outputs, -1)
    return ops.where(mask[..., None], sequence, 0.0), states


def run_masked_keras(encoder, inputs, lengths):
    # A masked NaN reaches the gradients of Keras's weights.
    variables = make_variables(encoder, poison(inputs, lengths, 0.0))
    mask = np.arange(inputs.shape[1]) < lengths[:, None]

    def run():
        *states, rows = [ops.convert_to_tensor(v) for v in variables]
        outputs = masked_keras(encoder, rows, mask, states)
        return loss_of(outputs), outputs

    return values_and_gradients(run, [*encoder.trainable_variables, *variables])


def assert_close(actual, expected, tolerance):
    actual, expected = np.asarray(actual), np.asarray(expected)
    scale = max(np.abs(expected).max(), 1e-30)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * scale  # never of a NaN


def assert_all_close(actual, expected, tolerance):
    pairs = [keras.tree.flatten(x) for x in (actual, expected)]
    for a, b in zip(*pairs, strict=True):
        assert_close(a, b, tolerance)


@cells
@structures
@pytest.mark.parametrize("dtype", sorted({"float32", EXACT}))
def test_equals_plain_loop(cell, bidirectional, num_layers, dtype):
    encoder = make_encoder(cell, bidirectional, num_layers, dtype)
    inputs = make_inputs(dtype)
    outputs = encoder(inputs, LENGTHS)
    assert_all_close(outputs, run_encoder(encoder, inputs, LENGTHS), TOLERANCE[dtype])


@cells
@structures
def test_equals_masked_keras_with_gradients(cell, bidirectional, num_layers, way):
    encoder = make_encoder(cell, bidirectional, num_layers, EXACT)
    inputs = make_inputs(EXACT)
    ours = run_ours(encoder, poison(inputs, LENGTHS), LENGTHS)
    wanted = run_masked_keras(encoder, inputs, LENGTHS)
    assert all(np.abs(gradient).max() > 0 for gradient in wanted[1])
    assert_all_close(ours, wanted, TOLERANCE[EXACT])


@pytest.mark.parametrize(
    ("time", "lengths"),
    [
        (1, [1]),
        (1, [0, 1]),
        (BLOCK, [BLOCK]),
        (2 * BLOCK, [3, 2 * BLOCK, BLOCK]),
        (2 * BLOCK + 3, [BLOCK, 1]),  # nobody reaches the last block
        (2 * BLOCK + 3, [0, 0]),
    ],
)
def test_shapes_at_the_edges(time, lengths, way):
    lengths = np.array(lengths)
    encoder = make_encoder(num_layers=1, dtype=EXACT)
    inputs = make_inputs(EXACT, len(lengths), time)
    ours = run_ours(encoder, poison(inputs, lengths), lengths)
    assert_all_close(ours, run_masked_keras(encoder, inputs, lengths), TOLERANCE[EXACT])


@cells
def test_padding_changes_nothing(cell, way):
    encoder = make_encoder(cell, num_layers=1)
    inputs = make_inputs()
    (plain, states), wanted = run_ours(encoder, inputs, LENGTHS)
    for extra in (1, 50):
        padded = np.pad(inputs, ((0, 0), (0, extra), (0, 0)))
        padded = poison(padded, LENGTHS, 1e6)
        padded[1::2] = poison(padded, LENGTHS)[1::2]
        (output, new_states), got = run_ours(encoder, padded, LENGTHS)
        np.testing.assert_allclose(output[:, :TIME], plain, atol=1e-6)
        assert not output[:, TIME:].any()
        assert not got[-1][:, TIME:].any()
        got[-1] = got[-1][:, :TIME]
        assert_all_close((new_states, got), (states, wanted), 1e-5)


@pytest.mark.parametrize("initialized", [False, True])
def test_empty_rows_return_the_initial_state(initialized, way):
    encoder = make_encoder()
    inputs, lengths = np.full((3, 5, 3), np.nan, "float32"), np.zeros(3, "int32")
    *initial, _ = make_variables(encoder, inputs)
    initial = [np.asarray(s) * initialized for s in initial]
    output, states = encoder(
        inputs, lengths, initial_state=initial if initialized else None
    )
    assert not np.asarray(output).any()
    for state, expected in zip(states, initial, strict=True):
        np.testing.assert_array_equal(state, expected)


@cells
def test_no_lengths_means_all_steps(cell, way):
    encoder = make_encoder(cell, num_layers=1)
    inputs = make_inputs()
    full = np.full(len(inputs), TIME)
    assert_all_close(
        run_ours(encoder, inputs, None), run_ours(encoder, inputs, full), 1e-5
    )


@tensorflow_only
@pytest.mark.parametrize("way", ["packed", "hoisted", "plain"])
@pytest.mark.parametrize("cell", often(["lstm", "gru"], "lstm"))
def test_graphs_of_unknown_shape_give_the_same(cell, way, monkeypatch):
    import tensorflow as tf

    take(way, monkeypatch)
    encoder = make_encoder(cell)
    weights = [v.value for v in encoder.trainable_variables]

    def run(rows, lengths):
        with tf.GradientTape() as tape:
            tape.watch(rows)
            sequence, states = encoder(rows, lengths)
            parts = [tf.reduce_sum(s * s) for s in (sequence, *states)]
            loss = tf.add_n(parts)
        return sequence, states, tape.gradient(loss, [rows, *weights])

    signature = [tf.TensorSpec((None, None, 3)), tf.TensorSpec((None,), tf.int32)]
    graph = tf.function(run, input_signature=signature)
    for batch, time in ((BATCH, TIME), (1, 1), (2, BLOCK + 1), (3, 40)):
        rows = tf.constant(make_inputs(batch=batch, time=time))
        lengths = tf.constant(np.minimum(LENGTHS[-batch:], time), tf.int32)
        assert_all_close(graph(rows, lengths), run(rows, lengths), 1e-5)


@tensorflow_only
@one_cell
@pytest.mark.parametrize("way", ["packed", "hoisted"])
def test_graphs_traced_without_tape_can_be_differentiated(cell, way, monkeypatch):
    import tensorflow as tf

    take(way, monkeypatch)
    encoder, lengths = make_encoder(cell), LENGTHS.astype("int32")
    inputs = keras.Variable(make_inputs())
    variables = [*encoder.trainable_variables, inputs]
    graph = tf.function(lambda: encoder(ops.convert_to_tensor(inputs), lengths))
    graph()

    def run(call):
        def outputs():
            found = call()
            return loss_of(found), found

        return values_and_gradients(outputs, variables)

    assert_all_close(
        run(graph), run(lambda: encoder(ops.convert_to_tensor(inputs), lengths)), 1e-5
    )
    assert graph.experimental_get_tracing_count() == 1


@tensorflow_only
@one_cell
def test_xla_computes_the_same(cell):
    """Static shapes under XLA, packed without it: chosen, not set by the test."""
    import tensorflow as tf

    encoder = make_encoder(cell)
    rows, lengths = make_inputs(), LENGTHS.astype("int32")
    ours = run_ours(encoder, rows, lengths)
    variables = make_variables(encoder, rows)
    watched = [v.value for v in (*encoder.trainable_variables, *variables)]

    @tf.function(jit_compile=True)
    def run():
        with tf.GradientTape() as tape:
            *states, inputs = [ops.convert_to_tensor(v) for v in variables]
            outputs = encoder(inputs, lengths, initial_state=states)
            loss = loss_of(outputs)
        return outputs, tape.gradient(loss, watched)

    assert_all_close(run(), ours, 1e-4)


@cells
def test_half_precision_is_close(cell, way):
    half, exact = (
        make_encoder(cell, num_layers=1, dtype=d) for d in ("mixed_bfloat16", "float32")
    )
    inputs = poison(make_inputs(), LENGTHS)

    def run(encoder):
        def outputs():
            sequence, states = encoder(inputs, LENGTHS)
            found = [ops.cast(x, "float32") for x in (sequence, *states)]
            return sum(ops.sum(x) for x in found), found

        return values_and_gradients(outputs, encoder.trainable_variables)

    got, gradient = run(half)
    # 8 bits of mantissa, over 19 steps
    assert_all_close(got, run(exact)[0], 3e-2)
    assert half.compute_dtype == "bfloat16"
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradient)


@pytest.mark.parametrize("normalization", [None, "layer", "batch"])
@pytest.mark.parametrize("residual", [False, True])
def test_normalization_and_residual_sums(normalization, residual):
    options = {"bidirectional": True, "cell": "gru"}
    encoder = RecurrentEncoder(
        3, num_layers=3, normalization=normalization, residual=residual, **options
    )
    inputs = poison(make_inputs(), LENGTHS)
    encoder.build(inputs.shape)
    random = np.random.default_rng(5)
    encoder.set_weights([random.uniform(0.1, 1, w.shape) for w in encoder.weights])
    sequence = inputs
    for index in range(3):
        below, single = sequence, RecurrentEncoder(3, **options)
        single.build(sequence.shape)
        for ours, theirs in ((single.forward, encoder.forward),) + (
            (single.backward, encoder.backward),
        ):
            ours[0].set_weights(theirs[index].get_weights())
        sequence = single(sequence, LENGTHS)
        if normalization:
            normalize = SequenceNormalization(normalization)
            normalize.build(sequence.shape)
            normalize.set_weights(encoder.normalizations[index].get_weights())
            sequence = normalize(sequence, LENGTHS)
        if residual and index:
            sequence = sequence + below
    np.testing.assert_allclose(encoder(inputs, LENGTHS), sequence, atol=1e-5)


def test_batch_normalization_learns_from_valid_steps_in_training():
    encoder = RecurrentEncoder(3, normalization="batch")
    padded = np.pad(make_inputs(), ((0, 0), (0, 9), (0, 0)))
    encoder.build(padded.shape)
    normalize, averages = encoder.normalizations[0], []
    for inputs in (make_inputs(), poison(padded, LENGTHS)):
        normalize.moving_mean.assign(np.zeros(3))
        encoder(inputs, LENGTHS, training=True)
        averages.append(np.asarray(normalize.moving_mean))
        encoder(inputs, LENGTHS, training=False)
        np.testing.assert_array_equal(normalize.moving_mean, averages[-1])
    assert np.abs(averages[0]).min() > 0
    np.testing.assert_allclose(*averages, atol=1e-6)


@directions
@pytest.mark.parametrize(
    "options", [{}, {"normalization": "layer", "residual": True, "return_state": True}]
)
def test_the_causal_sequence_sees_no_later_step(bidirectional, options):
    keras.utils.set_random_seed(0)
    encoder = RecurrentEncoder(
        4,
        num_layers=2,
        bidirectional=bidirectional,
        return_causal=True,
        **options,
    )
    inputs = make_inputs()
    changed = inputs.copy()
    changed[:, 5:] += 1.0
    outputs = encoder(inputs, LENGTHS)
    before, after = outputs[-1], encoder(changed, LENGTHS)[-1]
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert np.abs(np.asarray(before) - np.asarray(after))[:, 5:].max() > 1e-3
    assert not np.asarray(before)[0].any()
    assert len(outputs) == (3 if options else 2)
    wanted = (*inputs.shape[:2], 4)
    assert before.shape == wanted
    symbolic = encoder(keras.Input((TIME, 3)), keras.Input((), dtype="int32"))
    for spec, output in zip(
        keras.tree.flatten(symbolic), keras.tree.flatten(outputs), strict=True
    ):
        assert spec.shape[1:] == output.shape[1:]
    if not bidirectional:  # there is nothing deeper that sees no later step
        np.testing.assert_array_equal(before, outputs[0])


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


def test_units_keep_their_state_for_times_up_to_memory_steps():
    lstm = RecurrentEncoder(500, memory_steps=200)
    gru = RecurrentEncoder(500, memory_steps=200, cell="gru")
    lstm.build((None, None, 1))
    gru.build((None, None, 1))
    take_in, keep, *others = np.split(np.asarray(lstm.forward[0].cell.bias), 4)
    np.testing.assert_array_equal(take_in, -keep)
    update, *rest = np.split(np.asarray(gru.forward[0].cell.bias), 3, axis=1)
    assert not np.any([*others]) and not np.any(rest) and not update[1].any()
    for biases in (keep, update[0]):
        # sigmoid(log t) = t / (1 + t), so 1 / e of a state outlives about t steps
        times = np.exp(biases)
        assert 1 <= times.min() < 10 and 190 < times.max() <= 199
        assert 90 < times.mean() < 110


def test_memory_needs_gates():
    with pytest.raises(ValueError, match="`cell` must be 'lstm' or 'gru'"):
        RecurrentEncoder(2, cell="rnn", memory_steps=10)
    with pytest.raises(ValueError, match="`memory_steps` must be a whole number"):
        RecurrentEncoder(2, memory_steps=2)


def test_dropout_between_layers_keeps_one_mask_per_sequence():
    encoder = RecurrentEncoder((8, 8), num_layers=2, dropout=0.5)
    ones = np.ones((3, 6, 8), "float32")
    dropped = np.asarray(encoder.dropouts[0](ones, training=True))
    assert set(np.unique(dropped)) == {0.0, 2.0}
    assert (dropped == dropped[:, :1]).all()
    assert not (dropped[0] == dropped[1]).all()


def test_survives_config_round_trip():
    options = {
        "cell": "gru",
        "num_layers": 2,
        "bidirectional": True,
        "residual": True,
        "normalization": "batch",
        "dropout": 0.1,
        "recurrent_dropout": 0.2,
        "activation": "relu",
        "forget_bias": 2.0,
        "memory_steps": 50,
        "return_causal": True,
    }
    with pytest.warns(UserWarning, match="costs the fast paths"):
        encoder = RecurrentEncoder(4, **options)
        config = keras.saving.serialize_keras_object(encoder)
        twin = keras.saving.deserialize_keras_object(config)
    defaults = RecurrentEncoder(4, name=encoder.name).get_config()
    for name, value in options.items():
        assert twin.get_config()[name] == value != defaults[name], name
    # All but one, which cannot be set together with `recurrent_dropout`.
    same = {name for name in defaults if encoder.get_config()[name] == defaults[name]}
    assert same == {"name", "trainable", "dtype", "return_state"}
    encoder.build((None, None, 3))
    twin.build((None, None, 3))
    twin.set_weights(encoder.get_weights())
    inputs = make_inputs()
    for a, b in zip(twin(inputs, LENGTHS), encoder(inputs, LENGTHS), strict=True):
        np.testing.assert_array_equal(a, b)
    stateful = RecurrentEncoder(4, return_state=True)
    assert RecurrentEncoder.from_config(stateful.get_config()).return_state is True


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_other_activations_warn_and_are_computed(activation):
    with pytest.warns(UserWarning, match=f"activation='{activation}' costs the fast"):
        encoder = make_encoder("gru", activation=activation)
    inputs = make_inputs()
    assert_all_close(
        encoder(inputs, LENGTHS), run_encoder(encoder, inputs, LENGTHS), 1e-4
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0}, r"`units` must be a whole number of at least 1.*units=0"),
        ({"units": (3, 4)}, r"one entry per layer.*num_layers=1.*\(3, 4\)"),
        ({"units": 3, "cell": "lsmt"}, "must be one of.*Did you mean 'lstm'"),
        ({"units": 3, "dropout": 1.0}, r"`dropout` must be a number in \[0, 1\)"),
        ({"units": 3, "normalization": "layr"}, "Did you mean 'layer'"),
        (
            {"units": (3, 4), "num_layers": 2, "residual": True},
            r"`residual` needs equal `units`.*units=\(3, 4\)",
        ),
        (
            {"units": 3, "recurrent_dropout": 0.1, "return_state": True},
            "cannot be combined with `recurrent_dropout`",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RecurrentEncoder(**arguments)
