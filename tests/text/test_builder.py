"""The text network: what padding holds changes nothing; arguments are checked."""

import keras
import numpy as np
import pytest

from keras_seq import build_text_classifier
from keras_seq.layers.state import copy_weights
from tests.grids import often
from tests.layers.gradients import gradients

pytestmark = pytest.mark.numeric

LENGTHS = np.array([0, 1, 3, 6], "int32")


def make_model(**arguments):
    options = {"num_classes": 3, "max_tokens": 20, "units": 4, "embedding_dim": 5}
    return build_text_classifier(**{**options, "seed": 0, **arguments})


def make_tokens():
    return np.random.default_rng(0).integers(1, 20, size=(4, 6)).astype("int32")


# "concat" holds the three other poolings, so every cell and direction meets them all.
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("cell", "pooling"),
    [
        ("rnn", "concat"),
        ("lstm", "concat"),
        ("gru", "concat"),
        ("gru", "last"),
        ("gru", "mean"),
        ("gru", "max"),
    ],
)
def test_padding_changes_nothing(cell, bidirectional, pooling):
    model = make_model(cell=cell, bidirectional=bidirectional, pooling=pooling)
    tokens = make_tokens()
    labels = np.array([0, 1, 2, 0], "int32")
    results = []
    for extra in (0, 1, 50):
        junk = np.random.default_rng(extra).integers(0, 20, size=(4, extra))
        inputs = {
            "tokens": np.concatenate([tokens, junk.astype("int32")], axis=1),
            "length": LENGTHS,
        }

        def loss(inputs=inputs):
            return model.compute_loss(y=labels, y_pred=model(inputs))

        results.append([model(inputs), *gradients(loss, model.trainable_variables)])
    for changed in results[1:]:
        for a, b in zip(changed, results[0], strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-6)


def train_once(model, inputs, labels):
    """All weights after one step of plain gradient descent."""
    options = {"loss": model.loss, "jit_compile": model.jit_compile}
    model.compile(keras.optimizers.SGD(1.0), **options)
    loss = model.train_on_batch(inputs, labels)
    return [np.asarray(loss), *model.get_weights()]


STRUCTURES = {
    "transformer": {"cell": "transformer", "num_layers": 2},
    "causal transformer": {"cell": "transformer", "bidirectional": False},
    "centred convolution": {"conv_filters": 3, "pooling": "attention"},
    "layer": {"normalization": "layer", "num_layers": 2, "residual": True},
    "batch": {"normalization": "batch", "num_layers": 2, "cell": "rnn"},
    "next_step": {"auxiliary": "next_step"},
    "next_step of many": {"auxiliary": "next_step", "max_tokens": 1500},
    "next_step of a stack": {
        "auxiliary": "next_step",
        "bidirectional": False,
        "num_layers": 2,
        "conv_filters": 3,
    },
    "stateful": {"stateful": True, "batch_size": 5, "pooling": "attention"},
    "bag": {
        "ngrams": 3,
        "ngram_buckets": 16,
        "ngram_dropout": 0.0,
        "max_length": 3,
        "truncation": "head_tail",
    },
}


@pytest.mark.parametrize("name", often(STRUCTURES, "layer", "next_step", "bag"))
def test_padding_changes_no_structure(name):
    labels = np.array([0, 1, 2, 0], "int32")
    results = []
    for extra in (0, 1, 50):
        model = make_model(**STRUCTURES[name], dropout=0.0)
        junk = np.random.default_rng(extra).integers(0, 20, size=(4, extra))
        tokens = np.concatenate([make_tokens(), junk.astype("int32")], axis=1)
        inputs = {"tokens": tokens, "length": LENGTHS}
        results.append([np.asarray(model(inputs)), *train_once(model, inputs, labels)])
    for changed in results[1:]:
        np.testing.assert_allclose(changed[0], results[0][0], atol=1e-6)
        for a, b in zip(changed[1:], results[0][1:], strict=True):
            # Normalising embeddings near 0 magnifies float32's rounding.
            assert np.abs(a - b).max() <= 1e-5 * max(1.0, np.abs(b).max())


@pytest.mark.parametrize("cell", often(["lstm", "transformer"], "lstm"))
def test_the_auxiliary_task_learns_what_follows(cell):
    """Token 5 follows 4 follows 3 and so on; the labels are noise."""
    random = np.random.default_rng(0)
    tokens = (random.integers(0, 10, size=(64, 1)) + np.arange(12)) % 10 + 2
    inputs = {
        "tokens": tokens.astype("int32"),
        "length": np.full(64, 12, "int32"),
    }
    labels = random.integers(0, 3, size=64)
    model = make_model(
        cell=cell,
        units=32,
        embedding_dim=32,
        bidirectional=False,
        auxiliary="next_step",
        auxiliary_weight=1.0,
        dropout=0.0,
        learning_rate=1e-2,
    )
    history = model.fit(inputs, labels, epochs=60, batch_size=64, verbose=0).history
    auxiliary = np.subtract(history["loss"], history["log_loss"])
    assert auxiliary[0] > 2.0  # ln 19 is 2.9
    assert auxiliary[-1] < 0.5


