"""TextClassifier from raw strings to labels: learns, keeps types, saves, refuses."""

import time
from copy import copy

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError

import keras_seq
from keras_seq import TextClassifier
from keras_seq.text.corpus import Corpus, split_stratified

SMALL = {"units": 6, "embedding_dim": 8, "epochs": 2, "batch_size": 16}
# Quick to trace, for tests whose point is neither the network nor the refit.
PLAIN = {
    **SMALL,
    "cell": "rnn",
    "bidirectional": False,
    "max_length": 12,
    "refit_full": False,
    "ngrams": 0,  # the bag's large tables take time; SMALL has it
}


def make_texts(count=120, seed=0):
    """Which of two words comes first decides: a bag of words cannot tell."""
    random = np.random.default_rng(seed)
    fillers = ["the", "of", "and", "to", "in", "是", "了"]
    texts, labels = [], []
    for _ in range(count):
        words = list(random.choice(fillers, size=random.integers(2, 9)))
        first = bool(random.integers(2))
        places = sorted(random.choice(len(words) + 1, size=2, replace=False))
        pair = ["alpha", "omega"] if first else ["omega", "alpha"]
        words.insert(places[1], pair[1])
        words.insert(places[0], pair[0])
        texts.append(" ".join(words))
        labels.append("yes" if first else "no")
    return texts, labels


@pytest.fixture(scope="module")
def fitted():
    return TextClassifier(**SMALL).fit(*make_texts(), verbose=0)


@pytest.mark.slow
@pytest.mark.numeric
def test_learns_what_a_bag_of_words_cannot():
    texts, labels = make_texts(400)
    options = {"epochs": 15, "learning_rate": 0.01, "batch_size": 32, "dropout": 0.3}
    clf = TextClassifier(units=16, embedding_dim=16, **options)
    scores = clf.fit(texts, labels, verbose=0).evaluate(*make_texts(200, seed=1))
    assert scores["accuracy"] > 0.95
    assert scores["accuracy"] > scores["baselines"]["tfidf_logreg"]["accuracy"]
    assert scores["baselines"]["majority"]["accuracy"] < 0.6


