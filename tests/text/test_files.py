"""A classifier of texts in files is the one of the same rows in lists."""

import json
import tracemalloc
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from keras_seq import TextClassifier
from keras_seq.text.inputs import check_input
from keras_seq.text.preprocessing import TextPreprocessor
from keras_seq.text.report import describe_texts
from tests.text.test_classifier import PLAIN, make_texts

FORMATS = (".csv", ".csv.gz", ".jsonl.gz", ".parquet", "folder")
WHOLE = {**PLAIN, "refit_full": True}
WEIGHTS = np.linspace(0.5, 1.5, 120)


def make_rows(count=120, seed=0):
    """Copies, an empty text, and what needs quotes, among the others; label by label.

    A folder has its rows in this order.
    """
    texts, labels = make_texts(count, seed)
    texts[3], labels[3] = texts[-1], labels[-1]
    texts[7], texts[9] = 'alpha, "omega"\nand 好的', ""
    order = np.argsort(labels, kind="stable")
    return [texts[row] for row in order], [labels[row] for row in order]


def write(folder, kind, texts, labels, name="rows"):
    path = folder / f"{name}{kind}"
    frame = pd.DataFrame({"text": texts, "label": labels})
    if kind == "folder":
        for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
            (path / label).mkdir(parents=True, exist_ok=True)
            (path / label / f"{row:04d}.txt").write_text(text, encoding="utf-8")
    elif ".csv" in kind:
        frame.to_csv(path, index=False)
    elif kind == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=True)
    return path