def test_chunks_equal_the_whole_text():
    tokens = np.random.default_rng(1).integers(1, 20, size=(5, 21)).astype("int32")
    lengths = np.array([0, 3, 9, 20, 21], "int32")
    for cell, pooling in (
        ("lstm", "attention"),
        ("gru", "concat"),
        ("rnn", "last"),
    ):
        options = {"cell": cell, "pooling": pooling, "num_layers": 2}
        stateless = make_model(**options, bidirectional=False)
        model = make_model(**options, stateful=True, batch_size=5, seed=1)
        copy_weights(stateless, model)
        whole = stateless.predict({"tokens": tokens, "length": lengths}, verbose=0)
        for start, end in ((0, 8), (8, 9), (9, 21)):
            part = np.clip(lengths - start, 0, end - start).astype("int32")
            chunk = {"tokens": tokens[:, start:end], "length": part}
            output = model.predict(chunk, verbose=0)
        np.testing.assert_allclose(output, whole, atol=1e-5)


def test_filler_rows_weigh_nothing():
    model = make_model(dropout=0.0)
    tokens, labels = make_tokens(), np.array([0, 1, 2, 0], "int32")
    plain = model.evaluate(
        {"tokens": tokens, "length": LENGTHS}, labels, verbose=0, return_dict=True
    )
    filled = model.evaluate(
        {
            "tokens": np.concatenate([tokens, tokens]),
            "length": np.concatenate([LENGTHS, 0 * LENGTHS]),
        },
        np.concatenate([labels, labels]),
        sample_weight=np.repeat([1.0, 0.0], 4).astype("float32"),
        verbose=0,
        return_dict=True,
    )
    for name, value in plain.items():
        assert filled[name] == pytest.approx(value, rel=1e-5), name


def test_outputs_are_probabilities():
    inputs = {"tokens": make_tokens(), "length": LENGTHS}
    np.testing.assert_allclose(
        np.asarray(make_model()(inputs)).sum(axis=1), 1, rtol=1e-5
    )
    several = make_model(multi_label=True)
    labels = np.eye(4, 3, dtype="float32")
    losses = several.fit(inputs, labels, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def smoothed_losses(probabilities, labels, smoothing):
    """Row by row and class by class."""
    rows, multi_label = [], np.ndim(labels) == 2
    for p, label in zip(probabilities, labels, strict=True):
        total = 0.0
        for j in range(len(p)):
            if multi_label:
                wanted = label[j] * (1 - smoothing) + smoothing / 2
                both = wanted * np.log(p[j]) + (1 - wanted) * np.log(1 - p[j])
                total -= both / len(p)
            else:
                wanted = (1 - smoothing) * (j == label) + smoothing / len(p)
                total -= wanted * np.log(p[j])
        rows.append(total)
    return np.array(rows)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_label_smoothing_is_in_the_loss_alone(multi_label, smoothing):
    model = make_model(dropout=0.0, multi_label=multi_label, label_smoothing=smoothing)
    inputs = {"tokens": make_tokens(), "length": LENGTHS}
    labels = np.array([0, 1, 2, 0], "int32")
    if multi_label:
        labels = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], "int32")
    weights = np.array([1.0, 0.5, 0.0, 2.0], "float32")  # one row only fills up
    probabilities = np.asarray(model(inputs), "float64")
    found = model.evaluate(
        inputs, labels, sample_weight=weights, verbose=0, return_dict=True
    )
    for name, share in (("loss", smoothing), ("log_loss", 0.0)):
        rows = smoothed_losses(probabilities, labels, share)
        expected = (rows * weights).sum() / weights.sum()
        assert found[name] == pytest.approx(expected, rel=1e-5), name


