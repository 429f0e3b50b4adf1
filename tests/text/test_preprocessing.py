"""Tokens, vocabulary and labels: exact, on every script."""

import itertools
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq.text.labels import check_labels, encode_labels, learn_classes
from keras_seq.text.normalization import (
    WORD,
    CharacterTable,
    Splitter,
    unicode_table,
)
from keras_seq.text.preprocessing import TextPreprocessor, choose_buckets, head_length

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
        ("Cafe\u0301 CAFÉ", ["café", "café"]),  # composed or not
        ("\u1112\u1161\u11ab글 ｶﾞ", ["한", "글", "ガ"]),
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


def plain_normal_form(text):
    """Character by character by Python's own Unicode tables, then NFC."""
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
    return expected


def plain_tokens(text, split):
    """The documented rules as one loop over the characters."""
    if split == "whitespace":
        return unicodedata.normalize("NFC", plain_normal_form(text)).split()
    tokens, word = [], ""
    for character in unicodedata.normalize("NFC", plain_normal_form(text)) + " ":
        kind = unicode_table().class_of(ord(character))
        if kind == WORD and split == "auto":
            word += character
            continue
        tokens += [word] * bool(word) + [character] * (character != " ")
        word = ""
    return tokens


ANYTHING = st.characters(exclude_categories=())
# Letters, marks in and out of order, Hangul letters, and what becomes several.
COMPOSABLE = st.sampled_from(
    "aeoEǖếＡｶ한가ªﬁ…½😀好's \u0301\u0302\u0304\u0307\u0308\u0323\u0331\u0345"
    "\u3099ﾞ\u1112\u1161\u11ab\u0bc6\u0bbe\u09c7\u09be\u05b0\u05bc\u0651\u064e\u0653ا"
    "\u00ad\u200d\ufe0f\x00\ud800\n"
)


@pytest.mark.parametrize("split", ["auto", "whitespace", "character"])
@given(st.lists(st.text(ANYTHING | COMPOSABLE, max_size=30), max_size=4))
@settings(max_examples=200, deadline=None)
def test_agrees_with_unicodedata_character_by_character(split, texts):
    splitter = Splitter(unicode_table(), split)
    tokens, counts = splitter.split_all(texts)
    expected = [plain_tokens(text, split) for text in texts]
    assert counts.tolist() == [len(row) for row in expected]
    assert tokens == [token for row in expected for token in row]
    assert [splitter.tokens(text) for text in texts] == expected


@given(st.text(ANYTHING | COMPOSABLE, max_size=30))
@settings(max_examples=300, deadline=None)
def test_composed_and_decomposed_texts_give_the_same_tokens(text):
    splitter = Splitter(unicode_table(), "auto")
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    assert splitter.tokens(forms[0]) == splitter.tokens(forms[1])


def test_every_composition_of_unicode():
    table = unicode_table()
    splitter = Splitter(table, "whitespace")
    composed = [
        chr(point)
        for point in range(0x110000)
        if not unicodedata.is_normalized("NFD", chr(point))
        and unicodedata.category(chr(point))[0] in "LMN"
    ]
    assert len(composed) > 12_000  # with 11,172 Hangul syllables
    apart = [unicodedata.normalize("NFD", character) for character in composed]
    assert splitter.split_all(composed)[0] == splitter.split_all(apart)[0]
    for (first, second), whole in table.compositions.items():
        both = chr(first) + chr(second)
        assert unicodedata.normalize("NFC", both) == chr(whole)


def test_text_before_composition_is_read_as_it_was():
    """A model saved without compositions keeps the tokens it was trained with."""
    arrays = unicode_table().get_state()
    del arrays["characters/composed"], arrays["characters/orders"]
    old = Splitter(CharacterTable.from_state(arrays), "auto")
    assert old.tokens("Cafe\u0301 au lait…") == ["cafe\u0301", "au", "lait", *"..."]


def test_table_survives_a_round_trip():
    table = unicode_table()
    twin = CharacterTable.from_state(table.get_state())
    assert twin.replacements == table.replacements
    assert twin.compositions == table.compositions and twin.orders == table.orders
    for code_point in [0, 32, 39, 65, 0x4E00, 0xAC00, 0x1F600, 0xD800, sys.maxunicode]:
        assert twin.class_of(code_point) == table.class_of(code_point)


def test_many_marks_on_one_letter_take_linear_time():
    text = "e" + "\u0301\u0323" * 200_000 + " ok"
    tokens = Splitter(unicode_table(), "auto").tokens(text)
    assert tokens[1:] == ["ok"]
    assert tokens[0].startswith("ẹ" + "\u0323") and len(tokens[0]) == 400_000


def by_pairs(text):
    """Every two characters: a split of the user's."""
    return [text[i : i + 2] for i in range(0, len(text), 2)]


def test_a_function_splits_the_normalised_text():
    seen = []

    def split(text):
        seen.append(text)
        return [*by_pairs(text), "", " "]

    splitter = Splitter(unicode_table(), split)
    texts = ["ＡBc, D'e\u0301\n好", "", "\x00…"]
    tokens, counts = splitter.split_all(texts)
    assert seen == ["abc, dé 好", "", " ..."]
    assert tokens == ["ab", "c,", " d", "é ", "好", " .", ".."]
    assert counts.tolist() == [5, 0, 2]
    rows = TextPreprocessor(split=split).fit(texts).transform(texts)
    assert rows.lengths.tolist() == [5, 0, 2]


