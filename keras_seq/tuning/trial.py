"""One trial: a clone of the estimator with other arguments, fitted and scored."""

import gc
import inspect
import math
import pickle
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from sklearn.base import clone

from keras_seq.errors import did_you_mean


@dataclass(frozen=True)
class Task:
    """What a search asks a worker for: to train one trial, some of the way or all.

    Attributes:
        trial: Its number.
        params: Estimator arguments that it sets.
        seed: Of split, weights, batches and dropout; None: the estimator's own.
        part: Share of its whole training, at most 1, after which it is scored.
        folder: Where it keeps its checkpoints, and where an earlier task of the same
            trial may have left some; None keeps none.
    """

    trial: int
    params: dict[str, Any]
    seed: int | None = None
    part: float = 1.0
    folder: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        score: Of the validation part; None if it failed.
        message: Why it failed, else an empty string.
        seconds: Wall-clock time.
        validation: All scores of its validation part.
        traceback: Of the error it failed with, if there was one.
    """

    score: float | None
    message: str
    seconds: float
    validation: dict[str, float | None] = field(default_factory=dict)
    traceback: str = ""


@dataclass(frozen=True)
class Job:
    """What all trials of a search share.

    Attributes:
        estimator: With its own arguments; it is not changed.
        data: What its `fit` takes.
        objective: A key of its `validation_`.
        folds: Splits that each trial is fitted and scored on.
    """

    estimator: Any
    data: tuple[Any, ...]
    objective: str
    folds: int = 1

    @property
    def can_pause(self) -> bool:
        """Whether the estimator's `fit` can go on from a checkpoint."""
        return "checkpoint" in inspect.signature(self.estimator.fit).parameters

    def run(self, task: Task) -> Outcome:
        """Fits a clone with the task's arguments on each fold, and scores it there.

        Raises:
            Exception: What says something about the program and not about the trial.
        """
        started = time.perf_counter()
        score, message, trace = None, "", ""
        validation: dict[str, float | None] = {}
        try:
            scores = [
                self._fit(task, number, data, options)
                for number, (data, options) in enumerate(self._split())
            ]
        except Exception as error:
            if not _is_of_the_trial(error):
                raise
            message = f"{type(error).__name__}: {error}"
            trace = traceback.format_exc()
        else:
            validation = {name: _mean([s[name] for s in scores]) for name in scores[0]}
            score = validation[self.objective]
            if score is None:
                message = f"{self.objective} is not finite"
        gc.collect()  # a Keras model is a web of cycles; many of them fill the memory
        seconds = round(time.perf_counter() - started, 3)
        return Outcome(score, message, seconds, validation, trace)

    def _split(self) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
        """What `fit` takes, fold by fold: its data, and how it validates."""
        if self.folds == 1:  # on what `fit` holds back
            return iter([(self.data, {})])
        return self.estimator.split_folds(self.folds, *self.data)

    def _fit(
        self, task: Task, fold: int, data: tuple[Any, ...], options: dict[str, Any]
    ) -> dict[str, float | None]:
        params = {**task.params, "refit_full": False}
        if task.seed is not None:
            params["seed"] = task.seed
        fitted = clone(self.estimator).set_params(**params)
        if hasattr(fitted, "baseline"):  # the same in every trial; the winner fits it
            fitted.set_params(baseline=False)
        if task.folder is not None and self.can_pause:
            from keras_seq.training.checkpoint import Checkpoint

            folder = Path(task.folder) / f"fold-{fold}"
            folder.mkdir(parents=True, exist_ok=True)
            options = {**options, "checkpoint": Checkpoint(folder, task.part)}
        fitted.fit(*data, verbose=0, **options)
        return self._validation(fitted)

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


@lru_cache(maxsize=1)  # a process runs the trials of one search after another
def load_job(path: str) -> Job:
    """Reads the job that a search has put in a file."""
    with open(path, "rb") as file:
        return pickle.load(file)


def run_stored(path: str, task: Task) -> Outcome:
    """Runs a task of the job in a file, in whichever process this is called."""
    return load_job(path).run(task)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _is_of_the_trial(error: Exception) -> bool:
    """Whether it is about these arguments: memory, or a loss that was lost."""
    if isinstance(error, FloatingPointError | MemoryError):
        return True
    # TensorFlow has a class of its own, JAX a message. Neither need be installed.
    return type(error).__name__ == "ResourceExhaustedError" or str(error).startswith(
        "RESOURCE_EXHAUSTED"
    )
