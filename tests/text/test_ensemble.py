"""Networks that were trained apart answer as one, and are saved and resumed as one."""

import keras
import numpy as np
import pytest

from keras_seq import TextClassifier, load
from keras_seq.diagnostics.batches import network_of
from keras_seq.text.batches import Buckets, predict_rows
from keras_seq.text.ensemble import average, build_member
from keras_seq.text.shares import choose_say
from keras_seq.training.ensemble import members_of
from keras_seq.training.runtime import compute_path

SMALL = {
    "cell": "rnn",
    "bidirectional": False,
    "units": 3,
    "embedding_dim": 4,
    "ngrams": 1,
    "ngram_dim": 2,
    "min_count": 1,
    "epochs": 2,
    "batch_size": 16,
    "baseline": False,
    "refit_full": False,
    "ensemble": 2,
}
WORDS = np.random.default_rng(0).choice(["good", "bad", "film", "of", "a"], (40, 5))
TEXTS = [" ".join(row) for row in WORDS]
LABELS = ["good" in text for text in TEXTS]


def make(**changed):
    return TextClassifier(**{**SMALL, **changed})


def same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def same_members(ours, theirs):
    pairs = zip(members_of(ours), members_of(theirs), strict=True)
    for a, b in pairs:
        same(a.get_weights(), b.get_weights())


@pytest.fixture(scope="module")
def fitted():
    return make().fit(TEXTS, LABELS, verbose=0)


@pytest.mark.numeric
@pytest.mark.parametrize("extra", [{}, {"stateful": True, "multi_label": True}])
def test_the_answer_is_the_mean(extra):
    arguments = {"num_classes": 3, "max_tokens": 20, "units": 2, "embedding_dim": 3}
    arguments |= {"cell": "rnn", "ensemble": 3, "seed": 0, "jit": False, **extra}
    inputs = {
        "tokens": np.arange(12, dtype="int32").reshape(3, 4),
        "length": np.array([4, 0, 2], "int32"),
    }
    if extra:
        arguments |= {"batch_size": 3, "reset_input": True}
        inputs["reset"] = np.ones(3, bool)
    members = [build_member(number, arguments) for number in (1, 2, 3)]
    answers = [np.asarray(member(inputs)) for member in members]
    assert np.abs(answers[0] - answers[1]).max() > 1e-3
    model = average(members, jit=False)
    assert members_of(model) == members
    assert len({w.path for w in model.weights}) == len(model.weights)
    np.testing.assert_allclose(model(inputs), np.mean(answers, axis=0), atol=1e-6)


def test_one_call_trains_all(fitted):
    rows = fitted.preprocessor_.transform(TEXTS)
    buckets = Buckets(rows, fitted.preprocessor_.bucket_lengths_, 16)
    each = [predict_rows(member, buckets)[0] for member in members_of(fitted.model_)]
    assert len(each) == 2
    assert np.abs(each[0] - each[1]).max() > 1e-3
    answers = fitted._raw_probabilities(rows)
    np.testing.assert_allclose(answers, np.mean(each, axis=0), atol=1e-6)
    assert fitted.validation_["n"] > 0
    history = fitted.history_
    assert history["member"].tolist() == [1, 1, 2, 2]
    assert history["epoch"].tolist() == [1, 2, 1, 2]
    assert len(fitted.best_epoch_) == 2
    # A member answers as it did before there was an ensemble.
    members = members_of(fitted.model_)
    held = Buckets(rows, fitted.preprocessor_.bucket_lengths_, 16)
    targets = np.array(LABELS, "int32")
    say = choose_say(members[1], held, targets, np.ones(len(LABELS)))
    assert say.shares.sum() == pytest.approx(1)


def test_the_first_member_is_the_network_alone(fitted):
    alone = make(ensemble=1).fit(TEXTS, LABELS, verbose=0)
    same(alone.model_.get_weights(), members_of(fitted.model_)[0].get_weights())
    assert "member" not in alone.history_
    assert alone.best_epoch_ == fitted.best_epoch_[0]
    assert "ensemble" not in alone._builder_args


