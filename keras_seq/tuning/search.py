"""Search: asks for suggestions, hands trials out, writes down what comes back."""

import math
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from keras_seq.tuning.schedule import FullTraining, Hyperband
from keras_seq.tuning.search_result import SearchResult, trials_frame
from keras_seq.tuning.space import FunctionSpace, Space
from keras_seq.tuning.suggester import Suggester
from keras_seq.tuning.trial import Job, Outcome, Task
from keras_seq.tuning.trial_log import Trial, TrialLog

_CANDIDATES = 3  # of the best trials, which are compared over several seeds


class Search:
    """One search.

    Args:
        job: What all trials share.
        space: What they vary.
        maximize: Whether larger scores are better.
        log: What has been done.
        folder: For checkpoints.
        suggester: Says what to try.
        schedule: Says how long.
        max_trials: Trials in all.
        num_seeds: Seeds that the best are compared over.
        deadline: On the clock of `time.perf_counter`; nothing starts later.
        verbose: 0 is silent.
        watcher: Called with a trial each time that it was trained.
    """

    def __init__(
        self,
        job: Job,
        space: Space | FunctionSpace,
        maximize: bool,
        log: TrialLog,
        folder: Path,
        suggester: Suggester,
        schedule: FullTraining | Hyperband,
        max_trials: int,
        num_seeds: int,
        deadline: float,
        verbose: int | str,
        watcher: Callable[[Trial], None],
    ):
        self.job = job
        self.space = space
        self.maximize = maximize
        self.log = log
        self.folder = folder / "checkpoints"
        self.suggester = suggester
        self.schedule = schedule
        self.count = max_trials
        self.num_seeds = num_seeds
        self.deadline = deadline
        self.verbose = verbose
        self.watcher = watcher
        self.started_any = False
        self.work_done = sum(trial.part for trial in log.trials.values())

    def is_finished(self) -> bool:
        """Whether all trials have been trained, and the best over all seeds."""
        found = self.schedule.next(self.log.trials, (), self.count)
        return found is None and not list(self._missing_repeats())

    def run(self, executor: Any) -> None:
        """Trains what is missing, as much at once as the executor has slots."""
        for trial in self.log.trials.values():
            self.suggester.begin(trial.trial, trial.values)
            if trial.outcomes:
                self.suggester.end(trial.trial, trial.score)
        self.started, self.work_at_first = time.perf_counter(), self.work_done
        self._run_all(executor, self._next_trial)
        self._run_all(executor, self._next_repeat)

    def _run_all(
        self, executor: Any, next_task: Callable[[set[int]], Task | None]
    ) -> None:
        running: dict[Future[Outcome], Task] = {}
        while True:
            while len(running) < executor.slots and self._may_start():
                task = next_task({task.trial for task in running.values()})
                if task is None:
                    break
                running[executor.submit(task)] = task
                self.started_any = True
            if not running:
                return
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            # Errors last, so that what has ended beside them is not lost.
            for future in sorted(
                ended, key=lambda f: (f.exception() is not None, running[f].trial)
            ):
                self._end(running.pop(future), future.result())

    def _may_start(self) -> bool:
        """Whether there is time left; one trial always runs."""
        return time.perf_counter() < self.deadline or not self.started_any

    def _next_trial(self, running: set[int]) -> Task | None:
        found = self.schedule.next(self.log.trials, running, self.count)
        if found is None:
            return None
        number, part = found
        if number not in self.log.trials:
            trial = self._suggest(number)
            if trial is None:
                self._tell(f"search: no new combination after {number} trials")
                self.count = number
                return self._next_trial(running)
            self.suggester.begin(number, trial.values)
            self.log.begin(trial)
        return self._task(self.log.trials[number], part)

    def _next_repeat(self, running: set[int]) -> Task | None:
        # One seed of all candidates before the next: time may run out.
        for trial, seed in self._missing_repeats():
            if trial.trial not in running:
                return self._task(trial, 1.0, seed)
        return None

    def _task(self, trial: Trial, part: float, seed: int | None = None) -> Task:
        # Trial 0 is the estimator as it is.
        params = self.params(trial) if trial.trial else {}
        folder = self._checkpoints(trial) / ("own" if seed is None else f"seed-{seed}")
        return Task(trial.trial, params, seed, part, str(folder))

    def _checkpoints(self, trial: Trial) -> Path:
        return self.folder.absolute() / f"trial-{trial.trial:04d}"

    def _end(self, task: Task, outcome: Outcome) -> None:
        before = self.log.trials[task.trial].part
        self.log.end(task.trial, task.part, task.seed, outcome)
        trial = self.log.trials[task.trial]
        if task.seed is None:
            self.suggester.end(trial.trial, outcome.score)
        self.watcher(replace(trial, params=self.params(trial)))
        self.work_done += task.part if task.seed is not None else task.part - before
        if task.folder and (task.part == 1 or outcome.score is None):
            shutil.rmtree(task.folder, ignore_errors=True)
        self._tell(self._describe(task, outcome))

    def _suggest(self, number: int) -> Trial | None:
        """A trial that is yet to run; None if there is no new one."""
        if number == 0:
            own = self.job.estimator.get_params(deep=False)
            return Trial(number, self.space.encode(own), self._own_params())
        values = self.suggester.suggest(number)
        if values is None:
            return None
        return Trial(number, values, self.space.decode(values))

    def _own_params(self) -> dict[str, Any]:
        own = self.job.estimator.get_params(deep=False)
        return {name: own[name] for name in self.space.names}

    def params(self, trial: Trial) -> dict[str, Any]:
        """A trial's arguments with their own types, which JSON can lose."""
        if trial.trial == 0:
            return self._own_params()
        return self.space.decode(trial.values or {})

    def ranked(self) -> list[Trial]:
        """Trials by score, best first, those alone that were trained the longest.

        Of equals the first by number, whichever came back first.
        """
        sign = -1 if self.maximize else 1
        completed = [t for t in self.log.trials.values() if t.score is not None]
        longest = max((trial.part for trial in completed), default=0)
        return sorted(
            (trial for trial in completed if trial.part == longest),
            key=lambda t: (sign * (t.score or 0.0), t.trial),
        )

    def _candidates(self) -> list[Trial]:
        """The best few, and the estimator as it was; they are yet to be compared."""
        ranked = self.ranked()
        own = [trial for trial in ranked[_CANDIDATES:] if trial.trial == 0]
        return ranked[:_CANDIDATES] + own

    def _missing_repeats(self) -> Iterator[tuple[Trial, int]]:
        if self.num_seeds > 1:
            own = self.job.estimator.get_params(deep=False)["seed"]
            for seed in range(own + 1, own + self.num_seeds):
                for trial in self._candidates():
                    if seed not in trial.repeats:
                        yield trial, seed

    def compare_seeds(self) -> pd.DataFrame | None:
        """Candidates with mean and spread over seeds, best first; None without."""
        if self.num_seeds == 1 or not self.ranked():
            return None
        if list(self._missing_repeats()):
            self._tell("search: no time was left to compare the best over all seeds")
            return None
        own = self.job.estimator.get_params(deep=False)["seed"]
        rows = []
        for trial in self._candidates():
            outcomes = [trial.repeats[own + i] for i in range(1, self.num_seeds)]
            scores = np.array(
                [trial.score, *(outcome.score for outcome in outcomes)], dtype=float
            )
            rows.append(
                {
                    "trial": trial.trial,
                    **self.params(trial),
                    "mean": scores.mean(),  # NaN if one failed: it is not the best
                    "std": scores.std(ddof=1),
                    **{f"seed_{own + i}": s for i, s in enumerate(scores)},
                }
            )
        return pd.DataFrame(rows).sort_values(
            "mean", ascending=not self.maximize, kind="stable", ignore_index=True
        )

    def finish(self) -> SearchResult:
        """Fits the winner on everything."""
        ranked = self.ranked()
        if not ranked:
            trials = list(self.log.trials.values())
            raise RuntimeError(
                "No trial succeeded. "
                + "; ".join(f"trial {t.trial}: {t.last.message}" for t in trials[:3])
            )
        best, score = ranked[0], ranked[0].score
        candidates = self.compare_seeds()
        if candidates is not None and candidates["mean"].notna().any():
            best = self.log.trials[int(candidates["trial"][0])]
            score = candidates["mean"][0]
        params = self.params(best)
        winner = clone(self.job.estimator).set_params(**params, refit_full=True)
        options: dict[str, Any] = {}
        if self.job.can_pause:
            from keras_seq.training.checkpoint import Checkpoint

            folder = self._checkpoints(best) / "refit"
            folder.mkdir(parents=True, exist_ok=True)
            options["checkpoint"] = Checkpoint(folder)
        winner.fit(*self.job.data, verbose=self.verbose, **options)
        shutil.rmtree(self.folder, ignore_errors=True)
        in_order = sorted(self.log.trials.values(), key=lambda t: t.trial)
        trials = [replace(t, params=self.params(t)) for t in in_order if t.outcomes]
        result = SearchResult(
            winner,
            params,
            float(score),  # type: ignore[arg-type]
            trials_frame(trials),
            self.job.objective,
            self.maximize,
            candidates,
        )
        self._tell(_describe_result(result, best.trial))
        return result

    def _describe(self, task: Task, outcome: Outcome) -> str:
        """How the search stands after a task."""
        now = time.perf_counter()
        done = self.work_done - self.work_at_first
        repeats = _CANDIDATES * (self.num_seeds - 1)
        work = self.schedule.work(self.count) + repeats
        pace = (now - self.started) / max(done, 1e-9)
        left = max(min(pace * (work - self.work_done), self.deadline - now), 0)
        trial = self.log.trials[task.trial]
        arguments = ", ".join(
            f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in trial.params.items()
            if value is not None
        )
        failed = f"failed ({(outcome.message.splitlines() or [''])[0]})"
        told = failed
        if outcome.score is not None:
            told = f"{self.job.objective} {outcome.score:.4g}"
        if task.seed is not None:
            told += f" with seed {task.seed}"
        elif task.part < 1:
            told += f" after {task.part:.0%} of training"
        best = next(iter(self.ranked()), None)
        so_far = (
            f"best {best.score:.4g} (trial {best.trial})" if best else "no best yet"
        )
        finished = sum(bool(trial.outcomes) for trial in self.log.trials.values())
        return (
            f"search {finished}/{self.count}: trial {task.trial}, {told}, "
            f"{so_far}, {arguments}, {outcome.seconds:.0f} s, {left:.0f} s left"
        )

    def _tell(self, line: str) -> None:
        if self.verbose:
            print(line, flush=True)


def _describe_result(result: SearchResult, best: int) -> str:
    own = result.default_score_
    was = "failed" if math.isnan(own) else f"had {own:.4g}"
    over = ""
    if result.candidates_ is not None:
        spread = result.candidates_["std"][0]
        over = f" (mean of {len(result.seed_scores_.columns)} seeds, std {spread:.2g})"
    if best == 0:
        return (
            "search: NOTHING BEAT the estimator as it was, with "
            f"{result.objective} {result.best_score_:.4g}{over}"
        )
    return (
        f"search: trial {best} is best with {result.objective} "
        f"{result.best_score_:.4g}{over}, the estimator as it was {was}. The best of "
        "many flatters: judge it on other data"
    )
