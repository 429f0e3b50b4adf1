"""Schedules: which trial is trained next, and how far."""

from collections.abc import Collection, Iterator, Mapping

from keras_seq.tuning.trial_log import Trial


class FullTraining:
    """Every trial is trained to its end, one after the other."""

    def next(
        self, trials: Mapping[int, Trial], running: Collection[int], count: int
    ) -> tuple[int, float] | None:
        """The number of a trial and the part of its training; None: nothing for now.

        Args:
            trials: Those that have begun.
            running: Numbers of those that are being trained.
            count: Trials in all.
        """
        return next(
            ((n, 1.0) for n in range(count) if _is_new(n, trials, running)), None
        )

    def work(self, count: int) -> float:
        """What so many trials take, in whole trainings."""
        return float(count)


class Hyperband:
    """Hyperband (Li et al. 2018): many trials for a while, the best of them longer.

    Trials come in brackets of 9, 5 and 3, which begin with a ninth, a third and the
    whole of the training. When a bracket's trials have come so far, the best third
    goes on to three times as much. Trial 0 is outside: it is trained to its end.

    Unlike the paper's, a bracket that `count` cuts short still trains its best to the
    end, a trial that failed does not take another's place, and with several workers
    the next bracket begins while one waits.

    It keeps nothing: what is next follows from the trials alone, so a search that was
    killed goes on where it was.

    Args:
        maximize: Whether larger scores are better.
    """

    PARTS = (1 / 9, 1 / 3, 1.0)
    SIZES = (9, 5, 3)

    def __init__(self, maximize: bool):
        self.sign = -1 if maximize else 1

    def next(
        self, trials: Mapping[int, Trial], running: Collection[int], count: int
    ) -> tuple[int, float] | None:
        """As that of `FullTraining`; trials that go on come before new ones."""
        for number, part in self._promoted(trials, count):
            if number not in running:
                return number, part
        if _is_new(0, trials, running):
            return 0, 1.0
        for members, rung in self._brackets(count):
            for number in members:
                if _is_new(number, trials, running):
                    return number, self.PARTS[rung]
        return None

    def work(self, count: int) -> float:
        """As that of `FullTraining`."""
        total = 1.0
        for members, rung in self._brackets(count):
            size = len(members)
            total += size * self.PARTS[rung]
            for before, after in zip(
                self.PARTS[rung:], self.PARTS[rung + 1 :], strict=False
            ):
                size = self._survivors(size)
                total += size * (after - before)
        return total

    def _brackets(self, count: int) -> Iterator[tuple[range, int]]:
        """Numbers of each bracket's trials, and the index of its first part."""
        start = 1
        while start < count:
            for rung, size in enumerate(self.SIZES):
                if start < count:
                    yield range(start, min(start + size, count)), rung
                start += size

    def _survivors(self, size: int) -> int:
        return max(1, size // 3)

    def _promoted(
        self, trials: Mapping[int, Trial], count: int
    ) -> Iterator[tuple[int, float]]:
        """Trials that are to go on, and how far."""
        for numbers, rung in self._brackets(count):
            members = list(numbers)
            for before, after in zip(
                self.PARTS[rung:], self.PARTS[rung + 1 :], strict=False
            ):
                if not all(self._has_come(trials.get(n), before) for n in members):
                    break
                completed = [
                    (self.sign * outcome.score, n)
                    for n in members
                    if (outcome := trials[n].outcomes.get(before)) is not None
                    and outcome.score is not None
                ]
                survivors = sorted(completed)[: self._survivors(len(members))]
                members = [number for _, number in survivors]
                for number in members:
                    if not self._has_come(trials[number], after):
                        yield number, after

    def _has_come(self, trial: Trial | None, part: float) -> bool:
        return trial is not None and (trial.failed or trial.part >= part)


def _is_new(number: int, trials: Mapping[int, Trial], running: Collection[int]) -> bool:
    """Whether a trial has not run, be it that it began before the search was killed."""
    return number not in running and (
        number not in trials or not trials[number].outcomes
    )