@pytest.mark.numeric
def test_probabilities_and_labels(fitted):
    texts, _ = make_texts(70, seed=3)
    probabilities = fitted.predict_proba(texts)
    assert probabilities.shape == (70, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    predicted = fitted.predict(texts)
    np.testing.assert_array_equal(
        predicted, fitted.classes_[probabilities.argmax(axis=1)]
    )
    assert set(predicted) <= {"yes", "no"}


@pytest.mark.numeric
def test_a_text_s_answer_does_not_depend_on_its_company(fitted):
    texts, _ = make_texts(40, seed=4)
    alone = np.concatenate([fitted.predict_proba([text]) for text in texts])
    np.testing.assert_allclose(fitted.predict_proba(texts), alone, atol=1e-6)


@pytest.mark.numeric
def test_empty_and_unknown_texts_get_an_answer(fitted):
    probabilities = fitted.predict_proba(["", "zzz qqq", "\x00 \ud800"])
    assert np.isfinite(probabilities).all()
    np.testing.assert_array_equal(probabilities[0], probabilities[2])


@pytest.mark.numeric
@pytest.mark.parametrize("kind", [str, int, bool])
def test_save_and_load_keep_answers_and_types(tmp_path, kind):
    texts, labels = make_texts(60)
    typed = [{"yes": kind(1), "no": kind(0)}[label] for label in labels]
    clf = TextClassifier(**PLAIN).fit(texts, typed, verbose=0)
    clf.save(tmp_path / "clf.kseq")
    twin = keras_seq.load(tmp_path / "clf.kseq")
    unseen = [*make_texts(30, seed=5)[0], "words never seen", ""]
    np.testing.assert_allclose(
        twin.predict_proba(unseen), clf.predict_proba(unseen), atol=1e-6
    )
    answers = twin.predict(unseen).tolist()
    assert {type(answer) for answer in answers} == {kind}
    assert twin.vocabulary_ == clf.vocabulary_
    assert twin.get_params() == clf.get_params()
    assert twin.best_epoch_ == clf.best_epoch_
    pd.testing.assert_frame_equal(twin.history_, clf.history_)


def test_linear_model_is_not_saved_but_its_score_is(fitted, tmp_path):
    texts, labels = make_texts(30, seed=6)
    fitted.save(tmp_path / "clf.kseq")
    twin = TextClassifier.load(tmp_path / "clf.kseq")
    before, after = fitted.evaluate(texts, labels), twin.evaluate(texts, labels)
    stored = after["baselines"].pop("tfidf_logreg")
    assert stored.pop("on") == "validation"
    assert stored == fitted.validation_["baselines"]["tfidf_logreg"]
    assert "on" not in before["baselines"].pop("tfidf_logreg")
    assert after["log_loss"] == pytest.approx(before.pop("log_loss"), abs=1e-6)
    assert {k: v for k, v in after.items() if k != "log_loss"} == before


@pytest.mark.slow
@pytest.mark.numeric
def test_stacked_layers_survive_a_save(tmp_path):
    structure = {"units": [5, 4], "num_layers": 2, "cell": "gru", "pooling": "concat"}
    clf = TextClassifier(**{**PLAIN, **structure})
    texts, labels = make_texts(60)
    clf.fit(texts, labels, verbose=0).save(tmp_path / "clf.kseq")
    twin = TextClassifier.load(tmp_path / "clf.kseq")
    np.testing.assert_allclose(
        twin.predict_proba(texts), clf.predict_proba(texts), atol=1e-6
    )


def test_arguments_may_be_numpy_numbers(tmp_path):
    numbers = {"units": np.int64(6), "dropout": np.float32(0.1), "epochs": np.int32(1)}
    clf = TextClassifier(**{**PLAIN, **numbers}).fit(*make_texts(40), verbose=0)
    clf.save(tmp_path / "clf.kseq")
    assert TextClassifier.load(tmp_path / "clf.kseq").units == 6


@pytest.mark.numeric
def test_same_seed_same_weights_zero_is_a_seed():
    weights = []
    for seed in (0, 0, 1):
        clf = TextClassifier(**PLAIN, seed=seed).fit(*make_texts(60), verbose=0)
        weights.append(clf.model_.get_weights())
    for a, b in zip(weights[0], weights[1], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.allclose(weights[0][0], weights[2][0])


def test_accepts_series_and_arrays():
    texts, labels = make_texts(60)
    frame = pd.DataFrame({"text": texts, "label": pd.Categorical(labels)})
    clf = TextClassifier(**PLAIN).fit(frame["text"], frame["label"], verbose=0)
    np.testing.assert_array_equal(
        clf.predict(np.array(texts[:5])), clf.predict(tuple(texts[:5]))
    )


def test_validation_data_is_used_as_given():
    texts, labels = make_texts(80)
    # The plain network: nothing is chosen on the validation part afterwards.
    clf = TextClassifier(**PLAIN, calibration=None).fit(
        texts[:60], labels[:60], validation_data=(texts[60:], labels[60:]), verbose=0
    )
    assert clf.validation_["n"] == 20
    own = clf.evaluate(texts[60:], labels[60:])
    assert own["log_loss"] == pytest.approx(clf.validation_["log_loss"], rel=1e-5)
    best = clf.history_["val_log_loss"].min()
    assert own["log_loss"] == pytest.approx(best, rel=1e-4)
    assert (clf.history_["grad_norm_max"] >= clf.history_["grad_norm_mean"]).all()
    assert clf.history_["clipped_fraction"].between(0, 1).all()


def test_validation_does_not_reach_the_vocabulary():
    texts, labels = make_texts(80)
    clf = TextClassifier(**PLAIN)
    marked = [f"{text} only{index}" for index, text in enumerate(texts)]
    clf.fit(marked, labels, verbose=0)
    known = sum(word.startswith("only") for word in clf.vocabulary_)
    assert known == 72
    refitted = TextClassifier(**{**PLAIN, "refit_full": True}).fit(
        marked, labels, verbose=0
    )
    assert sum(word.startswith("only") for word in refitted.vocabulary_) == 80


def test_sample_weight_of_zero_leaves_a_text_out():
    texts, labels = make_texts(60)
    validation = make_texts(20, seed=8)
    wrong = [*labels, *["yes" if label == "no" else "no" for label in labels]]
    weights = [1.0] * 60 + [0.0] * 60
    options = {**PLAIN, "max_length": "auto", "dropout": 0.2, "learning_rate": 0.02}
    clf = TextClassifier(**{**options, "epochs": 20}, patience=20)
    clf.fit(
        [*texts, *texts],
        wrong,
        validation_data=validation,
        sample_weight=weights,
        verbose=0,
    )
    assert clf.evaluate(texts, labels)["accuracy"] > 0.9


def test_class_with_one_example_is_trained_on():
    texts, labels = make_texts(40)
    clf = TextClassifier(**PLAIN)
    with pytest.warns(UserWarning, match=r"trained on and not validated: \['lone'\]"):
        clf.fit([*texts, "a lone example"], [*labels, "lone"], verbose=0)
    assert clf.classes_.tolist() == ["lone", "no", "yes"]
    assert clf.validation_["n"] == 4


def test_copies_of_a_text_stay_on_one_side():
    texts, labels = make_texts(40)
    corpus = Corpus(texts * 3, np.arange(120) % 2, np.ones(120, np.float32))
    training, held = split_stratified(corpus, np.array(["no", "yes"]), 0.2, seed=0)
    assert len(held.texts) + len(training.texts) == 120
    assert len(held.texts) >= 3 * 8 and not set(held.texts) & set(training.texts)


def test_validation_part_is_stratified():
    targets = np.repeat([0, 1, 2], [700, 200, 100])
    texts = [f"text {index}" for index in range(1000)]
    corpus = Corpus(texts, targets, np.ones(1000, np.float32))
    training, held = split_stratified(corpus, np.array(list("abc")), 0.1, seed=0)
    np.testing.assert_array_equal(np.bincount(held.targets), [70, 20, 10])
    np.testing.assert_array_equal(np.bincount(training.targets), [630, 180, 90])


def test_each_class_of_two_texts_is_validated():
    targets = np.repeat([0, 1, 2, 3], [300, 100, 4, 2])
    texts = [f"text {index}" for index in range(406)]
    corpus = Corpus(texts, targets, np.ones(406, np.float32))
    for seed in range(5):
        parts = split_stratified(corpus, np.array(list("abcd")), 0.1, seed)
        training, held = (np.bincount(part.targets, minlength=4) for part in parts)
        assert training.all() and held.all() and held.sum() <= 43
        np.testing.assert_array_equal(training + held, [300, 100, 4, 2])


def test_scikit_learn_scores_it_as_a_classifier(fitted):
    texts, labels = make_texts(40, seed=1)
    accuracy = fitted.evaluate(texts, labels)["accuracy"]
    assert is_classifier(fitted) and fitted.score(texts, labels) == accuracy
    right = fitted.predict(texts) == np.array(labels)
    assert fitted.score(texts, labels, sample_weight=right + 0.0) == 1.0


def test_arguments_that_are_set_later_wait_for_the_next_fit(fitted, tmp_path):
    texts, _ = make_texts(10, seed=1)
    clf = copy(fitted).set_params(split="character", truncation="tail", ngram_length=1)
    clf.save(tmp_path / "clf.kseq")
    loaded = keras_seq.load(tmp_path / "clf.kseq")
    assert loaded.split == "auto" and loaded.truncation == "head"
    expected = fitted.predict_proba(texts)
    np.testing.assert_array_equal(loaded.predict_proba(texts), expected)
    in_numpy = keras_seq.numpy_runtime.load(tmp_path / "clf.kseq")
    np.testing.assert_allclose(in_numpy.predict_proba(texts), expected, atol=1e-5)


def test_texts_held_back_without_weight():
    texts, labels = make_texts(40)
    weights = np.zeros(40)
    weights[0] = 1.0
    with pytest.raises(ValueError, match=r"validated on: all 4 have 0.*1 of 40"):
        TextClassifier(**PLAIN).fit(texts, labels, sample_weight=weights, verbose=0)


def test_bad_validation_data():
    cases = [
        ((TEXTS, LABELS[:3]), r"validation_data\[0\]` and `validation_data\[1\]` must"),
        ((["a"], ["maybe"]), r"validation_data\[1\]` must be among the classes"),
        (TEXTS, r"must be a pair, \(texts, labels\)"),
    ]
    for data, message in cases:
        with pytest.raises(ValueError, match=message):
            TextClassifier(**PLAIN).fit(TEXTS, LABELS, validation_data=data, verbose=0)


def test_report_says_when_the_network_loses(capsys):
    texts, labels = make_texts(60)
    TextClassifier(**PLAIN).fit(texts, labels)
    out = capsys.readouterr().out
    assert "validation: accuracy" in out and "fit: epoch 2/2" in out
    assert out.startswith("texts: 54 to train on, 6 to validate on; ")
    assert "better than" in out or "NO BETTER than" in out


TEXTS, LABELS = make_texts(20)


@pytest.mark.parametrize(
    ("texts", "labels", "error", "message"),
    [
        ("one text", LABELS, TypeError, r"pass a list, \[text\]"),
        ([], [], ValueError, "at least one text"),
        (["a", None], ["x", "y"], ValueError, r"missing values. 1 of 2.*\{1: None\}"),
        (["a", float("nan")], ["x", "y"], ValueError, r"missing.*\{1: nan\}"),
        (["a", 3, 4.5], ["x", "y", "x"], TypeError, r"strings. 2 of 3.*\{1: 3, 2: 4.5"),
        (TEXTS, LABELS[:-1], ValueError, "same length.*20 texts, 19 labels"),
        (TEXTS, ["x"] * 20, ValueError, r"two classes. Received only: \['x'\]"),
        (TEXTS, [None] * 20, ValueError, "None or NaN in 20 rows"),
        (["a", "b"], ["x", "y"], ValueError, "too few to hold a stratified part"),
        (["a"] * 20, ["x", "y"] * 10, ValueError, "Received: 1 distinct texts"),
        (pd.Series(["a", pd.NA]), ["x", "y"], ValueError, "missing values. 1 of 2"),
        (TEXTS, [*LABELS[:-1], pd.NA], ValueError, "in 1 rows, the first: \\[19\\]"),
        (pd.DataFrame({"text": TEXTS}), LABELS, TypeError, "Received: DataFrame"),
        (None, LABELS, TypeError, "Received: NoneType"),
        (TEXTS, None, TypeError, "`labels` must be a list of labels. Received: None"),
    ],
)
def test_bad_input(texts, labels, error, message):
    with pytest.raises(error, match=message):
        TextClassifier(**PLAIN).fit(texts, labels, verbose=0)


def test_bad_input_to_a_fitted_one(fitted):
    with pytest.raises(TypeError, match="pass a list"):
        fitted.predict("one text")
    with pytest.raises(ValueError, match=r"among the classes.*Received: \['maybe'\]"):
        fitted.evaluate(["a"], ["maybe"])
    with pytest.raises(ValueError, match="same length"):
        fitted.evaluate(["a"], ["yes", "no"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0}, "`units` must be"),
        ({"epochs": 0}, "`epochs` must be"),
        ({"batch_size": 2.5}, "`batch_size` must be a whole number"),
        ({"cell": "lsmt"}, "Did you mean 'lstm'"),
        ({"dropout": 1}, r"`dropout` must be a number in \[0, 1\)"),
        ({"validation_split": 1.5}, "`validation_split` must be"),
        ({"max_tokens": 2}, "`max_tokens` must be"),
        ({"clipvalue": 1, "clipnorm": 1}, "exclude each other"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TextClassifier(**{**PLAIN, **arguments}).fit(TEXTS, LABELS, verbose=0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 2.0], "must hold 20 finite.*shape \\(2,\\)"),
        ([-1.0] * 20, "least -1"),
        ([0.0] * 20, "zeros only"),
    ],
)
def test_bad_sample_weight(weights, message):
    with pytest.raises(ValueError, match=message):
        TextClassifier().fit(TEXTS, LABELS, sample_weight=weights, verbose=0)


