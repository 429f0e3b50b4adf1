"""A report says what the search found, in strict JSON, and draws it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

import keras_seq
from keras_seq.tuning import report
from keras_seq.tuning.report import describe_search, write_report
from keras_seq.tuning.search_result import SearchResult


def _trial(number: int, params: dict[str, Any], score: float | None) -> dict[str, Any]:
    """A row of `trials_`."""
    failed = score is None
    return {
        "trial": number,
        **params,
        "score": score,
        "status": "failed" if failed else "completed",
        "seconds": 1.5 + number,
        "message": "FloatingPointError: the loss became nan" if failed else "",
        "val_skill": None,
    }


def _result(trials: list[dict[str, Any]], *, maximize: bool = False) -> SearchResult:
    frame = pd.DataFrame(trials).astype({"score": "float64", "val_skill": "float64"})
    scores = frame["score"]
    best = trials[scores.argmax() if maximize else scores.argmin()]
    arguments = list(frame.columns[1 : frame.columns.get_loc("score")])
    return SearchResult(
        best_estimator_=None,
        best_params_={name: best[name] for name in arguments},
        best_score_=best["score"],
        trials_=frame,
        objective="loss",
        maximize=maximize,
    )


TRIALS = [
    _trial(0, {"units": 32, "clip": None, "cell": "gru"}, 2.0),
    _trial(1, {"units": (64, 32), "clip": np.float64(0.5), "cell": "lstm"}, None),
    _trial(2, {"units": 64, "clip": 1.5, "cell": "lstm"}, 1.25),
]


def test_the_file_is_strict_json_with_every_trial(tmp_path: Path) -> None:
    written = write_report(_result(TRIALS), tmp_path / "search.json")
    assert written == (tmp_path / "search.json", tmp_path / "search.png")
    assert {path.name for path in tmp_path.iterdir()} == {"search.json", "search.png"}

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    found = json.loads(written[0].read_text("utf-8"), parse_constant=refuse)
    trials = found.pop("trials")
    assert found == {
        "keras_seq": keras_seq.__version__,
        "objective": "loss",
        "maximize": False,
        "best_params": {"units": 64, "clip": 1.5, "cell": "lstm"},
        "best_score": 1.25,
        "default_score": 2.0,
        "gain": 0.75,
        "importance": {"units": None, "clip": None, "cell": None},
        "candidates": None,
    }
    assert [trial["units"] for trial in trials] == [32, [64, 32], 64]
    assert [trial["clip"] for trial in trials] == [None, 0.5, 1.5]
    assert [trial["score"] for trial in trials] == [2.0, None, 1.25]
    assert [trial["status"] for trial in trials] == ["completed", "failed", "completed"]
    assert trials[1]["message"] == "FloatingPointError: the loss became nan"
    assert [trial["seconds"] for trial in trials] == [1.5, 2.5, 3.5]
    assert [trial["val_skill"] for trial in trials] == [None] * 3


def test_the_gain_is_positive_where_the_search_helped() -> None:
    def gain(scores: list[float | None], maximize: bool) -> float | None:
        trials = [_trial(i, {"units": i}, score) for i, score in enumerate(scores)]
        return describe_search(_result(trials, maximize=maximize))["gain"]

    assert gain([2.0, 1.5], maximize=False) == 0.5
    assert gain([0.75, 1.0], maximize=True) == 0.25
    assert gain([1.0, 2.0], maximize=False) == 0.0
    assert gain([None, 2.0], maximize=False) is None


def test_importance_and_candidates_are_listed() -> None:
    trials = [_trial(i, {"units": i % 4, "kind": "a"}, float(i % 4)) for i in range(12)]
    candidates = pd.DataFrame({"trial": [4, 0], "mean": [0.5, np.nan]})
    found = describe_search(replace(_result(trials), candidates_=candidates))
    assert found["importance"] == {"units": 1.0}
    assert found["candidates"] == [
        {"trial": 4, "mean": 0.5},
        {"trial": 0, "mean": None},
    ]


def test_what_json_lacks_becomes_null_or_text() -> None:
    values = {
        "array": np.arange(2),
        "flag": np.bool_(True),
        "inf": float("-inf"),
        "missing": pd.NA,
        "function": len,
        3: (1, None),
    }
    assert report._plain(values) == {
        "array": [0, 1],
        "flag": True,
        "inf": None,
        "missing": None,
        "function": "<built-in function len>",
        "3": [1, None],
    }


@pytest.mark.parametrize("arguments", [0, 1, 2, 4, 5])
def test_the_figure_has_a_panel_for_the_search_and_each_argument(
    arguments: int, tmp_path: Path
) -> None:
    names = [f"argument_{i}" for i in range(arguments)]
    rng = np.random.default_rng(0)
    trials = [
        _trial(i, {"kind": "a"} | dict.fromkeys(names, i), rng.random())
        for i in range(4)
    ]
    result = _result(trials)
    figure = report._draw(result)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["loss over the search", *names]
    _, image = write_report(result, tmp_path / "search.json")
    pixels = imread(image)
    assert pixels.shape[1] == pytest.approx(figure.get_figwidth() * 120, abs=1)
    assert pixels[..., :3].min() < 0.1  # something is drawn


def test_one_auto_among_numbers_leaves_them_an_axis_of_numbers() -> None:
    trials = [_trial(i, {"clip": 10.0**i}, float(i)) for i in range(1, 12)]
    trials.insert(0, _trial(0, {"clip": "auto"}, 0.5))
    result = _result(trials)
    panel = report._draw(result).axes[1]
    assert panel.get_xscale() == "log"
    drawn = np.asarray(panel.collections[0].get_offsets())
    np.testing.assert_allclose(drawn[:, 0], [trial["clip"] for trial in trials[1:]])
    assert result.importance_.to_dict() == {"clip": 1.0}


def test_a_report_that_cannot_be_drawn_leaves_the_figure_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = _result(TRIALS)
    target, figure = write_report(result, tmp_path / "search.json")
    before = figure.read_bytes()
    monkeypatch.setattr(report, "_draw", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(result, target)
    assert figure.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"search.json", "search.png"}


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`path` must end in .json. Received: '.*png"):
        write_report(_result(TRIALS), tmp_path / "search.png")
    assert not list(tmp_path.iterdir())
