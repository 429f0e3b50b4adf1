"""Suggester: keras-tuner's search algorithms, made addressable and resumable."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras_tuner
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from keras_seq.training.runtime import derive_seed
from keras_seq.tuning.space import FunctionSpace, Space

_MANY = 2**31  # keras-tuner gives up after three failures in a row; a search goes on
# Keras-tuner begins with three for each argument, which may be a whole search.
_MOST_RANDOM = 10


class _Replaying:
    """Lets an oracle repeat what a log says, and write no files: the log is ours."""

    replayed: dict[str, Any] | None = None

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if self.replayed is not None:
            return {"status": "RUNNING", "values": dict(self.replayed)}
        return super().populate_space(trial_id)  # type: ignore[misc]

    def save(self) -> None:
        pass

    def _save_trial(self, trial: Any) -> None:
        pass

    def reseed(self, seed: int) -> None:
        # keras-tuner 1.4.8 takes 0 as "random" and loses `_random_state` on reload.
        self.seed = self._seed_state = max(seed, 1)
        self._random_state = np.random.RandomState(self.seed)
        if hasattr(self, "gpr"):
            self.gpr.random_state = self.seed


class _RandomOracle(_Replaying, keras_tuner.oracles.RandomSearchOracle):
    pass


class _BayesianOracle(_Replaying, keras_tuner.oracles.BayesianOptimizationOracle):
    pass


class Suggester:
    """Suggests arguments for trial k from (seed, k) and the trials before it.

    A suggestion depends on nothing else, so that a search that was interrupted and
    resumed suggests what an undisturbed one suggests.

    Args:
        space: What to vary.
        algorithm: `"random"`, `"hyperband"` (the same); `"bayesian"` (a Gaussian
            process; Snoek et al. 2012), which begins with three random trials per
            argument, at most ten; `"grid"`, all combinations in order.
        maximize: Whether larger scores are better.
        seed: Root of all suggestions.
    """

    def __init__(
        self, space: Space | FunctionSpace, algorithm: str, maximize: bool, seed: int
    ):
        self.space = space
        self.seed = seed
        self._grid = space.grid() if algorithm == "grid" else None
        hyperparameters = space.hyperparameters()
        first = min(3 * len(hyperparameters.space), _MOST_RANDOM)
        random: tuple[Any, dict[str, Any]] = (_RandomOracle, {})
        kinds: dict[str, list[tuple[Any, dict[str, Any]]]] = {
            "bayesian": [(_BayesianOracle, {"num_initial_points": first}), random],
            "random": [random],
            "hyperband": [random],
        }
        self._oracles: list[Any] = [
            kind(
                objective=keras_tuner.Objective("score", "max" if maximize else "min"),
                max_trials=None,
                hyperparameters=hyperparameters,
                allow_new_entries=False,
                max_consecutive_failed_trials=_MANY,
                seed=1,
                **more,
            )
            for kind, more in kinds.get(algorithm, [])
        ]
        for oracle in self._oracles:
            oracle.verbose = 0
        self._tried: list[dict[str, Any]] = []
        self._running: dict[int, list[Any]] = {}

    def suggest(self, trial: int) -> dict[str, Any] | None:
        """Values for a trial that no earlier trial had; None if none can be found."""
        if self._grid is not None:
            return next((v for v in self._grid if v not in self._tried), None)
        for oracle in self._oracles:
            oracle.reseed(derive_seed(self.seed, trial, "search"))
            oracle.replayed = None
            with _calm():
                # Not create_trial: a suggestion becomes a trial once it is told.
                response = oracle.populate_space(str(trial))
            values = response["values"]
            # The Gaussian process can return to its best point; a repeated trial
            # would teach nothing, so a random one takes its place.
            if response["status"] == "RUNNING" and values not in self._tried:
                return _plain(values)
        return None

    def begin(self, trial: int, values: dict[str, Any] | None) -> None:
        """Adds a trial that has started; None stands for values outside the space."""
        if values is None:
            return
        self._tried.append(values)
        self._running[trial] = []
        for oracle in self._oracles:
            oracle.replayed = values
            with _calm():
                # An oracle gives each of its workers one trial at a time.
                self._running[trial].append(oracle.create_trial(f"worker {trial}"))

    def end(self, trial: int, score: float | None) -> None:
        """Adds the score of a trial that has begun; None means that it failed."""
        for oracle, started in zip(
            self._oracles, self._running.pop(trial, ()), strict=False
        ):
            with _calm():
                if score is None:
                    started.status = "FAILED"
                else:
                    oracle.update_trial(started.trial_id, {"score": score})
                    started.status = "COMPLETED"
                oracle.end_trial(started)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """NumPy scalars as Python's, so that a log gives back what it was given."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in values.items()
    }


@contextmanager
def _calm() -> Iterator[None]:
    # On one thread the small matrices of the Gaussian process are seven times as fast,
    # and a suggestion does not depend on the number of cores.
    with warnings.catch_warnings(), threadpool_limits(1):
        # keras-tuner 1.4.8 calls threading.currentThread and getName.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # A kernel length at its bound is usual with a handful of trials.
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        yield
