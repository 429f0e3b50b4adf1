"""Characters: one table that says what each code point becomes and where words end.

The table is saved with a model, so that plain Python, a NumPy runtime and a TensorFlow
graph agree on every string, and a newer Python with a newer Unicode changes nothing.
"""

import functools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from keras_seq.errors import check_choice

SPLITS = ("auto", "whitespace", "character")

# Classes of a code point.
SPACE, IGNORED, WORD, SINGLE = range(4)

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


@dataclass(frozen=True)
class CharacterTable:
    """What each code point becomes, and its class.

    Attributes:
        replacements: Code point to its normal form, where that differs: NFKC, lower
            case. Per code point, so characters are never composed across each other.
        starts: int32, `(num_runs,)`: first code point of each run of one class.
        classes: uint8, `(num_runs,)`: the class of each run.
    """

    replacements: dict[int, str]
    starts: np.ndarray
    classes: np.ndarray

    def class_of(self, code_point: int) -> int:
        """`SPACE`, `IGNORED`, `WORD` or `SINGLE`."""
        run = np.searchsorted(self.starts, code_point, side="right") - 1
        return int(self.classes[run])

    def get_state(self) -> dict[str, np.ndarray]:
        """Arrays that `from_state` takes."""
        return {
            "characters/starts": self.starts,
            "characters/classes": self.classes,
            "characters/replaced": np.array(list(self.replacements), np.int32),
            "characters/replacements": pack_strings(self.replacements.values()),
        }

    @classmethod
    def from_state(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Rebuilds a table from `get_state`."""
        replaced = arrays["characters/replaced"].tolist()
        texts = unpack_strings(arrays["characters/replacements"])
        return cls(
            dict(zip(replaced, texts, strict=True)),
            arrays["characters/starts"],
            arrays["characters/classes"],
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
    replacements = {}
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
    for first, last in _UNSPACED:
        part = classes[first : last + 1]
        part[part == WORD] = SINGLE
    classes[sorted(_IGNORED)] = IGNORED
    classes[_ZERO_WIDTH_SPACE] = SPACE
    changes = np.flatnonzero(np.diff(classes)) + 1
    starts = np.concatenate([[0], changes]).astype(np.int32)
    return CharacterTable(replacements, starts, classes[starts])


class Splitter(dict[int, str]):
    """For `str.translate`: what each code point becomes, spaces around what it splits.

    Entries are made when a character is first met.

    Args:
        table: Characters.
        split: `"auto"` keeps words of spaced scripts together and takes characters of
            unspaced scripts, punctuation and symbols one by one; `"whitespace"` splits
            at space alone; `"character"` takes every character by itself.
    """

    def __init__(self, table: CharacterTable, split: str):
        super().__init__()
        check_choice("split", split, SPLITS)
        self.table = table
        self.split = split

    def __missing__(self, code_point: int) -> str:
        normal = self.table.replacements.get(code_point)
        if normal is None or self.table.class_of(code_point) == SPACE:
            normal = chr(code_point)
        self[code_point] = text = "".join(self._place(c) for c in normal)
        return text

    def _place(self, character: str) -> str:
        kind = self.table.class_of(ord(character))
        if kind == SPACE:
            return " "
        if kind == IGNORED:
            return ""
        alone = self.split == "character" or (self.split == "auto" and kind == SINGLE)
        return f" {character} " if alone else character

    def tokens(self, text: str) -> list[str]:
        """Splits one text into tokens."""
        return text.translate(self).split()