@pytest.mark.parametrize("answer", ["a b", [1], ["a", None]])
def test_a_function_must_return_strings(answer):
    preprocessor = TextPreprocessor(split=lambda _: answer)
    with pytest.raises(TypeError, match="`split` must return a list.*'some text' it"):
        preprocessor.fit(["Some text"])


def test_a_function_must_return_tokens_that_can_be_saved():
    with pytest.raises(ValueError, match="without line breaks"):
        TextPreprocessor(split=lambda _: ["a\nb"]).fit(["a"])


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


TRUNCATED = {
    "head": lambda tokens, longest: tokens[:longest],
    "tail": lambda tokens, longest: tokens[len(tokens) - longest :],
    "head_tail": lambda tokens, longest: (
        tokens[: (longest + 1) // 2] + tokens[len(tokens) - longest // 2 :]
    ),
}


@pytest.mark.parametrize("truncation", TRUNCATED)
@given(
    st.lists(st.text("abcdefg ", max_size=40), min_size=1, max_size=8),
    st.integers(1, 6),
    st.integers(3, 8),
    st.integers(1, 3),
)
@settings(max_examples=100, deadline=None)
def test_ids_match_a_plain_loop(truncation, texts, longest, max_tokens, least):
    preprocessor = TextPreprocessor(
        max_tokens=max_tokens,
        max_length=longest,
        truncation=truncation,
        min_count=least,
        split="character",
    ).fit(texts[: len(texts) // 2 + 1])
    training = "".join(texts[: len(texts) // 2 + 1]).replace(" ", "")
    common = [c for c in set(training) if training.count(c) >= least]
    words = sorted(common, key=lambda c: (-training.count(c), c))[: max_tokens - 2]
    assert preprocessor.vocabulary_ == ["[PAD]", "[UNK]", *words]
    ids, lengths = [], []
    for text in texts:
        tokens = list(text.replace(" ", ""))
        if len(tokens) > longest:
            tokens = TRUNCATED[truncation](tokens, longest)
        ids += [words.index(c) + 2 if c in words else 1 for c in tokens]
        lengths.append(len(tokens))
    rows = preprocessor.transform(texts)
    assert rows.ids.tolist() == ids and rows.lengths.tolist() == lengths
    assert rows.ids.dtype == rows.lengths.dtype == np.int32
    split_before = preprocessor.encode(preprocessor.tokenize(texts))
    np.testing.assert_array_equal(split_before.ids, rows.ids)
    np.testing.assert_array_equal(split_before.lengths, rows.lengths)


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


@pytest.mark.parametrize(
    ("truncation", "kept", "read"),
    [("head", "abcd", 2), ("tail", "defg", 0), ("head_tail", "abfg", 1)],
)
def test_rows_may_be_longer_than_what_the_recurrence_reads(truncation, kept, read):
    options = {"max_length": 2, "row_length": 4, "truncation": truncation}
    preprocessor = TextPreprocessor(**options).fit(["a b c d e f g"])
    assert preprocessor.max_length_ == 2 and preprocessor.row_length_ == 4
    ids = preprocessor.transform(["a b c d e f g"]).ids
    assert "".join(preprocessor.vocabulary_[i] for i in ids) == kept
    assert head_length(truncation, 2) == read
    twin = TextPreprocessor(**options).set_state(*preprocessor.get_state())
    assert (twin.row_length_, twin.bucket_lengths_) == (4, preprocessor.bucket_lengths_)


def test_buckets_are_few_and_end_at_the_longest():
    lengths = np.random.default_rng(0).integers(0, 300, size=1000)
    buckets = choose_buckets(lengths, 300)
    assert len(buckets) == 8 and buckets[-1] == 300 and buckets == sorted(set(buckets))
    padded = np.array(buckets)[np.searchsorted(buckets, lengths)]
    assert (padded >= lengths).all()
    assert padded.sum() < 1.15 * lengths.sum()  # to 300 it would be twice as much
    assert choose_buckets(np.array([0, 3]), 1) == [1]
    assert choose_buckets(np.array([0, 3]), 50) == [4, 50]


def test_no_other_buckets_pad_less():
    random = np.random.default_rng(0)
    for _ in range(5):
        lengths = np.minimum(random.integers(1, 60, size=30), 50)
        tried = np.unique(-(-lengths // 4) * 4)
        tried = tried[tried < 50].tolist()
        padded = [
            np.take([*chosen, 50], np.searchsorted(chosen, lengths)).sum()
            for chosen in itertools.combinations(tried, min(7, len(tried)))
        ]
        found = choose_buckets(lengths, 50)
        assert np.take(found, np.searchsorted(found, lengths)).sum() == min(padded)


def test_buckets_know_that_steps_the_recurrence_does_not_read_are_cheap():
    lengths = np.array([10] * 50 + [20] * 50 + [*range(100, 800, 100)] * 9)
    assert choose_buckets(lengths, 800, read=40)[:2] == [12, 20]
    assert choose_buckets(lengths, 800)[0] == 20


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
