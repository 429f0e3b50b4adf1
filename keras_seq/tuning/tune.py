"""tune: search the constructor arguments of an estimator."""

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

from keras_seq.errors import (
    check_choice,
    check_integer,
    check_number,
    suggests_names,
)
from keras_seq.fingerprint import fingerprint_fit
from keras_seq.tuning.default_space import default_space
from keras_seq.tuning.executors import open_executor
from keras_seq.tuning.schedule import FullTraining, Hyperband
from keras_seq.tuning.search import Search
from keras_seq.tuning.search_result import SearchResult
from keras_seq.tuning.space import make_space
from keras_seq.tuning.suggester import Suggester
from keras_seq.tuning.tensorboard import write_trial
from keras_seq.tuning.trial import Job
from keras_seq.tuning.trial_log import Trial, TrialLog, open_folder

_OBJECTIVES = {"TextClassifier": "log_loss", "Forecaster": "mase"}
_LARGER_IS_BETTER = (
    "accuracy",
    "subset_accuracy",
    "f1_macro",
    "f1_micro",
    "f1_weighted",
    "f1",
    "roc_auc",
    "skill",
)


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
    executor: int | str | Executor | None = 1,
    resources: Mapping[str, float] | None = None,
    folds: int = 1,
    num_seeds: int = 1,
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
        *data: What its `fit` takes: texts and labels, or a long frame; or a
            `pathlib.Path` of texts in files, of which the contents tell a search that
            is resumed whether it is the same.
        space: `{argument: limits}`. A list holds values to choose from, a tuple
            `(low, high)` or `(low, high, "log")` is a range. None: size, layers, cell,
            dropouts, clipping, learning rate and batch size; for series lookback and
            scaling; for text vocabulary, embedding and pooling. Of several clipping
            arguments each trial uses one. Or a function that takes keras-tuner's
            `HyperParameters` and returns the arguments of a trial, for what depends on
            something else.
        algorithm: `"bayesian"` or `"random"`, both from keras-tuner; `"hyperband"`,
            random as well, but most trials are trained for a ninth or a third of the
            time and the best go on from there; `"grid"`: all combinations, of a range
            five points, as far as `max_trials` goes.
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
            kills a process costs one trial at most. With one, a search is repeatable;
            with several, suggestions depend on which trials have finished. None runs
            trials in this process, for debugging. `"ray"`: on a Ray cluster. Or an
            executor like those of `concurrent.futures`, which stays open; trials lost
            with a broken pool are submitted again. The last two know no
            `max_trial_mb`, and None and executors no limit at all.
        resources: Of a trial on a Ray cluster, such as `{"num_cpus": 2}`.
        folds: Splits that each trial is fitted and scored on, the score being their
            mean: stratified folds of texts; of series, so many origins, one horizon
            apart, each with what lies before it. 1: what `fit` holds back.
        num_seeds: Above 1, the three best trials and trial 0 are trained with this
            many seeds in all, and the best of them is the one with the best mean.
        directory: Folder that makes the search resumable: the same call again repeats
            no finished trial, and goes on with the others from their last epoch. Only
            one search at a time may use it. Its `tensorboard/` is for
            TensorBoard's HParams page, where tensorboard is installed.
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
        Bergstra & Bengio, 2012 (random); Snoek, Larochelle & Adams, 2012 (Bayesian);
        Li et al., 2018 (Hyperband).
    """
    _check_arguments(estimator, data, algorithm, executor, resources)
    check_integer("max_trials", max_trials, 1)
    check_integer("folds", folds, 1)
    check_integer("num_seeds", num_seeds, 1)
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
    objective = _choose_objective(estimator, objective)
    maximize = objective in _LARGER_IS_BETTER
    job = Job(estimator, data, objective, folds)
    _check_estimator(job, algorithm, num_seeds)
    if space is None:
        space = default_space(estimator, data)
    checked = make_space(space, params)
    fingerprint = {
        **fingerprint_fit(estimator, (data, getattr(estimator, "pretrained_", None))),
        "space": checked.describe(),
        "algorithm": algorithm,
        "objective": objective,
        "folds": folds,
        "seed": seed,
    }
    with open_folder(directory) as folder:
        search = Search(
            job,
            checked,
            maximize,
            TrialLog(folder, fingerprint),
            folder,
            Suggester(checked, algorithm, maximize, seed),
            Hyperband(maximize) if algorithm == "hyperband" else FullTraining(),
            max_trials,
            num_seeds,
            deadline,
            verbose,
            _choose_watcher(directory, objective),
        )
        if not search.is_finished():
            limits = max_trial_seconds, max_trial_mb
            with open_executor(job, folder, executor, resources, *limits) as where:
                search.run(where)
        return search.finish()


def _check_arguments(
    estimator: Any,
    data: tuple[Any, ...],
    algorithm: str,
    executor: Any,
    resources: Any,
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
    check_choice("algorithm", algorithm, ("bayesian", "random", "hyperband", "grid"))
    if resources is not None and executor != "ray":
        raise ValueError(
            "`resources` are those of a trial on a Ray cluster: give executor='ray'. "
            f"Received: executor={executor!r}"
        )
    if executor not in (None, "ray") and not hasattr(executor, "submit"):
        check_integer("executor", executor, 1)


def _check_estimator(job: Job, algorithm: str, num_seeds: int) -> None:
    """Whether it can do what is asked for; TextClassifier and Forecaster can."""
    name = type(job.estimator).__name__
    if algorithm == "hyperband" and not job.can_pause:
        raise ValueError(
            "`algorithm='hyperband'` needs an estimator whose `fit` takes `checkpoint`."
            f" Received: a {name}"
        )
    if job.folds > 1 and not hasattr(job.estimator, "split_folds"):
        raise ValueError(
            "`folds` above 1 needs an estimator that has `split_folds`. Received: "
            f"folds={job.folds} and a {name}"
        )
    if num_seeds > 1 and "seed" not in job.estimator.get_params(deep=False):
        raise ValueError(
            "`num_seeds` above 1 needs an estimator with an argument `seed`. Received: "
            f"num_seeds={num_seeds} and a {name}"
        )


def _choose_watcher(
    directory: str | PathLike[str] | None, objective: str
) -> Callable[[Trial], None]:
    """Logs for TensorBoard, where they stay and somebody could read them."""
    if directory is None or find_spec("tensorboard") is None:
        return lambda trial: None
    return partial(write_trial, Path(directory) / "tensorboard", objective=objective)


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
