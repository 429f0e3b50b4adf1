"""The text network: what padding holds changes nothing; arguments are checked."""

import numpy as np
import pytest

from keras_seq import build_text_classifier
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
        ({"cell": "transformer"}, "`cell` must be one of"),
        ({"pooling": "mxa"}, "`pooling` must be one of.*Did you mean 'max'"),
        ({"dropout": -0.1}, r"`dropout` must be a number in \[0, 1\)"),
        ({"learning_rate": 0}, "`learning_rate` must be"),
        ({"stateful": True}, "`stateful` is not available in this version"),
        ({"auxiliary": "next_step"}, "`auxiliary` is not available"),
        ({"normalization": "layer"}, "`normalization` is not available"),
        ({"clipnorm": 1.0, "global_clipnorm": 1.0}, "exclude each other"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_model(**arguments)


def test_misspelt_argument_is_suggested():
    with pytest.raises(TypeError, match="'unit'. Did you mean 'units'"):
        make_model(unit=3)
