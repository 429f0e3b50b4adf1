"""TrialLog: what a search has done, on disk, so that it can go on."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from keras_seq.files import replace_file
from keras_seq.fingerprint import check_fingerprint, jsonable
from keras_seq.tuning.trial import Outcome


@dataclass(frozen=True)
class Trial:
    """A trial, and what became of it so far.

    Attributes:
        trial: Its number, from 0.
        values: Values of the search's variables; None for trial 0 where the
            estimator's own arguments lie outside of the space.
        params: Estimator arguments that it sets.
        outcomes: By the share of its whole training after which it was scored.
        repeats: Of its whole training again, by seed.
    """

    trial: int
    values: dict[str, Any] | None
    params: dict[str, Any]
    outcomes: dict[float, Outcome] = field(default_factory=dict)
    repeats: dict[int, Outcome] = field(default_factory=dict)

    @property
    def part(self) -> float:
        """The share of its whole training that it has had."""
        return max(self.outcomes, default=0.0)

    @property
    def last(self) -> Outcome:
        """Its outcome after the longest training."""
        return self.outcomes[self.part]

    @property
    def score(self) -> float | None:
        """None if it failed, or is yet to be trained."""
        return self.last.score if self.outcomes else None

    @property
    def failed(self) -> bool:
        return bool(self.outcomes) and self.last.score is None

    @property
    def seconds(self) -> float:
        """Of all its training so far, repeats left out."""
        return round(sum(outcome.seconds for outcome in self.outcomes.values()), 3)


@contextmanager
def open_folder(directory: str | PathLike[str] | None) -> Iterator[Path]:
    """The folder of a search, which keeps other searches out while this one lasts.

    Args:
        directory: Made if missing; None: one that is removed in the end.

    Raises:
        RuntimeError: If another search is in it.
    """
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="keras-seq-search-") as temporary:
            yield Path(temporary)
        return
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)  # ends with this process, however that ends
    except Timeout as error:
        raise RuntimeError(
            f"Another search is running in `directory`, {directory}: wait for it, or "
            "give another directory."
        ) from error
    try:
        yield folder
    finally:
        lock.release()


class TrialLog:
    """The events of a search in `trials.jsonl`, and whose they are in `search.json`.

    A line says that a trial has begun, with its arguments, or how far it was trained
    and what came of it. It is on disk before the search goes on. A line that a crash
    cut short is dropped.

    Args:
        folder: Where the files are; it exists.
        fingerprint: What the search is about; JSON-able.

    Attributes:
        trials: By number, in the order in which they began.

    Raises:
        ValueError: If the folder holds another search, saying what differs, or a
            damaged log.
    """

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any]):
        self.trials: dict[int, Trial] = {}
        self._path = folder / "trials.jsonl"
        if self._path.exists() and not (folder / "search.json").exists():
            raise ValueError(f"{folder} holds trials.jsonl but no search.json.")
        check_fingerprint(folder / "search.json", fingerprint, "directory", "search")
        if self._path.exists():
            self._read()

    def begin(self, trial: Trial) -> None:
        """Adds a trial that is about to run."""
        about = {"trial": trial.trial, "values": trial.values, "params": trial.params}
        self._take({"event": "begin", **about}, trial.params)
        self._write({"event": "begin", **about})

    def end(self, trial: int, part: float, seed: int | None, outcome: Outcome) -> None:
        """Adds what became of a trial; on return it is on disk."""
        event = {"event": "end", "trial": trial, "part": part, "seed": seed}
        event |= asdict(outcome)
        self._take(event)
        self._write(event)

    def _write(self, event: dict[str, Any]) -> None:
        line = json.dumps(event, default=jsonable) + "\n"
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> None:
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with replace_file(self._path) as file:
                file.write(whole)
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"{self._path}, line {number} is damaged: "
                    f"{type(error).__name__}: {error}."
                ) from error

    def _take(
        self, event: dict[str, Any], params: dict[str, Any] | None = None
    ) -> None:
        event = dict(event)
        kind, number = event.pop("event"), event.pop("trial")
        if kind == "begin":
            if number in self.trials:
                raise ValueError(f"trial {number} began once more")
            self.trials[number] = Trial(number, **event)
            return
        part, seed = float(event.pop("part")), event.pop("seed")
        trial, outcome = self.trials[number], Outcome(**event)
        if part in trial.outcomes if seed is None else seed in trial.repeats:
            raise ValueError(f"trial {number} ended once more")
        if seed is None:
            trial.outcomes[part] = outcome
        else:
            trial.repeats[seed] = outcome
