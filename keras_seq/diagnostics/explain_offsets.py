"""Where in a raw text its tokens come from."""

import unicodedata

import numpy as np

from keras_seq.text.normalization import IGNORED, SINGLE, SPACE, Splitter

# Of what follows a token without belonging to any: marks that choose its glyph.
_ATTACHED = ("Mn", "Me", "Cf")


def locate_tokens(
    splitter: Splitter, text: str
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Splits a text and tells which characters each token was made of.

    What became one character (a letter and its accent) belongs to a token as a
    whole; what became several (a ligature) to each token that has some of it. Where a
    function splits, its tokens are looked for in the normal text one after another,
    and those that are not there as they are lie anywhere between their neighbours.

    Args:
        splitter: Of characters into tokens.
        text: Any string.

    Returns:
        The tokens; their first characters and the ends, int64, `(num_tokens,)`, so that
        token i comes from `text[starts[i]:ends[i]]`, which is not empty unless the
        text is.
    """
    points, low, high = _normalize(splitter, text)
    if not len(points):  # a function may make tokens of nothing
        tokens = splitter.tokens(text)
        starts = np.zeros(len(tokens), np.int64)
        return tokens, starts, starts + len(text)
    if callable(splitter.split):
        tokens = splitter.tokens(text)
        spans = _search(splitter.normalize([text])[0], tokens)
    else:
        spans = _cut(splitter, points)
        tokens = ["".join(map(chr, points[a:b].tolist())) for a, b in spans]
    starts = np.array([low[a] for a, _ in spans], np.int64)
    ends = np.array([high[b - 1] for _, b in spans], np.int64)
    return tokens, starts, _attach(splitter, text, starts, ends)


def _normalize(
    splitter: Splitter, text: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normal characters: code points, uint32; where each comes from: begin and end."""
    flat = splitter.table.flat
    raw = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    points: list[int] = []
    for code in raw.tolist():
        size = int(flat.sizes[code])
        if size > 1:
            row = np.searchsorted(flat.long_points, code)
            points += flat.long_forms[row, :size].tolist()
        elif size:
            points.append(int(flat.firsts[code]))
    owner = np.repeat(np.arange(len(raw)), flat.sizes[raw])
    return _compose(splitter, np.array(points, np.uint32), owner)


def _compose(
    splitter: Splitter, points: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Composes each starter with its marks, which then come from the same place."""
    flat = splitter.table.flat
    alone = ~(flat.joins[points] | (flat.orders[points] > 0))
    begins = np.unique(np.append(np.flatnonzero(alone), 0))
    made, low, high = [], [], []
    for begin, end in zip(begins, [*begins[1:], len(points)], strict=True):
        group, own = points[begin:end], owner[begin:end]
        composed = splitter.table.compose(group.tolist()) if end - begin > 1 else group
        if list(composed) == group.tolist():
            low.append(own)
            high.append(own + 1)
        else:
            low.append(np.full(len(composed), own[0]))
            high.append(np.full(len(composed), own[-1] + 1))
        made.append(np.asarray(composed, np.uint32))
    none = [np.zeros(0, np.int64)]
    return (
        np.concatenate([np.zeros(0, np.uint32), *made]),
        np.concatenate([*none, *low]),
        np.concatenate([*none, *high]),
    )


def _cut(splitter: Splitter, points: np.ndarray) -> list[tuple[int, int]]:
    """The tokens in a normal text, begin and end, by the rules of `Splitter`."""
    kinds = splitter.table.flat.classes[points]
    if splitter.split == "character":
        single = kinds != SPACE
    else:
        single = (kinds == SINGLE) & (splitter.split == "auto")
    kept = kinds != SPACE
    first = kept.copy()
    first[1:] &= ~kept[:-1] | single[:-1] | single[1:]
    begins = np.flatnonzero(first)
    breaks = np.append(np.flatnonzero(first | ~kept), len(points))
    ends = breaks[np.searchsorted(breaks, begins, side="right")]
    return list(zip(begins.tolist(), ends.tolist(), strict=True))


def _search(text: str, tokens: list[str]) -> list[tuple[int, int]]:
    """Looks for tokens in a normal text, one after another."""
    found: list[tuple[int, int] | None] = []
    done = 0
    for token in tokens:
        begin = text.find(token, done)
        found.append(None if begin < 0 else (begin, begin + len(token)))
        done = done if begin < 0 else begin + len(token)
    spans: list[tuple[int, int]] = []
    for index, span in enumerate(found):
        if span is None:
            begin = spans[-1][1] if spans else 0
            after = [s[0] for s in found[index:] if s is not None]
            end = after[0] if after else len(text)
            begin = begin if begin < end else max(end - 1, 0)
            span = begin, max(end, begin + 1)
        spans.append(span)
    return spans


def _attach(
    splitter: Splitter, text: str, starts: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """Takes marks that are invisible or choose a glyph to the token before them."""
    longer = ends.copy()
    for index, end in enumerate(ends.tolist()):
        while (
            end < len(text)
            and splitter.table.flat.classes[ord(text[end])] == IGNORED
            and unicodedata.category(text[end]) in _ATTACHED
        ):
            end += 1
        longer[index] = end
    return longer
