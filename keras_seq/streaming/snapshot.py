"""A session on disk: whole or not at all, and only for the model that it is of.

    line              "keras_seq session 1"
    8 bytes           length of the header
    header            JSON: what it is of, and what is kept for each key
    blocks            4 + 8 bytes: number of keys, bytes that follow; keys as JSON;
                      each key's length and row of bytes (`Layout.pack`)
    32 bytes          SHA-256 of all before

It is written and read block by block, so memory need not hold the states twice.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from keras_seq.errors import ArtifactError
from keras_seq.files import replace_file
from keras_seq.streaming.rows import Key, Layout, State, check_keys

_MAGIC = b"keras_seq session 1\n"
_BLOCK = struct.Struct("<IQ")
_DIGEST = hashlib.sha256().digest_size
# Keys in a block.
BLOCK = 16_384
_PART = 1 << 20


def write(
    path: str | PathLike[str],
    header: dict[str, Any],
    layout: Layout,
    blocks: Iterable[tuple[list[Key], State]],
) -> None:
    """Writes a snapshot under a temporary name and moves it into place.

    Args:
        path: Target; its folder must exist. What is there stays until the new one is
            on disk.
        header: JSON-able.
        layout: Of the states.
        blocks: Keys and states.
    """
    with replace_file(path) as file:
        digest = hashlib.sha256()

        def put(data: bytes) -> None:
            digest.update(data)
            file.write(data)

        text = json.dumps({**header, "arrays": layout.describe()}).encode()
        put(_MAGIC + struct.pack("<Q", len(text)) + text)
        for keys, state in blocks:
            names = json.dumps(keys).encode()  # lone surrogates too
            rows = list(layout.pack(state, len(keys)))
            sizes = np.array([len(names), *map(len, rows)], "<u8").tobytes()
            body = b"".join([sizes, names, *rows])
            put(_BLOCK.pack(len(keys), len(body)) + body)
        put(_BLOCK.pack(0, 0))
        file.write(digest.digest())


def read(
    path: str | PathLike[str],
    layout: Layout,
    check: Callable[[dict[str, Any]], None],
) -> tuple[dict[str, Any], Iterator[tuple[list[Key], State]]]:
    """Checks a whole file and then gives what is in it.

    Args:
        path: A file of `write`.
        layout: Of the states.
        check: Raises unless the header is that of this session.

    Returns:
        The header; keys and states block by block, the file being read as they are
        asked for.

    Raises:
        ArtifactError: If the file is none, or is damaged or truncated.
        FileNotFoundError: If there is no such file.
    """
    file = open(path, "rb")
    try:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ArtifactError(f"{path} is no snapshot of a keras_seq session.")
        _check_digest(path, file)
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        check(header)
        if header["arrays"] != layout.describe():
            raise ArtifactError(
                f"{path} holds other states than this session's: "
                f"{header['arrays']}, and not {layout.describe()}."
            )
    except BaseException:
        file.close()
        raise
    return header, _blocks(file, layout)


def _check_digest(path: Any, file: BinaryIO) -> None:
    """Compares what the file says with what is in it; then stands after the magic."""
    left = Path(path).stat().st_size - len(_MAGIC) - _DIGEST
    digest = hashlib.sha256(_MAGIC)
    while left > 0:
        part = file.read(min(left, _PART))
        if not part:
            break
        digest.update(part)
        left -= len(part)
    if left or file.read(_DIGEST) != digest.digest():
        raise ArtifactError(f"{path} is damaged or truncated.")
    file.seek(len(_MAGIC))


def _blocks(file: BinaryIO, layout: Layout) -> Iterator[tuple[list[Key], State]]:
    with file:
        while True:
            count, size = _BLOCK.unpack(file.read(_BLOCK.size))
            if not count:
                return
            body = file.read(size)
            at = 8 * (count + 1)
            names, *sizes = np.frombuffer(body[:at], "<u8").tolist()
            keys = check_keys(json.loads(body[at : at + names]), "keys")
            ends = np.cumsum([at + names, *sizes]).tolist()
            rows = [body[a:b] for a, b in zip(ends, ends[1:], strict=False)]
            yield keys, layout.unpack(rows)
