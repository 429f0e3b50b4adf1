"""What a fit starts from: vectors, a language model, itself; long texts in chunks."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from keras_seq import TextClassifier, load, tune
from keras_seq.text.corpus import Corpus
from keras_seq.text.fitting import warn_of_seen
from keras_seq.text.pretraining import Pretrained
from keras_seq.training.checkpoint import TrainingState
from keras_seq.tuning.default_space import default_space

SMALL = {
    "units": 4,
    "embedding_dim": 6,
    "epochs": 2,
    "batch_size": 16,
    "baseline": False,
    "min_count": 1,
    "ngrams": 0,
    "refit_full": False,
    "seed": 0,
}


def make_texts(count=120, seed=0):
    random = np.random.default_rng(seed)
    words = np.array(["good", "bad", "film", "of", "the", "not", "a"])
    lengths = random.integers(3, 12, count)
    texts = [" ".join(random.choice(words, size=n)) for n in lengths]
    return texts, ["yes" if "good" in text.split() else "no" for text in texts]


def make(**changed):
    return TextClassifier(**{**SMALL, **changed})


class First(keras.callbacks.Callback):
    """The weights each training begins with."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_begin(self, logs=None):
        layers = ("embedding", "encoder")
        model = self.model
        self.weights.append({n: model.get_layer(n).get_weights() for n in layers})


def same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_pretraining_is_where_both_trainings_start(tmp_path):
    texts, labels = make_texts()
    others = [f"{text} zebra" for text in texts]  # a word that only they have
    clf, first = make(ngrams=2, refit_full=True), First()
    assert clf.pretrain(others, epochs=2, verbose=0) is clf
    learned = clf.pretrained_
    assert isinstance(learned, Pretrained)
    assert len(learned.history) == 2
    clf.fit(texts, labels, callbacks=[first], verbose=0)
    assert clf.vocabulary_ == learned.vocabulary
    assert "zebra" in clf.vocabulary_
    for start in first.weights:
        same(start["embedding"], [learned.embedding])
        same(start["encoder"], [w for stack in learned.encoders for w in stack[0]])
    assert len(first.weights) == 2
    again = make().pretrain(others, epochs=2, verbose=0).pretrained_
    same(again.arrays, learned.arrays)
    clf.save(tmp_path / "a.kseq")
    loaded = load(tmp_path / "a.kseq")
    np.testing.assert_array_equal(loaded.predict_proba(texts), clf.predict_proba(texts))


def test_a_network_that_was_not_pretrained_so_is_refused():
    texts, labels = make_texts()
    clf = make().pretrain(texts, epochs=1, verbose=0).set_params(units=5)
    with pytest.raises(ValueError, match=r"called with units=4.*Received: units=5"):
        clf.fit(texts, labels, verbose=0)
    clf.set_params(units=4, embedding_dim=7)
    with pytest.raises(ValueError, match=r"embedding_dim=6.*Received: embedding_dim=7"):
        clf.fit(texts, labels, verbose=0)
    clf.set_params(embedding_dim=6, split="character")
    with pytest.raises(ValueError, match="split='auto'.*Received: split='character'"):
        clf.fit(texts, labels, verbose=0)
    with pytest.raises(ValueError, match="needs a recurrent `cell`"):
        make(cell="transformer").pretrain(texts, verbose=0)
    with pytest.raises(ValueError, match="`texts` must not have missing values"):
        make().pretrain(["a", None], verbose=0)


@pytest.mark.slow
def test_pretraining_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    texts, _ = make_texts()
    options = {"epochs": 3, "patience": 3, "verbose": 0}
    whole = make().pretrain(texts, **options).pretrained_
    options["checkpoint"] = tmp_path
    write = TrainingState.write

    def write_and_die(state, path):
        write(state, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainingState, "write", write_and_die)
        make().pretrain(texts, **options)
    for _ in range(2):  # the second time there is nothing left to do
        again = make().pretrain(texts, **options).pretrained_
        same(again.arrays, whole.arrays)
    with pytest.raises(ValueError, match="another fit"):
        make(seed=1).pretrain(texts, **options)


def test_clones_keep_what_was_pretrained_and_a_search_keeps_to_it():
    clf = make(units=3)
    shared = {"units": 3, "cell": "lstm"}
    clf.pretrained_ = Pretrained(["a"], shared, np.zeros((1, 6)), [], [], None)
    assert clone(clf).pretrained_ is clf.pretrained_
    space = default_space(clf, make_texts())
    assert "dropout" in space and not {"units", "cell", "max_tokens"} & set(space)