def assert_same(a, b):
    for ours, theirs in zip(
        a.model_.get_weights(), b.model_.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert a.vocabulary_ == b.vocabulary_
    assert a.validation_ == b.validation_
    columns = a.history_.columns.drop("seconds")
    pd.testing.assert_frame_equal(a.history_[columns], b.history_[columns])


@pytest.fixture(scope="module")
def fitted():
    return TextClassifier(**WHOLE).fit(*make_rows(), sample_weight=WEIGHTS, verbose=0)


@pytest.fixture(scope="module", params=FORMATS)
def pair(request, fitted, tmp_path_factory):
    """One fitted to files, split and refit included; and where new rows are."""
    folder = tmp_path_factory.mktemp("rows")
    path = write(folder, request.param, *make_rows())
    clf = TextClassifier(**WHOLE).fit(path, sample_weight=WEIGHTS, verbose=0)
    return clf, write(folder, request.param, *make_rows(70, seed=1), name="new")


def test_weights_and_scores_are_those_of_lists(pair, fitted):
    assert_same(pair[0], fitted)


def test_answers_are_those_of_lists(pair, fitted):
    texts, labels = make_rows(70, seed=1)
    expected = fitted.predict_proba(texts)
    for given in (pair[1], str(pair[1])):
        np.testing.assert_array_equal(pair[0].predict_proba(given), expected)
    np.testing.assert_array_equal(pair[0].predict(pair[1]), fitted.predict(texts))
    twice = pair[0].predict_proba([pair[1], pair[1]])
    np.testing.assert_allclose(twice, np.concatenate([expected, expected]), atol=1e-6)
    assert pair[0].evaluate(pair[1]) == fitted.evaluate(texts, labels)


def test_validation_data_in_files(tmp_path):
    rows, held = make_rows(), make_rows(40, seed=2)
    a = TextClassifier(**PLAIN).fit(*rows, validation_data=held, verbose=0)
    files = [write(tmp_path, kind, *held) for kind in (".csv", ".parquet")]
    b = TextClassifier(**PLAIN).fit(*rows, validation_data=files[0], verbose=0)
    assert_same(a, b)
    path = write(tmp_path, ".jsonl", *rows)
    c = TextClassifier(**PLAIN).fit(path, validation_data=[files[1]], verbose=0)
    assert_same(a, c)


@pytest.mark.slow
def test_numbers_as_labels(tmp_path):
    texts, labels = make_rows()
    numbers = [int(label == "yes") for label in labels]
    path = write(tmp_path, ".csv", texts, numbers)
    clf = TextClassifier(**PLAIN).fit(path, verbose=0)
    assert clf.classes_.tolist() == [0, 1]
    words = TextClassifier(**PLAIN).fit(texts, [str(n) for n in numbers], verbose=0)
    assert words.evaluate(path)["accuracy"] == clf.evaluate(path)["accuracy"]


def test_skipped_rows_are_those_that_were_never_there(tmp_path):
    texts, labels = make_rows()
    path = write(tmp_path, ".csv", texts, labels)
    with open(path, "a", encoding="utf-8") as file:
        file.write("one,two,three\nno label,\n")
    options = {"on_bad_rows": "skip", "verbose": 0}
    with pytest.warns(UserWarning, match="^2 bad rows were skipped, the first") as told:
        clf = TextClassifier(**PLAIN).fit(path, **options)
    assert sum("skipped" in str(warning.message) for warning in told) == 1
    assert_same(clf, TextClassifier(**PLAIN).fit(texts, labels, verbose=0))
    with pytest.warns(UserWarning, match="^1 bad rows were skipped"):
        assert len(clf.predict(path, on_bad_rows="skip")) == 121
    with pytest.raises(ValueError, match="line 12.: it has 3 fields"):
        clf.predict(path)


def test_baseline_draws_the_same_texts(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_seq.text.baseline.MAX_ROWS", 40)
    rows = make_rows()
    a = TextClassifier(**PLAIN).fit(*rows, verbose=0)
    b = TextClassifier(**PLAIN).fit(write(tmp_path, ".csv", *rows), verbose=0)
    assert_same(a, b)
    np.testing.assert_array_equal(
        a._baselines.linear[-1].coef_, b._baselines.linear[-1].coef_
    )


def test_checkpoint_goes_on_with_the_same_contents(tmp_path, fitted):
    class Crash(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise ZeroDivisionError

    rows, folder = make_rows(), tmp_path / "checkpoint"
    path = write(tmp_path, ".csv", *rows)
    options = {"sample_weight": WEIGHTS, "checkpoint": folder, "verbose": 0}
    with pytest.raises(ZeroDivisionError):
        TextClassifier(**WHOLE).fit(path, callbacks=[Crash()], **options)
    assert (folder / "fit.npz").exists()
    other = write(tmp_path, ".csv", rows[0][::-1], rows[1][::-1], name="other")
    with pytest.raises(ValueError, match="holds another fit.*the data differ"):
        TextClassifier(**WHOLE).fit(other, **options)
    moved = path.rename(tmp_path / "moved.csv")
    moved.touch()
    assert_same(TextClassifier(**WHOLE).fit(moved, **options), fitted)


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_seq.text.sources.CHUNK_CHARACTERS", 1 << 18)
    monkeypatch.setattr("keras_seq.text.streaming.BLOCK_CHARACTERS", 1 << 18)
    monkeypatch.setattr("keras_seq.text.tokenizing._PART", 1 << 12)
    random = np.random.default_rng(0)
    words = ["".join(random.choice([*"abcdefgh"], 100)) for _ in range(500)]
    path, rows = tmp_path / "rows.csv", 10_000
    with open(path, "w", encoding="utf-8") as file:
        file.write("text,label\n")
        for row in range(rows):
            drawn = random.integers(len(words), size=20)
            file.write(f"{' '.join(words[word] for word in drawn)},{row % 2}\n")
    assert path.stat().st_size > 20e6
    preprocessor = TextPreprocessor().fit(["before"])  # the table of characters
    tracemalloc.start()
    try:
        texts, labels = check_input(path, None)
        tokens = preprocessor.tokenize(texts)
        ids = preprocessor.learn(tokens).encode(tokens)
        report = describe_texts(
            preprocessor, np.array([0, 1]), *[(texts, tokens, np.array(labels))] * 2
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(labels) == rows and ids.ids.size == 20 * rows
    assert report.num_copies == report.num_near_copies == rows
    # A chunk as texts and tokens, and for each row its label, length, start and hashes;
    # ids alone are 800 kB.
    assert peak < 4e6


def test_columns_are_of_files(fitted, tmp_path):
    rows = make_rows()
    for name, value in [("text_col", "a"), ("label_col", "b"), ("on_bad_rows", "skip")]:
        message = f"`{name}` is of files.*{name}={value!r}"
        with pytest.raises(ValueError, match=message):
            TextClassifier(**PLAIN).fit(*rows, **{name: value})
        with pytest.raises(ValueError, match=message):
            fitted.evaluate(*rows, **{name: value})
    path = write(tmp_path, ".csv", *rows)
    with pytest.raises(ValueError, match="no column 'txt'.*Did you mean 'text'"):
        fitted.predict(path, text_col="txt")
    other = write(tmp_path, ".jsonl", ["a", "b"], ["yes", "maybe"])
    with pytest.raises(ValueError, match="rows.jsonl, line 2: .*Received: 'maybe'"):
        fitted.evaluate(other)
    with pytest.raises(ValueError, match="must hold 120 finite numbers"):
        TextClassifier(**PLAIN).fit(path, sample_weight=[1.0])


def test_names_of_files_in_a_list_are_texts(fitted):
    with pytest.warns(UserWarning, match="A list of strings is texts.*pathlib.Path"):
        assert len(fitted.predict(["a.csv", "b.csv"])) == 2
    assert len(fitted.predict(["a.csv", "and more"])) == 2
    with pytest.raises(TypeError, match=r"need `labels`.*Path\('a.csv'\)"):
        TextClassifier(**PLAIN).fit(["a.csv", "b.csv"])


def test_a_folder_of_texts_to_label(fitted, tmp_path):
    texts = make_rows(20, seed=3)[0]
    for row, text in enumerate(texts):
        Path(tmp_path, f"{row:02d}.txt").write_text(text, encoding="utf-8")
    np.testing.assert_array_equal(
        fitted.predict_proba(tmp_path), fitted.predict_proba(texts)
    )
    with pytest.raises(ValueError, match="folder without subfolders"):
        fitted.evaluate(tmp_path)


QUICK = {**PLAIN, "epochs": 1}


def test_several_labels_are_those_of_lists(tmp_path):
    texts, labels = make_rows()
    lists = [
        [label] * bool(row % 5) + ["long"] * (len(text) > 25)
        for row, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]
    expected = TextClassifier(**QUICK, multi_label=True)
    expected.fit(texts, lists, verbose=0)
    found = TextClassifier(**QUICK, multi_label=True)
    path = write(tmp_path, ".jsonl", texts, lists)
    assert_same(found.fit(path, verbose=0), expected)
    cells = ["; ".join(given) for given in lists]
    table = write(tmp_path, ".csv", texts, cells)
    assert found.evaluate(table, label_sep=";") == expected.evaluate(texts, lists)
    assert found.predict(table) == expected.predict(texts)


def test_folds_of_files_are_those_of_lists(tmp_path):
    rows = make_rows(60)
    path = write(tmp_path, ".csv", *rows)
    clf = TextClassifier(**QUICK)
    folds = list(clf.split_folds(3, path))
    expected = list(clf.split_folds(3, *rows))
    for (ours, held), (theirs, their_held) in zip(folds, expected, strict=True):
        for (texts, labels), given in [
            (ours, theirs),
            (held["validation_data"], their_held["validation_data"]),
        ]:
            assert (list(texts), labels) == given
    (kept, held), (lists, held_lists) = folds[0], expected[0]
    clf.fit(*kept, **held, verbose=0)
    assert_same(clf, TextClassifier(**QUICK).fit(*lists, **held_lists, verbose=0))


def test_a_class_that_the_file_to_validate_on_does_not_have(tmp_path):
    rows = make_rows(60)
    held = write(tmp_path, ".csv", ["alpha", "alpha omega and more"], ["yes", "yes"])
    with pytest.warns(UserWarning, match=r"1 of 2 classes have no text.*: 'no'\."):
        TextClassifier(**QUICK).fit(*rows, validation_data=held, verbose=0)
    other = write(tmp_path, ".csv", ["alpha"], ["maybe"], name="other")
    with pytest.raises(ValueError, match="other.csv, line 2: the label must be among"):
        TextClassifier(**QUICK).fit(*rows, validation_data=other, verbose=0)


def test_odd_texts_in_files_get_the_answers_of_lists(fitted, tmp_path):
    texts = ["a\0b\0", "lone \ud800 surrogate", "", "alpha the omega " * 650_000]
    path = tmp_path / "odd.jsonl"
    rows = [{"text": text, "label": "yes"} for text in texts]
    path.write_text("\n".join(map(json.dumps, rows)))
    np.testing.assert_array_equal(
        fitted.predict_proba(path), fitted.predict_proba(texts)
    )
    assert fitted.evaluate(path) == fitted.evaluate(texts, ["yes"] * 4)


def test_a_folder_for_ids_without_room_is_named(fitted, tmp_path, monkeypatch):
    class Full:
        def write(self, _):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    path = write(tmp_path, ".csv", *make_rows())
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Full())
    with pytest.raises(OSError, match="No space left.*written to .*; set TMPDIR to"):
        fitted.predict(path)