def test_plot_draws_training_or_confusion(fitted):
    assert fitted.plot().get_xlabel()
    texts, labels = make_texts(30, seed=7)
    right = np.mean(fitted.predict(texts) == np.array(labels))
    title = fitted.plot(texts, labels).get_title()
    assert title == f"Accuracy {right:.1%} of 30 examples"


def test_misspelt_argument_is_suggested():
    with pytest.raises(TypeError, match="'epoch'. Did you mean 'epochs'"):
        TextClassifier(epoch=3)


def test_not_fitted():
    with pytest.raises(NotFittedError, match="This TextClassifier is not fitted yet"):
        TextClassifier().predict(["a"])


def test_follows_scikit_learn_conventions():
    clf = TextClassifier(units=(3, 4), num_layers=2)
    assert clone(clf).get_params() == clf.get_params()


def test_a_fit_that_fails_leaves_an_unfitted_classifier():
    clf = TextClassifier(**SMALL).fit(*make_texts(60), verbose=0)
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        clf.fit(*make_texts(60), callbacks=[stop], verbose=0)
    with pytest.raises(NotFittedError):
        clf.predict(["alpha"])


def split_pairs(text):
    """Every two characters, as a segmenter of the user's might."""
    return [text[i : i + 2] for i in range(0, len(text), 2)]


