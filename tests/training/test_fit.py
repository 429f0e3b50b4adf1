"""One fit: addressed randomness, early stopping, what a lost loss says."""

import keras
import numpy as np
import pytest

from keras_seq.training.checkpoint import Checkpoint
from keras_seq.training.fit import Batches, fit_model
from keras_seq.training.optimizer import RecordingAdam
from keras_seq.training.runtime import derive_seed, describe, seeded

pytestmark = pytest.mark.numeric


def make_model(dropout=0.0, learning_rate=0.1):
    with seeded(0):
        inputs = keras.Input((3,))
        hidden = keras.layers.Dropout(dropout)(keras.layers.Dense(4)(inputs))
        model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile(keras.optimizers.SGD(learning_rate), "mse")
    return model


def get_batch(epoch, step):
    random = np.random.default_rng(derive_seed(0, epoch, step))
    x = random.normal(size=(8, 3)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


def training(steps=4):
    return Batches(steps, get_batch, endless=True)


def test_every_batch_has_an_address():
    seen = []

    def spy(epoch, step):
        seen.append((epoch, step))
        return get_batch(epoch, step)

    fit_model(make_model(), Batches(3, spy, endless=True), epochs=2, seed=0, verbose=0)
    needed = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert [address for address in needed if address not in seen] == []


def test_dropout_depends_on_seed_and_epoch_alone():
    weights = []
    for disturbance in (0, 3):
        model = make_model(dropout=0.5)
        for _ in range(disturbance):  # draws that an undisturbed job does not make
            model(np.ones((2, 3), "float32"), training=True)
        fit_model(model, training(), epochs=2, seed=5, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_stops_early_and_keeps_the_best_weights():
    class Worsen(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.model.optimizer.learning_rate = -0.1  # climbs from here on

    model = make_model()
    validation = Batches(2, get_batch)
    result = fit_model(
        model,
        training(),
        epochs=20,
        seed=0,
        validation=validation,
        patience=2,
        callbacks=[Worsen()],
        verbose=0,
    )
    assert result.best_epoch == 2
    assert len(result.history) == 4
    best = result.history["val_loss"].min()
    assert model.evaluate(validation, verbose=0) == pytest.approx(best, rel=1e-5)
    assert list(result.history["epoch"]) == [1, 2, 3, 4]
    assert result.history["seconds"].is_monotonic_increasing


def test_lost_loss_is_an_error_with_advice():
    model = make_model(learning_rate=1e30)
    with pytest.raises(FloatingPointError, match="Lower `learning_rate` or clip"):
        fit_model(model, training(), epochs=5, seed=0, verbose=0)


def test_progress_tells_epoch_and_time_left(capsys):
    fit_model(make_model(), training(), epochs=2, seed=0, title="fit")
    assert "fit: epoch 2/2, loss" in capsys.readouterr().out


def test_seeded_restores_the_caller_s_random_state():
    np.random.seed(1)
    expected = np.random.RandomState(1).rand()
    with seeded(0):
        np.random.rand(5)
    assert np.random.rand() == expected


def test_derived_seeds_differ_by_address():
    seeds = {derive_seed(s, e, name) for s in (0, 1) for e in (0, 1) for name in "ab"}
    assert len(seeds) == 8
    assert derive_seed(0, 1, "a") == derive_seed(0, 1, "a")


def test_describe_names_the_backend():
    told = describe()
    assert told["backend"] == keras.backend.backend()
    assert told["devices"] and told["cpu_count"] >= 1
    assert told["xla"] is (told["backend"] == "jax")
    names = {"tensorflow": {"intra_op", "inter_op"}, "jax": {"xla"}}[told["backend"]]
    assert set(told["threads"]) == names and min(told["threads"].values()) >= 1


class Trained(keras.callbacks.Callback):
    """The weights at the end of each epoch, as training has them."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append([np.array(w) for w in self.model.get_weights()])


def averages(weights, momentum):
    """The moving average after each step, from the weights after each."""
    found = [weights[0]]
    for step in weights[1:]:
        pairs = zip(found[-1], step, strict=True)
        found.append([momentum * old + (1 - momentum) * new for old, new in pairs])
    return found


@pytest.mark.parametrize("validated", [True, False])
def test_the_average_of_the_weights_is_validated_and_kept(validated):
    model, trained = make_model(), Trained()
    model.compile(RecordingAdam(0.3, use_ema=True, ema_momentum=0.7), "mse")
    x, y = get_batch(9, 9)
    result = fit_model(
        model,
        training(steps=1),  # so that callbacks see the weights of every step
        epochs=12,
        seed=0,
        validation=Batches(1, lambda *_: (x, y)) if validated else None,
        callbacks=[trained],
        verbose=0,
    )
    expected = averages(trained.weights, 0.7)
    best = result.best_epoch - 1
    for found, value in zip(model.get_weights(), expected[best], strict=True):
        np.testing.assert_allclose(found, value, atol=1e-6)
    if validated:
        losses = []
        for weights in expected:
            model.set_weights(weights)
            losses.append(model.test_on_batch(x, y))
        np.testing.assert_allclose(result.history["val_loss"], losses, rtol=1e-4)
    else:
        assert best == 11


def test_an_average_goes_on_where_it_was_broken_off(tmp_path):
    def fit(**options):
        model = make_model()
        model.compile(RecordingAdam(0.3, use_ema=True, ema_momentum=0.7), "mse")
        x, y = get_batch(9, 9)
        shown = Batches(1, lambda *_: (x, y))
        result = fit_model(
            model, training(), epochs=8, seed=0, validation=shown, verbose=0, **options
        )
        return model.get_weights(), result.best_epoch

    expected = fit()
    fit(checkpoint=Checkpoint(tmp_path, part=0.5))
    weights, best = fit(checkpoint=Checkpoint(tmp_path))
    assert best == expected[1]
    for a, b in zip(weights, expected[0], strict=True):
        np.testing.assert_array_equal(a, b)
