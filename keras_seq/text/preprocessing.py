"""TextPreprocessor: raw strings to token ids, with what it learned from them."""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple, Self

import numpy as np

from keras_seq.errors import check_choice, check_integer
from keras_seq.text.normalization import (
    SPLITS,
    CharacterTable,
    Splitter,
    pack_strings,
    unicode_table,
    unpack_strings,
)

PADDING, UNKNOWN = "[PAD]", "[UNK]"
TRUNCATIONS = ("head", "tail", "head_tail")
MAX_BUCKETS = 8
LONGEST_AUTO = 512
# From this many tokens on, words seen once teach the unknown token instead.
LARGE_CORPUS = 10_000


class TokenRows(NamedTuple):
    """Texts as rows of token ids of different lengths.

    Attributes:
        ids: int32, all rows one after another.
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
        split: `"auto"`, `"whitespace"` or `"character"` (see `Splitter`).
        max_length: Longest text in tokens; `"auto"`: longer than 99.5 % of the
            training texts, at most 512.
        truncation: What of a longer text is kept: its `"head"`, `"tail"`, or half of
            each, `"head_tail"`.
        min_count: Least number of occurrences of a token; `"auto"`: 2 if there are
            10,000 tokens or more, so that rare words teach the unknown token.

    Attributes:
        vocabulary_: Tokens by id.
        max_length_: Longest row, in tokens.
        bucket_lengths_: Up to eight lengths to pad batches to, increasing; the last
            is `max_length_`.
    """

    vocabulary_: list[str]
    max_length_: int
    bucket_lengths_: list[int]

    def __init__(
        self,
        *,
        max_tokens: int = 20_000,
        split: str = "auto",
        max_length: int | str = "auto",
        truncation: str = "head",
        min_count: int | str = "auto",
    ):
        check_integer("max_tokens", max_tokens, 3)
        check_choice("split", split, SPLITS)
        check_choice("truncation", truncation, TRUNCATIONS)
        if max_length != "auto":
            check_integer("max_length", max_length, 1)
        if min_count != "auto":
            check_integer("min_count", min_count, 1)
        self.max_tokens = max_tokens
        self.split = split
        self.max_length = max_length
        self.truncation = truncation
        self.min_count = min_count

    def fit(self, texts: Collection[str], counts: Counter[str] | None = None) -> Self:
        """Learns vocabulary and lengths from training texts.

        Args:
            texts: Strings, gone through once.
            counts: Empty; what counts the tokens. None: a `Counter`.
        """
        self._use(unicode_table())
        counts = Counter() if counts is None else counts
        lengths = np.zeros(len(texts), np.int64)
        for row, text in enumerate(texts):
            tokens = self.tokens(text)
            counts.update(tokens)
            lengths[row] = len(tokens)
        least = self.min_count
        if least == "auto":
            least = 2 if lengths.sum() >= LARGE_CORPUS else 1
        kept = [item for item in counts.items() if item[1] >= int(least)]
        kept.sort(key=lambda item: (-item[1], item[0]))
        words = [token for token, _ in kept[: self.max_tokens - 2]]
        self._learn_vocabulary([PADDING, UNKNOWN, *words])
        if self.max_length == "auto":
            longest = int(np.ceil(np.quantile(lengths, 0.995)))
            self.max_length_ = min(max(longest, 1), LONGEST_AUTO)
        else:
            self.max_length_ = int(self.max_length)
        self.bucket_lengths_ = choose_buckets(lengths, self.max_length_)
        return self

    def tokens(self, text: str) -> list[str]:
        """Splits one text into tokens, none left out."""
        return self._splitter.tokens(text)

    def transform(self, texts: Iterable[str]) -> TokenRows:
        """Turns texts into rows of ids, truncated to `max_length_`."""
        rows = [self._encode(text) for text in texts]
        lengths = np.array([len(row) for row in rows], dtype=np.int32)
        flat = [token for row in rows for token in row]
        return TokenRows(np.array(flat, dtype=np.int32), lengths)

    def _encode(self, text: str) -> list[int]:
        tokens = self._truncate(self.tokens(text))
        get = self._ids.get
        return [get(token, 1) for token in tokens]

    def _truncate(self, tokens: list[str]) -> list[str]:
        longest = self.max_length_
        if len(tokens) <= longest:
            return tokens
        if self.truncation == "head":
            return tokens[:longest]
        head = 0 if self.truncation == "tail" else (longest + 1) // 2
        return tokens[:head] + tokens[len(tokens) - (longest - head) :]

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
        self.max_length_ = state["max_length"]
        self.bucket_lengths_ = state["bucket_lengths"]
        return self


def choose_buckets(lengths: np.ndarray, longest: int) -> list[int]:
    """Chooses up to eight lengths to pad to, at even shares of the texts.

    Args:
        lengths: Of the training texts, in tokens.
        longest: The last bucket.
    """
    shares = np.arange(1, MAX_BUCKETS) / MAX_BUCKETS
    rounded = np.ceil(np.quantile(lengths, shares) / 4) * 4  # fewer distinct shapes
    below = {int(length) for length in rounded if 0 < length < longest}
    return [*sorted(below), longest]
