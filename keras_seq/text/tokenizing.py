"""tokenize: texts to distinct tokens and their places, in one process or several."""

import multiprocessing
import os
import pickle
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from keras_seq.text.normalization import CharacterTable, Splitter

# Characters handled at once: arrays that stay in the cache.
_CHUNK = 20_000
# Characters from which on several processes pay: one takes more than a second for so
# many, and starting each takes a tenth. A function of the user's, such as a Chinese
# segmenter, is slower.
_LARGE, _LARGE_BY_FUNCTION = 20_000_000, 2_000_000
_MOST_PROCESSES = 8
# Ids handled at once, where they are in a file.
_PART = 1 << 22
_WORKER = "from keras_seq.text.tokenizing import work; work()"


class Tokenized(NamedTuple):
    """Texts as tokens, before a vocabulary says which of them are known.

    Attributes:
        tokens: Distinct ones, in the order of their first occurrence.
        ids: int32, `(num_tokens,)`: all texts one after another, as positions in
            `tokens`; -1 for a token that was forgotten, since there were too many. Of
            texts in files they are in a file too.
        lengths: int64, `(num_texts,)`.
        signatures: What `sign_texts` gives, where tokens may have been forgotten.
    """

    tokens: list[str]
    ids: np.ndarray
    lengths: np.ndarray
    signatures: np.ndarray | None = None

    @property
    def in_file(self) -> bool:
        """Whether the ids are, and may be more than memory holds."""
        return isinstance(self.ids, np.memmap)

    def parts(self) -> Iterator["Tokenized"]:
        """Some texts after others, where ids are in a file; else all at once."""
        if not self.in_file:
            yield self
            return
        ends = np.cumsum(self.lengths)
        row = begin = 0
        while row < len(ends):
            # Whole texts, one at least.
            last = int(np.searchsorted(ends, begin + _PART, side="right"))
            stop, end = max(last, row + 1), int(ends[max(last, row + 1) - 1])
            ids = np.asarray(self.ids[begin:end])
            yield Tokenized(self.tokens, ids, self.lengths[row:stop])
            row, begin = stop, end


def id_parts(ids: np.ndarray) -> Iterator[np.ndarray]:
    """Views of some millions of ids each, which NumPy may copy as int64."""
    for begin in range(0, len(ids), _PART):
        yield ids[begin : begin + _PART]


def count_tokens(ids: np.ndarray, size: int) -> np.ndarray:
    """How often each token occurs: int64, `(size,)`; forgotten ones are left out."""
    counts = np.zeros(size, np.int64)
    for part in id_parts(ids):
        counts += np.bincount(part[part >= 0], minlength=size)
    return counts


def sign_texts(texts: Tokenized) -> np.ndarray:
    """A number for each text, equal where the tokens are: uint64, `(num_texts,)`.

    Two texts out of two million share one by accident with a probability of 1e-7.
    Python's hashes differ from process to process, and so do these.
    """
    if texts.signatures is not None:
        return texts.signatures
    hashes = np.fromiter(map(hash, texts.tokens), np.int64).view(np.uint64)
    starts = np.cumsum(texts.lengths) - texts.lengths
    place = np.arange(len(texts.ids)) - np.repeat(starts, texts.lengths)
    # Odd factors that differ by place, so that the order of tokens counts.
    factors = np.full(texts.lengths.max(initial=1), 0x9E3779B97F4A7C15, np.uint64)
    terms = hashes[texts.ids] * np.cumprod(factors)[place]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
    return sums[starts + texts.lengths] - sums[starts]


