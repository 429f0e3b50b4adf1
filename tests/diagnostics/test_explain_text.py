"""Explanations of texts add up, and point at the word that decides."""

import numpy as np
import pandas as pd
import pytest

from keras_seq import TextClassifier
from keras_seq.diagnostics import TextExplanations, attention_weights, explain_text
from keras_seq.diagnostics.explain_view import TextExplanation

# So few texts have many words of their own; some are cut on purpose.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*of the validation tokens"),
    pytest.mark.filterwarnings("ignore:.*of the training texts are longer"),
]

# One word decides: in the first language "café", in the second 茶.
FILLERS = "the a one some this that near under with from red green blue warm".split()
SIGNS = list("天地人山水火木金土日月")


def _make_texts(count: int) -> tuple[list[str], list[str]]:
    random = np.random.default_rng(0)
    texts, labels = [], []
    for number in range(count):
        decides = number % 2 == 0
        if number % 4 < 2:
            words = random.choice(FILLERS, random.integers(3, 8)).tolist()
            word, gap = "café" if decides else "bar", " "
        else:
            words = random.choice(SIGNS, random.integers(3, 8)).tolist()
            word, gap = "茶" if decides else "酒", ""
        words.insert(int(random.integers(len(words) + 1)), word)
        texts.append(gap.join(words))
        labels.append("yes" if decides else "no")
    return texts, labels


SMALL = {
    "units": 8,
    "embedding_dim": 16,
    "ngram_buckets": 64,
    "baseline": False,
    "refit_full": False,
    "dropout": 0.2,
    "learning_rate": 1e-2,
}


@pytest.fixture(scope="module")
def classifier():
    return TextClassifier(epochs=6, cell="gru", **SMALL).fit(
        *_make_texts(160), verbose=0
    )


def _check_complete(classifier, explanations, texts):
    shares = classifier.predict_proba(texts).astype(np.float64)
    labels = classifier.classes_.tolist()
    for explanation, own in zip(explanations, shares, strict=True):
        share = own[labels.index(explanation.label)]
        odds = np.log(share / (1 - share))
        # float32 has 1 - p only so exactly.
        assert explanation.log_odds == pytest.approx(odds, rel=1e-3, abs=1e-3)
        table = explanation.tokens
        difference = explanation.log_odds - explanation.baseline
        total = table["contribution"].sum()
        assert total - difference == pytest.approx(explanation.gap, abs=1e-4)
        sizes = table["contribution"].abs().sum()
        assert abs(explanation.gap) <= 0.05 * sizes + 1e-3
        for start, end in zip(table["start"], table["end"], strict=True):
            assert 0 <= start < end <= len(explanation.text)
        assert explanation.character_contributions().sum() == pytest.approx(total)
        assert "".join(text for text, _ in explanation.segments()) == explanation.text


@pytest.mark.numeric
def test_contributions_add_up_to_the_log_odds(classifier):
    texts = ["the café near", "天茶地", "something else entirely", "", "one bar 水"]
    explanations = explain_text(classifier, texts)
    assert isinstance(explanations, TextExplanations)
    _check_complete(classifier, explanations, texts)
    table = explanations.to_frame()
    assert table["text"].unique().tolist() == [0, 1, 2, 4]  # one has no token
    # Of two classes, what speaks for one speaks against the other.
    for label in ("yes", "no"):
        chosen = explain_text(classifier, texts[:1], label)[0]
        assert chosen.label == label
        sign = 1 if label == explanations[0].label else -1
        np.testing.assert_allclose(
            chosen.tokens["contribution"],
            sign * explanations[0].tokens["contribution"],
            atol=1e-3,
        )


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("near the warm café this one", "café"),
        ("🎉👨\u200d👩\u200d👧 the CAFE\u0301, near this", "CAFE\u0301"),
        ("ｔｈｅ ｃａｆｅ\u0301 near ½ ﬁ", "ｃａｆｅ\u0301"),
        ("天地茶人山水", "茶"),
    ],
)
def test_the_word_that_decides_has_the_largest_contribution(classifier, text, word):
    explanation = explain_text(classifier, [text], "yes")[0]
    strongest = explanation.tokens.loc[explanation.tokens["contribution"].idxmax()]
    assert text[strongest["start"] : strongest["end"]] == word
    by_character = explanation.character_contributions()
    assert text.find(word) <= by_character.argmax() < text.find(word) + len(word)


