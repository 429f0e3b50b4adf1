"""The text network in NumPy equals that of Keras, argument by argument."""

import functools
import inspect

import numpy as np
import pytest

from keras_seq import ArtifactError, build_text_classifier
from keras_seq.layers.state import reset_states
from keras_seq.numpy_runtime.text_network import DEFAULTS, IRRELEVANT, TextNetwork
from keras_seq.text.ensemble import average, build_member
from tests.numpy_runtime.networks import randomize, weights_of

LENGTHS = np.array([9, 0, 4, 1, 7, 9], "int32")
BASE = {"num_classes": 3, "max_tokens": 20, "embedding_dim": 5, "units": 4}


def to_numpy(model, arguments):
    return TextNetwork(arguments, weights_of(model))


def make_inputs(time=9, count=6):
    tokens = np.random.default_rng(1).integers(1, 20, size=(count, time))
    return {"tokens": tokens.astype("int32"), "length": LENGTHS[:count]}


CASES = {
    "rnn": {"cell": "rnn", "pooling": "concat", "num_layers": 3, "residual": True}
    | {"normalization": "layer"},
    "lstm": {"pooling": "concat", "conv_filters": 3, "conv_width": 4}
    | {"adversarial": 0.05, "word_dropout": 0.1, "ema": 0.9, "label_smoothing": 0.1},
    "gru": {"cell": "gru", "pooling": "concat", "normalization": "batch"}
    | {"num_layers": 2},
    "forward": {"bidirectional": False, "pooling": "concat", "conv_filters": 3}
    | {"conv_width": 2},
    "attention": {"pooling": "attention"},
    "deep": {"num_layers": 3, "units": (3, 5, 2), "pooling": "last"},
    "conv_auxiliary": {"conv_filters": 3, "auxiliary": "next_step"},
    "ngrams": {"ngrams": 3, "ngram_buckets": 64, "ngram_dim": 2, "max_length": 5}
    | {"truncation": "tail"},
    "one_gram": {"ngrams": 1, "multi_label": True},
    "head": {"max_length": 5},
    "head_tail": {"max_length": 4, "truncation": "head_tail", "multi_label": True},
    "transformer": {"cell": "transformer", "num_layers": 2, "pooling": "concat"},
    "transformer_causal": {"cell": "transformer", "units": 6, "num_heads": 3}
    | {"bidirectional": False, "embedding_dim": 6, "pooling": "last"},
    "float64": {"precision": "float64", "num_layers": 2},
}


@functools.cache
def both(case):
    """Inputs, and what Keras and the network in NumPy make of them."""
    arguments = {**BASE, **CASES[case]}
    model = build_text_classifier(**arguments)
    randomize(model)
    inputs = make_inputs()
    return to_numpy(model, arguments), inputs, np.asarray(model(inputs))


@pytest.mark.parametrize("case", CASES)
def test_equals_keras(case):
    network, inputs, expected = both(case)
    actual = network(inputs)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=2e-6)


def test_another_activation_equals_keras():
    arguments = {**BASE, "activation": "relu", "cell": "gru"}
    with pytest.warns(UserWarning, match="costs the fast paths"):
        model = build_text_classifier(**arguments)
    randomize(model)
    inputs = make_inputs()
    network = to_numpy(model, arguments)
    np.testing.assert_allclose(network(inputs), np.asarray(model(inputs)), rtol=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_padding_is_never_read(case):
    network, inputs, expected = both(case)
    junk = np.full((6, 4), 10**6, "int32")
    tokens = np.where(np.arange(9) < LENGTHS[:, None], inputs["tokens"], 10**6)
    padded = {**inputs, "tokens": np.concatenate([tokens, junk], axis=1)}
    np.testing.assert_allclose(network(padded), expected, atol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_no_text_and_texts_without_tokens(case):
    network, _, _ = both(case)
    nothing = {"tokens": np.zeros((0, 4), int), "length": np.zeros(0, int)}
    assert network(nothing).shape == (0, 3)
    empty = {"tokens": np.zeros((2, 1), int), "length": np.zeros(2, int)}
    assert np.isfinite(network(empty)).all()


def test_an_ensemble_is_the_mean_of_its_members():
    arguments = {**BASE, "ensemble": 2, "seed": 0, "ngrams": 1}
    model = average([build_member(i, arguments) for i in (1, 2)], "auto")
    randomize(model)
    inputs = make_inputs()
    network = to_numpy(model, arguments)
    np.testing.assert_allclose(network(inputs), np.asarray(model(inputs)), atol=2e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        {"cell": "lstm", "pooling": "concat", "num_layers": 2, "residual": True},
        {"cell": "gru", "pooling": "attention", "normalization": "batch"},
        {"cell": "rnn", "pooling": "max", "units": (3, 4), "num_layers": 2},
    ],
)
def test_a_carried_state_goes_on_as_in_keras(arguments):
    arguments = {**BASE, **arguments, "stateful": True, "batch_size": 6}
    model = build_text_classifier(**arguments)
    randomize(model)
    network, inputs = to_numpy(model, arguments), make_inputs()
    for chunk in (1, 3, 9):
        reset_states(model)
        state = network.initial(6)
        for first in range(0, 9, chunk):
            part = {
                "tokens": inputs["tokens"][:, first : first + chunk],
                "length": np.clip(LENGTHS - first, 0, chunk).astype("int32"),
            }
            before = [np.copy(array) for array in state]
            answer, after = network.advance(part, state)
            for array, copy in zip(state, before, strict=True):
                np.testing.assert_array_equal(array, copy)
            if chunk > 1:
                np.testing.assert_allclose(answer, np.asarray(model(part)), atol=2e-6)
            state = after
        # Chunks of any length end where the whole does.
        np.testing.assert_allclose(answer, network(inputs), atol=2e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": "mamba"}, "`cell` one of 'rnn'.*cell='mamba'"),
        ({"pooling": "median"}, "`pooling` one of.*pooling='median'"),
        ({"wavelets": 3}, "does not know the argument `wavelets`.*wavelets=3"),
        ({"activation": "swish"}, "`activation` one of"),
    ],
)
def test_what_it_cannot_run_is_refused_by_name(arguments, message):
    with pytest.raises(ArtifactError, match=message):
        TextNetwork({**BASE, **arguments}, {})


def test_a_missing_weight_is_named():
    with pytest.raises(ArtifactError, match="lack 'embedding/embeddings'"):
        TextNetwork(BASE, {})


def test_every_argument_of_the_builder_is_known_and_has_its_default():
    parameters = inspect.signature(build_text_classifier).parameters
    assert set(parameters) == set(DEFAULTS) | IRRELEVANT
    for name, default in DEFAULTS.items():
        assert parameters[name].default == default
