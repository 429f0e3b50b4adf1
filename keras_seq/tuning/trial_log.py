"""TrialLog: what a search has done, on disk, so that it can go on."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout


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
        _check_fingerprint(folder / "search.json", dict(fingerprint))
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


def hash_data(data: Any) -> str:
    """A digest of frames, arrays, lists and their nestings, in order."""
    digest = hashlib.sha256()
    _update(digest, data)
    return digest.hexdigest()


def jsonable(value: Any) -> Any:
    """What stands in a fingerprint or log for a value that JSON does not have."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)


def _update(digest: Any, data: Any) -> None:
    if isinstance(data, pd.DataFrame | pd.Series):
        hashes = pd.util.hash_pandas_object(data).to_numpy()
        names = list(data.columns) if isinstance(data, pd.DataFrame) else data.name
        digest.update(repr((type(data).__name__, names, len(data))).encode())
        digest.update(hashes.tobytes())
    elif isinstance(data, np.ndarray) and data.dtype != object:
        digest.update(repr(("array", data.dtype.str, data.shape)).encode())
        digest.update(np.ascontiguousarray(data).tobytes())
    elif isinstance(data, list | tuple | np.ndarray):
        digest.update(repr(("sequence", len(data))).encode())
        for item in data:
            _update(digest, item)
    elif isinstance(data, Mapping):
        _update(digest, [[name, data[name]] for name in data])
    else:  # text, numbers, None
        digest.update(repr(data).encode("utf-8", "surrogatepass") + b"\0")


def _check_fingerprint(path: Path, fingerprint: dict[str, Any]) -> None:
    """Writes the fingerprint of a new search, or compares it with the one there."""
    fresh = json.loads(json.dumps(fingerprint, default=jsonable))
    if not path.exists():
        if path.with_name("trials.jsonl").exists():
            raise ValueError(f"{path.parent} holds trials.jsonl but no search.json.")
        _write_whole(path, json.dumps(fresh, indent=1))
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}.") from error
    changes = list(_differences(stored, fresh))
    if changes:
        raise ValueError(
            f"`directory` holds another search, {path.parent}: {'; '.join(changes)}. "
            "Give another directory, or the same arguments to go on."
        )


def _differences(stored: Any, fresh: dict[str, Any]) -> Iterator[str]:
    if not isinstance(stored, dict) or set(stored) != set(fresh):
        yield "it was written by another version of keras_seq"
        return
    for name, value in fresh.items():
        if isinstance(value, dict):
            before = stored[name]
            for key in sorted({*before, *value}):
                was, now = (side.get(key, "absent") for side in (before, value))
                if was != now:
                    yield f"{name} {key!r} was {was!r} and is {now!r}"
        elif name == "data" and stored[name] != value:
            yield "the data differ"
        elif stored[name] != value:
            yield f"{name} was {stored[name]!r} and is {value!r}"


def _read_trials(path: Path) -> list[Trial]:
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        _write_whole(path, whole.decode("utf-8"))
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


def _write_whole(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
