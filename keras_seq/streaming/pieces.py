"""Pieces of text: how much of a text is finished, whatever comes next."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_seq.streaming.rows import Array
from keras_seq.text.normalization import SINGLE, SPACE, Splitter


class PieceReader:
    """Cuts texts where no later character can change the tokens before the cut.

    That is before a character that begins with a space, or with a token of its own that
    nothing before it can take in: what is written after it joins it or stands behind
    it. The last word is therefore held back until it ends, and so is a letter until it
    is clear that no mark follows.

    Args:
        splitter: Of texts into tokens; not by a function, which would have to see the
            whole text.
        ids: Of the known tokens.
        unknown: Id of all others.

    Raises:
        ValueError: If a function splits.
    """

    def __init__(self, splitter: Splitter, ids: dict[str, int], unknown: int = 1):
        if callable(splitter.split):
            raise ValueError(
                "Text can be read piece by piece where `split` is 'auto', "
                "'whitespace' or 'character': a function has to see it whole. "
                f"Received: split={splitter.split!r}"
            )
        self._splitter, self._ids, self._unknown = splitter, ids, unknown
        flat = splitter.table.flat
        kinds = splitter._kinds
        # The classes of characters by themselves; those that may join what stands
        # before, or change places with it, have flags and are none of the two.
        begins = (kinds == SPACE) | (kinds == SINGLE)
        for (first, _), whole in splitter.table.compositions.items():
            # It may yet become a part of the word before it.
            if begins[first] and not begins[whole]:
                begins[first] = False
        self._begins = begins[flat.firsts] & (flat.sizes > 0)

    def cut(self, text: str) -> int:
        """How many characters of a text are finished; the others are to be held back.

        Args:
            text: Any code points.
        """
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        found = np.flatnonzero(self._begins[points])
        return int(found[-1]) if len(found) else 0

    def encode(self, texts: Sequence[str]) -> list[Array]:
        """The ids of each text: int32."""
        tokens, counts = self._splitter.split_all(texts)
        get, unknown = self._ids.get, self._unknown
        ids = np.array([get(token, unknown) for token in tokens], np.int32)
        return np.split(ids, np.cumsum(counts)[:-1]) if len(texts) else []


def pad_ids(rows: Sequence[Array], least: int = 1) -> dict[str, Any]:
    """Rows of ids as a network takes them: `tokens` and `length`, int32."""
    length = np.array([len(row) for row in rows], np.int32)
    tokens = np.zeros((len(rows), max(int(length.max(initial=0)), least)), np.int32)
    for row, ids in enumerate(rows):
        tokens[row, : len(ids)] = ids
    return {"tokens": tokens, "length": length}
