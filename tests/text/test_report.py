"""TextReport: counts match a plain loop; warnings name the number and the argument."""

import json
import warnings

import numpy as np
import pytest

from keras_seq.text.preprocessing import TextPreprocessor
from keras_seq.text.report import TextReport, describe_texts

pytestmark = pytest.mark.numeric

CLASSES = np.array(["no", "yes"])
DEFAULTS = {"max_tokens": 20_000, "min_count": "auto", "truncation": "head"}


def describe(texts, held, targets=None, held_targets=None, classes=CLASSES, **options):
    preprocessor = TextPreprocessor(**options)
    tokens = preprocessor.tokenize(texts)
    preprocessor.learn(tokens)
    if targets is None:
        targets = np.arange(len(texts)) % 2
    if held_targets is None:
        held_targets = np.arange(len(held)) % 2
    return describe_texts(
        preprocessor,
        classes,
        (texts, tokens, np.array(targets)),
        (held, preprocessor.tokenize(held), np.array(held_targets)),
    )


def random_texts(count, seed):
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 6, size=count)
    return [" ".join(random.choice(list("abcdEF!"), n)) for n in lengths]


def test_matches_a_plain_loop():
    texts, held = random_texts(300, 0), [*random_texts(100, 1), "A  b", "x y z", "b a"]
    report = describe(texts, held, max_length=4, max_tokens=6)
    split = TextPreprocessor().fit(texts).tokens
    rows, held_rows = [split(t) for t in texts], [split(t) for t in held]
    lengths = sorted(len(row) for row in rows)
    vocabulary = TextPreprocessor(max_length=4, max_tokens=6).fit(texts).vocabulary_
    flat = [token for row in held_rows for token in row]
    assert report == TextReport(
        num_texts=300,
        num_tokens=sum(lengths),
        mean_length=pytest.approx(sum(lengths) / 300),
        median_length=(lengths[149] + lengths[150]) / 2,
        p95_length=lengths[285],
        longest=5,
        max_length=4,
        truncated=pytest.approx(lengths.count(5) / 300),
        num_empty=lengths.count(0),
        vocabulary_size=6,
        class_counts={"no": 150, "yes": 150},
        num_validation_texts=103,
        num_validation_empty=held_rows.count([]),
        validation_class_counts={"no": 52, "yes": 51},
        unknown=pytest.approx(sum(t not in vocabulary for t in flat) / len(flat)),
        num_copies=sum(text in texts for text in held),
        num_near_copies=sum(row in rows for row in held_rows if row),
    )
    assert report.num_copies != report.num_near_copies > 0


def test_order_makes_a_difference_and_empty_texts_are_no_copies():
    report = describe(["a b", "c", "", "B A c"], ["b a", "A B", "a", "\n", "b a C!"])
    assert (report.num_copies, report.num_near_copies) == (0, 1)


def test_texts_without_tokens_and_classes_by_label():
    targets = np.array([[1, 0], [1, 1], [0, 0]])
    report = describe(["", " ", "\x00"], [""], targets, [[1, 0]])
    assert report.class_counts == {"no": 2, "yes": 1}
    assert report.unknown == 0 and report.num_empty == 3 and report.longest == 0


def test_round_trip_and_what_it_shows():
    report = describe(["a b", "c"] * 20, ["a z"])
    values = json.loads(json.dumps(report.to_dict()))
    assert TextReport(**values) == report
    for shown in (repr(report), report.summary()):
        assert "50.0" in shown and "40" in shown
    assert len(report.summary().splitlines()) == 2
    assert report.summary().startswith("texts: 40 to train on, 1 to validate on; no 50")


def complaints(report, given=True, **params):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report.warn({**DEFAULTS, **params}, given)
    assert all(w.category is UserWarning for w in caught)
    assert all(w.filename == __file__ for w in caught)
    return [str(w.message) for w in caught]


def test_nothing_to_complain_of():
    texts = [f"{a} {b}" for a in "abcdefghij" for b in "abcdefghij"]
    assert complaints(describe(texts, [t + " a" for t in texts])) == []


def test_many_truncated():
    texts = ["a " * n for n in range(100)]
    (message,) = complaints(describe(texts, ["b a a a a"] * 2, max_length=88))
    assert message == (
        "11.0% of the training texts are longer than 88 tokens and truncated (keeping "
        "'head'). Raise `max_length` (95 % have up to 95 tokens), or choose what is "
        "kept: `truncation`."
    )
    assert complaints(describe(texts, ["b a a a a"] * 2, max_length=89)) == []


@pytest.mark.parametrize(
    ("params", "advice"),
    [
        ({"max_tokens": 4}, r"Raise `max_tokens` (now 4)."),
        ({"min_count": 2}, "Lower `min_count` (now 2), give more"),
        ({"min_count": 1}, "Give more training texts, or split into smaller"),
    ],
)
def test_many_unknown(params, advice):
    report = describe(["a b"] * 10, ["a x y z", "a x"], **params)
    (message,) = complaints(report, **params)
    assert message.startswith(
        "66.7% of the validation tokens are not in the vocabulary of 4. " + advice
    )


def test_copies_among_validation_texts():
    texts = [f"a {n} b" for n in range(40)]
    report = describe(texts, ["a 1 b", "A 2 B", *["b a"] * 34])
    (message,) = complaints(report)
    assert message == (
        "2 of the 36 texts of `validation_data` are training texts too (1 letter by "
        "letter), so its scores promise too much. Leave them out of either."
    )
    assert complaints(report, given=False) == []  # that few are chance
    report = describe(texts, [*[f"A {n} B" for n in range(6)], *["b a"] * 30])
    (message,) = complaints(report, given=False)  # the split knows letters alone
    assert message.startswith(
        "6 of the 36 texts held back for validation are training texts too, up to case"
    )
    assert complaints(describe(texts, ["a 1 b", *["b a"] * 34])) == []


def test_missing_and_rare_classes():
    texts, classes = ["a b", "b a", "b"] * 10, np.array(["x", "y", "z"])
    targets = [0] * 24 + [1] * 4 + [2] * 2
    report = describe(texts, ["b a b a"] * 2, targets, [0, 1], classes)
    assert complaints(report) == [
        "1 of 3 classes have no text in `validation_data`, so nothing is validated of "
        "them: 'z'.",
        "2 of 3 classes have fewer than 5 training texts: 'y', 'z'. Give more of them, "
        "or leave them out.",
    ]
    # The split has warned of "z" itself.
    (message,) = complaints(report, given=False)
    assert "1 of 3 classes have fewer than 5 training texts: 'y'." in message


def test_imbalance():
    texts = ["a b", "b a"] * 70
    report = describe(texts, ["b a b"] * 2, [1] * 134 + [0] * 6, [0, 1])
    fact = "Class 'yes' has 134 training texts and 'no' 6, 22 times fewer."
    advice = " Weigh the rarer ones more, with "
    assert complaints(report) == [f"{fact}{advice}`sample_weight`."]
    assert complaints(report, class_weight=None) == [
        f'{fact}{advice}class_weight="balanced".'
    ]
    assert complaints(report, class_weight="balanced") == []
    assert complaints(report, class_weight=None, multi_label=True) == [
        f"{fact}{advice}`sample_weight`."
    ]
    assert complaints(describe(texts, ["b a b"] * 2, [1] * 133 + [0] * 7, [0, 1])) == []
