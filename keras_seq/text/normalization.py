"""Characters: one table that says what each code point becomes and where words end.

The table is saved with a model, so that plain Python, a NumPy runtime and a TensorFlow
graph agree on every string, and a newer Python with a newer Unicode changes nothing.
"""

import functools
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np

from keras_seq.errors import check_choice

SPLITS = ("auto", "whitespace", "character")
Split = str | Callable[[str], Iterable[str]]

# Classes of a code point.
SPACE, IGNORED, WORD, SINGLE = range(4)
# In a splitter also two flags: it may compose with what is before; it has an order.
_CLASS, _JOINS, _ORDERED = 3, 4, 8

# Scripts written without spaces, and Korean: each character is a token of its own.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1100, 0x11FF),  # Hangul letters
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # CJK radicals
    (0x3005, 0x3007),  # ideographic iteration mark, closing mark, zero
    (0x3021, 0x3029),  # Hangzhou numerals
    (0x3040, 0x31BF),  # kana, bopomofo, Hangul letters
    (0x31F0, 0x31FF),  # small katakana
    (0x3400, 0x4DBF),  # CJK ideographs
    (0x4E00, 0x9FFF),
    (0xA960, 0xA97F),  # Hangul letters
    (0xAC00, 0xD7FF),  # Hangul syllables
    (0xF900, 0xFAFF),  # CJK ideographs
    (0x1B000, 0x1B16F),  # kana
    (0x20000, 0x3FFFF),  # CJK ideographs
)
# Apostrophes join what they stand in ("don't" is one word), and variation selectors
# choose a glyph, not a meaning.
_IGNORED = {0x27, 0x2019, 0x02BC, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
_ZERO_WIDTH_SPACE = 0x200B  # a format character that does end words, as in Khmer
_CODE_POINTS = 0x110000
_SPACE = 0x20
# Groups of characters whose composed form is remembered: short ones, and not for ever.
_COMMON_GROUP, _MOST_GROUPS = 8, 50_000
_UNCHANGED = np.zeros(0, np.uint32)


class FlatTable(NamedTuple):
    """A character table spread out, to be looked up for many characters at once.

    Attributes:
        sizes: uint8, by code point: how many characters it becomes.
        firsts: uint32, by code point: the first of them; a space for all separators.
        long_points: int64, `(num_long,)`, rising: code points that become several.
        long_forms: uint32, `(num_long, most)`: what they become.
        classes: uint8, by code point.
        orders: uint8, by code point: canonical combining class, 0 for most.
        joins: bool, by code point: whether it ever composes with what is before it.
    """

    sizes: np.ndarray
    firsts: np.ndarray
    long_points: np.ndarray
    long_forms: np.ndarray
    classes: np.ndarray
    orders: np.ndarray
    joins: np.ndarray


@dataclass(frozen=True)
class CharacterTable:
    """What each code point becomes, its class, and which ones become one.

    Attributes:
        replacements: Code point to its normal form, where that differs: NFKC, lower
            case.
        starts: int32, `(num_runs,)`: first code point of each run of one class.
        classes: uint8, `(num_runs,)`: the class of each run.
        compositions: Two code points to the one they compose to, such as a letter and
            its accent; after replacement.
        orders: Code point to its canonical combining class, where that is not 0.
    """

    replacements: dict[int, str]
    starts: np.ndarray
    classes: np.ndarray
    compositions: dict[tuple[int, int], int] = field(default_factory=dict)
    orders: dict[int, int] = field(default_factory=dict)

    def class_of(self, code_point: int) -> int:
        """`SPACE`, `IGNORED`, `WORD` or `SINGLE`."""
        run = np.searchsorted(self.starts, code_point, side="right") - 1
        return int(self.classes[run])

    @functools.cached_property
    def flat(self) -> FlatTable:
        """The same as arrays over all code points, about 9 MB."""
        classes = np.repeat(self.classes, np.diff(self.starts, append=_CODE_POINTS))
        sizes = (classes != IGNORED).astype(np.uint8)
        firsts = np.arange(_CODE_POINTS, dtype=np.uint32)
        firsts[classes == SPACE] = _SPACE
        long = {}
        for code_point, text in self.replacements.items():
            if classes[code_point] == SPACE:
                continue
            kept = [ord(c) for c in text if classes[ord(c)] != IGNORED]
            form = [_SPACE if classes[c] == SPACE else c for c in kept]
            sizes[code_point] = len(form)
            if form:
                firsts[code_point] = form[0]
            if len(form) > 1:
                long[code_point] = form
        long_points = np.array(sorted(long), np.int64)
        most = max(map(len, long.values()), default=1)
        long_forms = np.zeros((len(long), most), np.uint32)
        for row, code_point in enumerate(long_points.tolist()):
            long_forms[row, : sizes[code_point]] = long[code_point]
        orders = np.zeros(_CODE_POINTS, np.uint8)
        orders[list(self.orders)] = list(self.orders.values())
        joins = np.zeros(_CODE_POINTS, bool)
        joins[[second for _, second in self.compositions]] = True
        return FlatTable(sizes, firsts, long_points, long_forms, classes, orders, joins)

    @functools.cached_property
    def _decompositions(self) -> dict[int, tuple[int, int]]:
        return {whole: pair for pair, whole in self.compositions.items()}

    def compose(self, code_points: Iterable[int]) -> list[int]:
        """Brings characters into Unicode's canonical composed form (NFC).

        Args:
            code_points: Replaced ones.
        """
        apart = [part for point in code_points for part in self._decompose(point)]
        order = self.orders.get
        start = 0
        for end, point in enumerate([*apart, _SPACE]):
            if not order(point):  # marks between two starters, stably by their class
                apart[start:end] = sorted(apart[start:end], key=lambda p: order(p, 0))
                start = end + 1
        composed: list[int] = []
        starter, last = -1, 0  # where the last starter is; the class of what follows it
        for point in apart:
            rank = order(point, 0)
            adjacent = starter == len(composed) - 1
            if starter >= 0 and (adjacent or last < rank):
                whole = self.compositions.get((composed[starter], point))
                if whole is not None:
                    composed[starter] = whole
                    continue
            composed.append(point)
            last = rank
            if not rank:
                starter = len(composed) - 1
        return composed

    def _decompose(self, code_point: int) -> Iterator[int]:
        pair = self._decompositions.get(code_point)
        if pair is None:
            yield code_point
        else:
            yield from self._decompose(pair[0])
            yield from self._decompose(pair[1])

    def get_state(self) -> dict[str, np.ndarray]:
        """Arrays that `from_state` takes."""
        triples = [(*pair, whole) for pair, whole in self.compositions.items()]
        return {
            "characters/starts": self.starts,
            "characters/classes": self.classes,
            "characters/replaced": np.array(list(self.replacements), np.int32),
            "characters/replacements": pack_strings(self.replacements.values()),
            "characters/composed": np.array(triples, np.int32).reshape(-1, 3),
            "characters/orders": np.array(list(self.orders.items()), np.int32).reshape(
                -1, 2
            ),
        }

    @classmethod
    def from_state(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Rebuilds a table from `get_state`."""
        replaced = arrays["characters/replaced"].tolist()
        texts = unpack_strings(arrays["characters/replacements"])
        # Models saved before characters were composed go on as they were trained.
        composed = arrays.get("characters/composed", np.zeros((0, 3), np.int32))
        orders = arrays.get("characters/orders", np.zeros((0, 2), np.int32))
        return cls(
            dict(zip(replaced, texts, strict=True)),
            arrays["characters/starts"],
            arrays["characters/classes"],
            {(first, second): whole for first, second, whole in composed.tolist()},
            dict(orders.tolist()),
        )


def pack_strings(strings: Iterable[str]) -> np.ndarray:
    """Strings without line breaks as one uint8 array: UTF-8, one a line.

    A NumPy array of strings would give every string the room of the longest.
    """
    return np.frombuffer("\n".join(strings).encode(), np.uint8)


def unpack_strings(packed: np.ndarray) -> list[str]:
    """Takes `pack_strings` back."""
    return packed.tobytes().decode().split("\n")


@functools.cache
def unicode_table() -> CharacterTable:
    """The table of this Python's Unicode version."""
    replacements, compositions, orders = {}, {}, {}
    classes = np.zeros(_CODE_POINTS, np.uint8)
    for code_point in range(_CODE_POINTS):
        character = chr(code_point)
        category = unicodedata.category(character)
        if category[0] == "Z" or category in ("Cc", "Cn", "Cs"):
            continue  # SPACE: separators, controls, unassigned, lone surrogates
        classes[code_point] = WORD if category[0] in "LMN" else SINGLE
        if category == "Cf":  # invisible inside words: joiners, soft hyphen, direction
            classes[code_point] = IGNORED
        normal = unicodedata.normalize("NFKC", character).lower()
        normal = unicodedata.normalize("NFKC", normal)
        if normal != character:
            replacements[code_point] = normal
        elif (pair := _canonical_pair(character)) is not None:
            compositions[pair] = code_point
        if order := unicodedata.combining(character):
            orders[code_point] = order
    for first, last in _UNSPACED:
        part = classes[first : last + 1]
        part[part == WORD] = SINGLE
    classes[sorted(_IGNORED)] = IGNORED
    classes[_ZERO_WIDTH_SPACE] = SPACE
    changes = np.flatnonzero(np.diff(classes)) + 1
    starts = np.concatenate([[0], changes]).astype(np.int32)
    return CharacterTable(replacements, starts, classes[starts], compositions, orders)


def _canonical_pair(character: str) -> tuple[int, int] | None:
    """The two characters that compose to this one."""
    if unicodedata.is_normalized("NFD", character):
        return None
    apart = unicodedata.normalize("NFD", character)
    if unicodedata.normalize("NFC", apart) != character:
        return None  # a composition that Unicode excludes
    front = unicodedata.normalize("NFC", apart[:-1])
    return (ord(front), ord(apart[-1])) if len(front) == 1 else None


class Splitter:
    """Splits texts into tokens, many at a time.

    Args:
        table: Characters.
        split: `"auto"` keeps words of spaced scripts together and takes characters of
            unspaced scripts, punctuation and symbols one by one; `"whitespace"` splits
            at space alone; `"character"` takes every character by itself; a function
            gets a normalised text and returns its tokens, of which empty ones are
            left out.

    Raises:
        ValueError: If `split` is none of these.
    """

    def __init__(self, table: CharacterTable, split: Split):
        if not callable(split):
            check_choice("split", split, SPLITS)
        self.table = table
        self.split = split
        self._composed: dict[bytes, np.ndarray] = {}
        # What splits changes; what of a character matters for composing stays.
        classes = table.flat.classes
        if split == "character":
            classes = np.where(classes == WORD, SINGLE, classes)
        elif split == "whitespace":
            classes = np.where(classes == SINGLE, WORD, classes)
        self._kinds = classes | np.where(table.flat.joins, _JOINS, 0)
        self._kinds |= np.where(table.flat.orders > 0, _ORDERED, 0)
        self._kinds = self._kinds.astype(np.uint8)

    def tokens(self, text: str) -> list[str]:
        """Splits one text into tokens."""
        return self.split_all([text])[0]

    def split_all(self, texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
        """Splits texts into tokens.

        Args:
            texts: Strings, of any code points.

        Returns:
            The tokens of all texts, one after another, and how many each text has,
            int64, `(num_texts,)`.

        Raises:
            TypeError: If a function given as `split` returns anything but strings.
        """
        if callable(self.split):
            return self._split_by_function(self.split, texts)
        points, ends, kinds = self._normalize(texts)
        kinds = kinds & _CLASS
        kept, single = kinds != SPACE, kinds == SINGLE
        first = kept.copy()  # of a token
        first[1:] &= ~kept[:-1] | single[:-1] | single[1:]
        gaps = first.copy()  # tokens that no space parts from the one before
        gaps[1:] &= kept[:-1]
        places = np.cumsum(gaps.view(np.uint8) + np.uint8(1), dtype=np.intp)
        spread = np.full(places[-1] + 1 if len(places) else 0, _SPACE, np.uint32)
        spread[places] = points
        counts = np.diff(np.searchsorted(np.flatnonzero(first), ends), prepend=0)
        tokens = _decode(spread).split()
        return tokens, counts

    def normalize(self, texts: Sequence[str]) -> list[str]:
        """What a function given as `split` gets.

        Characters are replaced and composed, apostrophes and invisible ones left out,
        and every separator and control is a space.
        """
        points, ends, _ = self._normalize(texts)
        whole = _decode(points)
        starts = [0, *ends[:-1].tolist()]
        return [whole[a : b - 1] for a, b in zip(starts, ends.tolist(), strict=True)]

    def _split_by_function(
        self, split: Callable[[str], Iterable[str]], texts: Sequence[str]
    ) -> tuple[list[str], np.ndarray]:
        tokens: list[str] = []
        counts = np.zeros(len(texts), np.int64)
        for row, text in enumerate(self.normalize(texts)):
            found = split(text)
            several = isinstance(found, Iterable) and not isinstance(found, str)
            parts = list(found) if several else []
            if not several or not all(isinstance(p, str) for p in parts):
                raise TypeError(
                    "`split` must return a list of strings. For the text "
                    f"{text[:40]!r} it returned {repr(found)[:80]}"
                )
            parts = [part for part in parts if part and not part.isspace()]
            tokens += parts
            counts[row] = len(parts)
        return tokens, counts

    def _normalize(
        self, texts: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Normal characters of all texts, a space behind each text.

        Returns:
            Code points, uint32, `(num_points,)`; where the next text begins, int64,
            `(num_texts,)`; the characters' kinds, uint8, `(num_points,)`.
        """
        flat = self.table.flat
        ends = np.cumsum([len(text) + 1 for text in texts], dtype=np.int64)
        joined = "".join([part for text in texts for part in (text, " ")])
        raw = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")
        sizes = flat.sizes[raw]
        points = flat.firsts[raw]
        most = sizes.max(initial=1)
        if most > 1:
            behind = np.cumsum(sizes, dtype=np.int64)
            points = np.repeat(points, sizes)
            several = np.flatnonzero(sizes > 1)
            rows = np.searchsorted(flat.long_points, raw[several])
            starts = behind[several] - sizes[several]
            for index in range(1, most):
                longer = sizes[several] > index
                points[starts[longer] + index] = flat.long_forms[rows[longer], index]
            ends = behind[ends - 1]
        elif not sizes.all():
            points = points[sizes.view(bool)]
            ends = ends - np.searchsorted(np.flatnonzero(sizes == 0), ends)
        kinds = self._kinds[points]
        if kinds.max(initial=0) > _CLASS:
            points, ends = self._compose(points, ends, kinds)
            kinds = self._kinds[points]
        return points, ends, kinds

    def _compose(
        self, points: np.ndarray, ends: np.ndarray, kinds: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Composes the few characters that may not be in composed form."""
        marks = np.flatnonzero(kinds & _ORDERED)
        ranks = self.table.flat.orders[points[marks]]
        # A lower class after a higher one stands out of order.
        wrong = (np.diff(marks) == 1) & (ranks[1:] < ranks[:-1])
        doubtful = [np.flatnonzero(kinds & _JOINS), marks[1:][wrong]]
        heads = np.flatnonzero(kinds <= _CLASS)  # each begins what may become one
        groups = np.searchsorted(heads, np.concatenate(doubtful), side="right")
        pieces, gains, done = [], [0], 0
        borders = []
        for group in np.unique(groups).tolist():
            # The last head is the space at the very end, so there is always a next.
            start = int(heads[group - 1]) if group else 0
            end = int(heads[group])
            before = points[start:end]
            after = self._compose_group(before)
            if after is not before:
                pieces += [points[done:start], after]
                borders.append(end)
                gains.append(gains[-1] + len(after) - len(before))
                done = end
        if not pieces:
            return points, ends
        shift = np.array(gains)[np.searchsorted(borders, ends, side="right")]
        return np.concatenate([*pieces, points[done:]]), ends + shift

    def _compose_group(self, group: np.ndarray) -> np.ndarray:
        """One starter and its marks composed; the same array if nothing changes."""
        key = group.tobytes()
        known = self._composed.get(key)
        if known is None:
            before = group.tolist()
            after = self.table.compose(before)
            known = _UNCHANGED if after == before else np.array(after, np.uint32)
            if len(before) <= _COMMON_GROUP and len(self._composed) < _MOST_GROUPS:
                self._composed[key] = known
        return group if known is _UNCHANGED else known


def _decode(points: np.ndarray) -> str:
    return points.astype("<u4", copy=False).tobytes().decode("utf-32-le")
