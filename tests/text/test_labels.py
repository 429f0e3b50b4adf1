"""Labels and their weights: exact, refused where they make no sense."""

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.class_weight import compute_class_weight

from keras_seq.text.labels import (
    check_class_weight,
    check_label_lists,
    check_labels,
    encode_label_lists,
    encode_labels,
    learn_classes,
    learn_listed_classes,
    weigh_classes,
)

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize(
    "labels", [["b", "a", "b"], [3, -1, 3], [True, False, True]], ids=str
)
def test_categorical_labels_are_their_values(labels):
    column = pd.Categorical(labels)
    for given in (column, pd.Series(column), column.add_categories([])):
        values = check_labels(given)
        assert values == labels
        assert {type(value) for value in values} == {type(labels[0])}
    spare = pd.Categorical(["b", "a"], categories=["c", "b", "a"], ordered=True)
    assert learn_classes(check_labels(spare)).tolist() == ["a", "b"]
    with pytest.raises(ValueError, match=r"None or NaN in 1 rows, the first: \[1\]"):
        check_labels(pd.Categorical(["a", None]))


def test_balanced_weights_are_scikit_learn_s():
    targets = np.array([0, 0, 0, 0, 1, 2, 2])
    classes = np.array(["a", "b", "c"])
    found = weigh_classes("balanced", targets, np.ones(7), classes)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets)
    np.testing.assert_allclose(found, expected)


def test_a_text_of_weight_two_is_balanced_as_two():
    classes = np.array([1, 2, 3])
    targets, weights = np.array([0, 0, 1, 2]), np.array([2.0, 1.0, 1.0, 0.0])
    copies = np.array([0, 0, 0, 1])
    found = weigh_classes("balanced", targets, weights, classes)
    # The third class has no text that counts.
    expected = [4 / (3 * np.sum(copies == 0)), 4 / (3 * np.sum(copies == 1)), 1.0]
    np.testing.assert_allclose(found, expected)


def test_given_weights_are_by_label():
    classes = np.array([False, True])
    given = {np.True_: np.float32(2.5)}
    check_class_weight(given, classes)
    found = weigh_classes(given, np.array([0, 1]), np.ones(2), classes)
    np.testing.assert_array_equal(found, [1.0, 2.5])
    none = weigh_classes(None, np.array([0, 1]), np.ones(2), classes)
    np.testing.assert_array_equal(none, [1.0, 1.0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("balancd", "`class_weight` must be None.*Did you mean 'balanced'"),
        ([1.0, 2.0], r"or a dict \{label: weight\}. Received: class_weight=\[1.0, 2.0"),
        ({"a": 1.0, "z": 2.0}, r"`class_weight` must be among.*Received: \['z'\]"),
        ({1: 2.0}, r"among the classes.*Received: \[1\]"),
        ({"a": 0}, "finite numbers above 0. Received: 0 for the class 'a'"),
        ({"a": float("inf")}, "finite numbers above 0"),
        ({"a": True}, "finite numbers above 0"),
        ({"a": "much"}, "finite numbers above 0. Received: 'much'"),
    ],
)
def test_bad_class_weight(given, message):
    with pytest.raises(ValueError, match=message):
        check_class_weight(given, np.array(["a", "b"]))


def test_encodes_by_class():
    classes = np.array(["a", "b"])
    np.testing.assert_array_equal(encode_labels(["b", "a"], classes), [1, 0])


@pytest.mark.parametrize(
    "given",
    [
        [["b", "a"], [], ["c"]],
        [("b", "a"), (), ("c",)],
        [{"b", "a"}, set(), frozenset("c")],
        pd.Series([np.array(["b", "a"]), np.array([]), np.array(["c"])]),
        pd.Series([["b", "a"], [], ["c"]], index=[5, 6, 7]),
    ],
    ids=["lists", "tuples", "sets", "arrays", "series"],
)
def test_lists_of_labels(given):
    lists = check_label_lists(given)
    assert [sorted(labels) for labels in lists] == [["a", "b"], [], ["c"]]
    classes = learn_listed_classes(lists)
    assert classes.tolist() == ["a", "b", "c"]
    targets = encode_label_lists(lists, classes)
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, [[1, 1, 0], [0, 0, 0], [0, 0, 1]])


def test_numbers_as_labels_keep_their_type():
    lists = check_label_lists([np.array([7, 3]), [np.int64(3)], []])
    assert lists == [[7, 3], [3], []]
    assert all(type(label) is int for labels in lists for label in labels)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("ab", TypeError, "a list of labels per text. Received: 'ab'"),
        (["a", "b"], TypeError, r"2 of 2 rows break this.*\{0: 'a', 1: 'b'\}"),
        ([["a"], None], TypeError, r"\[\] for none.*1 of 2 rows.*\{1: None\}"),
        ([["a"], {"b": 1}], TypeError, "1 of 2 rows"),
        (np.eye(3), TypeError, "a table of 0 and 1 has no names.*Received: ndarray"),
        (pd.DataFrame({"a": [1]}), TypeError, "no names.*Received: DataFrame"),
        ([[1, 0, 1]], ValueError, r"twice; a row of 0 and 1.*row 0: \[1, 0, 1\]"),
        ([["a"], ["a", None]], ValueError, "None or NaN in row 1"),
        ([["a"], [1]], TypeError, r"Received: \['int', 'str'\]"),
        ([[True], [False]], TypeError, r"Received: \['bool'\]"),
        ([[["a"]]], TypeError, r"Received: \['list'\]"),
    ],
)
def test_bad_lists_of_labels(given, error, message):
    with pytest.raises(error, match=message):
        check_label_lists(given)


def test_lists_in_a_column_of_polars():
    polars = pytest.importorskip("polars")
    assert check_label_lists(polars.Series([["b"], [], ["a", "b"]])) == [
        ["b"],
        [],
        ["a", "b"],
    ]


def test_labels_that_numpy_would_shorten():
    with pytest.raises(ValueError, match=r"in null characters. Received: 'b\\x00'"):
        learn_classes(["a", "b\0"])
    with pytest.raises(ValueError, match="`labels` must not end in null"):
        learn_listed_classes([["a\0"], []])
    assert learn_classes(["a", "\0b", ""]).tolist() == ["", "\0b", "a"]


def test_no_label_at_all():
    with pytest.raises(ValueError, match="at least one label. Received: none"):
        learn_listed_classes([[], []])


def test_lists_name_the_argument_they_need():
    with pytest.raises(TypeError, match=r"give multi_label=True. Received: \['a'\]"):
        check_labels([["a"], ["b", "c"]])


def test_unknown_labels_of_a_list():
    with pytest.raises(ValueError, match=r"among the classes.*Received: \['z'\]"):
        encode_label_lists([["a", "z"]], np.array(["a", "b"]))
