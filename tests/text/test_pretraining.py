"""The language model sees no target, and hands its weights to a classifier."""

import keras
import numpy as np
import pytest

from keras_seq import build_text_classifier
from keras_seq.text.preprocessing import TokenRows
from keras_seq.text.pretraining import (
    PIECE,
    Pretrained,
    build_language_model,
    check_pretrainable,
    language_batches,
)

pytestmark = pytest.mark.numeric

ARGUMENTS = {
    "max_tokens": 20,
    "cell": "lstm",
    "units": 4,
    "num_layers": 1,
    "bidirectional": True,
    "embedding_dim": 5,
    "residual": False,
    "normalization": None,
    "activation": "tanh",
    "forget_bias": 1.0,
    "memory_steps": None,
    "num_heads": "auto",
    "conv_filters": None,
    "conv_width": 3,
}
STRUCTURES = {
    "two directions": {},
    "two layers": {"num_layers": 2, "units": [4, 3]},
    "forward": {"bidirectional": False, "num_layers": 2, "normalization": "layer"},
    "gru": {"cell": "gru"},
    "rnn": {"cell": "rnn", "activation": "tanh"},
    "convolution": {"bidirectional": False, "conv_filters": 3},
}


def make(**changed):
    return build_language_model(**{**ARGUMENTS, **changed})


@pytest.mark.parametrize("name", STRUCTURES)
def test_no_prediction_sees_its_target(name):
    """What is said of a token stays when it and all behind it change."""
    model = make(**STRUCTURES[name])
    random = np.random.default_rng(0)
    tokens = random.integers(1, 20, (1, 8)).astype("int32")
    length = np.array([8], "int32")
    for direction in ("forward", "backward"):
        if f"{direction}_next" not in [layer.name for layer in model.layers]:
            continue
        layer = model.get_layer(f"{direction}_next")
        predict = keras.Model(model.inputs, layer.output)
        before = np.asarray(predict({"tokens": tokens, "length": length}))[0]
        for target in range(1, 7):
            changed = tokens.copy()
            # The backward network reads from the end: step k is token 7 - k.
            behind = slice(target, None) if direction == "forward" else slice(target)
            changed[0, behind] = 20 - changed[0, behind]
            after = np.asarray(predict({"tokens": changed, "length": length}))[0]
            known = target if direction == "forward" else 8 - target
            np.testing.assert_allclose(after[:known], before[:known], atol=1e-6)
            assert np.abs(after[known:] - before[known:]).max() > 1e-6


def test_padding_changes_no_loss():
    model = make()
    tokens = np.random.default_rng(0).integers(1, 20, (3, 6)).astype("int32")
    length = np.array([6, 2, 1], "int32")
    losses = []
    for extra in (0, 5):
        junk = np.full((3, extra), 7, "int32")
        inputs = {"tokens": np.concatenate([tokens, junk], 1), "length": length}
        losses.append(model.test_on_batch(inputs))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.slow
def test_it_learns_what_follows_what():
    """A cycle of 19 tokens: forward and backward each token tells its neighbour."""
    rows = TokenRows(np.tile(np.arange(1, 20, dtype="int32"), 200), np.full(200, 19))
    training, validation = language_batches(rows, 16, 0)
    model = make(units=16, embedding_dim=16, learning_rate=0.02)
    before = model.evaluate(validation, verbose=0)
    model.fit(training, steps_per_epoch=200, epochs=1, verbose=0, shuffle=False)
    assert before > 5.0  # about 2 log 19
    assert model.evaluate(validation, verbose=0) < 0.5


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_classifier_starts_from_its_weights(name):
    changed = STRUCTURES[name]
    model = make(**changed)
    arguments = {**ARGUMENTS, **changed, "num_classes": 3, "seed": 1}
    classifier = build_text_classifier(**arguments)
    Pretrained.of(model, [], {}, None).start(classifier)

    def same(ours, theirs):
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    same(classifier.get_layer("embedding"), model.get_layer("embedding"))
    encoder, forward = (
        classifier.get_layer("encoder"),
        model.get_layer("forward_encoder"),
    )
    if not arguments["bidirectional"]:
        same(encoder, forward)
        return
    same(encoder.forward[0], forward.forward[0])
    same(encoder.backward[0], model.get_layer("backward_encoder").forward[0])


def test_long_texts_come_in_pieces_and_every_pair_of_neighbours_within_is_learned():
    lengths = np.array([1, 2, PIECE, PIECE + 1, 3 * PIECE - 5, 0], "int32")
    rows = TokenRows(np.arange(lengths.sum(), dtype="int32"), lengths)
    training, validation = language_batches(rows, 2, 0)
    assert validation is None  # too few to hold any back
    seen = []
    for step in range(training.steps_per_epoch):
        (inputs,) = training[step]
        for tokens, length in zip(inputs["tokens"], inputs["length"], strict=True):
            if length:
                assert 2 <= length <= PIECE
                np.testing.assert_array_equal(np.diff(tokens[:length]), 1)
                seen.append((int(tokens[0]), int(length)))
    starts = rows.starts.tolist()
    assert sorted(seen) == [
        (starts[1], 2),
        (starts[2], PIECE),
        (starts[3], PIECE),  # the one token that is left predicts nothing
        (starts[4], PIECE),
        (starts[4] + PIECE, PIECE),
        (starts[4] + 2 * PIECE, PIECE - 5),
    ]


def test_held_back_texts_are_not_trained_on():
    lengths = np.full(400, 3, "int32")
    rows = TokenRows(np.arange(1200, dtype="int32"), lengths)
    training, validation = language_batches(rows, 8, 0)

    def tokens(batches):
        found = set()
        for step in range(batches.steps_per_epoch):
            (inputs,) = batches[step]
            rows = inputs["tokens"][inputs["length"] > 0]
            found.update(rows[:, :3].ravel().tolist())
        return found

    assert len(tokens(validation)) == 60
    assert not tokens(validation) & tokens(training)
    assert len(tokens(training)) == 1140


def test_nothing_to_learn_from_is_told():
    rows = TokenRows(np.ones(3, "int32"), np.array([1, 1, 1, 0], "int32"))
    with pytest.raises(ValueError, match="two tokens or more"):
        language_batches(rows, 8, 0)


def test_networks_that_would_see_their_target_are_refused():
    convolution = {**ARGUMENTS, "conv_filters": 8}
    check_pretrainable({**convolution, "bidirectional": False})
    with pytest.raises(ValueError, match="conv_filters=None or bidirectional=False"):
        check_pretrainable(convolution)
    with pytest.raises(ValueError, match="recurrent `cell`.*'transformer'"):
        check_pretrainable({**ARGUMENTS, "cell": "transformer"})


def test_a_stateful_classifier_starts_from_it_too():
    model = make(bidirectional=False)
    classifier = build_text_classifier(
        **{**ARGUMENTS, "bidirectional": False},
        num_classes=2,
        stateful=True,
        batch_size=3,
    )
    Pretrained.of(model, [], {}, None).start(classifier)
    ours = classifier.get_layer("encoder").forward[0].get_weights()
    theirs = model.get_layer("forward_encoder").forward[0].get_weights()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
