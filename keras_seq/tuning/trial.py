"""One trial: a clone of the estimator with other arguments, fitted and scored."""

import gc
import math
import pickle
import time
import traceback
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sklearn.base import clone

from keras_seq.errors import did_you_mean


@dataclass(frozen=True)
class Job:
    """What all trials of a search share.

    Attributes:
        estimator: With its own arguments; it is not changed.
        data: What its `fit` takes.
        objective: A key of its `validation_`.
    """

    estimator: Any
    data: tuple[Any, ...]
    objective: str

    def run_trial(self, params: dict[str, Any]) -> "Outcome":
        """Fits a clone with these arguments and scores it by its validation part.

        Raises:
            Exception: What says something about the program and not about the trial.
        """
        started = time.perf_counter()
        score, message, trace, validation = None, "", "", {}
        fitted = clone(self.estimator).set_params(**params, refit_full=False)
        if hasattr(fitted, "baseline"):  # the same in every trial; the winner fits it
            fitted.set_params(baseline=False)
        try:
            fitted.fit(*self.data, verbose=0)
        except Exception as error:
            if not _is_of_the_trial(error):
                raise
            message = f"{type(error).__name__}: {error}"
            trace = traceback.format_exc()
        else:
            validation = self._validation(fitted)
            score = validation[self.objective]
            if score is None:
                message = f"{self.objective} is not finite"
        del fitted
        gc.collect()  # a Keras model is a web of cycles; many of them fill the memory
        seconds = round(time.perf_counter() - started, 3)
        return Outcome(score, message, seconds, validation, trace)

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


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes:
        score: Of its validation part; None if it failed.
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


@lru_cache(maxsize=1)  # a process runs the trials of one search after another
def load_job(path: str) -> Job:
    """Reads the job that a search has put in a file."""
    with open(path, "rb") as file:
        return pickle.load(file)


def run_stored_trial(path: str, params: dict[str, Any]) -> Outcome:
    """Runs a trial of the job in a file, in whichever process this is called."""
    return load_job(path).run_trial(params)


def _is_of_the_trial(error: Exception) -> bool:
    """Whether it is about these arguments: memory, or a loss that was lost."""
    if isinstance(error, FloatingPointError | MemoryError):
        return True
    # TensorFlow has a class of its own, JAX a message. Neither need be installed.
    return type(error).__name__ == "ResourceExhaustedError" or str(error).startswith(
        "RESOURCE_EXHAUSTED"
    )