def tokenize(
    splitter: Splitter, texts: Sequence[str], processes: int | None = None
) -> Tokenized:
    """Splits texts and numbers their distinct tokens.

    Args:
        splitter: Of characters into tokens.
        texts: Strings.
        processes: How many share the work; None: one, and up to eight from 20 million
            characters on (2 million if a function splits). Where processes cannot
            be started, or the function not be sent to them, it is one.

    Raises:
        TypeError: If a function given as `split` returns anything but strings.
    """
    if processes is None:
        processes = _choose_processes(splitter, texts)
    if processes > 1:
        parts = list(_chunks(texts, sum(map(len, texts)) // processes + 1))
        shared = _tokenize_elsewhere(splitter, parts)
        if shared is not None:
            return shared
    return _tokenize_here(splitter, texts)


def look_up(
    splitter: Splitter, texts: Sequence[str], known: Mapping[str, int], unknown: int
) -> tuple[np.ndarray, np.ndarray]:
    """Splits texts into tokens that are known by number, and others.

    As `tokenize`, and faster where nothing is to be learned from the texts.

    Args:
        splitter: Of characters into tokens.
        texts: Strings.
        known: Numbers of tokens.
        unknown: Number of all others.

    Returns:
        Numbers of the tokens of all texts, one after another, int32; tokens of each
        text, int64, `(num_texts,)`.
    """
    if _choose_processes(splitter, texts) > 1:
        found = tokenize(splitter, texts)
        numbers = [known.get(token, unknown) for token in found.tokens]
        return np.array(numbers, np.int32)[found.ids], found.lengths
    ids, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for chunk in _chunks(texts, _CHUNK):
        tokens, counts = splitter.split_all(chunk)
        numbered = map(known.get, tokens, repeat(unknown))
        ids.append(np.fromiter(numbered, np.int32, len(tokens)))
        lengths.append(counts)
    return np.concatenate(ids), np.concatenate(lengths)


def _choose_processes(splitter: Splitter, texts: Sequence[str]) -> int:
    least = _LARGE_BY_FUNCTION if callable(splitter.split) else _LARGE
    if sum(map(len, texts)) < least or multiprocessing.current_process().daemon:
        return 1
    return min(_cores(), _MOST_PROCESSES)


def _cores() -> int:
    """Those that this process may use: a worker of a search is bound to its share."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _chunks(texts: Sequence[str], size: int) -> Iterator[list[str]]:
    """Runs of texts with about `size` characters each, the longest text at least."""
    chunk: list[str] = []
    room = size
    for text in texts:
        chunk.append(text)
        room -= len(text) + 1
        if room <= 0:
            yield chunk
            chunk, room = [], size
    if chunk:
        yield chunk


def _numbering() -> Callable[[str], int]:
    """A function that gives each new token the next number, and its dict."""
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    return numbers.__getitem__


def _number(number: Callable[[str], int], tokens: list[str]) -> np.ndarray:
    return np.fromiter(map(number, tokens), np.int32, len(tokens))


def _tokenize_here(splitter: Splitter, texts: Sequence[str]) -> Tokenized:
    number = _numbering()
    ids, lengths = [], []
    for chunk in _chunks(texts, _CHUNK):
        tokens, counts = splitter.split_all(chunk)
        ids.append(_number(number, tokens))
        lengths.append(counts)
    return _gather(number, ids, lengths)


def _gather(
    number: Callable[[str], int], ids: list[np.ndarray], lengths: list[np.ndarray]
) -> Tokenized:
    numbers: defaultdict[str, int] = number.__self__  # type: ignore[attr-defined]
    # A cycle, which would keep a block's tokens beyond the block.
    numbers.default_factory = None
    return Tokenized(
        list(numbers),
        np.concatenate([np.zeros(0, np.int32), *ids]),
        np.concatenate([np.zeros(0, np.int64), *lengths]),
    )


def _tokenize_elsewhere(splitter: Splitter, parts: list[list[str]]) -> Tokenized | None:
    """The same by one process for each part; None if any of them failed."""
    # These are not `multiprocessing`'s, which would import the user's script, and
    # TensorFlow with it: they need nothing but this module.
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
    state = splitter.table.get_state()

    def ask(part: list[str]) -> Any:
        answer = subprocess.run(
            [sys.executable, "-c", _WORKER],
            input=pickle.dumps((state, _dump(splitter.split), part)),
            capture_output=True,
            env=environment,
            check=True,
        )
        return pickle.loads(answer.stdout)

    try:
        with ThreadPoolExecutor(len(parts)) as pool:
            answers = list(pool.map(ask, parts))
    except (
        OSError,
        subprocess.SubprocessError,
        pickle.PickleError,
        AttributeError,  # pickle's for what it finds no name for
        TypeError,  # pickle's for locks, open files and the like
        EOFError,
    ):
        return None
    number = _numbering()
    ids, lengths = [], []
    for tokens, own, counts in answers:
        ids.append(_number(number, tokens)[own])
        lengths.append(counts)
    return _gather(number, ids, lengths)


def _dump(split: str | Callable[[str], Iterable[str]]) -> bytes:
    if not callable(split):
        return pickle.dumps(split)
    import cloudpickle  # it takes what was defined in a notebook or a script as well

    return cloudpickle.dumps(split)


def work() -> None:
    """What each process does: one part from standard input to standard output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a function prints must not get among the answers
    state, split, texts = pickle.load(sys.stdin.buffer)
    splitter = Splitter(CharacterTable.from_state(state), pickle.loads(split))
    pickle.dump(tuple(_tokenize_here(splitter, texts)[:3]), answers)
    answers.close()
