"""The tokeniser as a TensorFlow graph gives what the one in Python gives."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq.text.preprocessing import TextPreprocessor

tf = pytest.importorskip("tensorflow")
tokenizer = pytest.importorskip("keras_seq.export.tokenizer")

# A tensor of strings holds UTF-8, which has no surrogates.
ANYTHING = st.characters(exclude_categories=("Cs",))
# Letters, marks in and out of order, Hangul letters, and what becomes several.
COMPOSABLE = st.sampled_from(
    "aeoEǖếＡｶ한가ªﬁ…½😀好's \u0301\u0302\u0304\u0307\u0308\u0323\u0331\u0345"
    "\u3099ﾞ\u1112\u1161\u11ab\u0bc6\u0bbe\u09c7\u09be\u05b0\u05bc\u0651\u064e\u0653ا"
    "\u00ad\u200d\ufe0f\x00\n"
)
TEXTS = st.lists(st.text(ANYTHING | COMPOSABLE, max_size=30), max_size=4)
KNOWN = ["a e é 한 국 好 ' fi ½ 😀 ö e\u0323 1 ⁄ 2", "ǖ a", "가 ガ ا"]


@functools.cache
def both(split, truncation="head", max_length=None):
    """A fitted preprocessor, and its `transform` as a graph."""
    options = {"split": split, "truncation": truncation, "max_length": max_length}
    preprocessor = TextPreprocessor(**options).fit(KNOWN)
    graph = tokenizer.GraphTokenizer(preprocessor)
    specs = [tf.TensorSpec([None], tf.string)]
    return (
        preprocessor,
        tf.function(graph.split, input_signature=specs, autograph=False),
        tf.function(graph.__call__, input_signature=specs, autograph=False),
    )


def assert_same_tokens(texts, split):
    preprocessor, in_graph, _ = both(split)
    tokens, counts = preprocessor._splitter.split_all(texts)
    found, rows = in_graph(tf.constant(texts, tf.string))
    assert [token.decode() for token in found.numpy()] == tokens
    assert np.bincount(rows, minlength=len(texts)).tolist() == counts.tolist()


def assert_same_ids(texts, *options):
    preprocessor, _, in_graph = both(*options)
    rows = preprocessor.transform(texts)
    tokens, length = (x.numpy() for x in in_graph(tf.constant(texts, tf.string)))
    assert length.tolist() == rows.lengths.tolist()
    assert tokens.dtype == length.dtype == np.int32
    valid = np.arange(tokens.shape[1]) < length[:, None]
    assert tokens[valid].tolist() == rows.ids.tolist()
    assert not tokens[~valid].any()


@given(TEXTS)
@settings(max_examples=80, deadline=None)
def test_ids_of_arbitrary_texts(texts):
    assert_same_tokens(texts, "auto")
    assert_same_ids(texts, "auto")


@pytest.mark.parametrize("split", ["whitespace", "character"])
@given(TEXTS)
@settings(max_examples=30, deadline=None)
def test_tokens_of_other_splits(split, texts):
    assert_same_tokens(texts, split)


@pytest.mark.parametrize("truncation", ["head", "tail", "head_tail"])
def test_truncated_rows(truncation):
    texts = ["a e 好 " * 5, "", "é a", "a e 好 ½ '", "ö e 😀 a 한 국 가"]
    assert_same_ids(texts, "auto", truncation, 5)


def test_every_code_point():
    points = [*range(0xD800), *range(0xE000, 0x110000)]
    parts = [points[i : i + 64] for i in range(0, len(points), 64)]
    assert_same_tokens(["".join(map(chr, part)) for part in parts], "auto")


def test_texts_that_begin_with_marks_know_nothing_of_those_before():
    texts = ["a", "\u0301b", "\u0323\u0301", "\u1161\u11ab", "\u09be", "e\u0301"]
    assert_same_tokens(texts, "auto")
    assert_same_ids(texts, "auto")
    assert_same_ids([], "auto")
    assert_same_ids(["", " \n"], "auto")


def test_bytes_that_are_no_text_are_replacement_characters():
    _, in_graph, _ = both("auto")
    # No byte of a surrogate begins a character, and neither does a lone \xff.
    tokens, rows = in_graph([b"a\xffb", b"\xed\xa0\x80", b"cut \xe4\xbd"])
    symbol = "\ufffd".encode()
    assert tokens.numpy().tolist() == [
        *(b"a", symbol, b"b"),
        *(symbol, symbol, symbol),
        *(b"cut", symbol),
    ]
    assert rows.numpy().tolist() == [0, 0, 0, 1, 1, 1, 2, 2]


def test_models_from_before_characters_were_composed():
    preprocessor = TextPreprocessor(max_length=None).fit(KNOWN)
    state, arrays = preprocessor.get_state()
    for name in ("characters/composed", "characters/orders"):
        arrays[name] = arrays[name][:0]
    old = TextPreprocessor(max_length=None).set_state(state, arrays)
    texts = ["e\u0301 한", "\u1112\u1161\u11ab ﾞｶﾞ"]
    found, _ = tokenizer.GraphTokenizer(old).split(tf.constant(texts))
    assert [t.decode() for t in found.numpy()] == old._splitter.split_all(texts)[0]
