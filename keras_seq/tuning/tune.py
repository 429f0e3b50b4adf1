"""tune: search the constructor arguments of an estimator."""

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import asdict, replace
from os import PathLike
from typing import Any

from sklearn.base import clone

from keras_seq.errors import (
    check_choice,
    check_integer,
    check_number,
    suggests_names,
)
from keras_seq.fingerprint import fingerprint_fit
from keras_seq.tuning.executors import Borrowed, InProcess, Workers, open_executor
from keras_seq.tuning.search_result import SearchResult, trials_frame
from keras_seq.tuning.space import FunctionSpace, Space, make_space
from keras_seq.tuning.suggester import Suggester
from keras_seq.tuning.trial import Job, Outcome
from keras_seq.tuning.trial_log import Trial, TrialLog, hold_directory

_OBJECTIVES = {"TextClassifier": "log_loss", "Forecaster": "mase"}
_LARGER_IS_BETTER = ("accuracy", "f1_macro", "f1_weighted", "f1", "roc_auc", "skill")


@suggests_names
def tune(
    estimator: Any,
    *data: Any,
    space: Mapping[str, Any] | Callable[[Any], Mapping[str, Any]] | None = None,
    algorithm: str = "bayesian",
    objective: str | None = None,
    max_trials: int = 20,
    max_seconds: float | None = None,
    max_trial_seconds: float | None = None,
    max_trial_mb: float | None = None,
    executor: int | Executor | None = 1,
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
            uses one. Or a function that takes keras-tuner's `HyperParameters` and
            returns the arguments of a trial, for what depends on something else.
        algorithm: `"bayesian"` or `"random"`, both from keras-tuner, or `"grid"`: all
            combinations, of a range five points, as far as `max_trials` goes.
        objective: A key of the estimator's `validation_`; None: `log_loss` for text,
            `mase` for series. Accuracy and its like are maximised, others minimised.
        max_trials: Number of trials in all, those of an earlier call in `directory`
            included.
        max_seconds: No trial starts later than this after the call; one always runs.
        max_trial_seconds: A trial that takes longer is stopped and has failed. None:
            no limit.
        max_trial_mb: The same for the resident memory of a worker process, in MB.
            None: its share of nine tenths of what is free at the start.
        executor: Number of worker processes, which share the cores and GPUs. What
            kills a process costs one trial. With one, a search is repeatable; with
            several, suggestions depend on which trials have finished. None runs
            trials in this process, for debugging. Or an executor like those of
            `concurrent.futures`, which stays open; trials lost with a broken pool are
            submitted again. Neither has limits.
        directory: Folder that makes the search resumable: the same call again repeats
            no finished trial and goes on. Only one search at a time may use it.
        seed: Of the suggestions, each from (seed, trial). 0 is a seed like any other.
            The networks use the estimator's own.
        verbose: 0 is silent; otherwise one line per trial, with the time left.

    Returns:
        A `SearchResult`.

    Raises:
        ValueError: If an argument breaks a rule, or `directory` holds another search.
        RuntimeError: If no trial succeeded, or another search uses `directory`. A
            trial whose loss is lost, that breaks a limit or whose process dies fails
            alone; any other error stops the search.

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
    if max_trial_seconds is not None:
        check_number("max_trial_seconds", max_trial_seconds, above=0)
    if max_trial_mb is not None:
        check_number("max_trial_mb", max_trial_mb, above=0)
    params = estimator.get_params(deep=False)
    checked = make_space(space, params)
    objective = _choose_objective(estimator, objective)
    maximize = objective in _LARGER_IS_BETTER
    fingerprint = {
        **fingerprint_fit(estimator, data),
        "space": checked.describe(),
        "algorithm": algorithm,
        "objective": objective,
        "seed": seed,
    }
    job = Job(estimator, data, objective)
    with hold_directory(directory):
        log = TrialLog(directory, fingerprint)
        search = _Search(job, checked, maximize, log)
        suggester = Suggester(checked, algorithm, maximize, seed)
        if not search.is_finished(max_trials):
            where = open_executor(job, executor, max_trial_seconds, max_trial_mb)
            with where:
                search.run(suggester, where, max_trials, deadline, verbose)
        return search.finish(verbose)


class _Search:
    """One search: asks for suggestions, hands trials out, logs what comes back."""

    def __init__(
        self, job: Job, space: Space | FunctionSpace, maximize: bool, log: TrialLog
    ):
        self.job = job
        self.space = space
        self.maximize = maximize
        self.log = log

    def is_finished(self, max_trials: int) -> bool:
        return not self._missing(max_trials)

    def run(
        self,
        suggester: Suggester,
        executor: InProcess | Borrowed | Workers,
        max_trials: int,
        deadline: float,
        verbose: int | str,
    ) -> None:
        """Runs the trials that are missing, as many at once as there are workers."""
        for trial in self.log.trials:
            suggester.begin(trial.trial, trial.values)
            suggester.end(trial.trial, trial.score)
        missing = self._missing(max_trials)
        progress = _Progress(self, len(missing), executor.slots, deadline, max_trials)
        running: dict[Future[Outcome], Trial] = {}
        started = False
        while missing or running:
            while missing and len(running) < executor.slots:
                if started and time.perf_counter() >= deadline:
                    missing = []
                    break
                number = missing.pop(0)
                suggested = self._suggest(suggester, number)
                if suggested is None:
                    _tell(verbose, f"search: no new combination after {number} trials")
                    missing = []
                    break
                suggester.begin(number, suggested.values)
                # Trial 0 is the estimator as it is.
                params = suggested.params if number else {}
                running[executor.submit(params)] = suggested
                started = True
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            # Errors last, so that what has ended beside them is not lost.
            for future in sorted(
                ended, key=lambda f: (f.exception() is not None, running[f].trial)
            ):
                trial = replace(running.pop(future), **asdict(future.result()))
                self.log.append(trial)
                suggester.end(trial.trial, trial.score)
                _tell(verbose, progress.describe(trial))

    def _missing(self, max_trials: int) -> list[int]:
        there = {trial.trial for trial in self.log.trials}
        return [number for number in range(max_trials) if number not in there]

    def _suggest(self, suggester: Suggester, number: int) -> Trial | None:
        """A trial that is yet to run; None if there is no new one."""
        if number == 0:
            own = self.job.estimator.get_params(deep=False)
            values, params = self.space.encode(own), self._own_params()
        else:
            values = suggester.suggest(number)
            if values is None:
                return None
            params = self.space.decode(values)
        return Trial(number, values, params, None, "", 0.0)

    def finish(self, verbose: int | str) -> SearchResult:
        """Fits the winner on everything."""
        best = self.best()
        if best is None:
            messages = "; ".join(
                f"trial {trial.trial}: {trial.message}" for trial in self.log.trials[:3]
            )
            raise RuntimeError(f"No trial succeeded. {messages}")
        params = self._params(best)
        winner = clone(self.job.estimator).set_params(**params, refit_full=True)
        winner.fit(*self.job.data, verbose=verbose)
        in_order = sorted(self.log.trials, key=lambda t: t.trial)
        trials = [replace(t, params=self._params(t)) for t in in_order]
        score = float(best.score)  # type: ignore[arg-type]
        result = SearchResult(
            winner,
            params,
            score,
            trials_frame(trials),
            self.job.objective,
            self.maximize,
        )
        own = result.default_score_
        was = "failed" if math.isnan(own) else f"had {own:.4g}"
        _tell(
            verbose,
            f"search: trial {best.trial} is best with {self.job.objective} "
            f"{score:.4g}, the estimator as it was {was}. The best of many flatters: "
            "judge it on other data",
        )
        return result

    def _own_params(self) -> dict[str, Any]:
        own = self.job.estimator.get_params(deep=False)
        return {name: own[name] for name in self.space.names}

    def _params(self, trial: Trial) -> dict[str, Any]:
        """A trial's arguments with their own types, which JSON can lose."""
        if trial.trial == 0:
            return self._own_params()
        return self.space.decode(trial.values or {})

    def best(self) -> Trial | None:
        sign = -1 if self.maximize else 1
        completed = [trial for trial in self.log.trials if trial.score is not None]
        # Of equals the first by number, whichever came back first.
        return min(
            completed, key=lambda t: (sign * (t.score or 0.0), t.trial), default=None
        )


class _Progress:
    """Says after each trial how the search stands."""

    def __init__(
        self,
        search: _Search,
        to_run: int,
        slots: int,
        deadline: float,
        max_trials: int,
    ):
        self.search = search
        self.to_run = to_run
        self.slots = slots
        self.deadline = deadline
        self.max_trials = max_trials
        self.done = 0
        self.started = time.perf_counter()

    def describe(self, trial: Trial) -> str:
        self.done += 1
        now = time.perf_counter()
        left = (now - self.started) / self.done * (self.to_run - self.done)
        left = max(min(left, self.deadline - now), 0)
        arguments = ", ".join(
            f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in trial.params.items()
            if value is not None
        )
        outcome = (
            f"failed ({trial.message.splitlines()[0]})"
            if trial.score is None
            else f"{self.search.job.objective} {trial.score:.4g}"
        )
        best = self.search.best()
        so_far = (
            f"best {best.score:.4g} (trial {best.trial})" if best else "no best yet"
        )
        finished = len(self.search.log.trials)
        return (
            f"search {finished}/{self.max_trials}: trial {trial.trial}, {outcome}, "
            f"{so_far}, {arguments}, {trial.seconds:.0f} s, {left:.0f} s left"
        )


def _check_arguments(
    estimator: Any, data: tuple[Any, ...], algorithm: str, executor: Any
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
    if algorithm == "hyperband":
        raise ValueError(
            "`algorithm='hyperband'` is not available in this version of keras_seq: "
            "take 'bayesian', 'random' or 'grid'."
        )
    check_choice("algorithm", algorithm, ("bayesian", "random", "grid"))
    if executor is not None and not hasattr(executor, "submit"):
        check_integer("executor", executor, 1)


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


def _tell(verbose: int | str, line: str) -> None:
    if verbose:
        print(line, flush=True)
