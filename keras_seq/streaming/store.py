"""KeyedStates: arrays of a fixed width for each of millions of keys."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from os import PathLike
from typing import Any, Self

import numpy as np

from keras_seq.errors import check_choice, check_integer
from keras_seq.streaming.rows import Array, Key, Layout, State
from keras_seq.streaming.spill import SpillFile

# Room is made for a quarter more keys at a time: what is unused costs less than a
# quarter of what is used, and each state is copied a few times in all.
_GROWTH, _LEAST = 1.25, 16
_FREE = np.iinfo(np.int64).max
# So much of all keys is lined up for eviction at a time.
_LINED_UP = 1 / 64


class KeyedStates:
    """Keeps arrays for each key, and finds thousands of them at a time.

    Arrays lie flat, one row for each key; one dict tells the row of a key. Rows of
    keys that left are used again.

    Args:
        arrays: Shape and dtype by name, as of one key; see `Layout`.
        max_keys: Most keys in memory; None: any number.
        on_full: What becomes of the least recently written keys when there are more:
            `"drop"` forgets them, `"write"` moves them to a file, from which they are
            read as if they had not left.
        spill: The folder of that file.

    Raises:
        ValueError: If `on_full` and `spill` do not fit together.
    """

    def __init__(
        self,
        arrays: Mapping[str, tuple[tuple[int, ...], Any]],
        *,
        max_keys: int | None = None,
        on_full: str = "drop",
        spill: str | PathLike[str] | None = None,
    ):
        if max_keys is not None:
            check_integer("max_keys", max_keys, 1)
        check_choice("on_full", on_full, ("drop", "write"))
        if (on_full == "write") != (spill is not None):
            raise ValueError(
                "`spill` must be a folder where on_full='write', and is for nothing "
                f"else. Received: {on_full=}, {spill=}"
            )
        if on_full == "write" and max_keys is None:
            raise ValueError(
                "`max_keys` must say from how many keys on states are written to "
                "`spill`. Received: max_keys=None"
            )
        self.layout = Layout(arrays)
        self.max_keys = max_keys
        self._spill = None if spill is None else SpillFile(spill)
        self._clear()

    def _clear(self) -> None:
        self._slots: dict[Key, int] = {}
        self._keys: Array = np.empty(0, object)  # of each slot
        self._used: Array = np.zeros(0, np.int64)  # the call that wrote it last
        self._state = self.layout.empty(0)
        self._end = 0  # no slot from here on was ever used
        self._free: list[int] = []
        self._calls = 0
        self._line: tuple[Array, Array] = self._used, self._used

    def __len__(self) -> int:
        return len(self._slots) + (len(self._spill) if self._spill is not None else 0)

    @property
    def capacity(self) -> int:
        """Keys that there is room for before arrays grow."""
        return len(self._used)

    def keys(self) -> list[Key]:
        """All keys, those in memory first, as they came."""
        return [*self._slots, *(self._spill.keys() if self._spill is not None else ())]

    def find(self, keys: Sequence[Key]) -> Array:
        """Where keys are: int64, -1 for those that are not in memory.

        Good until the next call of `write` or `drop`.
        """
        found = map(self._slots.get, keys, repeat(-1))
        return np.fromiter(found, np.int64, len(keys))

    def use(self, key: Key) -> State | None:
        """The state of one key that is in memory, to be changed in place.

        Counts it as used. Good until the next call of `write` or `drop`.
        """
        slot = self._slots.get(key)
        if slot is None:
            return None
        self._calls += 1
        self._used[slot] = self._calls
        return {name: array[slot : slot + 1] for name, array in self._state.items()}

    def read(
        self,
        keys: Sequence[Key],
        slots: Array | None = None,
        names: Sequence[str] | None = None,
    ) -> tuple[State, Array]:
        """Copies of states; nothing changes by it.

        Args:
            keys: Any.
            slots: Of `find`, where it is known.
            names: Of the arrays to read; None: all.

        Returns:
            Arrays by name, each `(len(keys), ...)`, of anything where a key is
            unknown; and which are known, bool, `(len(keys),)`.
        """
        slots = self.find(keys) if slots is None else slots
        names = list(self.layout.arrays) if names is None else names
        known = slots >= 0
        if known.all():
            return {name: self._state[name][slots] for name in names}, known
        state = {n: a for n, a in self.layout.empty(len(keys)).items() if n in names}
        here = np.flatnonzero(known)
        for name in names:
            state[name][here] = self._state[name][slots[here]]
        if self._spill is not None:
            away = np.flatnonzero(~known).tolist()
            rows = self._spill.read([keys[i] for i in away])
            found = [i for i in away if keys[i] in rows]
            if found:
                back = self.layout.unpack([rows[keys[i]] for i in found])
                known[found] = True
                for name in names:
                    state[name][found] = back[name]
        return state, known

    def write(
        self,
        keys: Sequence[Key],
        state: Mapping[str, Array],
        slots: Array | None = None,
    ) -> None:
        """Sets the states of keys, and counts them as used.

        Args:
            keys: Each once; new ones are taken in.
            state: Arrays by name, each `(len(keys), ...)`.
            slots: Of `find`, where it is known.

        Raises:
            ValueError: If there are more than `max_keys`.
        """
        if self.max_keys is not None and len(keys) > self.max_keys:
            raise ValueError(
                f"At most max_keys={self.max_keys} states can be written at once. "
                f"Received: {len(keys)}"
            )
        slots = self.find(keys) if slots is None else slots
        self._calls += 1
        here = slots >= 0
        self._used[slots[here]] = self._calls
        if not here.all():
            fresh = np.flatnonzero(~here)
            new = [keys[i] for i in fresh.tolist()]
            self._make_room(len(new))
            if self._spill is not None:
                self._spill.delete(new)
            slots = slots.copy()
            slots[fresh] = self._take_in(new)
        for name, array in state.items():
            self._state[name][slots] = array

    def drop(self, keys: Sequence[Key]) -> int:
        """Forgets keys; unknown ones are none. Returns how many there were."""
        slots = self.find(keys)
        self._release(np.unique(slots[slots >= 0]))
        gone = len(np.unique(slots[slots >= 0]))
        return gone + (self._spill.delete(list(keys)) if self._spill is not None else 0)

    def fork(self) -> Self:
        """A copy that shares nothing; of the spill file as well."""
        copy = type(self).__new__(type(self))
        copy.layout, copy.max_keys = self.layout, self.max_keys
        copy._spill = self._spill.fork() if self._spill is not None else None
        copy._slots, copy._free = dict(self._slots), list(self._free)
        copy._keys, copy._used = self._keys.copy(), self._used.copy()
        copy._state = {name: array.copy() for name, array in self._state.items()}
        copy._end, copy._calls, copy._line = self._end, self._calls, self._line
        return copy

    def like(self) -> Self:
        """An empty one of the same arguments."""
        copy = type(self).__new__(type(self))
        copy.layout, copy.max_keys = self.layout, self.max_keys
        copy._spill = SpillFile(self._spill.folder) if self._spill is not None else None
        copy._clear()
        return copy

    def blocks(self, size: int) -> Iterator[tuple[list[Key], State]]:
        """Keys and states, so many at a time, the least recently written first."""
        if self._spill is not None:
            for keys, rows in self._spill.blocks(size):
                yield keys, self.layout.unpack(rows)
        used = np.flatnonzero(self._used[: self._end] != _FREE)
        used = used[np.argsort(self._used[used], kind="stable")]
        for start in range(0, len(used), size):
            slots = used[start : start + size]
            state = {name: array[slots] for name, array in self._state.items()}
            yield self._keys[slots].tolist(), state

    def _take_in(self, keys: list[Key]) -> Array:
        """Gives new keys their slots."""
        again = [self._free.pop() for _ in range(min(len(self._free), len(keys)))]
        first, self._end = self._end, self._end + len(keys) - len(again)
        self._grow(self._end)
        slots = np.array([*again, *range(first, self._end)], np.int64)
        self._keys[slots] = np.fromiter(keys, object, len(keys))
        self._used[slots] = self._calls
        self._slots.update(zip(keys, slots.tolist(), strict=True))
        return slots

    def _grow(self, needed: int) -> None:
        before = len(self._used)
        if needed <= before:
            return
        room = max(needed, int(before * _GROWTH) + _LEAST)
        if self.max_keys is not None:
            room = max(min(room, self.max_keys), needed)

        def longer(array: Array) -> Array:
            grown = np.empty((room, *array.shape[1:]), array.dtype)
            grown[:before] = array
            return grown

        self._keys, self._used = longer(self._keys), longer(self._used)
        self._used[before:] = _FREE
        for name in self._state:  # one at a time, so that only one is there twice
            self._state[name] = longer(self._state[name])

    def _make_room(self, count: int) -> None:
        if self.max_keys is None:
            return
        surplus = len(self._slots) + count - self.max_keys
        if surplus <= 0:
            return
        slots = self._oldest(surplus)
        if self._spill is not None:
            state = {name: array[slots] for name, array in self._state.items()}
            rows = list(self.layout.pack(state, len(slots)))
            self._spill.write(self._keys[slots].tolist(), rows)
        self._release(slots)

    def _oldest(self, count: int) -> Array:
        """Slots of the least recently written keys.

        Finding them goes over all keys, so more are lined up than are needed. Whoever
        was written since is left out of the line; whoever stays in it is older than
        all that never were.
        """
        found: list[Array] = []
        while count:
            slots, calls = self._line
            if not len(slots):
                taken = np.concatenate([np.zeros(0, np.int64), *found])
                total = max(count, int(len(self._slots) * _LINED_UP)) + len(taken)
                total = min(total, self._end)
                used = self._used[: self._end]
                slots = np.argpartition(used, total - 1)[:total]
                slots = slots[np.lexsort((slots, used[slots]))]
                slots = slots[~np.isin(slots, taken)]
                calls = used[slots]
            same = np.flatnonzero((self._used[slots] == calls) & (calls != _FREE))
            chosen = same[:count]
            found.append(slots[chosen])
            count -= len(chosen)
            rest = int(chosen[-1]) + 1 if count == 0 else len(slots)
            self._line = slots[rest:], calls[rest:]
        return np.concatenate(found)

    def _release(self, slots: Array) -> None:
        for key in self._keys[slots].tolist():
            del self._slots[key]
        self._keys[slots] = None
        self._used[slots] = _FREE
        for name in self.layout.loose:
            self._state[name][slots] = b""
        self._free.extend(slots.tolist())