def test_a_function_as_split_is_given_again_to_load(tmp_path):
    texts, labels = make_texts(60)
    clf = TextClassifier(**{**PLAIN, "max_length": 30}, split=split_pairs)
    clf.fit(texts, labels, verbose=0).save(tmp_path / "clf.kseq")
    assert all(len(token) <= 2 for token in clf.vocabulary_[2:])
    for load in (keras_seq.load, TextClassifier.load):
        twin = load(tmp_path / "clf.kseq", split=split_pairs)
        np.testing.assert_allclose(
            twin.predict_proba(texts), clf.predict_proba(texts), atol=1e-6
        )
        for given in ({}, {"split": "auto"}):
            message = r"a function as `split` \(.*split_pairs\).*load\(path, split="
            with pytest.raises(keras_seq.ArtifactError, match=message):
                load(tmp_path / "clf.kseq", **given)
    twin.save(tmp_path / "again.kseq")
    assert clone(clf).split is split_pairs


def test_what_is_in_the_file_cannot_be_replaced(fitted, tmp_path):
    fitted.save(tmp_path / "clf.kseq")
    with pytest.raises(ValueError, match="`split` is in .* and cannot be replaced"):
        keras_seq.load(tmp_path / "clf.kseq", split=str.split)


def test_report_counts_what_was_trained_on(fitted, tmp_path):
    texts, labels = make_texts()
    report = fitted.report_
    assert report.num_texts + report.num_validation_texts == 120
    for label in ("yes", "no"):
        parts = (report.class_counts, report.validation_class_counts)
        assert sum(part[label] for part in parts) == labels.count(label)
    assert report.longest <= 10 and report.unknown == 0
    fitted.save(tmp_path / "clf.kseq")
    assert keras_seq.load(tmp_path / "clf.kseq").report_ == report