def test_more_steps_where_the_gap_is_large(classifier):
    texts = ["near the warm café this one"]
    exact = explain_text(classifier, texts, steps=128)
    rough = explain_text(classifier, texts, steps=2, max_steps=2, tolerance=1e-6)
    refined = explain_text(classifier, texts, steps=2, max_steps=64, tolerance=1e-6)
    for one, other, best in zip(rough, refined, exact, strict=True):
        assert one.steps == 2
        assert other.steps > 2
        missed = [
            np.abs(x.tokens["contribution"] - best.tokens["contribution"]).max()
            for x in (one, other)
        ]
        assert missed[1] < min(missed[0], 0.02)


@pytest.mark.exhaustive
def test_ensembles_cut_texts_and_attention():
    texts, labels = _make_texts(80)
    clf = TextClassifier(
        epochs=2,
        ensemble=2,
        max_length=4,
        ngram_length=6,
        truncation="head_tail",
        pooling="attention",
        calibration=None,
        **SMALL,
    ).fit(texts, labels, verbose=0)
    long = ["the a one some this that near under", "café"]
    explanations = explain_text(clf, long)
    _check_complete(clf, explanations, long)
    table = explanations[0].tokens
    assert table["status"].tolist() == ["known"] * 3 + ["cut"] * 2 + ["known"] * 3
    assert (table["contribution"][[3, 4]] == 0).all()
    weights = attention_weights(clf, long)
    sums = weights.groupby("row")["weight"].sum()
    np.testing.assert_allclose(sums, 1.0, atol=1e-5)
    assert weights["token"].tolist() == ["the", "a", "near", "under", "café"]
    assert weights["query"].isna().all()


def test_several_labels_and_self_attention():
    texts, labels = _make_texts(80)
    pairs = [["any", label] for label in labels]
    clf = TextClassifier(
        epochs=2, cell="transformer", multi_label=True, ngrams=0, **SMALL
    ).fit(texts, pairs, verbose=0)
    some = ["the café near", "茶"]
    _check_complete(clf, explain_text(clf, some, "yes"), some)
    weights = attention_weights(clf, some)
    sums = weights.groupby(["row", "layer", "head", "query"])["weight"].sum()
    np.testing.assert_allclose(sums, 1.0, atol=1e-5)
    assert set(weights["layer"]) == {"encoder/block_0"}
    assert len(sums) == 4 * (3 + 1)  # heads of 8 units, and queries


def test_wrong_arguments_are_named(classifier):
    with pytest.raises(TypeError, match="`texts` must be a list.*Received: a str"):
        explain_text(classifier, "the café")
    with pytest.raises(ValueError, match="`label` must be one of.*Received: 'maybe'"):
        explain_text(classifier, ["the"], "maybe")
    with pytest.raises(ValueError, match="`max_steps`.*at least 24"):
        explain_text(classifier, ["the"], max_steps=3)
    with pytest.raises(TypeError, match="after `fit`. Received: TextClassifier"):
        explain_text(TextClassifier(), ["the"])
    with pytest.raises(TypeError, match="after `fit`. Received: TextClassifier"):
        attention_weights(TextClassifier(), ["the"])
    with pytest.raises(ValueError, match="must have attention"):
        attention_weights(classifier, ["the"])
    with pytest.raises(TypeError, match="list of strings.*Received: str"):
        attention_weights(classifier, "the")
    assert len(explain_text(classifier, [])) == 0


def _explanation(text: str, contributions: list[float]) -> TextExplanation:
    words = text.split()
    starts = [text.index(word) for word in words]
    tokens = pd.DataFrame(
        {
            "token": pd.Series(words, dtype=object),
            "start": starts,
            "end": [s + len(w) for s, w in zip(starts, words, strict=True)],
            "contribution": contributions,
            "status": "known",
        }
    )
    return TextExplanation(
        text=text,
        label="<b>yes</b>",
        probability=0.75,
        log_odds=1.1,
        baseline=0.1,
        gap=0.0,
        steps=8,
        tokens=tokens,
    )


def test_html_is_escaped_and_shows_signs():
    explanation = _explanation("<script>alert(1)</script> \ud800 no", [1.0, 0.5, -0.8])
    shown = TextExplanations([explanation]).to_html()
    assert "<script" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "<b>" not in shown
    shown.encode()  # a lone surrogate would not be UTF-8
    assert "rgba(0,114,178" in shown  # for
    assert "rgba(213,94,0" in shown  # against
    assert "http" not in shown


def test_terminals_get_colours_and_files_do_not():
    explanation = _explanation("good \x1b[31mbad", [1.0, -0.5])
    colored = explanation.to_terminal()
    assert "\x1b[48;5;" in colored
    assert "\x1b[31m" not in colored  # the text's own
    plain = str(explanation)  # pytest's standard output is no terminal
    assert "\x1b" not in plain
    assert "good +1.00" in plain
