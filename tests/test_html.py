"""What notebooks are given is escaped, and needs nothing from elsewhere."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context

from keras_seq import Forecaster, TextClassifier, html
from keras_seq.text.report import TextReport
from keras_seq.tuning.search_result import SearchResult

EVIL = "<script>alert('x')</script>"


def _check_page(shown: str) -> None:
    assert "<script" not in shown
    assert "http" not in shown  # nothing from outside
    assert "color:#" not in shown.replace("background", "")  # the page's own colour
    for tag in ("div", "table", "tr", "td", "th", "details"):
        assert shown.count(f"<{tag}") == shown.count(f"</{tag}>"), tag


def test_escaping():
    assert html.escape("<a href='b'>\"") == "&lt;a href=&#x27;b&#x27;&gt;&quot;"
    html.escape("\ud800").encode()
    for shown in (
        html.pairs({EVIL: EVIL}, EVIL),
        html.table(pd.DataFrame({EVIL: [EVIL, None]}), EVIL),
        html.tinted_table(EVIL, [EVIL], {EVIL: [(1.0, 0.5)]}),
        html.card(EVIL, EVIL, html.note(EVIL), html.fold(EVIL, "more")),
    ):
        _check_page(shown)
        assert "&lt;script&gt;" in shown


def test_values():
    assert html.show(np.float32(0.5)) == "0.5"
    assert html.show(12_345.6) == "12,346"
    assert html.show(True) == "True"
    assert html.show(list(range(20))).endswith("(20)")
    assert html.show("x" * 1000).endswith("...")


def test_tables_say_what_they_leave_out():
    shown = html.table(pd.DataFrame({"a": range(20)}), most=5)
    assert "15 more rows" in shown
    assert shown.count("<tr") == 5 + 1


def test_an_estimator_shows_what_differs_from_the_defaults():
    assert "all arguments are at their defaults" in TextClassifier()._repr_html_()
    forecaster = Forecaster(horizon=12, units=[32, 16], target_col=EVIL)
    shown = forecaster._repr_html_()
    _check_page(shown)
    assert "not fitted" in shown
    for text in ("horizon", "12", "units", "32, 16", "&lt;script&gt;"):
        assert text in shown
    assert "learning_rate" not in shown


def test_notebooks_get_ours_and_not_the_diagram():
    bundle = TextClassifier(units=3)._repr_mimebundle_()
    assert bundle["text/plain"] == "TextClassifier(units=3)"
    assert "sk-" not in bundle["text/html"]
    with config_context(display="text"):
        assert list(TextClassifier()._repr_mimebundle_()) == ["text/plain"]


@pytest.fixture(scope="module")
def fitted():
    stamps = pd.date_range("2020-01-01", periods=60)
    frame = pd.DataFrame({"ds": stamps, "y": np.sin(np.arange(60.0))})
    f = Forecaster(horizon=2, id_col=None, units=4, max_steps=3, lookback=8)
    return f.fit(frame, verbose=0)


def test_a_fitted_estimator_shows_what_was_learned(fitted):
    shown = fitted._repr_html_()
    _check_page(shown)
    for text in ("lookback_", "scaling_", "weights", "mase_naive", "grad_norm_mean"):
        assert text in shown


def test_scores_stand_beside_the_baselines():
    scores = {
        "accuracy": 0.9,
        "n": 10,
        "f1_per_class": {"a": 1.0},
        "baselines": {"majority": {"accuracy": 0.5}, EVIL: {"accuracy": 0.7}},
    }
    shown = html.scores_table(scores)
    _check_page(shown)
    for text in ("this model", "majority", "0.9", "0.5", "0.7"):
        assert text in shown


def test_a_search_shows_its_best_and_its_gain():
    trials = pd.DataFrame(
        {
            "trial": [0, 1, 2],
            "cell": ["gru", EVIL, "rnn"],
            "score": [0.8, 0.9, np.nan],
            "status": ["completed", "completed", "failed"],
            "part": 1.0,
            "seconds": 2.0,
            "message": ["", "", EVIL],
        }
    )
    result = SearchResult(None, {"cell": EVIL}, 0.9, trials, "accuracy", True)
    shown = result._repr_html_()
    _check_page(shown)
    for text in ("0.9", "0.8", "0.1", "failed trials", "larger is better"):
        assert text in shown


def test_a_text_report_shows_its_numbers():
    numbers = dict.fromkeys(TextReport.__dataclass_fields__, 7)
    classes = {"class_counts": {EVIL: 5}, "validation_class_counts": {}}
    shown = TextReport(**{**numbers, **classes})._repr_html_()
    _check_page(shown)
    assert "num_tokens" in shown
    assert "&lt;script&gt;" in shown
