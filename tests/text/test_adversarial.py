"""Adversarial training: the loss beside the loss is the one computed by hand."""

import keras
import numpy as np
import pytest

from keras_seq import TextClassifier, build_text_classifier
from keras_seq.text.adversarial import Perturbation, perturb
from tests.layers.gradients import values_and_gradients

pytestmark = pytest.mark.numeric

# Each token stands at one place, so that moving a place is moving a row of the table.
TOKENS = np.arange(1, 16, dtype="int32").reshape(3, 5)
LENGTH = np.array([5, 2, 4], "int32")
INPUTS = {"tokens": TOKENS, "length": LENGTH}
LABELS = np.array([0, 1, 2], "int32")
WEIGHT = np.array([1.0, 0.5, 2.0], "float32")
SIZE = 0.3


def make_model(**arguments):
    options = {"num_classes": 3, "max_tokens": 16, "units": 3, "embedding_dim": 4}
    still = {"dropout": 0.0, "ngram_dropout": 0.0, "seed": 0}
    short = {"cell": "rnn", "bidirectional": False}  # to compile
    return build_text_classifier(**{**options, **still, **short, **arguments})


def move_by_hand(table, gradient, longest):
    """The table where the loss rises most, text by text."""
    moved = table.copy()
    for row, length in zip(TOKENS, LENGTH, strict=True):
        ids = row[: min(length, longest)]
        norm = np.linalg.norm(gradient[ids])
        moved[ids] += SIZE * np.linalg.norm(table[ids]) * gradient[ids] / norm
    return moved


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"multi_label": True, "ngrams": 1, "max_length": 3},
        {"auxiliary": "next_step", "label_smoothing": 0.1},
        {"normalization": "batch"},
        {"precision": "mixed_float16"},
    ],
    ids=lambda arguments: ", ".join(arguments),
)
def test_loss_and_gradient_are_those_of_embeddings_moved_by_hand(arguments):
    model = make_model(adversarial=SIZE, **arguments)
    targets = np.eye(3)[LABELS] if "multi_label" in arguments else LABELS
    variables = model.trainable_variables
    paths = [v.path for v in variables]
    table = np.array(variables[paths.index("embedding/embeddings")])

    def main_loss():
        loss = model.loss(targets, model(INPUTS, training=True), WEIGHT)
        return loss, loss

    def added():
        outputs = model(INPUTS, training=True)
        state = [v.value for v in model.non_trainable_variables]
        given = {"y": targets, "y_pred": outputs, "sample_weight": WEIGHT}
        clean = model.compute_loss(**given)
        validated = model.compute_loss(INPUTS, **given, training=False)
        loss = model.compute_loss(INPUTS, **given) - clean
        left = [v.value for v in model.non_trainable_variables]
        return loss, (loss, clean, validated, state, left)

    (loss, clean, validated, state, left), found = values_and_gradients(
        added, variables
    )
    assert validated == clean
    for a, b in zip(state, left, strict=True):
        np.testing.assert_array_equal(a, b)
    plain, first = values_and_gradients(main_loss, variables)
    gradient = first[paths.index("embedding/embeddings")]
    embedding = model.get_layer("embedding").embeddings
    longest = arguments.get("max_length", 5)
    embedding.assign(move_by_hand(table, gradient, longest))
    moved, wanted = values_and_gradients(main_loss, variables)
    assert loss > plain + 1e-3
    half = "precision" in arguments  # 10 bits
    np.testing.assert_allclose(loss, moved, rtol=2e-3 if half else 1e-5)
    for a, b in zip(found, wanted, strict=True):
        if b.dtype == object:  # None: only the auxiliary task has it
            continue
        np.testing.assert_allclose(a, b, atol=1e-2 if half else 1e-5)


def test_answers_know_nothing_of_it():
    with_it, without = make_model(adversarial=SIZE), make_model()
    assert [w.path for w in with_it.weights] == [w.path for w in without.weights]
    a, b = (np.asarray(model(INPUTS)) for model in (with_it, without))
    np.testing.assert_array_equal(a, b)
    assert not any(isinstance(layer, Perturbation) for layer in without.layers)


def test_gradients_of_any_length_give_a_direction():
    embedded = np.zeros((3, 1, 2), "float32")
    embedded[:, 0, 1] = [5.0, 1.0, 1.0]
    gradient = np.array([[[3e-30, 4e-30]], [[0, 0]], [[-1, 0]]], "float32")
    moved = np.asarray(perturb(embedded, gradient, 0.1))
    wanted = [[[0.3, 0.4]], [[0, 0]], [[-0.1, 0]]]
    np.testing.assert_allclose(moved, wanted, rtol=1e-6)


def test_the_layer_comes_back():
    layer = Perturbation(0.25)
    assert Perturbation.from_config(layer.get_config()).size == 0.25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"adversarial": 1.0}, r"`adversarial` must be a number in \[0, 1\)"),
        ({"adversarial": -0.1}, "Received: adversarial=-0.1"),
        (
            {"adversarial": 0.1, "stateful": True, "batch_size": 2},
            "`adversarial` must be 0 with `stateful`",
        ),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_model(**arguments)


@pytest.mark.slow
def test_a_fit_that_was_killed_goes_on(tmp_path):
    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    words = np.random.default_rng(0).choice(["good", "bad", "film", "of"], (40, 5))
    texts = [" ".join(row) for row in words]
    labels = ["good" in text for text in texts]

    def fit(**options):
        small = {"cell": "rnn", "units": 3, "embedding_dim": 4, "ngrams": 0}
        once = {"epochs": 2, "baseline": False, "refit_full": False}
        clf = TextClassifier(adversarial=0.1, **small, **once)
        return clf.fit(texts, labels, verbose=0, **options)

    whole = fit()
    history = whole.history_
    assert (history["loss"] > 1.9 * history["log_loss"]).all()
    assert (history["val_loss"] < 1.1 * history["val_log_loss"]).all()
    with pytest.raises(KeyboardInterrupt):
        fit(checkpoint=tmp_path, callbacks=[Kill()])
    resumed = fit(checkpoint=tmp_path)
    for a, b in zip(
        whole.model_.get_weights(), resumed.model_.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)