def test_what_hurts_is_warned_of():
    texts, labels = make_texts(60)
    held = ([*texts[:3], "alpha omega beta"], [*labels[:3], "yes"])
    clf = TextClassifier(**{**PLAIN, "epochs": 1, "max_length": 4})
    with pytest.warns(UserWarning) as caught:
        clf.fit(texts, labels, validation_data=held, verbose=0)
    ours = [w for w in caught if w.category is UserWarning]
    found = [str(warning.message) for warning in ours]
    assert len(found) == 2 and all(w.filename == __file__ for w in ours)
    assert "longer than 4 tokens" in found[0] and "`max_length`" in found[0]
    assert "3 of the 4 texts of `validation_data` are training texts" in found[1]


def test_validation_data_without_a_class():
    texts, labels = make_texts(60)
    held = [text + " and" for text, label in zip(texts, labels, strict=True)]
    kept = [i for i in range(60) if labels[i] == "yes"]
    clf = TextClassifier(**PLAIN)
    with pytest.warns(UserWarning, match=r"1 of 2 classes have no text.*: 'no'\."):
        clf.fit(
            texts,
            labels,
            validation_data=([held[i] for i in kept], ["yes"] * len(kept)),
            verbose=0,
        )
    assert clf.validation_["n"] == len(kept)
    assert np.isfinite(clf.validation_["log_loss"])


