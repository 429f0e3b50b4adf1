"""How long trials are trained: parts of a training, folds, seeds, and after a crash."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from keras_seq import tune
from keras_seq.tuning.schedule import Hyperband
from keras_seq.tuning.trial import Outcome
from keras_seq.tuning.trial_log import Trial
from tests.tuning.fake import Epochs

DATA = pd.DataFrame({"y": [1.0, 2.0, 3.0, 4.0]})


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("keras_seq.tuning.trial.gc.collect", lambda: 0)
    Epochs.trained.clear()
    Epochs.crash.clear()
    yield
    Epochs.trained.clear()
    Epochs.crash.clear()


def _search(directory: Path | None = None, **arguments: Any) -> Any:
    settings: dict[str, Any] = {"objective": "loss", "max_trials": 18, "verbose": 0}
    settings |= {"space": {"dropout": (0.0, 0.9)}, "executor": None}
    settings |= {"algorithm": "hyperband", "directory": directory}
    return tune(Epochs(), DATA, **{**settings, **arguments})


def test_hyperband_trains_the_best_of_each_bracket_to_the_end() -> None:
    table = _search().trials_
    assert len(table) == 18
    parts = Counter(round(9 * part) for part in table["part"])
    # Trial 0; 9 trials, of which 3 went on, of which 1 went on; 5 of which 1; 3.
    assert parts == {1: 6, 3: 2 + 4, 9: 1 + 1 + 1 + 3}
    for first, last in ((1, 9), (10, 14), (15, 17)):
        bracket = table[table["trial"].between(first, last)]
        away = (bracket["dropout"] - 0.3).abs()
        assert bracket.loc[away.idxmin(), "part"] == 1.0
    refit = Epochs.trained[-9:]
    searched = Counter(rate for rate, _, _ in Epochs.trained[:-9])
    expected = dict(zip(table["dropout"], 9 * table["part"], strict=True))
    assert searched == {rate: round(epochs) for rate, epochs in expected.items()}
    assert [epoch for _, _, epoch in refit] == list(range(9))


def test_the_best_is_one_that_was_trained_to_the_end() -> None:
    result = _search()
    whole = result.trials_[result.trials_["part"] == 1.0]
    assert result.best_score_ == whole["score"].min()


@pytest.mark.parametrize("crash", [(2, 0), (4, 3), (7, 8), (12, 1), (16, 5)])
def test_a_trial_that_was_killed_goes_on_from_its_last_epoch(
    tmp_path: Path, crash: tuple[int, int]
) -> None:
    whole = _search()
    undisturbed = list(Epochs.trained)
    Epochs.trained.clear()
    rates = whole.trials_["dropout"]
    rank = rates.sub(0.3).abs().sort_values().index
    number, epoch = crash
    victim = rates[rank[rank > 0][0]] if number < 10 else rates[number]
    Epochs.crash.add((victim, min(epoch, 8 if number < 10 else 2)))
    with pytest.raises(KeyboardInterrupt):
        _search(tmp_path)
    resumed = _search(tmp_path)
    assert Epochs.trained == undisturbed  # no epoch twice, none left out
    pd.testing.assert_frame_equal(
        resumed.trials_.drop(columns="seconds"), whole.trials_.drop(columns="seconds")
    )
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("count", range(1, 20))
def test_a_bracket_cut_short_still_trains_its_best_to_the_end(count: int) -> None:
    schedule, trials, trained = Hyperband(maximize=False), {}, 0.0
    while (found := schedule.next(trials, (), count)) is not None:
        number, part = found
        trial = trials.setdefault(number, Trial(number, {}, {}))
        trained += part - trial.part
        trial.outcomes[part] = Outcome(float(number), "", 1.0)
    assert sorted(trials) == list(range(count))
    assert trained == pytest.approx(schedule.work(count))
    for members, _ in schedule._brackets(count):
        assert trials[members[0]].part == 1.0


def test_a_failed_trial_holds_no_bracket_up() -> None:
    schedule, trials = Hyperband(maximize=True), {}
    while (found := schedule.next(trials, (), 18)) is not None:
        number, part = found
        score = None if number % 2 else float(number)
        outcome = Outcome(score, "" if score else "lost", 1.0)
        trials.setdefault(number, Trial(number, {}, {})).outcomes[part] = outcome
    assert [n for n, t in trials.items() if t.part == 1.0] == [0, 8, 14, 15, 16, 17]


def test_a_bracket_waits_for_what_is_running_and_the_next_begins() -> None:
    schedule = Hyperband(maximize=False)
    trials = {n: Trial(n, {}, {}) for n in range(10)}
    for number in range(9):
        part = 1 / 9 if number else 1.0
        trials[number].outcomes[part] = Outcome(float(number), "", 1.0)
    assert schedule.next(trials, {9}, 18) == (10, 1 / 3)
    assert schedule.next(trials, {9}, 10) is None


def test_the_score_of_several_folds_is_their_mean(tmp_path: Path) -> None:
    space = {"dropout": [0.1, 0.3]}
    result = _search(tmp_path, algorithm="grid", folds=3, space=space)
    assert result.trials_["val_rows"].tolist() == [(4 + 3 + 2) / 3] * 3
    with pytest.raises(ValueError, match="folds was 3 and is 2"):
        _search(tmp_path, algorithm="grid", folds=2, space=space)


def test_the_best_are_compared_over_seeds(tmp_path: Path) -> None:
    settings = {"algorithm": "grid", "space": {"dropout": [0.1, 0.2, 0.3, 0.6, 0.9]}}
    one = _search(**settings)
    assert one.best_params_ == {"dropout": 0.3} and one.candidates_ is None
    Epochs.trained.clear()
    result = _search(tmp_path, num_seeds=3, **settings)
    table = result.candidates_
    # With one seed 0.3 is best; 0.1 gains more by the others.
    rates = table["dropout"].tolist()
    assert rates[0] == 0.0 and result.best_params_ == {"dropout": 0.0}
    assert set(rates) == {0.0, 0.1, 0.2, 0.3}
    expected = [
        [abs(rate - 0.3) + seed * (rate - 0.3) + 1 / 9 for seed in range(3)]
        for rate in rates
    ]
    np.testing.assert_allclose(result.seed_scores_, expected)
    np.testing.assert_allclose(table["mean"], np.mean(expected, axis=1))
    np.testing.assert_allclose(table["std"], np.std(expected, axis=1, ddof=1))
    assert result.best_score_ == table["mean"].min()
    assert result.default_score_ == table.set_index("trial").loc[0, "mean"]
    trained = len(Epochs.trained)
    again = _search(tmp_path, num_seeds=3, **settings)
    assert len(Epochs.trained) == trained + 9  # the refit
    pd.testing.assert_frame_equal(again.candidates_, table)


def test_seeds_left_out_for_time_are_said(capsys: Any) -> None:
    result = _search(max_trials=3, num_seeds=2, max_seconds=1e-9, verbose=1)
    assert result.candidates_ is None
    assert "no time was left to compare" in capsys.readouterr().out
    with pytest.raises(ValueError, match="num_seeds=1"):
        _ = result.seed_scores_


def test_a_call_always_trains_one_trial_also_after_a_kill(tmp_path: Path) -> None:
    Epochs.crash.add((0.0, 4))  # in trial 0, which has begun and not ended
    with pytest.raises(KeyboardInterrupt):
        _search(tmp_path)
    result = _search(tmp_path, max_seconds=1e-9)
    assert result.trials_["trial"].tolist() == [0]
