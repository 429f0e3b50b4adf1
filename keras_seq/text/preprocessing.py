"""TextPreprocessor: raw strings to token ids, with what it learned from them."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np

from keras_seq.errors import check_choice, check_integer
from keras_seq.text.normalization import (
    SPLITS,
    CharacterTable,
    Split,
    Splitter,
    pack_strings,
    unicode_table,
    unpack_strings,
)
from keras_seq.text.spooling import IdFile, tokenize_blocks
from keras_seq.text.tokenizing import Tokenized, count_tokens, look_up, tokenize

PADDING, UNKNOWN = "[PAD]", "[UNK]"
TRUNCATIONS = ("head", "tail", "head_tail")
MAX_BUCKETS = 8
# Lengths that buckets are chosen among.
MOST_TRIED = 500
# What a step costs that the recurrence does not read, beside one that it does.
SUMMED = 0.1
LONGEST_AUTO = 512
# From this many tokens on, words seen once teach the unknown token instead.
LARGE_CORPUS = 10_000
# Distinct tokens of texts in files that are held before the rarest are forgotten: so
# many times `max_tokens`, and so many at least.
HELD_PER_TOKEN, HELD_AT_LEAST = 20, 1_000_000


@runtime_checkable
class Blocks(Protocol):
    """Texts in files, as `keras_seq.text.streaming.StreamedTexts` has them."""

    def blocks(self) -> Iterator[list[str]]:
        """Some of the texts after others."""


class TokenRows(NamedTuple):
    """Texts as rows of token ids of different lengths.

    Attributes:
        ids: All rows one after another: int32; in a file uint16, if that suffices.
        lengths: int32, `(num_texts,)`.
    """

    ids: np.ndarray
    lengths: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """Where each row begins in `ids`: int64, `(num_texts,)`."""
        return np.cumsum(self.lengths, dtype=np.int64) - self.lengths


class TextPreprocessor:
    """Turns texts into token ids; learns vocabulary and lengths from training texts.

    Ids are 0 for padding, 1 for unknown tokens, then the tokens by falling frequency,
    equal ones in alphabetical order.

    Args:
        max_tokens: Largest vocabulary, the two special tokens included.
        split: `"auto"`, `"whitespace"`, `"character"`, or a function from a normalised
            text to its tokens (see `Splitter`).
        max_length: Longest text in tokens; `"auto"`: longer than 99.5 % of the
            training texts, at most 512; None: texts stay whole.
        truncation: What of a longer text is kept: its `"head"`, `"tail"`, or half of
            each, `"head_tail"`.
        row_length: Rows keep so many tokens if that is more than `max_length`: a part
            of the network reads them all.
        min_count: Least number of occurrences of a token; `"auto"`: 2 if there are
            10,000 tokens or more, so that rare words teach the unknown token.

    Attributes:
        vocabulary_: Tokens by id.
        max_length_: Longest text, in tokens; None: any.
        row_length_: Longest row; as `max_length_`, or longer by `row_length`.
        bucket_lengths_: Up to eight lengths to pad batches to, increasing; the last
            is `row_length_`, or the longest training text.
    """

    vocabulary_: list[str]
    max_length_: int | None
    row_length_: int | None
    bucket_lengths_: list[int]

    def __init__(
        self,
        *,
        max_tokens: int = 20_000,
        split: Split = "auto",
        max_length: int | str | None = "auto",
        truncation: str = "head",
        row_length: int = 1,
        min_count: int | str = "auto",
    ):
        check_integer("max_tokens", max_tokens, 3)
        if not callable(split):
            check_choice("split", split, SPLITS)
        check_choice("truncation", truncation, TRUNCATIONS)
        if max_length not in ("auto", None):
            check_integer("max_length", max_length, 1)
        if min_count != "auto":
            check_integer("min_count", min_count, 1)
        self.max_tokens = max_tokens
        self.split = split
        self.max_length = max_length
        self.truncation = truncation
        self.row_length = check_integer("row_length", row_length, 1)
        self.min_count = min_count

    def fit(self, texts: Iterable[str]) -> Self:
        """Learns vocabulary and lengths from training texts."""
        self._use(unicode_table())
        return self.learn(self.tokenize(texts))

    def fit_transform(
        self, texts: Iterable[str], vocabulary: list[str] | None = None
    ) -> TokenRows:
        """`fit` and `transform`, splitting each text once; see `learn`."""
        self._use(unicode_table())
        tokens = self.tokenize(texts)
        return self.learn(tokens, vocabulary).encode(tokens)

    def tokenize(self, texts: Iterable[str]) -> Tokenized:
        """Splits texts into tokens, none left out; large inputs by several processes.

        Of texts in files the rarest tokens are forgotten where there are millions of
        different ones (`tokenize_blocks`).

        Raises:
            TypeError: If a function given as `split` returns anything but strings.
        """
        if not hasattr(self, "_splitter"):
            self._use(unicode_table())
        if isinstance(texts, Blocks):
            most = max(HELD_AT_LEAST, HELD_PER_TOKEN * self.max_tokens)
            return tokenize_blocks(self._splitter, texts.blocks(), most)
        return tokenize(self._splitter, list(texts))

    def learn(self, texts: Tokenized, vocabulary: list[str] | None = None) -> Self:
        """Learns vocabulary and lengths from what `tokenize` made of training texts.

        Args:
            texts: Training texts.
            vocabulary: Tokens by id, if they are known; lengths alone are learned.

        Raises:
            ValueError: If a function given as `split` made tokens with line breaks.
        """
        self._learn_vocabulary(vocabulary or self._choose_vocabulary(texts))
        lengths = texts.lengths
        if self.max_length == "auto":
            longest = int(np.ceil(np.quantile(lengths, 0.995)))
            self._limit(min(max(longest, 1), LONGEST_AUTO))
        else:
            given = self.max_length
            self._limit(None if given is None else int(given))
        longest = self.row_length_ or max(int(lengths.max(initial=0)), 1)
        self.bucket_lengths_ = choose_buckets(lengths, longest, self.max_length_)
        return self

    def _limit(self, longest: int | None) -> None:
        self.max_length_ = longest
        self.row_length_ = None if longest is None else max(longest, self.row_length)

    def _choose_vocabulary(self, texts: Tokenized) -> list[str]:
        least = self.min_count
        if least == "auto":
            least = 2 if len(texts.ids) >= LARGE_CORPUS else 1
        counts = count_tokens(texts.ids, len(texts.tokens))
        room = self.max_tokens - len((PADDING, UNKNOWN))
        if len(counts) > room:  # rarer ones need not be sorted
            least = max(int(least), int(np.partition(counts, -room)[-room]))
        common = np.flatnonzero(counts >= int(least)).tolist()
        common.sort(key=texts.tokens.__getitem__)
        order = np.argsort(-counts[common], kind="stable")[:room]
        words = [texts.tokens[common[index]] for index in order.tolist()]
        broken = [word for word in words if "\n" in word]
        if broken:
            raise ValueError(
                "`split` must return tokens without line breaks. "
                f"Received: {broken[:5]}"
            )
        return [PADDING, UNKNOWN, *words]

    def normalize(self, texts: list[str]) -> list[str]:
        """Texts as they are before they are split."""
        return self._splitter.normalize(texts)

    def tokens(self, text: str) -> list[str]:
        """Splits one text into tokens, none left out."""
        return self._splitter.tokens(text)

    def transform(self, texts: Iterable[str]) -> TokenRows:
        """Turns texts into rows of ids, truncated to `row_length_`."""
        if isinstance(texts, Blocks):
            return self._spool(map(self.transform, texts.blocks()))
        ids, lengths = look_up(self._splitter, list(texts), self._ids, unknown=1)
        return self._truncate(ids, lengths, self.row_length_)

    def encode(self, texts: Tokenized, whole: bool = False) -> TokenRows:
        """Turns what `tokenize` made of texts into rows of ids, as `transform`.

        Args:
            texts: Any.
            whole: Whether they are not truncated.
        """
        get = self._ids.get
        # One more at the end, for the id -1 of forgotten tokens.
        known = np.array([*(get(token, 1) for token in texts.tokens), 1], np.int32)
        longest = None if whole else self.row_length_
        rows = (self._truncate(known[p.ids], p.lengths, longest) for p in texts.parts())
        return self._spool(rows) if texts.in_file else next(rows)

    def _spool(self, parts: Iterable[TokenRows]) -> TokenRows:
        """The parts one after another, their ids in a file."""
        small = len(self.vocabulary_) <= np.iinfo(np.uint16).max + 1
        lengths = [np.zeros(0, np.int32)]
        with IdFile(np.uint16 if small else np.int32) as file:
            for part in parts:
                file.write(part.ids)
                lengths.append(part.lengths)
            # Batches look at it often, and `np.memmap` makes each look slow.
            return TokenRows(np.asarray(file.map()), np.concatenate(lengths))

    def _truncate(
        self, ids: np.ndarray, lengths: np.ndarray, longest: int | None
    ) -> TokenRows:
        if longest is not None and lengths.max(initial=0) > longest:
            starts = np.cumsum(lengths) - lengths
            place = np.arange(len(ids)) - np.repeat(starts, lengths)
            head = head_length(self.truncation, longest)
            tail = np.repeat(lengths - (longest - head), lengths)
            ids = ids[(place < head) | (place >= tail)]
            lengths = np.minimum(lengths, longest)
        return TokenRows(ids, lengths.astype(np.int32))

    def _use(self, table: CharacterTable) -> None:
        self._table = table
        self._splitter = Splitter(table, self.split)

    def _learn_vocabulary(self, vocabulary: list[str]) -> None:
        self.vocabulary_ = vocabulary
        # The special tokens are no words: a text that spells them out is unknown.
        self._ids = {token: i for i, token in enumerate(vocabulary) if i > 1}

    def get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON-able values and arrays that `set_state` takes."""
        state = {
            "max_length": self.max_length_,
            "bucket_lengths": self.bucket_lengths_,
        }
        arrays = {"vocabulary": pack_strings(self.vocabulary_)}
        return state, {**arrays, **self._table.get_state()}

    def set_state(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """Takes over what another preprocessor learned."""
        self._use(CharacterTable.from_state(arrays))
        self._learn_vocabulary(unpack_strings(arrays["vocabulary"]))
        self._limit(state["max_length"])
        self.bucket_lengths_ = state["bucket_lengths"]
        return self


def head_length(truncation: str, longest: int) -> int:
    """How many of the tokens that are kept of a long text are its first."""
    return {"head": longest, "tail": 0}.get(truncation, (longest + 1) // 2)


def choose_buckets(
    lengths: np.ndarray, longest: int, read: int | None = None
) -> list[int]:
    """Chooses up to eight lengths such that rows padded to the next one cost least.

    Args:
        lengths: Of the training texts, in tokens.
        longest: The last bucket.
        read: Steps of a row that the recurrence reads; None: all.
    """
    rounded = np.minimum(-(-np.maximum(lengths, 1) // 4) * 4, longest)
    shares = np.linspace(0, 1, MOST_TRIED)
    tried = np.unique(np.quantile(rounded, shares, method="higher"))
    tried = np.append(tried[tried < longest], longest)
    ends = np.searchsorted(np.sort(rounded), tried, side="right")  # rows up to each
    cost = np.minimum(tried, read or longest) + SUMMED * tried
    # [i, j]: cost of the rows from the i-th length to the j-th, padded to the latter.
    padded = (ends - np.append(0, ends[:-1])[:, None]) * cost
    padded = np.where(np.tri(len(tried), k=-1), np.inf, padded)
    least, firsts = padded[0], []
    for _ in range(min(MAX_BUCKETS, len(tried)) - 1):
        with_one_more = np.append(np.inf, least[:-1])[:, None] + padded
        firsts.append(np.argmin(with_one_more, axis=0))
        least = with_one_more.min(axis=0)
    chosen = [len(tried) - 1]
    for first in reversed(firsts):
        chosen.append(int(first[chosen[-1]]) - 1)
    return tried[chosen[::-1]].tolist()
