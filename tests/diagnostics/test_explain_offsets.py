"""Tokens come from the characters that they say they come from."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq.diagnostics.explain_offsets import locate_tokens
from keras_seq.text.normalization import Splitter, unicode_table

TABLE = unicode_table()
SPLITTERS = {
    split: Splitter(TABLE, split) for split in ("auto", "whitespace", "character")
}
# What becomes several characters, one, or none; what composes; what stands alone.
ODD = (
    "éＡｂｃ①㍿½ﬁ²ªİßǰ가한글中文👨‍👩‍👧❤️'’ \u200b\u0301\u0323"
    "\u0307\u1161\u11a8ᄀ¨㏂a\u05b0\u05bc\ufb2c"
)
CHARACTERS = st.one_of(st.characters(), st.sampled_from(ODD))


@settings(max_examples=300, deadline=None)
@given(st.text(CHARACTERS, max_size=30), st.sampled_from(list(SPLITTERS)))
def test_tokens_are_the_splitters_and_lie_in_the_text(text, split):
    tokens, starts, ends = locate_tokens(SPLITTERS[split], text)
    assert tokens == SPLITTERS[split].tokens(text)
    assert (0 <= starts).all()
    assert (starts < ends).all()
    assert (ends <= len(text)).all()
    assert (np.diff(starts) >= 0).all()
    # What no token comes from makes none by itself.
    covered = np.zeros(len(text), bool)
    for start, end in zip(starts, ends, strict=True):
        covered[start:end] = True
    for character, inside in zip(text, covered, strict=True):
        assert inside or not SPLITTERS[split].tokens(character)


def test_known_places():
    text = "Ｆｕｌｌ e\u0301te\u0301 👨\u200d👩 don't ❤️ 中文 ﬁx"
    tokens, starts, ends = locate_tokens(SPLITTERS["auto"], text)
    found = {
        token: text[start:end]
        for token, start, end in zip(tokens, starts, ends, strict=True)
    }
    assert found == {
        "full": "Ｆｕｌｌ",
        "été": "e\u0301te\u0301",
        "👨": "👨\u200d",
        "👩": "👩",
        "dont": "don't",
        "❤": "❤️",
        "中": "中",
        "文": "文",
        "fix": "ﬁx",
    }


def test_one_character_that_becomes_several_tokens():
    tokens, starts, ends = locate_tokens(SPLITTERS["auto"], "a㍿b")
    assert tokens == ["a", "株", "式", "会", "社", "b"]
    assert starts.tolist() == [0, 1, 1, 1, 1, 2]
    assert ends.tolist() == [1, 2, 2, 2, 2, 3]


@settings(max_examples=100, deadline=None)
@given(st.text(CHARACTERS, max_size=30))
def test_a_function_that_keeps_and_one_that_changes_what_it_splits(text):
    words = Splitter(TABLE, lambda normal: re.findall(r"\S+", normal))
    tokens, starts, ends = locate_tokens(words, text)
    assert tokens == words.tokens(text)
    for token, start, end in zip(tokens, starts, ends, strict=True):
        # From the same characters alone comes at least this token.
        assert token in words.normalize([text[start:end]])[0]
    stems = Splitter(TABLE, lambda normal: [f"{w}#" for w in normal.split()])
    tokens, starts, ends = locate_tokens(stems, text)
    assert tokens == stems.tokens(text)
    assert ((starts < ends) & (ends <= len(text))).all()


def test_a_function_that_makes_tokens_of_nothing():
    splitter = Splitter(TABLE, lambda normal: ["<start>"])
    tokens, starts, ends = locate_tokens(splitter, "")
    assert (tokens, starts.tolist(), ends.tolist()) == (["<start>"], [0], [0])
    tokens, starts, ends = locate_tokens(splitter, "abc")
    assert (starts.tolist(), ends.tolist()) == ([0], [3])


@pytest.mark.parametrize("text", ["", " \n", "\u200d'"])
def test_texts_without_tokens(text):
    tokens, starts, ends = locate_tokens(SPLITTERS["auto"], text)
    assert (tokens, len(starts), len(ends)) == ([], 0, 0)