def test_save_and_load_keep_answers(fitted, tmp_path):
    fitted.save(tmp_path / "a.kseq")
    loaded = load(tmp_path / "a.kseq")
    same([loaded.predict_proba(TEXTS)], [fitted.predict_proba(TEXTS)])
    same_members(loaded.model_, fitted.model_)
    assert loaded.best_epoch_ == fitted.best_epoch_
    assert loaded.history_.equals(fitted.history_)


def test_diagnostics_see_the_first_member(fitted):
    assert network_of(fitted) is members_of(fitted.model_)[0]
    paths = compute_path(fitted)["layer"].tolist()
    assert paths == [f"member_{number}/encoder/forward_0" for number in (1, 2)]
    assert len(fitted.plot().lines) == 4


@pytest.mark.slow
def test_a_fit_that_was_killed_goes_on(tmp_path):
    class Kill(keras.callbacks.Callback):
        """Ends the second epoch of the given training."""

        def __init__(self, training):
            super().__init__()
            self.left = training

        def on_train_begin(self, logs=None):
            self.left -= 1

        def on_epoch_begin(self, epoch, logs=None):
            if self.left == 0 and epoch == 1:
                raise KeyboardInterrupt

    whole = make(refit_full=True).fit(TEXTS, LABELS, verbose=0)
    options = {"verbose": 0, "checkpoint": tmp_path}
    for training in (2, 3):  # in the second member; after the rest of it, in a refit
        with pytest.raises(KeyboardInterrupt):
            clf = make(refit_full=True)
            clf.fit(TEXTS, LABELS, callbacks=[Kill(training)], **options)
    began = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: began.append(epoch)
    )
    clf = make(refit_full=True).fit(TEXTS, LABELS, callbacks=[note], **options)
    same_members(clf.model_, whole.model_)
    assert len(began) <= 3  # of eight
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_all_members_train_on(fitted, tmp_path):
    fitted.save(tmp_path / "a.kseq")
    clf = load(tmp_path / "a.kseq")
    before = [member.get_weights() for member in members_of(clf.model_)]
    clf.partial_fit(TEXTS, LABELS)
    for old, member in zip(before, members_of(clf.model_), strict=True):
        assert np.abs(old[0] - member.get_weights()[0]).max() > 1e-4
    assert clf.history_["member"].tolist() == [1, 1, 2, 2, 1, 2]
    assert clf.history_["epoch"].tolist() == [1, 2, 1, 2, 3, 3]
    first = []

    class First(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            first.append(self.model.get_weights())

    before = [member.get_weights() for member in members_of(clf.model_)]
    clf.set_params(warm_start=True, epochs=1)
    with pytest.warns(UserWarning, match="may have learned from"):
        clf.fit(TEXTS, LABELS, callbacks=[First()], verbose=0)
    for ours, theirs in zip(first, before, strict=True):
        same(ours, theirs)
    with pytest.raises(ValueError, match=r"`ensemble` must be 2.*Received: ensemble=3"):
        clf.set_params(ensemble=3).fit(TEXTS, LABELS, verbose=0)
    assert clf.predict_proba(TEXTS[:2]).shape == (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        {"stateful": True, "chunk_length": 3, "ngrams": 0},
        {"multi_label": True},
        {"ema": 0.9, "refit_full": True, "adversarial": 0.1},
    ],
)
def test_other_manners(changed, tmp_path):
    labels = LABELS
    if "multi_label" in changed:
        labels = [[w for w in ("good", "bad") if w in text] for text in TEXTS]
    clf = make(**changed).fit(TEXTS, labels, verbose=0)
    clf.save(tmp_path / "a.kseq")
    answers = load(tmp_path / "a.kseq").predict_proba(TEXTS)
    same([answers], [clf.predict_proba(TEXTS)])


@pytest.mark.slow
def test_all_members_start_from_what_was_pretrained():
    first = []

    class First(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            first.append(self.model.get_layer("embedding").get_weights())

    clf = make().pretrain(TEXTS, epochs=1, verbose=0)
    clf.fit(TEXTS, LABELS, callbacks=[First()], verbose=0)
    assert len(first) == 2
    for start in first:
        same(start, [clf.pretrained_.embedding])


def test_a_count_is_asked_for():
    with pytest.raises(ValueError, match="`ensemble` must be a whole number"):
        make(ensemble=0).fit(TEXTS, LABELS)
