"""States of many keys as rows of bytes, which is how they lie on disk."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Key = str | int
State = dict[str, Array]

# An array of this dtype holds bytes of any length for each key.
BYTES = np.dtype(object)


class Layout:
    """What is kept for each key.

    Args:
        arrays: Shape and dtype by name, as of one key. With the dtype `object` (and
            the shape `()`) it is `bytes` of any length.
    """

    def __init__(self, arrays: Mapping[str, tuple[tuple[int, ...], Any]]):
        self.arrays = {
            name: (tuple(shape), np.dtype(dtype))
            for name, (shape, dtype) in arrays.items()
        }
        self.fixed = [n for n, (_, dtype) in self.arrays.items() if dtype != BYTES]
        self.loose = [n for n, (_, dtype) in self.arrays.items() if dtype == BYTES]
        self._sizes = [
            int(np.prod(self.arrays[name][0], dtype=np.int64))
            * self.arrays[name][1].itemsize
            for name in self.fixed
        ]

    def empty(self, count: int) -> State:
        """Arrays for so many keys, with anything in them; `b""` where it is bytes."""
        state = {
            name: np.empty((count, *shape), dtype)
            for name, (shape, dtype) in self.arrays.items()
        }
        for name in self.loose:
            state[name].fill(b"")
        return state

    def describe(self) -> list[list[Any]]:
        """Name, shape and dtype of each array, as JSON has them."""
        return [
            [name, list(shape), "bytes" if dtype == BYTES else dtype.str]
            for name, (shape, dtype) in self.arrays.items()
        ]

    def pack(self, state: Mapping[str, Array], count: int) -> Iterator[bytes]:
        """One row of bytes for each key: fixed parts, then sizes and loose parts."""
        parts = [
            np.frombuffer(np.ascontiguousarray(state[name]), np.uint8).reshape(-1, size)
            for name, size in zip(self.fixed, self._sizes, strict=True)
            if size
        ]
        whole = np.concatenate([np.zeros((count, 0), np.uint8), *parts], axis=1)
        width, plain = whole.shape[1], whole.tobytes()
        for row in range(count):
            begin = plain[row * width : (row + 1) * width]
            if not self.loose:
                yield begin
                continue
            own = [state[name][row] for name in self.loose]
            sizes = np.array([len(part) for part in own], "<u8").tobytes()
            yield b"".join([begin, sizes, *own])

    def unpack(self, rows: Sequence[bytes]) -> State:
        """Takes `pack` back.

        Raises:
            ValueError: If a row has another size.
        """
        state = self.empty(len(rows))
        width, head = sum(self._sizes), 8 * len(self.loose)
        for row, packed in enumerate(rows):
            sizes = np.frombuffer(packed[width : width + head], "<u8").tolist()
            if len(packed) != width + head + sum(sizes) or head != 8 * len(sizes):
                raise ValueError(f"a row of {len(packed)} bytes does not fit")
            at = width + head
            for name, size in zip(self.loose, sizes, strict=True):
                state[name][row] = packed[at : at + size]
                at += size
        plain = np.frombuffer(b"".join([row[:width] for row in rows]), np.uint8)
        plain = plain.reshape(len(rows), width)
        at = 0
        for name, size in zip(self.fixed, self._sizes, strict=True):
            shape, dtype = self.arrays[name]
            own = np.ascontiguousarray(plain[:, at : at + size]).view(dtype)
            state[name][:] = own.reshape(len(rows), *shape)
            at += size
        return state


def check_keys(keys: Sequence[Any], name: str) -> list[Key]:
    """Keys as plain `str` and `int`.

    Args:
        keys: As the user gave them; NumPy's are made Python's.
        name: Of the argument or column, for the message.

    Raises:
        ValueError: If one is anything else, or no 64-bit number.
    """
    if not set(map(type, keys)) <= {str, int}:
        keys = [key.item() if isinstance(key, np.generic) else key for key in keys]
        keys = [str(key) if isinstance(key, str) else key for key in keys]
    wrong = [
        key
        for key in keys
        if type(key) is not str and not (type(key) is int and -(2**63) <= key < 2**63)
    ]
    if wrong:
        raise ValueError(
            f"`{name}` must hold names of str, or whole numbers of 64 bits. Received: "
            f"{wrong[:3]!r}"
        )
    return list(keys)