@pytest.mark.slow
def test_a_search_starts_its_trials_from_what_was_pretrained(tmp_path):
    texts, labels = make_texts()
    clf = make(units=3).pretrain(texts, epochs=1, verbose=0)
    first = First()
    clone(clf).set_params(dropout=0.1).fit(texts, labels, callbacks=[first], verbose=0)
    same(first.weights[0]["embedding"], [clf.pretrained_.embedding])
    options = {"directory": tmp_path, "executor": None, "max_trials": 1, "verbose": 0}
    tune(clf, texts, labels, space={"dropout": [0.1, 0.2]}, **options)
    clf.pretrained_ = replace(clf.pretrained_, embedding=clf.pretrained_.embedding + 1)
    with pytest.raises(ValueError, match="data differ"):
        tune(clf, texts, labels, space={"dropout": [0.1, 0.2]}, **options)


@pytest.mark.slow
def test_a_checkpoint_is_of_one_pretraining(tmp_path):
    texts, labels = make_texts()
    clf = make().pretrain(texts, epochs=1, verbose=0)

    class Crash(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise RuntimeError

    options = {"verbose": 0, "checkpoint": tmp_path}
    with pytest.raises(RuntimeError):
        clf.fit(texts, labels, callbacks=[Crash()], **options)
    other = make().pretrain(texts, epochs=2, verbose=0)
    with pytest.raises(ValueError, match="data"):
        other.fit(texts, labels, **options)


@pytest.mark.slow
@pytest.mark.numeric
def test_word_vectors_are_where_the_embedding_starts(tmp_path):
    path = tmp_path / "v.vec"
    path.write_text("Good 1 2 3 4 5\nbad 5 4 3 2 1\n", encoding="utf-8")
    texts, labels = make_texts()
    first = First()
    clf = make(embeddings=path, embedding_dim="auto")
    clf.fit(texts, labels, callbacks=[first], verbose=0)
    (start,) = first.weights[0]["embedding"]
    ids = {token: number for number, token in enumerate(clf.vocabulary_)}
    same(start[[ids["good"], ids["bad"]]], [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]])
    clf.save(tmp_path / "a.kseq")
    path.unlink()  # it is not needed any more
    loaded = load(tmp_path / "a.kseq")
    np.testing.assert_array_equal(loaded.predict_proba(texts), clf.predict_proba(texts))
    with pytest.raises(ValueError, match="names no file"):
        clf.fit(texts, labels, verbose=0)
    assert loaded.embeddings == str(path)
    loaded.set_params(warm_start=True, epochs=1)
    given = {"validation_data": (texts[:20], labels[:20]), "verbose": 0}
    with pytest.warns(UserWarning, match="are training texts too"):
        loaded.fit(texts, labels, **given)
    with pytest.raises(ValueError, match=r"'auto' or 5 with `warm_start`.*dim=7"):
        loaded.set_params(embedding_dim=7).fit(texts, labels, **given)


