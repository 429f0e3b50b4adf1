"""TextSession: labels of many documents as their text comes in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_seq.streaming.keyed import BLOCK, KeyedSession
from keras_seq.streaming.pieces import PieceReader
from keras_seq.streaming.readers import Reader
from keras_seq.streaming.rows import BYTES, Array, Key, check_keys

# Key of the one document where a bare string is given.
ONLY_DOCUMENT = "document"
_HELD = "session/held_back"


@dataclass(frozen=True)
class StreamAnswer:
    """What a session of documents answers.

    Attributes:
        keys: As they were given.
        values: float32, `(keys, num_classes)`: probabilities of all text so far.
        classes: Labels in the order of the columns.
        labels: The likeliest label of each document, `(keys,)`; with several labels a
            list of them for each.
    """

    keys: list[Key]
    values: Array
    classes: Array
    labels: Any = field(repr=False)

    def to_frame(self) -> Any:
        """One row per document: `document`, `label`, and `proba_*` of each class."""
        import pandas as pd

        columns: dict[str, Any] = {"document": self.keys, "label": list(self.labels)}
        for index, name in enumerate(self.classes.tolist()):
            columns[f"proba_{name}"] = self.values[:, index]
        return pd.DataFrame(columns)


class TextSession(KeyedSession):
    """Reads documents piece by piece, and says what they are so far.

    However a text is cut into pieces, the answer after each is that of all pieces
    joined: what later characters could still change (the last word, a letter that a
    mark may follow) is held back as text, and counted in the answer as it stands.

    Several threads may use a session: calls wait for each other.

    Args:
        reader: The model.
        pieces: Cuts texts, and makes ids of tokens.
        fingerprint: Of the model and its preprocessing.
        classes: Labels in the order of the probabilities.
        calibrate: From the network's probabilities to those that are answered.
        choose: From probabilities to labels.
        options: `max_keys`, `on_full` and `spill` of `KeyedStates`.

    Attributes:
        num_tokens: Finished tokens that were read, of all documents.

    Example:
        >>> session = classifier.stream()                              # doctest: +SKIP
        >>> session.step({"mail": "You have w"}).values                # doctest: +SKIP
        >>> session.step({"mail": "on a prize"}).labels                # doctest: +SKIP
    """

    _counters = ("num_tokens",)

    num_tokens: int

    def __init__(
        self,
        reader: Reader,
        pieces: PieceReader,
        *,
        fingerprint: str,
        classes: Array,
        calibrate: Callable[[Array], Array],
        choose: Callable[[Array], Any],
        **options: Any,
    ):
        arrays = {**reader.arrays, _HELD: ((), BYTES)}
        super().__init__("documents", fingerprint, arrays, **options)
        self.reader, self.pieces, self.classes = reader, pieces, classes
        self._calibrate, self._choose = calibrate, choose

    def step(self, data: Mapping[Key, str] | str) -> StreamAnswer:
        """Takes in the next piece of each document.

        Args:
            data: `{key: piece}`, pieces of any length, which may be empty; or one
                string, a piece of one document.

        Returns:
            Probabilities and labels of each document's text so far.

        Raises:
            TypeError, ValueError: If the input breaks a rule; nothing has changed then.
        """
        if isinstance(data, str):
            data = {ONLY_DOCUMENT: data}
        if not isinstance(data, Mapping):
            raise TypeError(
                "`step` takes {key: piece of text}, or one string. "
                f"Received: {type(data).__name__}"
            )
        keys = check_keys(list(data), "step")
        pieces = list(data.values())
        for key, piece in zip(keys, pieces, strict=True):
            if not isinstance(piece, str):
                raise TypeError(
                    f"A piece of text must be a str. Received: {type(piece).__name__} "
                    f"for {key!r}"
                )
        with self._lock:
            size = min(BLOCK, self._store.max_keys or BLOCK)
            parts = [
                self._take(keys[first : first + size], pieces[first : first + size])
                for first in range(0, len(keys), size)
            ]
        raw = np.concatenate([np.zeros((0, len(self.classes)), np.float32), *parts])
        values = self._calibrate(raw)
        return StreamAnswer(keys, values, self.classes, self._choose(values))

    def _take(self, keys: list[Key], pieces: list[str]) -> Array:
        slots = self._store.find(keys)
        state, known = self._store.read(keys, slots)
        new = np.flatnonzero(~known)
        state[_HELD][new] = b""
        for name, fresh in self.reader.cold(len(new)).items():
            state[name][new] = fresh
        finished, held = [], []
        for row, piece in enumerate(pieces):
            text = state[_HELD][row].decode("utf-8", "surrogatepass") + piece
            end = self.pieces.cut(text)
            finished.append(text[:end])
            held.append(text[end:])
            state[_HELD][row] = text[end:].encode("utf-8", "surrogatepass")
        ids = self.pieces.encode([*finished, *held])
        own, ahead = ids[: len(keys)], ids[len(keys) :]
        raw = self.reader.read(state, own, ahead)
        self._store.write(keys, state, slots)
        self.num_tokens += sum(map(len, own))
        return raw
