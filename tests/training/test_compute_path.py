"""compute_path says what really runs, and what would make it faster."""

import keras
import numpy as np
import pytest

from keras_seq import runtime
from keras_seq.layers import RecurrentEncoder, SelfAttentionEncoder, paths
from keras_seq.training import compute_path as module
from tests.grids import often
from tests.training.test_precision import TASKS, learn

pytestmark = pytest.mark.numeric

compute_path = runtime.compute_path
BACKEND = keras.backend.backend()
COLUMNS = ["layer", "cell", "training", "inference", "xla", "why", "change"]
on_cpu = pytest.mark.skipif(paths.has_gpu(), reason="tells of the CPU")


@pytest.fixture
def ran(monkeypatch):
    """A list of the ways that are taken from now on."""
    taken = []
    recurrence = paths.recurrence

    def record_ours(*args, packed, **kwargs):
        taken.append("packed" if packed else "hoisted")
        return recurrence(*args, packed=packed, **kwargs)

    def record_keras(layer, *args, call=keras.layers.RNN.call, **kwargs):
        taken.append("plain")
        return call(layer, *args, **kwargs)

    monkeypatch.setattr(paths, "recurrence", record_ours)
    monkeypatch.setattr(keras.layers.RNN, "call", record_keras)
    return taken


def check_report(model, batch, ran):
    """Takes a step of both kinds and compares; returns the report."""
    report = compute_path(model)
    inputs, targets = batch()
    model.test_on_batch(inputs, targets)  # Keras traces once for shapes alone on JAX
    for column, step in (
        ("training", lambda: model.train_on_batch(inputs, targets)),
        ("inference", lambda: model.predict_on_batch(inputs)),
    ):
        ran.clear()
        step()
        assert ran, "nothing was recorded"
        assert set(ran) == set(report[column])
    return report


@on_cpu
@pytest.mark.parametrize("cell", often(["rnn", "lstm", "gru"], "lstm"))
@pytest.mark.parametrize("task", TASKS)
def test_the_usual_network_takes_the_fastest_way(task, cell, ran):
    build, arguments, batch = TASKS[task]
    report = check_report(build(**arguments, cell=cell), batch, ran)
    assert list(report.columns) == COLUMNS
    both = ["encoder/forward_0", "encoder/backward_0"]
    assert report["layer"].tolist() == (both if task == "text" else both[:1])
    assert set(report["cell"]) == {cell}
    fastest = {"tensorflow": "packed", "jax": "hoisted"}[BACKEND]
    assert set(report["training"]) == set(report["inference"]) == {fastest}
    assert set(report["xla"]) == {BACKEND == "jax"}
    assert set(report["change"]) == {""}


@on_cpu
def test_xla_is_told(ran):
    build, arguments, batch = TASKS["series"]
    report = check_report(build(**arguments, jit=True), batch, ran)
    assert report["xla"].all()
    assert set(report["training"]) == {"hoisted"}
    wanted = "jit=False: 'packed'" if BACKEND == "tensorflow" else ""
    assert set(report["change"]) == {wanted}


@on_cpu
def test_an_uncompiled_model_is_told_as_keras_predicts_with_it(ran):
    model = keras.Sequential([keras.Input((5, 3)), RecurrentEncoder(4)])
    report = compute_path(model)
    model.predict_on_batch(np.ones((2, 5, 3), "float32"))
    assert set(ran) == set(report["inference"])


@on_cpu
def test_recurrent_dropout_slows_training_alone(ran):
    build, arguments, batch = TASKS["text"]
    model = build(**arguments, recurrent_dropout=0.2)
    report = check_report(model, batch, ran)
    assert set(report["training"]) == {"plain"}
    assert "plain" not in set(report["inference"])
    assert set(report["why"]) == {"recurrent_dropout=0.2"}
    assert report["change"].str.contains("use `dropout`").all()


def test_another_activation_is_plain(ran):
    build, arguments, batch = TASKS["series"]
    with pytest.warns(UserWarning, match="activation='relu' costs the fast paths"):
        model = build(**arguments, activation="relu")
    report = check_report(model, batch, ran)
    assert set(report["training"]) == set(report["inference"]) == {"plain"}
    assert set(report["why"]) == {"activation='relu'"}
    assert set(report["change"]) == {"leave `activation` at 'tanh'"}


