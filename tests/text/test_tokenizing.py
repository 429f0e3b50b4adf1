"""Tokens numbered: as a plain loop does it, by however many processes."""

import subprocess
import sys

import numpy as np
import pytest

from keras_seq import datasets
from keras_seq.text import tokenizing
from keras_seq.text.normalization import Splitter, unicode_table
from keras_seq.text.tokenizing import look_up, tokenize

pytestmark = pytest.mark.numeric

ODD = ["", "\x00\ud800", "好吃 Cafe\u0301…", "\n"]


@pytest.fixture(scope="module")
def texts():
    return [*ODD, *datasets.load_sms_spam()["text"].tolist()[:400], *ODD]


def by_pairs(text):
    return [text[i : i + 2] for i in range(0, len(text), 2)]


def assert_same(found, splitter, texts):
    rows = [splitter.tokens(text) for text in texts]
    flat = [token for row in rows for token in row]
    assert found.tokens == list(dict.fromkeys(flat))
    assert [found.tokens[i] for i in found.ids.tolist()] == flat
    assert found.lengths.tolist() == [len(row) for row in rows]
    assert found.ids.dtype == np.int32 and found.lengths.dtype == np.int64


@pytest.mark.parametrize("chunk", [1, 700, 10**9])
def test_matches_a_plain_loop(texts, chunk, monkeypatch):
    monkeypatch.setattr(tokenizing, "_CHUNK", chunk)
    splitter = Splitter(unicode_table(), "auto")
    assert_same(tokenize(splitter, texts), splitter, texts)
    assert_same(tokenize(splitter, []), splitter, [])


@pytest.mark.parametrize("least", [0, 10**9])
def test_looked_up_tokens_match_a_plain_loop(texts, least, monkeypatch):
    monkeypatch.setattr(tokenizing, "_LARGE", least)
    monkeypatch.setattr(tokenizing, "_cores", lambda: 2)
    splitter = Splitter(unicode_table(), "auto")
    known = {"to": 7, "好": 3, ".": 9}
    ids, lengths = look_up(splitter, texts, known, unknown=1)
    rows = [splitter.tokens(text) for text in texts]
    assert ids.tolist() == [known.get(token, 1) for row in rows for token in row]
    assert lengths.tolist() == [len(row) for row in rows]
    assert ids.dtype == np.int32


@pytest.mark.parametrize("split", ["auto", by_pairs, lambda text: text.split()])
def test_several_processes_give_the_same(texts, split, monkeypatch):
    def refuse(*_):
        raise AssertionError("The processes have failed.")

    monkeypatch.setattr(tokenizing, "_tokenize_here", refuse)
    splitter = Splitter(unicode_table(), split)
    assert_same(tokenize(splitter, texts, processes=3), splitter, texts)


def test_one_process_where_several_are_impossible(texts, monkeypatch):
    handle = open(__file__)  # no pickle takes this
    splitter = Splitter(unicode_table(), lambda text: handle and text.split())
    assert_same(tokenize(splitter, texts, processes=2), splitter, texts)
    handle.close()
    splitter = Splitter(unicode_table(), "auto")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert_same(tokenize(splitter, texts, processes=2), splitter, texts)


@pytest.mark.parametrize(
    "split", [lambda text: [len(text)], len, lambda text: text, lambda text: None]
)
def test_a_function_s_mistake_is_told_however_many_processes(split):
    splitter = Splitter(unicode_table(), split)
    with pytest.raises(TypeError, match="`split` must return a list of strings"):
        tokenize(splitter, ["a", "b"], processes=2)


def test_several_processes_for_large_inputs_alone(monkeypatch):
    choose = tokenizing._choose_processes
    monkeypatch.setattr(tokenizing, "_cores", lambda: 3)
    splitter = Splitter(unicode_table(), "auto")
    by_function = Splitter(unicode_table(), str.split)
    large, small = ["a" * 1_000_000] * 20, ["a"] * 1_000_000
    assert choose(splitter, large) == 3 and choose(splitter, small) == 1
    assert choose(by_function, large[:2]) == 3 and choose(by_function, small) == 1
    daemon = type("Daemon", (), {"daemon": True})
    monkeypatch.setattr(tokenizing.multiprocessing, "current_process", daemon)
    assert choose(splitter, large) == 1


def test_a_process_imports_no_backend():
    code = (
        "import sys, keras_seq.text.tokenizing;"
        "print([m for m in ('keras', 'tensorflow', 'jax', 'pandas', 'sklearn')"
        " if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
