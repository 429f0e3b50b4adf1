"""Sessions of documents: in any pieces, what `predict_proba` says of the whole."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_seq import TextClassifier
from keras_seq.streaming import open_text_session
from keras_seq.streaming.pieces import PieceReader
from keras_seq.streaming.readers import WholeReader
from keras_seq.text.normalization import Splitter, unicode_table
from keras_seq.text.preprocessing import TextPreprocessor, head_length

TEXTS = [
    "The film was wonderful, a joy from start to end!",
    "Terrible. I wouldn't see it again...",
    "这部电影很好 see you",
    "naïve cafe\u0301 plot 한국어 \u1112\u1161\u11ab か\u3099 x=\u0338y",
    "so good so so good",
    "bad bad awful \u00a8 mess \ufb01lm",
]
LABELS = ["pos", "neg", "pos", "neg", "pos", "neg"]
# Letters, marks that join or change places, things that vanish or become several.
TRICKY = (
    "ab cd. -'\u2019\u00ad\u200d\u200b\ufb01\u00a8\u0338=<\u0301\u0323\u0308e\u00e9"
    "\u1112\u1161\u11ab한か\u3099カ\uff9e这\u0e01\u0e33\u0e40\n\t\u3000\ud800\U0001f600"
    "\u0344\u09c7\u09be\u0dd9\u0dcf\u1025\u102e\ufdfa\u2126\u0130"
)
SMALL = {
    "units": 4,
    "embedding_dim": 4,
    "epochs": 1,
    "baseline": False,
    "batch_size": 4,
}


def fit(**arguments):
    classifier = TextClassifier(**{**SMALL, "refit_full": False, **arguments})
    texts, labels = TEXTS * 4, LABELS * 4
    if arguments.get("multi_label"):
        labels = [[label, "any"] for label in labels]
    with warnings.catch_warnings():
        # Copies and tiny classes are what these texts are made of.
        warnings.simplefilter("ignore", UserWarning)
        return classifier.fit(texts, labels, verbose=0)


@pytest.fixture(scope="module")
def carrying():
    return fit(stateful=True, pooling="concat", chunk_length=4, calibration=None)


@pytest.fixture(scope="module")
def whole():
    """Reads the ends of long texts, in both directions, with a bag beside."""
    classifier = fit(
        max_length=4, truncation="head_tail", ngram_length=9, ngram_buckets=64
    )
    classifier.temperature_ = 0.6
    return classifier


def pieces_of(text, random):
    cuts = np.sort(random.integers(0, len(text) + 1, random.integers(0, 6)))
    bounds = [0, *cuts.tolist(), len(text)]
    return [text[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


@pytest.mark.parametrize("engine", ["numpy", "keras"])
@pytest.mark.parametrize("name", ["carrying", "whole"])
def test_any_pieces_equal_the_whole(request, name, engine):
    classifier = request.getfixturevalue(name)
    session = open_text_session(classifier, engine=engine)
    random = np.random.default_rng(0)
    rest = {f"d{i}": pieces_of(text * 2, random) for i, text in enumerate(TEXTS)}
    so_far = dict.fromkeys(rest, "")
    read, found, labels = [], [], []
    while rest:
        some = [key for key in rest if random.random() < 0.7] or list(rest)[:1]
        step = {key: rest[key].pop(0) for key in some}
        answer = session.step(step)
        assert answer.keys == some
        for key, piece in step.items():
            so_far[key] += piece
            read.append(so_far[key])
        found.append(answer.values)
        labels += list(answer.labels)
        rest = {key: left for key, left in rest.items() if left}
    expected = classifier.predict_proba(read)
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)
    assert labels == list(classifier._choose_labels(expected))
    assert len(session) == len(TEXTS) and len(read) > 15


def with_cuts(text):
    places = st.lists(st.integers(0, len(text)), max_size=5)
    return st.tuples(st.just(text), places)


def check_pieces(split, text, cuts):
    """Tokens before the cut, whatever comes; then those of the rest: all tokens."""
    splitter = Splitter(unicode_table(), split)
    pieces = PieceReader(splitter, {})
    found, held, begin = [], "", 0
    for end in [*sorted(cuts), len(text)]:
        held += text[begin:end]
        begin = end
        done = pieces.cut(held)
        found += splitter.tokens(held[:done])
        held = held[done:]
        assert [*found, *splitter.tokens(held)] == splitter.tokens(text[:end])


any_text = st.text(st.one_of(st.sampled_from(TRICKY), st.characters(codec=None)))
quietly = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
some_pieces = given(any_text.flatmap(with_cuts))


@pytest.mark.parametrize("split", ["auto", "whitespace", "character"])
@settings(max_examples=50, **quietly)
@some_pieces
def test_finished_tokens_stay(split, case):
    check_pieces(split, *case)


@pytest.mark.exhaustive
@pytest.mark.parametrize("split", ["auto", "whitespace", "character"])
@settings(max_examples=3000, **quietly)
@some_pieces
def test_finished_tokens_stay_in_thousands_of_texts(split, case):
    check_pieces(split, *case)


@pytest.mark.parametrize("split", ["auto", "whitespace", "character"])
def test_finished_tokens_stay_cut_at_every_character(split):
    for text in (TRICKY, *TEXTS):
        check_pieces(split, text, range(len(text)))


def test_every_pair_of_characters_that_compose():
    """A letter and a mark that may join it are never parted."""
    table = unicode_table()
    for split in ("auto", "whitespace", "character"):
        splitter = Splitter(table, split)
        pieces = PieceReader(splitter, {})
        texts = [f"x{chr(a)}{chr(b)}y" for a, b in table.compositions]
        parts = [pieces.cut(text) for text in texts]
        before = splitter.split_all([t[:c] for t, c in zip(texts, parts, strict=True)])
        after = splitter.split_all([t[c:] for t, c in zip(texts, parts, strict=True)])
        _, counts = splitter.split_all(texts)
        np.testing.assert_array_equal(before[1] + after[1], counts)


def test_what_is_held_back_stays_short():
    pieces = PieceReader(Splitter(unicode_table(), "auto"), {})
    for text, held in {
        "one two three": " three",
        "这部电影": "影",
        "end. ": " ",
        "a, b": " b",
        "cafe": "cafe",
        "": "",
    }.items():
        assert text[pieces.cut(text) :] == held


@pytest.mark.parametrize("truncation", ["head", "tail", "head_tail"])
@pytest.mark.parametrize("longest", [1, 4, 7])
def test_kept_ids_are_those_that_truncation_keeps(truncation, longest):
    seen = []

    def network(inputs):
        seen.append(inputs["tokens"][0, : inputs["length"][0]].tolist())
        return np.zeros((1, 2), np.float32)

    reader = WholeReader(network, longest, head_length(truncation, longest))
    state = reader.cold(1)
    preprocessor = TextPreprocessor(truncation=truncation, max_length=longest)
    ids = np.arange(2, 30, dtype=np.int32)
    begin = 0
    for end in [0, 1, 3, 4, 9, 10, 22]:
        reader.read(state, [ids[begin:end]], [ids[end : end + 3]])
        begin = end
        row = ids[: end + 3]
        kept = preprocessor._truncate(row, np.array([len(row)]), longest).ids
        assert seen[-1] == kept.tolist()
        assert len(state["head"][0]) + len(state["tail"][0]) <= 4 * longest


def test_one_document_as_a_bare_string(carrying):
    session = open_text_session(carrying)
    for piece in ("so g", "ood", ""):
        answer = session.step(piece)
    expected = carrying.predict_proba(["so good"])
    np.testing.assert_allclose(answer.values, expected, atol=1e-5)
    frame = answer.to_frame()
    assert list(frame) == ["document", "label", "proba_neg", "proba_pos"]
    assert frame["document"].tolist() == ["document"]
    assert frame["label"].tolist() == carrying.predict(["so good"]).tolist()


def test_kept_copied_and_dropped(carrying, whole, tmp_path):
    session = open_text_session(carrying, max_keys=3, on_full="write", spill=tmp_path)
    text = "The film was wonderful, a j"
    expected = carrying.predict_proba([f"{text}oy"])
    for number in range(6):  # 6 documents, of which 3 are in memory
        session.step({number: text})
    assert len(session) == 6 and 0 in session and 7 not in session
    forked = session.fork()
    forked.step({0: "unk"})
    session.snapshot(tmp_path / "documents")
    again = open_text_session(carrying, engine="keras")
    again.restore(tmp_path / "documents")
    for each in (session, again):
        answer = each.step({0: "o", 5: "o"})
        answer = each.step({5: "y", 0: "y"})
        np.testing.assert_allclose(answer.values, [*expected] * 2, atol=1e-5)
    assert session.drop([0, 5, 9]) == 2 and len(session) == 4
    fresh = session.step({0: "bad"})
    expected = carrying.predict_proba(["bad"])
    np.testing.assert_allclose(fresh.values, expected, atol=1e-5)
    with pytest.raises(ValueError, match="snapshot of another model"):
        open_text_session(whole).restore(tmp_path / "documents")


def test_the_least_recent_documents_start_anew(whole):
    session = open_text_session(whole, max_keys=2)
    session.step({"a": "good", "b": "good", "c": "good"})
    assert len(session) == 2
    answer = session.step({"a": " film"})
    np.testing.assert_allclose(answer.values, whole.predict_proba([" film"]), atol=1e-5)


def test_bad_input_changes_nothing(carrying):
    session = open_text_session(carrying)
    with pytest.raises(TypeError, match="must be a str. Received: int for 'b'"):
        session.step({"a": "so", "b": 3})
    with pytest.raises(TypeError, match="`step` takes .*Received: list"):
        session.step(["so"])
    with pytest.raises(ValueError, match=r"`step` must hold names.*Received: \[1.5\]"):
        session.step({1.5: "so"})
    assert len(session) == 0
    with pytest.raises(ValueError, match="`engine` must be .*engine='torch'"):
        open_text_session(carrying, engine="torch")
    with pytest.raises(ValueError, match="a function has to see it whole"):
        PieceReader(Splitter(unicode_table(), str.split), {})
