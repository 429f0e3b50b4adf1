"""TrialLog: what a search has done, on disk, so that it can go on."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from keras_seq.files import replace_file
from keras_seq.fingerprint import check_fingerprint, jsonable


@dataclass(frozen=True)
class Trial:
    """One finished trial.

    Attributes:
        trial: Its number, from 0.
        values: Values of the search's variables; None for trial 0 where the
            estimator's own arguments lie outside of the space.
        params: Estimator arguments that it varied.
        score: Of its validation part; None if it failed.
        message: Why it failed, else an empty string.
        seconds: Wall-clock time.
        validation: All scores of its validation part.
        traceback: Of the error it failed with, if there was one.
    """

    trial: int
    values: dict[str, Any] | None
    params: dict[str, Any]
    score: float | None
    message: str
    seconds: float
    validation: dict[str, float | None] = field(default_factory=dict)
    traceback: str = ""


@contextmanager
def hold_directory(directory: str | PathLike[str] | None) -> Iterator[None]:
    """Keeps other searches out of the folder, until it is left or this process dies.

    Raises:
        RuntimeError: If another search is in it.
    """
    if directory is None:
        yield
        return
    Path(directory).mkdir(parents=True, exist_ok=True)
    lock = FileLock(Path(directory) / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RuntimeError(
            f"Another search is running in `directory`, {directory}: wait for it, or "
            "give another directory."
        ) from error
    try:
        yield
    finally:
        lock.release()


class TrialLog:
    """Finished trials in `trials.jsonl`, and whose they are in `search.json`.

    A trial is one line, on disk before the next one starts. A line that a crash cut
    short is dropped: its trial runs again.

    Args:
        directory: Folder, made if missing; None keeps nothing on disk.
        fingerprint: What the search is about; JSON-able.

    Raises:
        ValueError: If the folder holds another search, saying what differs, or a
            damaged log.
    """

    def __init__(
        self,
        directory: str | PathLike[str] | None,
        fingerprint: Mapping[str, Any],
    ):
        self.trials: list[Trial] = []
        self._path: Path | None = None
        if directory is None:
            return
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "trials.jsonl"
        if self._path.exists() and not (folder / "search.json").exists():
            raise ValueError(f"{folder} holds trials.jsonl but no search.json.")
        check_fingerprint(folder / "search.json", fingerprint, "directory", "search")
        if self._path.exists():
            self.trials = _read_trials(self._path)

    def append(self, trial: Trial) -> None:
        """Adds a trial; on return it is on disk."""
        self.trials.append(trial)
        if self._path is None:
            return
        line = json.dumps(asdict(trial), allow_nan=False, default=jsonable) + "\n"
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def _read_trials(path: Path) -> list[Trial]:
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with replace_file(path) as file:
            file.write(whole)
    trials: dict[int, Trial] = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            trial = Trial(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number} is damaged: {error}.") from error
        if trial.trial in trials:
            raise ValueError(
                f"{path}, line {number} is trial {trial.trial} once more; two searches "
                "wrote to one directory."
            )
        trials[trial.trial] = trial
    return list(trials.values())
