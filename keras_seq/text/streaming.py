"""StreamedTexts: texts of files in place of a list of them.

Token ids take a tenth of the room that texts do, and a file has room where memory has
none: what is read again and again goes to a temporary file as ids, read back as an
array of memory pages that the system drops when it needs them.
"""

import tempfile
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import IO, Any, Self

import numpy as np
import pandas as pd

from keras_seq.text.preprocessing import TextPreprocessor, TokenRows
from keras_seq.text.sources import Place, TextFiles, describe_place, type_labels

# Distinct tokens that are counted at once before rare ones are dropped.
COUNTED_PER_TOKEN = 20
COUNTED_AT_LEAST = 1_000_000


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
        hashes = self._counted()
        return pd.factorize(hashes if self.chosen is None else hashes[self.chosen])[0]

    def _counted(self) -> np.ndarray:
        if self.hashes is None:
            raise TypeError(f"the rows of {self.files} are not counted yet")
        return self.hashes

    def fingerprint(self) -> list[Any]:
        """What `hash_data` takes for the texts."""
        return self.files.fingerprint()


def read_pairs(
    files: TextFiles, classes: np.ndarray | None = None
) -> tuple[StreamedTexts, list[Any]]:
    """Reads labels and hashes of texts; checks every row and warns of skipped ones.

    Args:
        files: Labelled.
        classes: What labels must be among; None: there must be two at least.

    Returns:
        The texts, and a label for each.

    Raises:
        ValueError: If a row is bad; if there are none; if labels are not as they must.
        TypeError: If labels are of several types, saying where.
    """
    hashes, codes = array("q"), array("q")
    seen: dict[tuple[bool, type, Any], int] = {}  # True equals 1, so the type as well
    places: list[Place] = []
    for chunk in files.chunks(warn=True):
        hashes.extend(map(hash, chunk.texts))
        for label, place in zip(chunk.labels, chunk.places, strict=True):
            key = (chunk.loose, type(label), label)
            code = seen.setdefault(key, len(seen))
            if code == len(places):
                places.append(place)
            codes.append(code)
    words = classes is not None and classes.dtype.kind == "U"
    values = _type_loose([(loose, value) for loose, _, value in seen], words)
    _check_one_type(values, places)
    if classes is None:
        _check_two(files, values)
    else:
        _check_known(values, places, classes.tolist())
    texts = StreamedTexts(files, np.frombuffer(hashes, np.int64))
    return texts, [values[code] for code in codes]


def _type_loose(seen: list[tuple[bool, Any]], as_words: bool) -> list[Any]:
    """Gives the labels of CSV a type: words, where other labels are words."""
    loose = [value for is_loose, value in seen if is_loose]
    if not as_words and not any(
        isinstance(value, str) for is_loose, value in seen if not is_loose
    ):
        loose = type_labels(loose)
    typed = iter(loose)
    return [next(typed) if is_loose else value for is_loose, value in seen]


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


class BoundedCounter(Counter[str]):
    """Counts tokens; forgets the rarest when it holds too many different ones.

    A token that is forgotten begins again at 0. What it loses is at most the count at
    which tokens were dropped, 1 or 2 in natural text, so that the vocabulary is that
    of all counts but for tokens at its rare end.

    Args:
        limit: Different tokens to hold.
    """

    def __init__(self, limit: int):
        self.limit = limit
        super().__init__()

    def update(self, tokens: Any = None, /, **kwargs: int) -> None:
        """Counts some tokens."""
        super().update(tokens, **kwargs)
        if len(self) > self.limit:
            self._forget()

    def _forget(self) -> None:
        # Half of them go, so that this is rare.
        least, kept = 1, dict(self)
        while len(kept) > self.limit // 2:
            least += 1
            kept = {token: count for token, count in kept.items() if count >= least}
        self.clear()
        dict.update(self, kept)


def count_into(texts: Collection[str], max_tokens: int) -> Counter[str]:
    """An empty counter: exact for texts in memory, bounded for texts in files."""
    if not isinstance(texts, StreamedTexts):
        return Counter()
    return BoundedCounter(max(COUNTED_AT_LEAST, COUNTED_PER_TOKEN * max_tokens))


def encode_texts(preprocessor: TextPreprocessor, texts: Iterable[str]) -> TokenRows:
    """Rows of ids: in memory for texts in memory, in a temporary file for others."""
    if not isinstance(texts, StreamedTexts):
        return preprocessor.transform(texts)
    small = len(preprocessor.vocabulary_) <= np.iinfo(np.uint16).max + 1
    dtype = np.dtype(np.uint16 if small else np.int32)
    lengths = array("i")
    # It has no name and is gone with its last user, however that ends.
    with tempfile.TemporaryFile(prefix="keras_seq-", buffering=1 << 20) as file:
        for chunk in texts.chunks():
            part = preprocessor.transform(chunk)
            lengths.frombytes(part.lengths.tobytes())
            _write(file, part.ids.astype(dtype))
        file.flush()
        if file.tell():
            ids = np.asarray(np.memmap(file, dtype, mode="r"))
        else:  # texts without tokens: an empty file cannot be mapped
            ids = np.zeros(0, dtype)
    return TokenRows(ids, np.frombuffer(lengths, np.int32))


def _write(file: IO[bytes], ids: np.ndarray) -> None:
    try:
        file.write(ids.data)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}: token ids are written to {tempfile.gettempdir()}; set "
            "TMPDIR to a folder with more room",
        ) from error


def text_parts(texts: Collection[str]) -> Iterator[list[str]]:
    """Lists that make up the texts: one of texts in memory, several of others."""
    if isinstance(texts, StreamedTexts):
        yield from texts.chunks()
    else:
        yield list(texts)
