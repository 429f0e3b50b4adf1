"""The search finds the better arguments, survives crashes, and repeats nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from keras_seq import tune
from tests.tuning.fake import Fake

SPACE = {"units": [16, 32, 64, 128], "dropout": (0.0, 0.6)}
DATA = pd.DataFrame({"y": [1.0, 2.0]})


@pytest.fixture(autouse=True)
def _fresh_fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Fake.fits, Fake.error = [], {}
    # With TensorFlow loaded a collection takes a quarter of a second.
    monkeypatch.setattr("keras_seq.tuning.trial.gc.collect", lambda: 0)
    yield
    Fake.fits, Fake.error = [], {}


def _search(directory: Path | None = None, **arguments: Any) -> Any:
    settings = {"objective": "loss", "max_trials": 8, "verbose": 0, "space": SPACE}
    settings["algorithm"] = "random"  # the Gaussian process takes a second a trial
    settings["executor"] = None  # `Fake` counts its fits in this process
    estimator = arguments.pop("estimator", Fake(units=32))
    data = arguments.pop("data", DATA)
    return tune(estimator, data, directory=directory, **{**settings, **arguments})


@pytest.mark.parametrize("algorithm", ["random", "bayesian"])
def test_trial_0_is_the_estimator_and_the_best_is_refitted(algorithm: str) -> None:
    estimator = Fake(units=32, kind="kept")
    result = _search(estimator=estimator, algorithm=algorithm)
    *trials, refit = Fake.fits
    assert len(trials) == len(result.trials_) == 8
    assert trials[0] == {
        **estimator.get_params(),
        "refit_full": False,
        "verbose": 0,
    }
    assert all(not fit["refit_full"] and fit["kind"] == "kept" for fit in trials)
    assert refit["refit_full"]
    losses = [abs(fit["units"] - 64) / 64 + abs(fit["dropout"] - 0.3) for fit in trials]
    np.testing.assert_array_equal(result.trials_["score"], losses)
    best = int(np.argmin(losses))
    assert result.best_score_ == losses[best]
    assert result.best_params_ == {n: trials[best][n] for n in ("units", "dropout")}
    assert result.best_estimator_.get_params() == {
        **estimator.get_params(),
        **result.best_params_,
    }
    assert estimator.get_params() == Fake(units=32, kind="kept").get_params()
    assert not hasattr(estimator, "validation_")


def test_the_gaussian_process_closes_in_on_the_best() -> None:
    space = {"dropout": (0.0, 0.9)}
    losses = {
        name: _search(
            estimator=Fake(units=64), algorithm=name, space=space, max_trials=9
        ).trials_["score"]
        for name in ("random", "bayesian")
    }
    # Its first three suggestions are random.
    assert losses["bayesian"][4:].mean() < 0.7 * losses["random"][4:].mean()
    assert losses["bayesian"].min() < 0.05


def test_no_trial_repeats_another_and_a_small_space_ends() -> None:
    result = _search(space={"units": [16, 32, 64]}, max_trials=50)
    tried = result.trials_["units"].tolist()
    assert tried[0] == 32
    assert sorted(tried) == [16, 32, 64]


def test_a_grid_takes_all_combinations_in_order(tmp_path: Path) -> None:
    space = {"units": [64, 16], "dropout": (0.0, 0.4), "kind": ["a", "b"]}
    settings = {"space": space, "algorithm": "grid", "directory": tmp_path}
    _search(max_trials=7, **settings)
    table = _search(max_trials=99, **settings).trials_
    dropout = [0.0, 0.1, 0.2, 0.3, 0.4]
    expected = [(u, d, k) for u in (16, 64) for d in dropout for k in ("a", "b")]
    tried = list(table[["units", "dropout", "kind"]].itertuples(index=False, name=None))
    assert tried[0] == (32, 0.0, "a")  # trial 0, outside of the grid
    assert tried[1:] == [(u, pytest.approx(d), k) for u, d, k in expected]


def test_a_function_can_be_the_space_and_resumed(tmp_path: Path) -> None:
    def space(hp: Any) -> dict[str, Any]:
        units = hp.Choice("units", [16, 64])
        if units == 16:
            return {"units": units}
        return {"units": units, "dropout": hp.Float("rate", 0.0, 0.6)}

    whole = _search(space=space, max_trials=6)
    assert whole.best_estimator_.get_params()["units"] == whole.best_params_["units"]
    _search(tmp_path, space=space, max_trials=3)
    resumed = _search(tmp_path, space=space, max_trials=6)
    pd.testing.assert_frame_equal(
        resumed.trials_.drop(columns="seconds"), whole.trials_.drop(columns="seconds")
    )
    with pytest.raises(ValueError, match="needs `space` as a dict"):
        _search(space=space, algorithm="grid")


def test_a_directory_holds_logs_for_tensorboard(tmp_path: Path) -> None:
    _search(tmp_path, max_trials=2)
    folders = sorted(path.name for path in (tmp_path / "tensorboard").iterdir())
    assert folders == ["trial-0000", "trial-0001"]


def test_accuracy_is_maximised() -> None:
    result = _search(objective="accuracy")
    assert result.maximize
    assert result.best_score_ == result.trials_["score"].max()
    assert result.best_score_ == pytest.approx(1 - result.trials_["val_loss"].min())


def test_the_seed_decides_and_0_is_one() -> None:
    def drawn(seed: int) -> pd.DataFrame:
        return _search(seed=seed).trials_[["units", "dropout"]]

    pd.testing.assert_frame_equal(drawn(0), drawn(0))
    assert not drawn(0).equals(drawn(1))


@pytest.mark.parametrize(
    ("algorithm", "killed_in"),
    [("random", 0), ("random", 3), ("bayesian", 2), ("bayesian", 6)],
)
def test_a_killed_search_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, algorithm: str, killed_in: int
) -> None:
    space = {"dropout": (0.0, 0.6)}
    settings = {"algorithm": algorithm, "max_trials": 8, "space": space}
    undisturbed = _search(**settings)
    Fake.fits, Fake.error = [], {killed_in: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        _search(tmp_path, **settings)
    Fake.fits, Fake.error = [], {}
    resumed = _search(tmp_path, **settings)
    assert len(Fake.fits) == 8 - killed_in + 1  # the refit is the last
    columns = ["trial", "dropout", "score", "status", "message"]
    pd.testing.assert_frame_equal(
        resumed.trials_[columns], undisturbed.trials_[columns]
    )
    assert resumed.best_params_ == undisturbed.best_params_
    Fake.fits = []
    again = _search(tmp_path, **settings)
    assert len(Fake.fits) == 1
    pd.testing.assert_frame_equal(again.trials_, resumed.trials_)


def test_a_search_can_be_prolonged(tmp_path: Path) -> None:
    _search(tmp_path, max_trials=3)
    Fake.fits = []
    prolonged = _search(tmp_path, max_trials=6)
    assert len(Fake.fits) == 3 + 1
    undisturbed = _search(max_trials=6)
    assert prolonged.trials_["dropout"].tolist() == (
        undisturbed.trials_["dropout"].tolist()
    )


def test_a_line_cut_short_by_a_crash_runs_again(tmp_path: Path) -> None:
    whole = _search(tmp_path, max_trials=4)
    log = tmp_path / "trials.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    Fake.fits = []
    again = _search(tmp_path, max_trials=4)
    assert len(Fake.fits) == 1 + 1
    assert again.trials_["score"].tolist() == whole.trials_["score"].tolist()
    lines = log.read_text().splitlines()
    events = [(e["event"], e["trial"]) for e in map(json.loads, lines)]
    assert events == [(kind, n) for n in range(4) for kind in ("begin", "end")]


def test_types_survive_the_log(tmp_path: Path) -> None:
    settings = {
        "space": {"kind": [(1, 2), None, "a"]},
        "estimator": Fake(kind=(1, 2)),
    }
    first = _search(tmp_path, **settings)
    second = _search(tmp_path, **settings)
    assert second.best_params_ == first.best_params_ == {"kind": (1, 2)}
    pd.testing.assert_frame_equal(second.trials_, first.trials_)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"algorithm": "bayesian"}, "algorithm was 'random' and is 'bayesian'"),
        ({"objective": "accuracy"}, "objective was 'loss' and is 'accuracy'"),
        ({"estimator": Fake(units=16)}, "params 'units' was 32 and is 16"),
        ({"space": {**SPACE, "units": [16]}}, "space 'units' was .* and is .16."),
        ({"space": {"units": SPACE["units"]}}, "space 'dropout' was .* 'absent'"),
        ({"data": DATA + 1}, "the data differ"),
    ],
)
def test_another_search_in_the_directory_is_refused(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    _search(tmp_path, max_trials=2)
    before = (tmp_path / "trials.jsonl").read_bytes()
    with pytest.raises(ValueError, match=message):
        _search(tmp_path, **changed)
    assert (tmp_path / "trials.jsonl").read_bytes() == before


def test_a_trial_that_is_missing_runs_again(tmp_path: Path) -> None:
    """Several workers write trials down as they end, whatever their number."""
    whole = _search(tmp_path, max_trials=4)
    log = tmp_path / "trials.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    # Trials 0, 3 and 1 have ended, 2 has begun, and never ended.
    log.write_text("".join(lines[i] for i in (0, 1, 2, 4, 6, 7, 3)))
    Fake.fits = []
    again = _search(tmp_path, max_trials=4)
    assert len(Fake.fits) == 1 + 1
    assert again.trials_["score"].tolist() == whole.trials_["score"].tolist()


def test_a_damaged_log_is_refused(tmp_path: Path) -> None:
    _search(tmp_path, max_trials=3)
    log = tmp_path / "trials.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    for wrong, message in (
        ([lines[0], "not json\n"], "line 2 is damaged"),
        ([*lines[:2], lines[1]], "line 3 is damaged: .*trial 0 ended once more"),
        ([*lines[:2], lines[0]], "line 3 is damaged: .*trial 0 began once more"),
        ([lines[0], lines[3]], "line 2 is damaged: KeyError"),
    ):
        log.write_text("".join(wrong))
        with pytest.raises(ValueError, match=message):
            _search(tmp_path)


def test_a_lost_trial_is_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    Fake.error = {
        0: FloatingPointError("loss became nan"),
        2: MemoryError("of the device"),
    }
    result = _search(tmp_path)
    failed = result.trials_[result.trials_["status"] == "failed"]
    assert failed["trial"].tolist() == [0, 2]
    assert failed["score"].isna().all()
    assert failed["message"].tolist() == [
        "FloatingPointError: loss became nan",
        "MemoryError: of the device",
    ]
    assert len(result.trials_) == 8
    Fake.fits, Fake.error = [], {}
    again = _search(tmp_path)
    assert len(Fake.fits) == 1  # failed trials are finished ones
    pd.testing.assert_frame_equal(again.trials_, result.trials_)


def test_a_score_that_is_not_finite_is_a_failure() -> None:
    with pytest.raises(RuntimeError, match="loss is not finite"):
        _search(estimator=Fake(dropout=float("nan")), max_trials=1)


@pytest.mark.parametrize("error", [ValueError("bad data"), ZeroDivisionError("bug")])
def test_other_errors_stop_at_once(tmp_path: Path, error: Exception) -> None:
    Fake.error = {2: error}
    with pytest.raises(type(error), match=str(error)):
        _search(tmp_path)
    assert len(Fake.fits) == 3
    log = (tmp_path / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in log].count("end") == 2


def test_time_ends_a_search_after_one_trial_at_least() -> None:
    assert len(_search(max_seconds=1e-9).trials_) == 1


def test_progress_names_the_trial_the_best_and_the_time_left(
    capsys: pytest.CaptureFixture,
) -> None:
    result = _search(max_trials=2, verbose=1)
    first, second, last = capsys.readouterr().out.splitlines()
    start = "search 1/2: trial 0, loss 0.8, best 0.8 (trial 0), units=32"
    assert first.startswith(start)
    assert second.startswith("search 2/2: trial 1, loss")
    assert second.endswith("0 s left")
    assert last == "search: NOTHING BEAT the estimator as it was, with loss 0.8"
    assert result.default_score_ == 0.8


def test_the_end_says_by_how_much_the_search_won(capsys: Any) -> None:
    result = _search(verbose=1)
    last = capsys.readouterr().out.splitlines()[-1]
    best = result.trials_["score"].idxmin()
    start = f"search: trial {best} is best with loss {result.best_score_:.4g}, the "
    assert best and last.startswith(start + "estimator as it was had 0.8.")


def test_plot_shows_the_running_best() -> None:
    Fake.error = {3: MemoryError()}
    result = _search()
    ax = result.plot()
    steps = ax.lines[0].get_ydata()
    np.testing.assert_array_equal(steps, result.trials_["score"].cummin().ffill())
    assert ax.get_ylabel() == "loss"


def test_importance_and_plot_tell_what_the_score_depends_on() -> None:
    space = {"dropout": (0.0, 0.6), "kind": ["a", "b", None], "clipvalue": (0.1, 1.0)}
    result = _search(space=space, max_trials=30)
    importance = result.importance_
    assert importance.index[0] == "dropout"  # the loss knows no other
    assert importance["dropout"] > 0.9
    assert importance.sum() == pytest.approx(1)
    panels = result.plot(kind="arguments")
    assert [ax.get_xlabel() for ax in panels] == list(importance.index)
    drawn = panels[0].collections[0].get_offsets()
    np.testing.assert_allclose(drawn, result.trials_[["dropout", "score"]])
    by_name = {ax.get_xlabel(): ax for ax in panels}
    kinds = {label.get_text() for label in by_name["kind"].get_xticklabels()}
    assert kinds == {"None", "a", "b"}
    on_or_off = _search(space={"dropout": (0.0, 0.6), "kind": ["a", None]})
    assert set(on_or_off.importance_.index) == {"dropout", "kind"}
    few = _search(space=space, max_trials=4)
    assert few.importance_.isna().all()
    few.plot(kind="arguments")
    with pytest.raises(ValueError, match="nothing to draw"):
        _search(space=space, max_trials=1).plot(kind="arguments")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"algorithm": "hyperband"}, ValueError, "whose `fit` takes `checkpoint`"),
        ({"algorithm": "bayesain"}, ValueError, "Did you mean 'bayesian'"),
        ({"executor": 0}, ValueError, "executor=0"),
        ({"executor": "rya"}, ValueError, "executor='rya'"),
        ({"resources": {"num_cpus": 1}}, ValueError, "give executor='ray'"),
        ({"folds": 0}, ValueError, "folds=0"),
        ({"folds": 2}, ValueError, "needs an estimator that has `split_folds`"),
        ({"num_seeds": 0}, ValueError, "num_seeds=0"),
        ({"max_trial_seconds": 0}, ValueError, "max_trial_seconds=0"),
        ({"max_trial_mb": -1}, ValueError, "max_trial_mb=-1"),
        ({"max_trials": 0}, ValueError, "max_trials=0"),
        ({"max_seconds": -1}, ValueError, "max_seconds=-1"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"objective": "los"}, ValueError, "Did you mean 'loss'"),
        ({"objective": None}, ValueError, "must be given for a Fake"),
        ({"max_trial": 3}, TypeError, "Did you mean 'max_trials'"),
        ({"estimator": Fake}, TypeError, "must be an estimator object"),
    ],
)
def test_bad_arguments_are_named(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _search(**arguments)


def test_the_data_must_be_given() -> None:
    with pytest.raises(TypeError, match="takes the data"):
        tune(Fake(), objective="loss", space=SPACE)