@pytest.mark.slow
def test_label_smoothing_limits_certainty():
    """Trained to the end on one text per class, its probability is what was asked."""
    options = {"dropout": 0.0, "label_smoothing": 0.3, "learning_rate": 0.05}
    model = make_model(**options)
    inputs = {"tokens": make_tokens()[:3], "length": np.full(3, 6, "int32")}
    labels = np.arange(3, dtype="int32")
    model.fit(inputs, labels, epochs=150, verbose=0)
    expected = 0.7 * np.eye(3) + 0.1
    np.testing.assert_allclose(np.asarray(model(inputs)), expected, atol=0.02)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_bag_answers_beside_the_recurrence(multi_label):
    model = make_model(ngrams=2, ngram_dim=3, dropout=0.0, multi_label=multi_label)
    inputs = {"tokens": make_tokens(), "length": LENGTHS}
    heads = [model.get_layer(n).output for n in ("recurrent_head", "ngram_head")]
    logits = [np.asarray(h) for h in keras.Model(model.inputs, heads)(inputs)]
    if multi_label:
        alone = [1 / (1 + np.exp(-head)) for head in logits]
    else:
        alone = [np.exp(h) / np.exp(h).sum(axis=1, keepdims=True) for h in logits]
    np.testing.assert_allclose(model(inputs), np.mean(alone, axis=0), atol=1e-6)


def test_each_head_learns_as_if_it_were_alone():
    """The gradient of the shared loss is that of each head's own, halved."""
    labels = np.array([0, 1, 2, 0], "int32")
    inputs = {"tokens": make_tokens(), "length": LENGTHS}
    options = {"dropout": 0.0, "ngram_dropout": 0.0, "ngrams": 2}
    model = make_model(**options)
    names = ("recurrent_head", "ngram_head")
    heads = keras.Model(model.inputs, [model.get_layer(n).output for n in names])
    own = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def together():
        return model.compute_loss(y=labels, y_pred=model(inputs, training=True))

    def apart():
        return sum(own(labels, logits) for logits in heads(inputs, training=True)) / 2

    np.testing.assert_allclose(together(), apart(), rtol=1e-5)
    variables = model.trainable_variables
    for a, b in zip(
        gradients(together, variables), gradients(apart, variables), strict=True
    ):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-6)


def test_seed_decides_the_weights():
    one, same, other = (make_model(seed=seed).get_weights() for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert not (one[0] == other[0]).all()


def test_weights_have_stable_names():
    assert [weight.path for weight in make_model().weights] == [
        "embedding/embeddings",
        "encoder/forward_0/lstm_cell/kernel",
        "encoder/forward_0/lstm_cell/recurrent_kernel",
        "encoder/forward_0/lstm_cell/bias",
        "encoder/backward_0/lstm_cell/kernel",
        "encoder/backward_0/lstm_cell/recurrent_kernel",
        "encoder/backward_0/lstm_cell/bias",
        "probabilities/kernel",
        "probabilities/bias",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "`num_classes` must be a whole number of at least 2"),
        ({"cell": "tranformer"}, "`cell` must be one of.*Did you mean 'transformer'"),
        (
            {"cell": "transformer", "units": 6, "num_heads": 4},
            "`units` must be divisible by `num_heads`",
        ),
        (
            {"cell": "transformer", "recurrent_dropout": 0.1},
            "`recurrent_dropout` belongs to recurrent cells",
        ),
        (
            {"cell": "transformer", "auxiliary": "next_step"},
            "needs bidirectional=False with a transformer",
        ),
        (
            {"cell": "transformer", "stateful": True, "batch_size": 4},
            "self-attention carries no state",
        ),
        (
            {"stateful": True, "batch_size": 4, "bidirectional": True},
            "backward direction needs the future",
        ),
        ({"stateful": True}, "`batch_size` must be a whole number"),
        ({"batch_size": 4}, "`batch_size` belongs to stateful=True"),
        (
            {"stateful": True, "batch_size": 4, "conv_filters": 3},
            "`conv_filters` cannot be combined with `stateful`",
        ),
        ({"residual": True, "units": (3, 4), "num_layers": 2}, "needs equal `units`"),
        ({"conv_filters": 0}, "`conv_filters` must be"),
        ({"ngrams": 5}, "`ngrams` must be at most 4"),
        ({"ngrams": -1}, "`ngrams` must be a whole number of at least 0"),
        ({"ngrams": 2, "stateful": True, "batch_size": 4}, "the bag has no state"),
        ({"auxiliary_weight": 0}, "`auxiliary_weight` must be"),
        ({"pooling": "mxa"}, "`pooling` must be one of.*Did you mean 'max'"),
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be a number in \[0, 1\)"),
        ({"multi_label": "yes"}, "`multi_label` must be one of True, False"),
        ({"dropout": -0.1}, r"`dropout` must be a number in \[0, 1\)"),
        ({"learning_rate": 0}, "`learning_rate` must be"),
        ({"auxiliary": "next"}, "`auxiliary` must be one of"),
        ({"normalization": "lyer"}, "`normalization` must be one of"),
        ({"clipnorm": 1.0, "global_clipnorm": 1.0}, "exclude each other"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_model(**arguments)


def test_misspelt_argument_is_suggested():
    with pytest.raises(TypeError, match="'unit'. Did you mean 'units'"):
        make_model(unit=3)
