"""Clipping as Keras means it, and the record of the gradients before it."""

import keras
import numpy as np
import pytest

from keras_seq import build_forecaster, build_text_classifier
from keras_seq.training.fit import Batches, fit_model
from keras_seq.training.optimizer import RecordingAdam, resolve_clipping
from keras_seq.training.runtime import seeded
from tests.layers.gradients import gradients

pytestmark = pytest.mark.numeric

# Each bites in some of the steps below and leaves others alone.
CLIPS = [{"global_clipnorm": 3.0}, {"clipnorm": 2.0}, {"clipvalue": 0.8}, {}]
COLUMNS = ["grad_norm_mean", "grad_norm_max", "clipped_fraction"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("auto", None, None), {"global_clipnorm": 1.0}),
        (("auto", 2.0, None), {"clipnorm": 2.0}),
        (("auto", None, 0.5), {"clipvalue": 0.5}),
        ((3, None, None), {"global_clipnorm": 3.0}),
        ((None, None, None), {}),
    ],
)
def test_clipping_resolves_to_one_argument(given, expected):
    assert resolve_clipping(*given) == expected


def test_clipping_arguments_exclude_each_other():
    with pytest.raises(ValueError, match="exclude each other.*clipnorm.*clipvalue"):
        resolve_clipping("auto", 1.0, 1.0)
    with pytest.raises(ValueError, match="`clipnorm` must be a finite number above 0"):
        resolve_clipping("auto", 0, None)


def dense_model(optimizer):
    with seeded(0):
        inputs = keras.Input((3,))
        hidden = keras.layers.Dense(4, activation="tanh")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile(optimizer, "mse")
    return model


def batch(step):
    random = np.random.default_rng(step)
    x = random.normal(size=(8, 3)).astype("float32")
    return x, (2.0 - step % 3) * x.sum(axis=1, keepdims=True)


def loss_gradients(model, x, y):
    """By the backend's own differentiation, at the model's weights of now."""
    return gradients(
        lambda: model.compute_loss(x=x, y=y, y_pred=model(x)),
        model.trainable_variables,
    )


@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_updates_equal_keras_s_adam(clip):
    ours, theirs = (
        dense_model(adam(0.1, **clip))
        for adam in (RecordingAdam, keras.optimizers.Adam)
    )
    for step in range(5):
        ours.train_on_batch(*batch(step))
        theirs.train_on_batch(*batch(step))
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_record_equals_independent_gradients(clip):
    model = dense_model(RecordingAdam(0.1, **clip))
    norms, clipped = [], []
    for step in range(6):
        x, y = batch(step)
        found = loss_gradients(model, x, y)
        sizes = [np.linalg.norm(g) for g in found]
        norms.append(np.linalg.norm(sizes))
        reached = {
            "global_clipnorm": norms[-1],
            "clipnorm": max(sizes),
            "clipvalue": max(np.abs(g).max() for g in found),
        }
        clipped.append(any(reached[name] > limit for name, limit in clip.items()))
        model.train_on_batch(x, y)
    record = model.optimizer.read_record()
    assert record["grad_norm_mean"] == pytest.approx(np.mean(norms), rel=1e-5)
    assert record["grad_norm_max"] == pytest.approx(np.max(norms), rel=1e-5)
    assert record["clipped_fraction"] == pytest.approx(np.mean(clipped))
    assert bool(clip) == (0 < np.mean(clipped) < 1)


def test_a_token_that_occurs_often_counts_with_all_its_occurrences():
    """Keras on TensorFlow takes the norm of its occurrences one by one."""
    arguments = {"num_classes": 2, "max_tokens": 5, "units": 3, "embedding_dim": 4}
    arguments.update(dropout=0.0, learning_rate=0.1, seed=0)
    model = build_text_classifier(**arguments, global_clipnorm=0.01)
    inputs = {
        "tokens": np.array([[2, 2, 2, 2, 3, 3], [2, 4, 2, 2, 2, 2]], "int32"),
        "length": np.array([6, 5], "int32"),
    }
    labels = np.array([0, 1], "int32")
    found = loss_gradients(model, inputs, labels)
    norm = np.sqrt(sum(np.square(g).sum() for g in found))
    reference = build_text_classifier(**arguments)
    adam = keras.optimizers.Adam(0.1)
    adam.build(reference.trainable_variables)
    adam.apply([keras.ops.convert_to_tensor(g * 0.01 / norm) for g in found])
    model.train_on_batch(inputs, labels)
    assert model.optimizer.read_record()["grad_norm_max"] == pytest.approx(norm, 1e-5)
    for a, b in zip(model.get_weights(), reference.get_weights(), strict=True):
        # Adam divides small gradients by their own size, and so their rounding, too.
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_every_epoch_has_a_record_of_its_own():
    def get_batch(epoch, step):  # an epoch of large gradients, then one of none
        x, y = batch(3 * step)
        return x, 100.0 * y, np.full(len(x), 1.0 - epoch, "float32")

    model = dense_model(RecordingAdam(1e-6, global_clipnorm=1.0))
    training = Batches(3, get_batch, endless=True)
    history = fit_model(model, training, epochs=2, seed=0, verbose=0).history
    assert history["grad_norm_mean"][0] > 1 and history["clipped_fraction"][0] == 1
    assert history.loc[1, COLUMNS].tolist() == [0.0, 0.0, 0.0]


def test_callbacks_see_the_record():
    class Spy(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.update(logs)

    seen = {}
    model = dense_model(RecordingAdam(0.1))
    training = Batches(3, lambda epoch, step: batch(step), endless=True)
    fit_model(model, training, epochs=1, seed=0, verbose=0, callbacks=[Spy()])
    assert set(COLUMNS) <= set(seen)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_gradient_that_is_no_number_stays_visible(bad):
    optimizer = RecordingAdam(0.1, global_clipnorm=1.0)
    variable = keras.Variable(np.ones(2, "float32"))
    optimizer.build([variable])
    assert np.isnan(optimizer.read_record()["grad_norm_mean"])  # no step, no mean
    for value in (1.0, bad, 1.0):
        gradient = np.array([value, 0.0], "float32")
        optimizer.apply([keras.ops.convert_to_tensor(gradient)])
    record = optimizer.read_record()
    np.testing.assert_equal([record[name] for name in COLUMNS[:2]], [bad, bad])
    assert record["clipped_fraction"] == pytest.approx(1 / 3)
    optimizer.reset_record()
    optimizer.apply([keras.ops.convert_to_tensor(np.ones(2, "float32"))])
    assert optimizer.read_record()["grad_norm_max"] == pytest.approx(np.sqrt(2.0))


def test_plain_fit_and_keras_s_own_format(tmp_path):
    model = build_forecaster(lookback=6, horizon=2, units=3, seed=0)
    random = np.random.default_rng(0)
    x = {"target": random.normal(size=(8, 6)).astype("float32")}
    y = random.normal(size=(8, 2)).astype("float32")
    model.fit(x, y, epochs=2, batch_size=4, verbose=0)
    assert model.optimizer.read_record()["grad_norm_max"] > 0
    model.save(tmp_path / "model.keras")
    twin = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(twin.optimizer, RecordingAdam)
    assert twin.optimizer.read_record() == model.optimizer.read_record()
    assert twin.optimizer.global_clipnorm == model.optimizer.global_clipnorm
    for each in (model, twin):  # trains on as if nothing had happened
        each.fit(x, y, epochs=1, verbose=0, shuffle=False)
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
