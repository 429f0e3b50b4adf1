"""StreamedTexts: texts of files in place of a list of them."""

from array import array
from collections.abc import Collection, Iterator
from typing import Any, Self

import numpy as np
import pandas as pd

from keras_seq.text.sources import Place, TextFiles, describe_place, type_labels

# Characters that are split into tokens at once: as many as several processes need to
# pay, which are started anew each time.
BLOCK_CHARACTERS = 1 << 25


class StreamedTexts(Collection[str]):
    """Some rows of files, read anew by each iteration.

    Args:
        files: Where the texts are.
        hashes: int64, one for each row of the files: equal for copies of a text. None
            where the rows are not counted yet.
        chosen: Whether each row of the files is one of these; None: all are.
    """

    def __init__(
        self,
        files: TextFiles,
        hashes: np.ndarray | None = None,
        chosen: np.ndarray | None = None,
    ):
        self.files = files
        self.hashes = hashes
        self.chosen = chosen

    def __len__(self) -> int:
        return len(self._counted()) if self.chosen is None else int(self.chosen.sum())

    def __iter__(self) -> Iterator[str]:
        for texts in self.chunks():
            yield from texts

    def __contains__(self, text: object) -> bool:
        return any(text == other for other in self)

    def chunks(self) -> Iterator[list[str]]:
        """The texts in order, some thousands at a time.

        Raises:
            ValueError: If the files are not what they were.
        """
        row = 0
        for chunk in self.files.chunks(warn=self.hashes is None):
            texts = chunk.texts
            end = row + len(texts)
            if self.chosen is not None:
                kept = np.flatnonzero(self.chosen[row:end]).tolist()
                texts = [texts[index] for index in kept]
            row = end
            if texts:
                yield texts
        if self.hashes is not None and row != len(self.hashes):
            raise ValueError(f"{self.files} changed while it was read.")

    def blocks(self) -> Iterator[list[str]]:
        """The same in longer lists, of about `BLOCK_CHARACTERS`."""
        block: list[str] = []
        size = 0
        for texts in self.chunks():
            block += texts
            size += sum(map(len, texts))
            if size >= BLOCK_CHARACTERS:
                yield block
                block, size = [], 0
        if block:
            yield block

    def take(self, rows: np.ndarray) -> Self:
        """The given rows; they must increase, since files are read in order."""
        if self.chosen is not None:
            rows = np.flatnonzero(self.chosen)[rows]
        chosen = np.zeros(len(self._counted()), bool)
        chosen[rows] = True
        return type(self)(self.files, self.hashes, chosen)

    def text_ids(self) -> np.ndarray:
        """Numbers that are equal for copies of a text, in order of appearance.

        Two texts out of two million share a hash of 64 bits with a probability of
        1e-7; they would then stand on one side of a split.
        """
        return pd.factorize(self.own_hashes())[0]

    def own_hashes(self) -> np.ndarray:
        """Of these rows: int64, `(num_texts,)`."""
        hashes = self._counted()
        return hashes if self.chosen is None else hashes[self.chosen]

    def _counted(self) -> np.ndarray:
        if self.hashes is None:
            raise TypeError(f"the rows of {self.files} are not counted yet")
        return self.hashes

    def fingerprint(self) -> list[Any]:
        """What `hash_data` takes for the texts."""
        return [*self.files.fingerprint(), self.chosen]


def hash_texts(texts: Collection[str]) -> np.ndarray:
    """Python's hash of each text: int64, `(num_texts,)`; others in other processes."""
    if isinstance(texts, StreamedTexts):
        return texts.own_hashes()
    return np.fromiter(map(hash, texts), np.int64, len(texts))


def text_parts(texts: Collection[str]) -> Iterator[list[str]]:
    """Lists that make up the texts: one of texts in memory, several of others."""
    if isinstance(texts, StreamedTexts):
        yield from texts.chunks()
    else:
        yield list(texts)


def read_pairs(
    files: TextFiles, classes: np.ndarray | None = None
) -> tuple[StreamedTexts, list[Any]]:
    """Reads labels and hashes of texts; checks every row and warns of skipped ones.

    Args:
        files: Labelled.
        classes: What labels must be among; None: there must be two at least, or one
            where texts have several.

    Returns:
        The texts, and for each its label, or its list of labels (which texts that have
        the same share).

    Raises:
        ValueError: If a row is bad; if there are none; if labels are not as they must.
        TypeError: If labels are of several types, saying where.
    """
    hashes, codes = array("q"), array("q")
    # True equals 1, so the types as well.
    seen: dict[tuple[bool, Any, Any], int] = {}
    places: list[Place] = []
    for chunk in files.chunks(warn=True):
        hashes.extend(map(hash, chunk.texts))
        for label, place in zip(chunk.labels, chunk.places, strict=True):
            key: tuple[bool, Any, Any] = (chunk.loose, type(label), label)
            if isinstance(label, list):
                key = (chunk.loose, tuple(map(type, label)), tuple(label))
            code = seen.setdefault(key, len(seen))
            if code == len(places):
                places.append(place)
            codes.append(code)
    several = files.multi_label
    lists = [list(value) if several else [value] for _, _, value in seen]
    words = classes is not None and classes.dtype.kind == "U"
    lists = _type_loose(lists, [loose for loose, _, _ in seen], words)
    flat = [value for given in lists for value in given]
    where = [place for given, place in zip(lists, places, strict=True) for _ in given]
    _check_one_type(flat, where)
    if classes is not None:
        _check_known(flat, where, classes.tolist())
    elif not several:
        _check_two(files, flat)
    texts = StreamedTexts(files, np.frombuffer(hashes, np.int64))
    values: list[Any] = lists if several else flat
    return texts, [values[code] for code in codes]


def _type_loose(
    lists: list[list[Any]], loose: list[bool], as_words: bool
) -> list[list[Any]]:
    """Gives the labels of CSV a type: words, where other labels are words."""
    pairs = list(zip(lists, loose, strict=True))
    words = [value for given, is_loose in pairs if is_loose for value in given]
    if not as_words and not any(
        isinstance(value, str)
        for given, is_loose in pairs
        if not is_loose
        for value in given
    ):
        words = type_labels(words)
    typed = iter(words)
    return [
        [next(typed) for _ in given] if is_loose else given for given, is_loose in pairs
    ]


def _check_one_type(values: list[Any], places: list[Place]) -> None:
    found: dict[type, str] = {}
    for value, place in zip(values, places, strict=True):
        if type(value) not in found:
            found[type(value)] = f"{value!r:.40} ({describe_place(place)})"
    if len(found) > 1:
        raise TypeError(
            "Labels must all be str, all int or all bool. Received: "
            f"{' and '.join(found.values())}"
        )


def _check_two(files: TextFiles, values: list[Any]) -> None:
    if len(set(values)) < 2:
        raise ValueError(
            f"{files} must hold labels of at least two classes. "
            f"Received only: {values[:1]}"
        )


def _check_known(values: list[Any], places: list[Place], classes: list[Any]) -> None:
    kind = type(classes[0])
    for value, place in zip(values, places, strict=True):
        if value not in classes or type(value) is not kind:
            raise ValueError(
                f"{describe_place(place)}: the label must be among the classes seen in "
                f"`fit`, {classes[:20]}. Received: {value!r}"
            )
