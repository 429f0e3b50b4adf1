"""Every cell of both builders trains under XLA, with static shapes, for TPUs too."""

import keras
import numpy as np
import pytest

from keras_seq import build_forecaster, build_text_classifier
from keras_seq.layers import paths
from tests.training.test_precision import SERIES, TEXT, series_batch, text_batch

pytestmark = pytest.mark.numeric

BACKEND = keras.backend.backend()
BATCHES = {
    build_text_classifier: (TEXT, text_batch),
    build_forecaster: (SERIES, series_batch),
}
# Operations of TensorFlow whose output's shape depends on values.
DYNAMIC = (
    *("Where", "Unique", "ListDiff", "DynamicPartition", "NonMaxSuppression"),
    *("SetSize", "SparseReorder", "StringSplit", "RaggedRange", "TensorListConcat"),
)

STRUCTURES = [
    (
        build_text_classifier,
        {"cell": "lstm", "num_layers": 2, "normalization": "batch", "residual": True},
    ),
    pytest.param(
        build_text_classifier, {"cell": "transformer"}, marks=pytest.mark.exhaustive
    ),
    pytest.param(
        build_text_classifier,
        {"conv_filters": 4, "auxiliary": "next_step", "recurrent_dropout": 0.1},
        marks=pytest.mark.exhaustive,
    ),
    (
        build_text_classifier,
        {"cell": "rnn", "ngrams": 2, "ngram_buckets": 16, "max_length": 4},
    ),
    pytest.param(
        build_text_classifier,
        {"cell": "gru", "stateful": True, "batch_size": 8},
        marks=pytest.mark.exhaustive,
    ),
    pytest.param(
        build_forecaster,
        {"cell": "rnn", "num_layers": 2, "normalization": "batch", "residual": True},
        marks=pytest.mark.exhaustive,
    ),
    (build_forecaster, {"cell": "lstm", "stateful": True, "batch_size": 8}),
    (build_forecaster, {"cell": "gru", "segment_length": 3, "conv_filters": 4}),
    pytest.param(
        build_forecaster,
        {"conv_filters": 4, "auxiliary": "next_step", "recurrent_dropout": 0.1},
        marks=pytest.mark.exhaustive,
    ),
    pytest.param(
        build_forecaster, {"cell": "transformer"}, marks=pytest.mark.exhaustive
    ),
]


@pytest.mark.parametrize(("build", "structure"), STRUCTURES)
def test_training_has_static_shapes(build, structure):
    arguments, batch = BATCHES[build]
    model = build(**{**arguments, **structure}, jit=True)
    inputs, targets = batch()
    assert model.jit_compile is True
    assert np.isfinite(model.train_on_batch(inputs, targets)).all()
    if BACKEND == "tensorflow":
        operations = operations_of(model, inputs, targets)
        assert "MatMul" in operations  # the search sees inner functions
        assert not [op for op in operations if op.startswith(DYNAMIC)]
    elif BACKEND == "jax":
        assert "tensor<?" not in lowered_for_tpu(model, inputs, targets)


def operations_of(model, inputs, targets):
    """Names of all TensorFlow operations in a training step of these shapes."""
    import tensorflow as tf

    step = tf.function(lambda x, y: model.train_step((x, y)), jit_compile=True)
    batch = keras.tree.map_structure(tf.constant, (inputs, targets))
    graph = step.get_concrete_function(*batch).graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    return {node.op for node in nodes}


def lowered_for_tpu(model, inputs, targets):
    """A training step of these shapes as StableHLO for a TPU, which need not exist."""
    import jax

    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    state = tuple([v.value for v in part] for part in variables)
    step = jax.export.export(jax.jit(model.train_step), platforms=["tpu"])
    return step(state, (inputs, targets)).mlir_module()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's loops")
def test_the_search_finds_dynamic_operations(monkeypatch):
    """The packed loop has them, which is why XLA must not take it."""
    path = paths.Path("packed", "")
    monkeypatch.setattr(paths, "choose_path", lambda *_, **__: path)
    model = build_text_classifier(**TEXT)
    inputs, targets = text_batch()
    model.train_on_batch(inputs, targets)
    found = operations_of(model, inputs, targets)
    assert [op for op in found if op.startswith(DYNAMIC)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "stateful"), [("rnn", False), ("lstm", True), ("gru", False)]
)
def test_xla_takes_texts_of_several_lengths(cell, stateful):
    """TensorFlow forgets the number of steps after the first length."""
    structure = {"stateful": True, "batch_size": 8} if stateful else {}
    model = build_text_classifier(**TEXT, cell=cell, dropout=0.0, jit=True, **structure)
    twin = build_text_classifier(**TEXT, cell=cell, dropout=0.0, **structure)
    twin.set_weights(model.get_weights())
    inputs, targets = text_batch()
    for extra in (0, 3):
        wider = {**inputs, "tokens": np.pad(inputs["tokens"], ((0, 0), (0, extra)))}
        losses = [m.train_on_batch(wider, targets)[0] for m in (model, twin)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
