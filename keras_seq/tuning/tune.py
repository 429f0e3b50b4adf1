"""tune: search the constructor arguments of an estimator."""

import gc
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from typing import Any

import keras
from sklearn.base import clone

from keras_seq.errors import (
    check_choice,
    check_integer,
    check_number,
    did_you_mean,
    suggests_names,
)
from keras_seq.tuning.search_result import SearchResult, trials_frame
from keras_seq.tuning.space import Space
from keras_seq.tuning.suggester import Suggester
from keras_seq.tuning.trial_log import Trial, TrialLog, hash_data

_OBJECTIVES = {"TextClassifier": "log_loss", "Forecaster": "mase"}
_LARGER_IS_BETTER = ("accuracy", "f1_macro", "f1_weighted", "f1", "roc_auc", "skill")


@suggests_names
def tune(
    estimator: Any,
    *data: Any,
    space: Mapping[str, Any] | None = None,
    algorithm: str = "bayesian",
    objective: str | None = None,
    max_trials: int = 20,
    max_seconds: float | None = None,
    executor: int | None = 1,
    directory: str | PathLike[str] | None = None,
    seed: int = 0,
    verbose: int | str = "auto",
) -> SearchResult:
    """Searches constructor arguments of an estimator and refits the best on all data.

    Trial 0 is the estimator as it is, so the result is never worse by the score than
    what was passed in. Every trial fits a clone and is scored by the validation part
    that `fit` holds back; the winner is fitted again on everything.

    Args:
        estimator: A `TextClassifier` or `Forecaster`; it is not changed.
        *data: What its `fit` takes: texts and labels, or a long frame.
        space: `{argument: limits}`. A list holds values to choose from, a tuple
            `(low, high)` or `(low, high, "log")` is a range. None varies units,
            layers, dropout and clipping. Of several clipping arguments each trial
            uses one.
        algorithm: `"bayesian"` or `"random"`; both from keras-tuner.
        objective: A key of the estimator's `validation_`; None: `log_loss` for text,
            `mase` for series. Accuracy and its like are maximised, others minimised.
        max_trials: Number of trials in all, those of an earlier call in `directory`
            included.
        max_seconds: No trial starts later than this after the call; one always runs.
        executor: 1 or None. Both run trials in this process, one after another.
        directory: Folder that makes the search resumable: the same call again repeats
            no finished trial and goes on as if it had never stopped.
        seed: Of the suggestions, each from (seed, trial). 0 is a seed like any other.
            The networks use the estimator's own.
        verbose: 0 is silent; otherwise one line per trial, with the time left.

    Returns:
        A `SearchResult`.

    Raises:
        ValueError: If an argument breaks a rule, or `directory` holds another search.
        RuntimeError: If no trial succeeded. A trial whose loss is lost or that runs
            out of memory fails alone; any other error stops the search.

    Example:
        >>> result = tune(Forecaster(horizon=12), df, max_trials=10)  # doctest: +SKIP
        >>> result.best_params_                                       # doctest: +SKIP

    Reference:
        Bergstra & Bengio, 2012 (random); Snoek, Larochelle & Adams, 2012 (Bayesian).
    """
    _check_arguments(estimator, data, algorithm, executor)
    check_integer("max_trials", max_trials, 1)
    check_integer("seed", seed, 0)
    deadline = math.inf
    if max_seconds is not None:
        check_number("max_seconds", max_seconds, above=0)
        deadline = time.perf_counter() + max_seconds
    params = estimator.get_params(deep=False)
    checked = Space(space, params)
    objective = _choose_objective(estimator, objective)
    maximize = objective in _LARGER_IS_BETTER
    fingerprint = {
        "estimator": type(estimator).__name__,
        "params": params,
        "space": checked.describe(),
        "algorithm": algorithm,
        "objective": objective,
        "seed": seed,
        "data": hash_data(data),
    }
    log = TrialLog(directory, fingerprint)
    search = _Search(estimator, data, checked, objective, maximize, log)
    search.run(
        Suggester(checked, algorithm, maximize, seed), max_trials, deadline, verbose
    )
    return search.finish(verbose)


