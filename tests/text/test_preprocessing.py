"""Tokens, vocabulary and labels: exact, on every script."""

import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq.text.labels import check_labels, encode_labels, learn_classes
from keras_seq.text.normalization import CharacterTable, Splitter, unicode_table
from keras_seq.text.preprocessing import TextPreprocessor, choose_buckets

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Hello,  World!", ["hello", ",", "world", "!"]),
        ("I don't, I don’t", ["i", "dont", ",", "i", "dont"]),
        ("这个很好吃, ok", ["这", "个", "很", "好", "吃", ",", "ok"]),
        ("東京タワー", ["東", "京", "タ", "ワ", "ー"]),
        ("ﾀﾜｰ", ["タ", "ワ", "ー"]),  # half-width forms
        ("한국어 좋아", ["한", "국", "어", "좋", "아"]),
        ("ＦＵＬＬ ｗｉｄｔｈ", ["full", "width"]),
        ("ﬁne ½", ["fine", "1", "⁄", "2"]),
        ("Ça va à İzmir", ["ça", "va", "à", "i\u0307zmir"]),
        ("😀😀 ok", ["😀", "😀", "ok"]),
        ("a\u200bb so\u00adft", ["a", "b", "soft"]),  # zero-width space, soft hyphen
        ("na\u200dme \ufeffbom", ["name", "bom"]),
        ("1\ufe0f\u20e3 ❤️", ["1\u20e3", "❤"]),  # variation selectors
        ("สวัสดี", ["ส", "ว", "ั", "ส", "ด", "ี"]),
        ("null\x00byte\ttab", ["null", "byte", "tab"]),
        ("lone \ud800 surrogate", ["lone", "surrogate"]),
        ("שלום עולם", ["שלום", "עולם"]),
        ("", []),
        (" \n\u3000 ", []),
    ],
)
def test_tokens(text, tokens):
    assert Splitter(unicode_table(), "auto").tokens(text) == tokens


def test_other_splits():
    table = unicode_table()
    assert Splitter(table, "whitespace").tokens("Well, 好吃!") == ["well,", "好吃!"]
    assert Splitter(table, "character").tokens("No 好!") == ["n", "o", "好", "!"]


@given(st.text(st.characters(exclude_categories=()), max_size=40))
@settings(max_examples=300, deadline=None)
def test_agrees_with_unicodedata_character_by_character(text):
    splitter = Splitter(unicode_table(), "whitespace")
    expected = ""
    for character in text:
        category = unicodedata.category(character)
        if category[0] == "Z" or category in ("Cc", "Cn", "Cs"):
            expected += " "
            continue
        normal = unicodedata.normalize("NFKC", character).lower()
        for part in unicodedata.normalize("NFKC", normal):
            kind = unicodedata.category(part)
            code = ord(part)
            selector = 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF
            if part == "\u200b" or kind[0] == "Z" or kind == "Cc":
                expected += " "
            elif part not in "'’ʼ" and kind != "Cf" and not selector:
                expected += part
    assert splitter.tokens(text) == expected.split()


def test_table_survives_a_round_trip():
    table = unicode_table()
    twin = CharacterTable.from_state(table.get_state())
    assert twin.replacements == table.replacements
    for code_point in [0, 32, 39, 65, 0x4E00, 0xAC00, 0x1F600, 0xD800, sys.maxunicode]:
        assert twin.class_of(code_point) == table.class_of(code_point)


def test_vocabulary_by_frequency_then_alphabet():
    preprocessor = TextPreprocessor(max_tokens=5).fit(["b b a", "c a", "d"])
    assert preprocessor.vocabulary_ == ["[PAD]", "[UNK]", "a", "b", "c"]
    rows = preprocessor.transform(["a d c", "", "[UNK]"])
    np.testing.assert_array_equal(rows.ids, [2, 1, 4, 1, 1, 1])
    np.testing.assert_array_equal(rows.lengths, [3, 0, 3])
    np.testing.assert_array_equal(rows.starts, [0, 3, 3])


def test_rare_words_teach_the_unknown_token_in_a_large_corpus():
    texts = ["common " * 100] * 100 + ["rare"]
    assert "rare" not in TextPreprocessor().fit(texts).vocabulary_
    assert "rare" in TextPreprocessor(min_count=1).fit(texts).vocabulary_
    assert "rare" in TextPreprocessor().fit(texts[-5:]).vocabulary_


@pytest.mark.parametrize(
    ("truncation", "kept"),
    [("head", "abc"), ("tail", "efg"), ("head_tail", "abg")],
)
def test_truncation(truncation, kept):
    preprocessor = TextPreprocessor(max_length=3, truncation=truncation)
    preprocessor.fit(["a b c d e f g"])
    ids = preprocessor.transform(["a b c d e f g"]).ids
    assert "".join(preprocessor.vocabulary_[i] for i in ids) == kept


def test_auto_length_covers_nearly_all_texts():
    texts = ["a " * n for n in range(1, 1001)]
    assert TextPreprocessor().fit(texts).max_length_ == 512
    assert TextPreprocessor().fit(texts[:200]).max_length_ == 200
    assert TextPreprocessor().fit(["", ""]).max_length_ == 1


def test_buckets_are_few_and_end_at_the_longest():
    lengths = np.random.default_rng(0).integers(1, 300, size=1000)
    buckets = choose_buckets(lengths, 300)
    assert len(buckets) <= 8 and buckets[-1] == 300 and buckets == sorted(set(buckets))
    padded = np.array(buckets)[np.searchsorted(buckets, lengths)]
    assert (padded >= lengths).all()
    assert padded.sum() < 1.2 * lengths.sum()  # to 300 it would be twice as much


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_tokens": 2}, "`max_tokens` must be a whole number of at least 3"),
        ({"split": "charater"}, "`split` must be one of.*Did you mean 'character'"),
        ({"max_length": 0}, "`max_length` must be a whole number of at least 1"),
        ({"truncation": "middle"}, "`truncation` must be one of"),
        ({"min_count": 0}, "`min_count` must be"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TextPreprocessor(**arguments)


@pytest.mark.parametrize(
    "labels",
    [["b", "a", "b"], [3, -1, 3], [True, False, True], np.array([1, 0, 1])],
)
def test_labels_keep_their_type(labels):
    values = check_labels(labels)
    classes = learn_classes(values)
    ids = encode_labels(values, classes)
    np.testing.assert_array_equal(ids, [1, 0, 1])
    assert classes[ids].tolist() == values
    assert type(classes[ids].tolist()[0]) is type(values[0])


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (["a", None, "b"], ValueError, r"None or NaN in 1 rows, the first: \[1\]"),
        ([1.5, 2.5], TypeError, r"all int or all bool.*\['float'\]"),
        (["a", 1], TypeError, r"\['int', 'str'\]"),
        ("abc", TypeError, "must be a list of labels"),
    ],
)
def test_bad_labels(labels, error, message):
    with pytest.raises(error, match=message):
        check_labels(labels)
