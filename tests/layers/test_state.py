"""Carried state: chunks equal the whole, and nobody disturbs anybody's state."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq import build_text_classifier
from keras_seq.layers.recurrent import RecurrentEncoder
from keras_seq.layers.state import (
    ResetStates,
    RunningPooling,
    StatefulEncoder,
    copy_weights,
    reset_states,
)
from tests.layers.gradients import gradients

pytestmark = pytest.mark.numeric

cells = pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])


def make_pair(cell, batch_size=4):
    """A stateful encoder and a stateless one with its weights."""
    keras.utils.set_random_seed(0)
    options = {"cell": cell, "num_layers": 2, "name": "encoder"}
    stateful = StatefulEncoder(5, batch_size=batch_size, **options)
    stateless = RecurrentEncoder(5, return_state=True, **options)
    for encoder in (stateful, stateless):
        encoder.build((None, None, 3))
    weights = stateful.trainable_weights
    assert [w.path for w in weights] == [w.path for w in stateless.weights]
    for weight, twin in zip(weights, stateless.weights, strict=True):
        twin.assign(ops.convert_to_numpy(weight))
    return stateful, stateless


def make_rows(rows=4, time=12):
    return np.random.default_rng(0).normal(size=(rows, time, 3)).astype("float32")


def states_of(layer, mode="inference"):
    return [np.asarray(state) for state in layer._states[mode]]


@cells
def test_chunks_equal_the_whole(cell):
    stateful, stateless = make_pair(cell)
    rows, lengths = make_rows(), np.array([0, 5, 9, 12], "int32")
    whole, states = stateless(rows, lengths)
    parts = []
    for start, end in ((0, 4), (4, 5), (5, 12)):
        part = np.clip(lengths - start, 0, end - start)
        parts.append(np.asarray(stateful(rows[:, start:end], part)))
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-5)
    for carried, expected in zip(states_of(stateful), states, strict=True):
        np.testing.assert_allclose(carried, expected, atol=1e-5)


@cells
def test_gradient_is_that_of_the_chunk_from_its_initial_state(cell):
    stateful, stateless = make_pair(cell)
    rows = make_rows()
    stateful(rows, training=True)
    initial = states_of(stateful, "training")

    def loss(outputs):
        return ops.sum(ops.square(outputs) * ops.arange(1.0, 13.0)[:, None])

    got = gradients(
        lambda: loss(stateful(rows, training=True)), stateful.trainable_variables
    )
    wanted = gradients(
        lambda: loss(stateless(rows, initial_state=initial)[0]),
        stateless.trainable_variables,
    )
    for a, b in zip(got, wanted, strict=True):
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@cells
def test_a_smaller_batch_leaves_the_other_rows_alone(cell):
    stateful, stateless = make_pair(cell)
    rows = make_rows()
    stateful(rows)
    before = states_of(stateful)
    output = stateful(rows[:1])
    assert output.shape == (1, 12, 5)
    expected, _ = stateless(rows[:1], initial_state=[s[:1] for s in before])
    np.testing.assert_allclose(output, expected, atol=1e-5)
    for now, then in zip(states_of(stateful), before, strict=True):
        assert not np.allclose(now[0], then[0])
        np.testing.assert_array_equal(now[1:], then[1:])
    with pytest.raises(ValueError, match="at most `batch_size` rows.*5 rows"):
        stateful(make_rows(5))


def test_reset_by_row():
    stateful, _ = make_pair("lstm")
    rows = make_rows()
    first = np.asarray(stateful(rows))
    stateful.reset_state([1])
    again = np.asarray(stateful(rows))
    np.testing.assert_allclose(again[1], first[1], atol=1e-6)
    assert not np.allclose(again[0], first[0])
    # the same inside a call
    anew = np.asarray(stateful(rows, reset=np.array([True, False, False, True])))
    np.testing.assert_allclose(anew[[0, 3]], first[[0, 3]], atol=1e-6)
    assert not np.allclose(anew[1], first[1])
    with pytest.raises(ValueError, match="`mode` must be one of"):
        stateful.reset_state(mode="test")


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention", "concat"])
def test_pooling_runs_on(pooling):
    rows = make_rows() - 2.0  # a maximum below zero must not meet the zeros of a state
    lengths = np.array([0, 5, 9, 12], "int32")
    running = RunningPooling(pooling, batch_size=4)
    running.build((None, None, 3))
    whole = np.asarray(super(RunningPooling, running).call(rows, lengths))
    for start, end in ((0, 4), (4, 5), (5, 12)):
        part = np.clip(lengths - start, 0, end - start)
        junk = np.where(
            np.arange(end - start)[None, :, None] < part[:, None, None],
            rows[:, start:end],
            np.nan,
        ).astype("float32")
        output = running(junk, part)
    np.testing.assert_allclose(output, whole, atol=1e-6)


def make_model(**arguments):
    options = {"num_classes": 2, "max_tokens": 9, "units": 4, "embedding_dim": 3}
    options.update(stateful=True, batch_size=4, seed=0, dropout=0.0)
    return build_text_classifier(**{**options, **arguments})


def make_texts(rows=8, time=6):
    random = np.random.default_rng(0)
    tokens = random.integers(1, 9, size=(rows, time)).astype("int32")
    lengths = random.integers(1, time + 1, size=rows).astype("int32")
    return {"tokens": tokens, "length": lengths}, random.integers(0, 2, size=rows)


def test_fit_evaluate_and_predict_carry_their_own_states():
    model, (inputs, labels) = make_model(), make_texts()
    options = {"batch_size": 4, "verbose": 0, "shuffle": False}
    plain = make_model()
    plain.fit(inputs, labels, epochs=2, **options)
    model.fit(inputs, labels, epochs=2, validation_data=(inputs, labels), **options)
    for a, b in zip(model.trainable_weights, plain.trainable_weights, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    encoder, twin = model.get_layer("encoder"), plain.get_layer("encoder")
    trained = states_of(encoder, "training")
    assert all(np.abs(state).max() > 0 for state in trained)
    for a, b in zip(trained, states_of(twin, "training"), strict=True):
        np.testing.assert_array_equal(a, b)
    before = states_of(encoder)
    model.predict(inputs, batch_size=4, verbose=0)
    assert not np.allclose(states_of(encoder)[0], before[0])
    for a, b in zip(trained, states_of(encoder, "training"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_last_batch_may_be_partial():
    model, (inputs, labels) = make_model(), make_texts(rows=9)
    model.fit(inputs, labels, batch_size=4, verbose=0)
    reset_states(model)
    output = model.predict(inputs, batch_size=4, verbose=0)
    assert output.shape == (9, 2)
    twin = make_model(batch_size=1)  # weights move between batch sizes
    copy_weights(model, twin)
    for row in (0, 4, 8):  # the rows that went through the first state
        one = {name: values[row : row + 1] for name, values in inputs.items()}
        np.testing.assert_allclose(
            twin.predict(one, verbose=0)[0], output[row], atol=1e-5
        )


def test_weights_move_both_ways():
    stateful = make_model()
    stateless = make_model(stateful=False, batch_size=None, bidirectional=False, seed=1)
    inputs, _ = make_texts(rows=4)
    reset_states(stateful)
    expected = stateful.predict(inputs, verbose=0)
    copy_weights(stateful, stateless)
    np.testing.assert_allclose(
        stateless.predict(inputs, verbose=0), expected, atol=1e-6
    )
    other = make_model(seed=2)
    copy_weights(stateless, other)
    np.testing.assert_allclose(other.predict(inputs, verbose=0), expected, atol=1e-6)
    with pytest.raises(ValueError, match="must have the same weights.*None"):
        copy_weights(stateless, make_model(num_layers=2))


def test_states_are_saved(tmp_path):
    model, (inputs, labels) = make_model(), make_texts(rows=4)
    model.fit(inputs, labels, batch_size=4, verbose=0)
    model.predict(inputs, verbose=0)
    model.save(tmp_path / "model.keras")
    twin = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        twin.predict(inputs, verbose=0), model.predict(inputs, verbose=0), atol=1e-6
    )


def test_callback_starts_anew():
    model, (inputs, labels) = make_model(learning_rate=1e-9), make_texts(rows=4)
    options = {"batch_size": 4, "verbose": 0, "callbacks": [ResetStates()]}
    losses = model.fit(inputs, labels, epochs=3, **options).history["loss"]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
    del options["callbacks"]
    losses = model.fit(inputs, labels, epochs=2, **options).history["loss"]
    assert abs(losses[1] - losses[0]) > 1e-5


def test_the_backward_direction_is_refused():
    with pytest.raises(ValueError, match="no backward direction"):
        StatefulEncoder(3, batch_size=2, bidirectional=True)
