"""Fingerprints: equal for equal data, whatever order a process gives its sets."""

import json

import numpy as np
import pandas as pd
import pytest

from keras_seq import TextClassifier
from keras_seq.fingerprint import check_fingerprint, fingerprint_fit, hash_data


def test_sets_have_no_order():
    assert list({0, 8}) != list({8, 0})  # as of now, in this version of Python
    assert hash_data([{0, 8}]) == hash_data([{8, 0}])
    assert hash_data([{0, 8}]) != hash_data([{0, 9}])
    assert hash_data([{"1"}]) != hash_data([{1}])


def test_frames_of_polars_are_compared_row_by_row():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"y": np.arange(1000.0)})
    changed = polars.DataFrame({"y": np.where(np.arange(1000) == 500, 0, frame["y"])})
    assert str(frame) == str(changed)  # shows the first and the last rows alone
    assert hash_data(frame) == hash_data(frame.clone()) != hash_data(changed)


def test_columns_of_lists_and_of_odd_text_are_compared_value_by_value():
    lists = pd.Series([["a"], ["b", "c"], []])
    assert hash_data(lists) == hash_data(lists.copy())
    assert hash_data(lists) != hash_data(pd.Series([["a"], ["b", "d"], []]))
    halves = pd.Series(["a \ud800", "b"], dtype=object)  # of a character
    assert hash_data(halves) != hash_data(halves.replace("b", "c"))
    frame = pd.DataFrame({"text": halves, "label": lists[:2], "n": [1, 2]})
    assert hash_data(frame) == hash_data(frame.copy())
    assert hash_data(frame) != hash_data(frame.assign(n=[1, 3]))
    with pytest.raises(TypeError, match="read once.*Received: generator"):
        hash_data(text for text in "ab")


def test_class_weights_of_numpy_s_labels_are_compared(tmp_path):
    path = tmp_path / "fit.json"
    for weight in (2.0, 3.0):
        clf = TextClassifier(class_weight={np.int64(1): weight})
        fingerprint = fingerprint_fit(clf, (["a"], [1]))
        if weight == 2.0:
            check_fingerprint(path, fingerprint, "checkpoint", "fit")
            assert json.loads(path.read_text())
    with pytest.raises(ValueError, match="params 'class_weight' was"):
        check_fingerprint(path, fingerprint, "checkpoint", "fit")


def test_paths_are_compared_by_what_is_in_the_files(tmp_path):
    (tmp_path / "pos").mkdir()
    file = tmp_path / "pos" / "1.txt"
    file.write_text("good")
    first, folder = hash_data((file,)), hash_data((tmp_path,))
    file = file.rename(tmp_path / "pos" / "2.txt")
    assert hash_data((file,)) == first and hash_data((tmp_path,)) == folder
    file.write_text("better")
    assert hash_data((file,)) != first and hash_data((tmp_path,)) != folder
    file.write_text("good")
    (tmp_path / "pos").rename(tmp_path / "neg")  # a folder's name may be a label
    assert hash_data((tmp_path,)) != folder
    assert hash_data((tmp_path / "none",)) != hash_data((tmp_path / "no",))