def test_a_size_that_is_not_the_vectors_is_refused(tmp_path):
    path = tmp_path / "v.vec"
    path.write_text("good 1 2 3\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"'auto' or 3.*Received: embedding_dim=6"):
        make(embeddings=path).fit(*make_texts(), verbose=0)


@pytest.mark.slow
@pytest.mark.numeric
def test_a_warm_start_goes_on_from_the_weights_there_are():
    texts, labels = make_texts()
    clf, first = make(warm_start=True), First()
    clf.fit(texts, labels, verbose=0)
    before, vocabulary = clf.model_.get_weights(), clf.vocabulary_
    others, more = make_texts(seed=1)
    others = [f"{text} zebra" for text in others]
    clf.fit(others, more, callbacks=[first], verbose=0)
    assert clf.vocabulary_ == vocabulary
    for start in first.weights:
        same([*start["embedding"]], before[:1])
    clf.set_params(warm_start=False).fit(texts, labels, callbacks=[first], verbose=0)
    assert not np.array_equal(first.weights[-1]["embedding"][0], before[0])


def test_a_warm_start_tells_that_validation_texts_were_learned_from():
    texts, labels = make_texts(40)
    clf = make(warm_start=True, epochs=1, cell="rnn", bidirectional=False)
    for _ in range(2):  # what is held back is so both times
        clf.fit(texts, labels, verbose=0)
    clf.partial_fit(texts, labels)
    seen = clf._seen
    with pytest.warns(UserWarning, match="have learned from 4 of the 4 texts"):
        clf.fit(texts, labels, verbose=0)
    np.testing.assert_array_equal(clf._seen, seen)
    assert clf.__getstate__()["_seen"] is None  # another process hashes otherwise
    held = Corpus(texts[:2], np.array([0, 1]), np.ones(2))
    with pytest.warns(UserWarning, match="may have learned from the 2 texts"):
        warn_of_seen(held, None)


@pytest.mark.slow
def test_a_warm_start_that_fails_leaves_what_there_was():
    texts, labels = make_texts()
    clf = make(warm_start=True).fit(texts, labels, verbose=0)
    answers = clf.predict_proba(texts)
    with pytest.raises(ValueError, match="perhaps"):
        clf.fit(texts, [*labels[:-1], "perhaps"], verbose=0)
    np.testing.assert_array_equal(clf.predict_proba(texts), answers)
    clf.set_params(units=5)
    with pytest.raises(ValueError, match="`warm_start` needs the network"):
        clf.fit(texts, labels, verbose=0)
    np.testing.assert_array_equal(clf.predict_proba(texts), answers)


@pytest.mark.numeric
def test_partial_fit_learns_new_texts_and_keeps_vocabulary_and_classes():
    texts, labels = make_texts()
    clf = make(learning_rate=0.02).fit(texts, labels, verbose=0)
    vocabulary, epochs = clf.vocabulary_, len(clf.history_)
    turned = ["yes" if label == "no" else "no" for label in labels]
    before = clf.evaluate(texts, turned)["accuracy"]
    assert clf.partial_fit(texts, turned, epochs=20) is clf
    assert clf.evaluate(texts, turned)["accuracy"] > before + 0.3
    assert clf.vocabulary_ == vocabulary
    assert clf.history_["epoch"].tolist() == list(range(1, epochs + 21))


def test_what_partial_fit_learned_is_saved(tmp_path):
    texts, labels = make_texts()
    clf = make().fit(texts, labels, verbose=0).partial_fit(texts[:9], labels[:9])
    clf.save(tmp_path / "clf.kseq")
    again = load(tmp_path / "clf.kseq")
    np.testing.assert_array_equal(again.predict_proba(texts), clf.predict_proba(texts))
    pd.testing.assert_frame_equal(again.history_, clf.history_)  # with its gaps


def test_partial_fit_says_what_is_wrong_and_loses_nothing():
    texts, labels = make_texts()
    with pytest.raises(NotFittedError):
        make().partial_fit(texts, labels)
    clf = make().fit(texts, labels, verbose=0)
    answers = clf.predict_proba(texts)
    with pytest.raises(ValueError, match="perhaps"):
        clf.partial_fit(["good"], ["perhaps"])
    with pytest.raises(ValueError, match="`epochs`"):
        clf.partial_fit(texts, labels, epochs=0)
    clf.model_.optimizer.learning_rate = np.inf
    with pytest.raises(FloatingPointError, match="loss became"):
        clf.partial_fit(texts, labels, epochs=2)
    np.testing.assert_array_equal(clf.predict_proba(texts), answers)


@pytest.mark.numeric
def test_long_texts_in_chunks_are_answered_as_whole_ones(tmp_path):
    texts, labels = make_texts()
    texts = [text * (1 + row % 7) for row, text in enumerate(texts)]
    clf = make(stateful=True, chunk_length=8, chunk_loss="every", epochs=4)
    clf.fit(texts, labels, verbose=0)
    assert clf.report_.truncated == 0.0
    longer = [*texts[:20], " ".join(texts[:40]), ""]  # longer than any before
    whole = TextClassifier(**{**clf.get_params(), "chunk_length": 4096})
    for name, value in vars(clf).items():
        if name.endswith("_") or name.startswith("_"):
            setattr(whole, name, value)
    expected = whole.predict_proba(longer)
    np.testing.assert_allclose(clf.predict_proba(longer), expected, atol=1e-5)
    clf.save(tmp_path / "a.kseq")
    found = load(tmp_path / "a.kseq").predict_proba(longer)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stateful": True, "ngrams": 2}, "`ngrams` must be 0 with `stateful`"),
        ({"stateful": True, "bidirectional": True}, "`stateful` needs bidirectional"),
        ({"stateful": True, "distribution": "auto"}, "`distribution` must be None"),
        ({"stateful": True, "chunk_length": 0}, "`chunk_length`"),
        ({"chunk_loss": "first"}, "`chunk_loss` must be one of"),
        ({"warm_start": 1.5}, "`warm_start`"),
        ({"ema": 1.0}, "`ema` must be a finite number above 0 and below 1"),
        ({"word_dropout": 1.0}, "`word_dropout`"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments).fit(*make_texts(), verbose=0)
