"""KeyedSession: what sessions of series and of documents share."""

import copy
import threading
import time
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, Self

import numpy as np

from keras_seq.errors import ArtifactError
from keras_seq.streaming import snapshot
from keras_seq.streaming.rows import Key, check_keys
from keras_seq.streaming.store import KeyedStates

# Keys that go through the network at a time: what it computes then stays in the cache.
BLOCK = 2048


class KeyedSession:
    """States by key, kept, copied, written and read; a lock around all of it.

    Args:
        kind: What the session is of, for snapshots.
        fingerprint: Of the model and of all else that decides its answers.
        arrays: What is kept for each key; see `Layout`.
        clock: JSON-able: what the positions of a snapshot count from.
        options: `max_keys`, `on_full` and `spill` of `KeyedStates`.
    """

    # Numbers that go on counting after `restore`.
    _counters: tuple[str, ...] = ()

    def __init__(
        self,
        kind: str,
        fingerprint: str,
        arrays: Mapping[str, tuple[tuple[int, ...], Any]],
        clock: Any = None,
        **options: Any,
    ):
        self._kind, self._fingerprint, self._clock_state = kind, fingerprint, clock
        self._store = KeyedStates(arrays, **options)
        # Taken again by the methods that call others.
        self._lock = threading.RLock()
        for name in self._counters:
            setattr(self, name, 0)

    def __len__(self) -> int:
        with self._lock:
            return len(self._store)

    def __repr__(self) -> str:
        counts = [f"{len(self):,} keys"]
        for name in self._counters:
            counts.append(f"{getattr(self, name):,} {name.removeprefix('num_')}")
        return f"<{type(self).__name__}: {', '.join(counts)}>"

    def __contains__(self, key: Key) -> bool:
        with self._lock:
            return bool(self._store.read([key], names=())[1][0])

    @property
    def keys(self) -> list[Key]:
        """All keys that have a state, those written to `spill` last."""
        with self._lock:
            return self._store.keys()

    def drop(self, keys: Key | Iterable[Key]) -> int:
        """Forgets keys; they start cold when they come again.

        Args:
            keys: One, or several. One that is not known, or not any more, is no error.

        Returns:
            How many there were.
        """
        several = [keys] if isinstance(keys, str | int | np.integer) else list(keys)
        with self._lock:
            return self._store.drop(check_keys(several, "keys"))

    def fork(self) -> Self:
        """A session that goes on from here by itself; this one does not notice."""
        with self._lock:
            forked = copy.copy(self)
            forked._store = self._store.fork()
            forked._lock = threading.RLock()
            return forked

    def snapshot(self, path: str | PathLike[str]) -> None:
        """Writes all states to one file, whole or not at all.

        Args:
            path: Where; its folder must exist. A file there is replaced once the new
                one is on disk, so a crash leaves the one or the other.
        """
        with self._lock:
            header = {
                "kind": self._kind,
                "fingerprint": self._fingerprint,
                "clock": self._clock_state,
                "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "session": self._get_state(),
            }
            blocks = self._store.blocks(snapshot.BLOCK)
            snapshot.write(path, header, self._store.layout, blocks)

    def restore(self, path: str | PathLike[str]) -> None:
        """Takes over the states of a snapshot; those of this session are gone.

        Args:
            path: A file of `snapshot`, of a session of the same fitted model.

        Raises:
            ArtifactError: If the file is damaged, truncated or of another model; the
                session is as it was.
            FileNotFoundError: If there is no such file.
        """

        def check(header: dict[str, Any]) -> None:
            if header.get("kind") != self._kind:
                raise ArtifactError(
                    f"{path} is a snapshot of {header.get('kind')}, not of "
                    f"{self._kind}."
                )
            if header.get("fingerprint") != self._fingerprint:
                raise ArtifactError(
                    f"{path} is a snapshot of another model: its weights, or what it "
                    "was built with, differ from this session's."
                )
            if header.get("clock") != self._clock_state:
                raise ArtifactError(
                    f"{path} counts time otherwise, {header.get('clock')}, and not "
                    f"{self._clock_state}."
                )

        with self._lock:
            store = self._store.like()
            header, blocks = snapshot.read(path, store.layout, check)
            for keys, state in blocks:
                most = store.max_keys or len(keys)
                for start in range(0, len(keys), most):
                    part = slice(start, start + most)
                    store.write(keys[part], {n: a[part] for n, a in state.items()})
            self._store = store
            self._set_state(header["session"])

    def _get_state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._counters}

    def _set_state(self, state: dict[str, Any]) -> None:
        for name in self._counters:
            setattr(self, name, state[name])
