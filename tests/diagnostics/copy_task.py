"""Recall of a sign shown `lag` steps before the end of a row of noise."""

import keras
import numpy as np

from keras_seq.layers import RecurrentEncoder, SequencePooling


def make_rows(lag, count, seed, noise=0.5):
    """Ragged rows `(value, cue)`; what comes before the cue is noise as well."""
    random = np.random.default_rng(seed)
    time = lag + 1 + max(3, lag // 4)
    steps = np.zeros((count, time, 2), np.float32)
    steps[..., 0] = noise * random.normal(size=(count, time))
    target = random.integers(0, 2, count)
    length = random.integers(lag + 1, time + 1, count).astype(np.int32)
    steps[np.arange(count), length - 1 - lag, 1] = 2 * target - 1
    return {"steps": steps, "length": length}, target


def build(lag, *, units=24, optimizer=None, **options):
    """A network that reads the last state alone; `options` are the encoder's."""
    keras.utils.set_random_seed(0)
    steps = keras.Input((lag + 1 + max(3, lag // 4), 2), name="steps")
    length = keras.Input((), dtype="int32", name="length")
    encoded = RecurrentEncoder(units, name="encoder", **options)(steps, length)
    last = SequencePooling("last", bidirectional=False)(encoded, length)
    output = keras.layers.Dense(2, activation="softmax")(last)
    model = keras.Model({"steps": steps, "length": length}, output)
    optimizer = optimizer or keras.optimizers.Adam(3e-3, global_clipnorm=1.0)
    jit = keras.backend.backend() == "jax"
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=jit)
    return model


def accuracy(model, lag, noise=0.5):
    inputs, target = make_rows(lag, 512, seed=2, noise=noise)
    return (np.asarray(model.predict_on_batch(inputs)).argmax(1) == target).mean()


def train(model, lag, steps, noise=0.5, patience=2):
    """Trains until it is right `patience` times, 100 steps apart, or out of steps."""
    right = 0
    for step in range(steps):
        model.train_on_batch(*make_rows(lag, 64, seed=1000 + step, noise=noise))
        if step % 100 == 99:
            right = right + 1 if accuracy(model, lag, noise) > 0.99 else 0
            if right == patience:
                break
    return accuracy(model, lag, noise)