class _Search:
    """One search in this process."""

    def __init__(
        self,
        estimator: Any,
        data: tuple[Any, ...],
        space: Space,
        objective: str,
        maximize: bool,
        log: TrialLog,
    ):
        self.estimator = estimator
        self.data = data
        self.space = space
        self.objective = objective
        self.maximize = maximize
        self.log = log

    def run(
        self,
        suggester: Suggester,
        max_trials: int,
        deadline: float,
        verbose: int | str,
    ) -> None:
        """Runs the trials that are missing, each suggested by those before it."""
        for trial in self.log.trials:
            if trial.values is not None:
                suggester.tell(trial.values, trial.score)
        first = len(self.log.trials)
        for number in range(first, max_trials):
            if number > first and time.perf_counter() >= deadline:
                break
            if number == 0:
                values = self.space.encode(self.estimator.get_params(deep=False))
                params: dict[str, Any] = {}
            else:
                values = suggester.suggest(number)
                if values is None:
                    _tell(verbose, f"search: no new combination after {number} trials")
                    break
                params = self.space.decode(values)
            trial = self._run_trial(number, values, params)
            self.log.append(trial)
            if trial.values is not None:
                suggester.tell(trial.values, trial.score)
            _tell(verbose, self._progress(trial, first, max_trials, deadline))

    def finish(self, verbose: int | str) -> SearchResult:
        """Fits the winner on everything."""
        best = self._best()
        if best is None:
            messages = "; ".join(
                f"trial {trial.trial}: {trial.message}" for trial in self.log.trials[:3]
            )
            raise RuntimeError(f"No trial succeeded. {messages}")
        params = self._params(best)
        winner = clone(self.estimator).set_params(**params, refit_full=True)
        winner.fit(*self.data, verbose=verbose)
        trials = [replace(t, params=self._params(t)) for t in self.log.trials]
        frame = trials_frame(trials)
        score = float(best.score)  # type: ignore[arg-type]
        return SearchResult(winner, params, score, frame, self.objective, self.maximize)

    def _run_trial(
        self, number: int, values: dict[str, Any] | None, params: dict[str, Any]
    ) -> Trial:
        started = time.perf_counter()
        score, message, validation = None, "", {}
        fitted = clone(self.estimator).set_params(**params, refit_full=False)
        if hasattr(fitted, "baseline"):  # the same in every trial; the winner fits it
            fitted.set_params(baseline=False)
        try:
            fitted.fit(*self.data, verbose=0)
        except _survivable() as error:
            message = f"{type(error).__name__}: {error}"
        else:
            validation = self._validation(fitted)
            score = validation[self.objective]
            if score is None:
                message = f"{self.objective} is not finite"
        shown = params or self._own_params()
        del fitted
        gc.collect()  # a Keras model is a web of cycles; many of them fill the memory
        seconds = round(time.perf_counter() - started, 3)
        return Trial(number, values, shown, score, message, seconds, validation)

    def _validation(self, fitted: Any) -> dict[str, float | None]:
        scores = fitted.validation_
        if not scores:
            raise ValueError(
                "`fit` held back no validation part to score trials by: the data are "
                "too short."
            )
        if self.objective not in scores:
            raise ValueError(
                f"`objective` must be a score of the validation part."
                f"{did_you_mean(self.objective, scores)} There are: "
                f"{', '.join(scores)}. Received: objective={self.objective!r}"
            )
        return {
            name: float(value) if math.isfinite(value) else None
            for name, value in scores.items()
            if isinstance(value, int | float)
        }

    def _own_params(self) -> dict[str, Any]:
        own = self.estimator.get_params(deep=False)
        return {name: own[name] for name in self.space.names}

    def _params(self, trial: Trial) -> dict[str, Any]:
        """A trial's arguments with their own types, which JSON can lose."""
        if trial.trial == 0:
            return self._own_params()
        return self.space.decode(trial.values or {})

    def _best(self) -> Trial | None:
        sign = -1 if self.maximize else 1
        completed = [trial for trial in self.log.trials if trial.score is not None]
        return min(completed, key=lambda t: sign * (t.score or 0.0), default=None)

    def _progress(
        self, trial: Trial, first: int, max_trials: int, deadline: float
    ) -> str:
        best = self._best()
        done = self.log.trials[first:]
        mean = sum(each.seconds for each in done) / len(done)
        left = mean * (max_trials - trial.trial - 1)
        left = max(min(left, deadline - time.perf_counter()), 0)
        arguments = ", ".join(
            f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in trial.params.items()
            if value is not None
        )
        outcome = (
            f"failed ({trial.message.splitlines()[0]})"
            if trial.score is None
            else f"{self.objective} {trial.score:.4g}"
        )
        so_far = (
            f"best {best.score:.4g} (trial {best.trial})" if best else "no best yet"
        )
        return (
            f"search {trial.trial + 1}/{max_trials}: trial {trial.trial}, {outcome}, "
            f"{so_far}, {arguments}, {trial.seconds:.0f} s, {left:.0f} s left"
        )


def _check_arguments(
    estimator: Any, data: tuple[Any, ...], algorithm: str, executor: int | None
) -> None:
    if isinstance(estimator, type) or not hasattr(estimator, "get_params"):
        raise TypeError(
            "`estimator` must be an estimator object, such as Forecaster(horizon=12). "
            f"Received: {estimator!r}"
        )
    if not data:
        raise TypeError(
            "`tune` takes the data of `fit` after the estimator: tune(clf, texts, "
            "labels) or tune(f, df)."
        )
    if algorithm in ("hyperband", "grid"):
        raise ValueError(
            f"`algorithm={algorithm!r}` is not available in this version of keras_seq: "
            "take 'bayesian' or 'random'."
        )
    check_choice("algorithm", algorithm, ("bayesian", "random"))
    if executor is not None and (executor != 1 or isinstance(executor, bool)):
        raise ValueError(
            "`executor` other than 1 is not available in this version of keras_seq: "
            f"trials run one after another. Received: executor={executor!r}"
        )


def _choose_objective(estimator: Any, objective: str | None) -> str:
    if objective is not None:
        return objective
    for kind in type(estimator).__mro__:
        if kind.__name__ in _OBJECTIVES:
            return _OBJECTIVES[kind.__name__]
    raise ValueError(
        f"`objective` must be given for a {type(estimator).__name__}: a key of its "
        "`validation_`. Received: objective=None"
    )


def _survivable() -> tuple[type[BaseException], ...]:
    """Errors that say something about the trial and nothing about the program."""
    errors: tuple[type[BaseException], ...] = (FloatingPointError, MemoryError)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        errors += (tf.errors.ResourceExhaustedError,)
    return errors


def _tell(verbose: int | str, line: str) -> None:
    if verbose:
        print(line, flush=True)