@on_cpu
@pytest.mark.parametrize("kind", often(TASKS, "text"))
def test_fitted_estimators(kind):
    estimator, _ = learn(kind, units=4, seed=0, refit_full=False)
    assert compute_path(estimator).equals(compute_path(estimator.model_))
    assert len(compute_path(estimator)) == (2 if kind == "text" else 1)


class Wrapped(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = RecurrentEncoder(4, num_layers=2, bidirectional=True, name="own")

    def build(self, shape):
        self.inner.build(shape)
        self.built = True

    def call(self, inputs):
        return self.inner(inputs)


@on_cpu
def test_all_kinds_of_layers_at_any_depth():
    lstm = keras.layers.LSTM(4, return_sequences=True, name="loop")
    model = keras.Sequential(
        [
            keras.Input((5, 3)),
            Wrapped(name="outer"),
            keras.Sequential(
                [keras.layers.Bidirectional(lstm, name="two")], name="deep"
            ),
            SelfAttentionEncoder(4, name="look"),
            keras.layers.RNN(keras.layers.GRUCell(4), name="cells"),
        ]
    )
    report = compute_path(model).set_index("layer")
    own = {f"outer/own/{way}_{i}" for way in ("forward", "backward") for i in (0, 1)}
    directions = {"deep/two/forward_loop", "deep/two/backward_loop"}
    assert set(report.index) == own | directions | {"look", "cells"}
    assert set(report.loc[sorted(own), "inference"]) <= {"packed", "hoisted"}
    plain = report.loc[[*sorted(directions), "cells"]]
    assert set(plain["training"]) == set(plain["inference"]) == {"plain"}
    assert plain["cell"].tolist() == ["lstm", "lstm", "grucell"]
    assert plain["change"].str.contains("RecurrentEncoder").all()
    assert report.loc["look", ["cell", "training"]].tolist() == ["attention"] * 2


def test_nothing_recurrent_gives_no_rows():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    report = compute_path(model)
    assert report.empty and list(report.columns) == COLUMNS


@pytest.mark.parametrize("value", [None, "model", keras.layers.LSTM(2)])
def test_no_model_is_an_error(value):
    with pytest.raises(TypeError, match="must be a keras.Model, or an estimator after"):
        compute_path(value)


def ways_on_gpu(monkeypatch, encoder, xla, training=False):
    monkeypatch.setattr(paths, "has_gpu", lambda: True)
    monkeypatch.setattr(module, "has_gpu", lambda: True)
    return paths.choose_path(encoder.forward[0], training=training, xla=xla)


def test_gpu_kernels_are_used_where_keras_has_them(monkeypatch):
    """Of a machine with a GPU; that the kernels run is not shown here."""

    def way(xla=False, training=False, **options):
        encoder = RecurrentEncoder(4, **options)
        return ways_on_gpu(monkeypatch, encoder, xla, training)

    fused = ["lstm", "gru"] if BACKEND == "tensorflow" else ["lstm"]
    for cell in ("rnn", "lstm", "gru"):
        assert way(cell=cell).name == ("fused" if cell in fused else "hoisted")
        assert bool(way(cell=cell).change) == (cell not in fused)
    assert way(xla=True).name == ("hoisted" if BACKEND == "tensorflow" else "fused")
    # Keras leaves its kernel out where the argument is given, in inference as well.
    assert way(recurrent_dropout=0.1).name == "hoisted"
    assert way(recurrent_dropout=0.1, training=True).name == "plain"


def test_keras_s_own_layers_on_a_gpu(monkeypatch):
    monkeypatch.setattr(module, "has_gpu", lambda: True)

    def report(layer):
        model = keras.Sequential([keras.Input((5, 3)), layer])
        model.compile(jit_compile=BACKEND == "jax")
        return compute_path(model).iloc[0]

    assert report(keras.layers.LSTM(4))["training"] == "fused"
    for options, change in (
        ({"recurrent_activation": "hard_sigmoid"}, "recurrent_activation=sigmoid"),
        ({"use_bias": False}, "use_bias=True"),
        ({"use_cudnn": False}, "use_cudnn='auto'"),
    ):
        row = report(keras.layers.LSTM(4, **options))
        assert (row["inference"], row["change"]) == ("plain", change)
    assert report(keras.layers.SimpleRNN(4))["training"] == "plain"
