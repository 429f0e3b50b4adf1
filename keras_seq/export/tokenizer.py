"""GraphTokenizer: the table-driven tokeniser as TensorFlow operations."""

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_seq.text.normalization import (
    IGNORED,
    SINGLE,
    SPACE,
    WORD,
    CharacterTable,
)
from keras_seq.text.preprocessing import TextPreprocessor, head_length

if TYPE_CHECKING:
    import tensorflow as tf

Tensor = Any

_CODE_POINTS = 0x110000
_PAGE = 256
# Two code points as one number: the first one times this, and the second.
_PAIR = 1 << 21
# Above any canonical combining class, which are 0 to 254.
_CLASSES = 256
_KIND, _JOINS = 3, 4


class PagedTable:
    """Integers by code point, equal pages of 256 kept once; to be looked up in a graph.

    Args:
        values: int32, `(0x110000,)`.
    """

    def __init__(self, values: np.ndarray):
        pages = np.asarray(values, np.int32).reshape(-1, _PAGE)
        kept: dict[bytes, int] = {}
        place = [kept.setdefault(page.tobytes(), len(kept)) for page in pages]
        self.pages = np.array(place, np.int32)
        self.rows = np.frombuffer(b"".join(kept), np.int32)

    def __call__(self, points: Tensor) -> Tensor:
        import tensorflow as tf

        page = tf.gather(tf.constant(self.pages), points // _PAGE)
        return tf.gather(tf.constant(self.rows), page * _PAGE + points % _PAGE)


class GraphTokenizer:
    """Texts to token ids within a TensorFlow graph, as `TextPreprocessor.transform`.

    Every string that Python and TensorFlow both can hold gives the same ids. Bytes that
    are no UTF-8 become replacement characters (U+FFFD), one for a character that is cut
    short and one for each byte that begins none: tokens of their own, as any symbol.

    Args:
        preprocessor: Fitted; its `split` must not be a function.

    Attributes:
        vocabulary: Table from tokens to ids, which whoever saves a graph with this
            tokeniser in it must track.
    """

    def __init__(self, preprocessor: TextPreprocessor):
        import tensorflow as tf

        table, split = preprocessor._table, preprocessor.split
        forms = _decomposed_forms(table)
        sizes = np.array([len(form) for form in forms.values()], np.int32)
        points = np.fromiter(forms, np.int64, len(forms))
        flat = table.flat
        by_point = np.where(flat.classes == IGNORED, 0, 1).astype(np.int32)
        by_point[points] = sizes
        self._sizes = PagedTable(by_point)
        # 0: itself. Those that become several, or another, are in one list: -1 - place.
        firsts = np.where(flat.classes == SPACE, 0x20, 0).astype(np.int32)
        firsts[points] = -1 - (np.cumsum(sizes) - sizes)
        self._firsts = PagedTable(firsts)
        listed = [point for form in forms.values() for point in form]
        self._forms = np.array([*listed, 0x20], np.int32)
        self._orders = PagedTable(flat.orders)
        classes = flat.classes
        if split == "character":
            classes = np.where(classes == WORD, SINGLE, classes)
        elif split == "whitespace":
            classes = np.where(classes == SINGLE, WORD, classes)
        self._kinds = PagedTable(classes | np.where(flat.joins, _JOINS, 0))
        pairs = sorted(
            (first * _PAIR + second, whole)
            for (first, second), whole in table.compositions.items()
        )
        # One that no pair equals, so that the list is never empty.
        self._pairs = np.array([*(pair for pair, _ in pairs), 1 << 62], np.int64)
        self._wholes = np.array([*(whole for _, whole in pairs), 0], np.int32)
        self._longest = preprocessor.row_length_
        self._truncation = preprocessor.truncation
        ids = preprocessor._ids
        entries = tf.lookup.KeyValueTensorInitializer(
            tf.constant(list(ids), tf.string),
            tf.constant(list(ids.values()), tf.int32),
        )
        self.vocabulary = tf.lookup.StaticHashTable(entries, default_value=1)

    def __call__(self, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Splits texts and looks tokens up.

        Args:
            texts: tf.string, `(batch,)`, UTF-8.

        Returns:
            `tokens`, int32, `(batch, time)`, 0 at padding, at least one step wide; and
            `length`, int32, `(batch,)`.
        """
        import tensorflow as tf

        tokens, rows = self.split(texts)
        ids = self.vocabulary.lookup(tokens)
        ragged = tf.RaggedTensor.from_value_rowids(
            ids, rows, nrows=tf.shape(texts, tf.int64)[0], validate=False
        )
        ragged = self._truncate(ragged)
        length = tf.cast(ragged.row_lengths(), tf.int32)
        dense = ragged.to_tensor(0)
        missing = tf.maximum(1 - tf.shape(dense)[1], 0)
        return tf.pad(dense, [[0, 0], [0, missing]]), length

    def split(self, texts: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens of all texts, tf.string, and the row of each, int64."""
        import tensorflow as tf

        points, rows = self._read(texts)
        points, rows = self._order(points, rows)
        points, rows = self._compose(points, rows)
        kinds = self._kinds(points) & _KIND
        kept, single = tf.not_equal(kinds, SPACE), tf.equal(kinds, SINGLE)
        before = tf.concat([[False], kept[:-1]], 0)
        single_before = tf.concat([[False], single[:-1]], 0)
        # A space stands behind each text, so that no token spans two.
        first = kept & (~before | single_before | single)
        number = tf.cumsum(tf.cast(first, tf.int64)) - 1
        characters = tf.RaggedTensor.from_value_rowids(
            points[kept],
            number[kept],
            nrows=tf.reduce_sum(tf.cast(first, tf.int64)),
            validate=False,
        )
        tokens = tf.strings.unicode_encode(characters, "UTF-8")
        return tokens, rows[first]

    def _read(self, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Characters replaced and taken apart, a space behind each text."""
        import tensorflow as tf

        raw = tf.strings.unicode_decode(tf.strings.join([texts, " "]), "UTF-8")
        sizes, rows = self._sizes(raw.values), raw.value_rowids()
        starts = tf.repeat(tf.cumsum(sizes, exclusive=True), sizes)
        firsts = self._firsts(raw.values)
        firsts = tf.repeat(tf.where(tf.equal(firsts, 0), raw.values, firsts), sizes)
        offsets = tf.range(tf.shape(firsts)[0]) - starts
        places = tf.where(firsts < 0, -1 - firsts + offsets, 0)
        points = tf.where(firsts < 0, tf.gather(self._forms, places), firsts)
        return points, tf.repeat(rows, sizes)

    def _order(self, points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Marks behind a character stably by their class."""
        import tensorflow as tf

        orders = self._orders(points)
        marks = orders[1:]
        wrong = tf.reduce_any((marks > 0) & (marks < orders[:-1]))

        def sort() -> tuple[Tensor, Tensor]:
            count = tf.size(points, tf.int64)
            starter = tf.cumsum(tf.cast(tf.equal(orders, 0), tf.int64))
            key = (starter * _CLASSES + tf.cast(orders, tf.int64)) * count
            order = tf.argsort(key + tf.range(count))
            return tf.gather(points, order), tf.gather(rows, order)

        return tf.cond(wrong, sort, lambda: (points, rows))

    def _compose(self, points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Characters of each group composed, one place of all groups after another.

        A group begins with a character that has no class and composes with nothing
        before it, so groups know nothing of each other.
        """
        import tensorflow as tf

        orders, kinds = self._orders(points), self._kinds(points)
        heads = tf.cast(tf.where(kinds <= _KIND)[:, 0], tf.int32)
        heads = tf.boolean_mask(heads, tf.equal(tf.gather(orders, heads), 0))
        # What stands before the first head is a group as well.
        starts = tf.concat([[0], heads], 0)
        sizes = tf.concat([heads, [tf.size(points)]], 0) - starts
        several = sizes > 1
        starts, sizes = starts[several], sizes[several]
        head = tf.gather(points, starts)
        state = (
            tf.constant(1),
            points,
            tf.ones_like(points, tf.bool),
            head,  # the last starter of each group, and where it is
            starts,
            tf.equal(self._orders(head), 0),  # whether there is any
            tf.zeros_like(head),  # class of what follows it; 0: nothing does
        )
        longest = tf.reduce_max(tf.concat([sizes, [0]], 0))

        def step(
            place: Tensor,
            points: Tensor,
            kept: Tensor,
            starter: Tensor,
            where: Tensor,
            exists: Tensor,
            last: Tensor,
        ) -> tuple[Tensor, ...]:
            inside = place < sizes
            index = starts + tf.minimum(place, sizes - 1)
            point = tf.gather(points, index)
            order = self._orders(point)
            whole, found = self._pair(starter, point)
            open_ = exists & (tf.equal(last, 0) | (last < order))
            joined = inside & open_ & found
            starter = tf.where(joined, whole, starter)
            points = tf.tensor_scatter_nd_update(
                points, where[joined][:, None], whole[joined]
            )
            gone = index[joined][:, None]
            kept = tf.tensor_scatter_nd_update(
                kept, gone, tf.zeros_like(gone[:, 0], tf.bool)
            )
            stays = inside & ~joined
            anew = stays & tf.equal(order, 0)
            return (
                place + 1,
                points,
                kept,
                tf.where(anew, point, starter),
                tf.where(anew, index, where),
                exists | anew,
                tf.where(stays, order, last),
            )

        state = tf.while_loop(lambda place, *_: place < longest, step, state)
        points, kept = state[1:3]
        return points[kept], rows[kept]

    def _pair(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """What two characters compose to, and whether they do."""
        import tensorflow as tf

        key = tf.cast(first, tf.int64) * _PAIR + tf.cast(second, tf.int64)
        place = tf.searchsorted(self._pairs, key)
        return tf.gather(self._wholes, place), tf.equal(
            tf.gather(self._pairs, place), key
        )

    def _truncate(self, ids: "tf.RaggedTensor") -> "tf.RaggedTensor":
        import tensorflow as tf

        if self._longest is None:
            return ids
        head = head_length(self._truncation, self._longest)
        tail = tf.maximum(ids.row_lengths() - (self._longest - head), head)
        lengths = ids.row_lengths()
        place = tf.ragged.range(lengths).values
        kept = (place < head) | (place >= tf.repeat(tail, lengths))
        return tf.ragged.boolean_mask(ids, ids.with_values(kept))


def _decomposed_forms(table: CharacterTable) -> dict[int, list[int]]:
    """What each code point becomes, fully decomposed, where that is not itself."""
    flat = table.flat
    listed = {*table.replacements, *table.compositions.values()}
    forms = {}
    for point in sorted(listed):
        if flat.classes[point] in (SPACE, IGNORED) and point not in table.replacements:
            continue
        if flat.classes[point] == SPACE:
            continue
        text = table.replacements.get(point, chr(point))
        kept = [ord(c) for c in text if flat.classes[ord(c)] != IGNORED]
        spaced = [0x20 if flat.classes[c] == SPACE else c for c in kept]
        form = [part for c in spaced for part in table._decompose(c)]
        if form != [point]:
            forms[point] = form
    return forms
