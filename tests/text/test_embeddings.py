"""Vectors from files: which word gives which token its vector, and broken files."""

import numpy as np
import pytest

from keras_seq.text.embeddings import read_embeddings
from keras_seq.text.normalization import Splitter, unicode_table

VOCABULARY = ["[PAD]", "[UNK]", "good", "paris", "的", "missing"]


def read(path, vocabulary=VOCABULARY, seed=0):
    normalize = Splitter(unicode_table(), "auto").normalize
    return read_embeddings(path, vocabulary, normalize, seed)


def write(folder, text, name="vectors.vec"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("header", ["", "4 2\n"])
@pytest.mark.parametrize("name", ["v.vec", "v.txt"])
def test_tokens_get_the_vectors_of_their_words(tmp_path, header, name):
    lines = "good 1 2\nParis 3 4\n的 5 6\nother 7 8\n"
    vectors, share = read(write(tmp_path, header + lines, name))
    assert share == 3 / 4
    assert vectors.shape == (6, 2)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[0], 0)
    np.testing.assert_array_equal(vectors[2:5], [[1, 2], [3, 4], [5, 6]])
    # What is drawn has the spread of what is known, and depends on the seed alone.
    assert np.isfinite(vectors).all()
    again, _ = read(tmp_path / name)
    np.testing.assert_array_equal(again, vectors)
    assert not np.array_equal(read(tmp_path / name, seed=1)[0][5], vectors[5])


def test_a_word_as_it_is_comes_before_one_that_is_only_alike(tmp_path):
    path = write(tmp_path, "PARIS 1 1\nparis 2 2\nParis 3 3\nGood 4 4\nGOOD 5 5\n")
    vectors, _ = read(path)
    np.testing.assert_array_equal(vectors[3], [2, 2])
    np.testing.assert_array_equal(vectors[2], [4, 4])  # the first, thus the commonest


def test_words_with_spaces_and_lines_that_end_in_them(tmp_path):
    vectors, _ = read(write(tmp_path, "good 1 2 \n. . 9 9\nparis 3 4 \r\n"))
    np.testing.assert_array_equal(vectors[2:4], [[1, 2], [3, 4]])


def test_drawn_vectors_are_spread_like_the_others(tmp_path):
    random = np.random.default_rng(0)
    known = random.normal(0.2, 3.0, (200, 8))
    vocabulary = ["[PAD]", "[UNK]", *(f"w{i}" for i in range(2000))]
    lines = [f"w{i} {' '.join(map(str, row))}" for i, row in enumerate(known)]
    vectors, _ = read(write(tmp_path, "\n".join(lines)), vocabulary)
    assert vectors[202:].std() == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("suffix", [".vocab", ".words", ".txt"])
def test_an_array_with_its_words_beside_it(tmp_path, suffix):
    np.save(tmp_path / "v.npy", np.arange(6.0).reshape(3, 2))
    write(tmp_path, "Good\r\nparis\nother\n", f"v{suffix}")
    vectors, share = read(tmp_path / "v.npy")
    assert share == 2 / 4
    np.testing.assert_array_equal(vectors[2:4], [[0, 1], [2, 3]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("good 1 2\nparis 1\n", "line 2 must be a word and 2 numbers.*'paris 1'"),
        ("good 1 2\nparis 1 x\n", "line 2 is no vector"),
        ("good 1 nan\n", "line 1 has NaN"),
        ("good\n", "line 1 must be a word and some numbers"),
        ("nothing 1 2\n", "a vector for none of the 4 tokens.*'good'"),
        ("", "a vector for none"),
    ],
)
def test_broken_files_are_told_by_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path, text))


def test_broken_arrays_are_told(tmp_path):
    path = tmp_path / "v.npy"
    with pytest.raises(ValueError, match="names no file"):
        read(path)
    with pytest.raises(ValueError, match=r"must end in \.vec, \.txt, \.npy"):
        read(write(tmp_path, "", "v.bin"))
    path.write_bytes(b"good 1 2")
    with pytest.raises(ValueError, match="is no array"):
        read(path)
    np.save(path, np.zeros((2, 2), int))
    with pytest.raises(ValueError, match="must hold floats.*int64"):
        read(path)
    np.save(path, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="needs its words beside it.*v.vocab"):
        read(path)
    write(tmp_path, "good\n", "v.vocab")
    with pytest.raises(ValueError, match="1 words, 2 rows"):
        read(path)
    write(tmp_path, "good\nparis\n", "v.vocab")
    np.save(path, np.full((2, 2), np.inf))
    with pytest.raises(ValueError, match="row 0 has NaN or infinity"):
        read(path)