# Texts that other programs choke on; each gets an answer, also in the baseline.
ODD = {
    "empty": "",
    "unknown words": "zzz qqq",
    "null bytes": "\x00alpha\x00omega\x00",
    "lone surrogates": "alpha \ud800\udfff omega \udc80",
    "right to left": "\u202bשָׁלוֹם alpha مَرْحَبًا\u202c",
    "combining": "ệ e\u0323\u0302 alpha\u0301\u0301\u0301 \u0301",
    "10 MB": "alpha the omega " * 650_000,
    "10 MB without a space": "alpha" * 2_000_000,
}


@pytest.mark.numeric
def test_odd_texts_are_trained_on_saved_and_answered(tmp_path):
    texts, labels = make_texts(60)
    odd = [text for name, text in ODD.items() if "10 MB" not in name]
    clf = TextClassifier(**PLAIN)
    clf.fit([*texts, *odd], [*labels, *["yes", "no"] * 3], verbose=0)
    clf.save(tmp_path / "clf.kseq")
    twin = keras_seq.load(tmp_path / "clf.kseq")
    assert twin.vocabulary_ == clf.vocabulary_
    assert not any("\ud800" in word for word in clf.vocabulary_)
    answers = clf.predict_proba(odd)
    assert np.isfinite(answers).all()
    np.testing.assert_allclose(twin.predict_proba(odd), answers, atol=1e-6)
    scores = clf.evaluate(odd, ["yes", "no"] * 3)
    assert 0 <= scores["baselines"]["tfidf_logreg"]["accuracy"] <= 1


def test_a_huge_text_is_cut_in_linear_time(fitted):
    huge = [ODD["10 MB"], ODD["10 MB without a space"]]
    longest = fitted.preprocessor_.row_length_
    head = " ".join(ODD["10 MB"].split()[:longest])
    started = time.process_time()
    answers = fitted.predict_proba(huge)
    assert time.process_time() - started < 30  # quadratic would take hours
    np.testing.assert_allclose(
        answers, fitted.predict_proba([head, "unknown"]), atol=1e-6
    )


@pytest.mark.numeric
def test_a_huge_text_is_trained_on():
    texts, labels = make_texts(60)
    clf = TextClassifier(**{**PLAIN, "epochs": 1})
    held = ([text + " and" for text in texts], labels)
    clf.fit([ODD["10 MB"], *texts], ["yes", *labels], validation_data=held, verbose=0)
    assert clf.report_.longest == 3 * 650_000
    assert clf.report_.truncated == pytest.approx(1 / 61)


@pytest.mark.filterwarnings("ignore:100.0% of the validation tokens")
@pytest.mark.parametrize("asked", [{"min_count": 1000}, {"split": lambda text: []}])
def test_no_token_left_is_said(asked):
    with pytest.raises(ValueError, match="No token .* is left.*`min_count`"):
        TextClassifier(**PLAIN, **asked).fit(*make_texts(), verbose=0)


def test_a_length_without_limit_is_refused():
    with pytest.raises(ValueError, match="`max_length` must be .* or 'auto'"):
        TextClassifier(**{**PLAIN, "max_length": None}).fit(*make_texts(), verbose=0)
