"""Tokens of more texts than memory holds: their ids go to files without a name.

Such a file is mapped into memory, as pages that the system drops when it needs room and
reads again; it is gone with its last user, however that ends.
"""

import tempfile
from array import array
from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from keras_seq.text.normalization import Splitter
from keras_seq.text.tokenizing import (
    Tokenized,
    count_tokens,
    id_parts,
    sign_texts,
    tokenize,
)


class IdFile:
    """Ids that are written one after another, and then mapped.

    Args:
        dtype: Of the ids.
    """

    def __init__(self, dtype: Any):
        self.dtype = np.dtype(dtype)
        self._file = tempfile.TemporaryFile(prefix="keras_seq-", buffering=1 << 20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()  # what is mapped stays

    def write(self, ids: np.ndarray) -> None:
        """Appends ids.

        Raises:
            OSError: If there is no room, naming the folder.
        """
        try:
            self._file.write(ids.astype(self.dtype, copy=False).data)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}: token ids are written to {tempfile.gettempdir()}; "
                "set TMPDIR to a folder with more room",
            ) from error

    def map(self, mode: Any = "r") -> np.ndarray:
        """All ids so far, as `np.memmap`; a plain array if there are none."""
        self._file.flush()
        if not self._file.tell():  # an empty file cannot be mapped
            return np.zeros(0, self.dtype)
        return np.memmap(self._file, self.dtype, mode)


def tokenize_blocks(
    splitter: Splitter, blocks: Iterable[list[str]], most: int
) -> Tokenized:
    """As `tokenize`, block by block, with ids in a file.

    Args:
        splitter: Of characters into tokens.
        blocks: Lists of texts.
        most: Distinct tokens to hold. When a block makes them more, the rarest are
            forgotten until half of that is left, and have the id -1; one that comes
            again is counted from 0. In natural text this takes what occurred once or
            twice.

    Raises:
        TypeError: If a function given as `split` returns anything but strings.
        OSError: If the folder for temporary files is full.
    """
    numbers: dict[str, int] = {}
    lengths, signatures = array("q"), array("Q")
    with IdFile(np.int32) as file:
        for block in blocks:
            part = tokenize(splitter, block)
            number = numbers.setdefault
            shared = [number(token, len(numbers)) for token in part.tokens]
            file.write(np.array(shared, np.int32)[part.ids])
            lengths.frombytes(part.lengths.tobytes())
            # Now, since texts that differ in forgotten tokens are no copies.
            signatures.frombytes(sign_texts(part).tobytes())
            if len(numbers) > most:
                numbers = _forget_rarest(numbers, file.map("r+"), most // 2)
        return Tokenized(
            list(numbers),
            file.map(),
            np.frombuffer(lengths, np.int64),
            np.frombuffer(signatures, np.uint64),
        )


def _forget_rarest(
    numbers: dict[str, int], ids: np.ndarray, most: int
) -> dict[str, int]:
    """Numbers of the tokens that are kept, at most so many; ids change with them."""
    counts = count_tokens(ids, len(numbers))
    least = np.partition(counts, -most - 1)[-most - 1] + 1
    kept = counts >= least
    # At the end what -1 becomes, so that -1 can be looked up.
    fresh = np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1).astype(np.int32)
    for part in id_parts(ids):
        part[:] = fresh[part]
    tokens = (token for token, keep in zip(numbers, kept, strict=True) if keep)
    return {token: number for number, token in enumerate(tokens)}
