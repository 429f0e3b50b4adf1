"""Naive Bayes as the start of training: what counting knows need not be learned.

Reference:
    Wang & Manning, 2012, Baselines and Bigrams (log-count ratios as features of a
    linear model); here they are where the training of the bag and of the recurrence's
    embedding starts.
"""

from collections.abc import Iterator, Sequence

import keras
import numpy as np
from scipy import sparse

from keras_seq.hashing import hash_runs
from keras_seq.layers.ngrams import NgramBag
from keras_seq.text.preprocessing import TokenRows
from keras_seq.training.runtime import derive_seed

# Of log-count ratios. On the validation parts of six sets, Chinese and English, short
# and long, 0.5 did better than random vectors, and than 0.3 and 1.0.
_SCALE = 0.5
# Of the same in the embedding of the recurrence.
_EMBEDDING_SCALE = 0.2
# Added to the count of each run that occurs. On the validation parts of three sets 0.1
# and 0.3 did no better.
_SMOOTHING = 1.0
# Tokens that are counted at once.
_CHUNK = 1_000_000
# Vectors times classes up to which ratios are counted at all.
_MOST_RATIOS = 1 << 26


def start_from_naive_bayes(
    bag: NgramBag,
    head: keras.layers.Dense,
    rows: TokenRows,
    targets: np.ndarray,
    weights: np.ndarray,
) -> None:
    """Sets the vectors of runs and the head on them to log-count ratios.

    A class's ratio is the logarithm of how often a run of tokens occurs in its texts,
    against the geometric mean of all classes; of several labels, against the texts
    without the label. More classes than vectors have dimensions are fitted as well as
    so many can.

    Args:
        bag: Built.
        head: Built; classes from the bag's output.
        rows: Training texts as ids.
        targets: Class ids, `(n,)`, or 0 and 1, `(n, num_classes)`.
        weights: `(n,)`.
    """
    num_classes = head.units
    sizes = [vectors.shape[0] for vectors in bag.vectors]
    if num_classes * sum(sizes) > _MOST_RATIOS:
        return
    membership = _membership(targets, weights, num_classes)
    ratios = [
        _SCALE * _log_ratios(counts, targets.ndim == 2)
        for counts in _count_runs(sizes, bag.buckets, rows, membership)
    ]
    kernel = keras.ops.convert_to_numpy(head.kernel).copy()  # (dim, num_classes)
    if num_classes <= bag.dim:
        axes = np.eye(num_classes)
    else:  # the directions along which ratios differ most
        squares = sum(ratio.T @ ratio for ratio in ratios)
        axes = np.linalg.eigh(squares)[1][:, -bag.dim :]
    for value, ratio in zip(bag.vectors, ratios, strict=True):
        vectors = keras.ops.convert_to_numpy(value).copy()
        vectors[:, : axes.shape[1]] = ratio @ axes
        value.assign(vectors)
    kernel[: axes.shape[1]] = axes.T
    head.kernel.assign(kernel)


def add_naive_bayes(
    embedding: keras.layers.Embedding,
    num_classes: int,
    rows: TokenRows,
    targets: np.ndarray,
    weights: np.ndarray,
    seed: int,
) -> None:
    """Adds the log-count ratios of tokens to their vectors, along random directions.

    A recurrence then learns from the first epoch how words go together, and not first
    what each means. Random directions, one for each class, leave no dimension that
    dropout could take away with all that is known of a class.

    Args:
        embedding: Built.
        num_classes: Of the network.
        rows: Training texts as ids.
        targets: As of `start_from_naive_bayes`.
        weights: `(n,)`.
        seed: Of the directions.
    """
    if num_classes * embedding.input_dim > _MOST_RATIOS:
        return
    membership = _membership(targets, weights, num_classes)
    (counts,) = _count_runs([embedding.input_dim], 1, rows, membership)
    ratios = _EMBEDDING_SCALE * _log_ratios(counts, targets.ndim == 2)
    random = np.random.default_rng(derive_seed(seed, "naive Bayes"))
    directions = random.normal(size=(num_classes, embedding.output_dim))
    vectors = keras.ops.convert_to_numpy(embedding.embeddings)
    embedding.embeddings.assign(vectors + (ratios @ directions).astype(vectors.dtype))


def _membership(
    targets: np.ndarray, weights: np.ndarray, num_classes: int
) -> sparse.csr_matrix:
    """Weights of the texts in the columns of their classes; a last column has all."""
    count = len(targets)
    if targets.ndim == 2:
        own = sparse.csr_matrix(targets * weights[:, None])
    else:
        places = (np.arange(count), targets)
        own = sparse.csr_matrix((weights, places), (count, num_classes))
    return sparse.hstack([own, weights[:, None]], format="csr")


def _count_runs(
    sizes: Sequence[int],
    buckets: int,
    rows: TokenRows,
    membership: sparse.csr_matrix,
) -> list[np.ndarray]:
    """Occurrences of each run in each class, and in all: `(size, num_classes + 1)`.

    One array for each length of runs, from one token on; the longer ones are hashed.
    """
    totals = [np.zeros((size, membership.shape[1])) for size in sizes]
    for first, end, ids, lengths in _chunks(rows):
        for run, total in enumerate(totals, start=1):
            counts = np.maximum(lengths - (run - 1), 0)
            place = np.arange(len(ids)) - np.repeat(
                np.cumsum(lengths) - lengths, lengths
            )
            begins = place < np.repeat(counts, lengths)
            hashed = ids if run == 1 else hash_runs(ids, run, buckets, np.roll)
            indptr = np.append(0, np.cumsum(counts))
            shape = (end - first, total.shape[0])
            held = hashed[begins]
            occurrences = sparse.csr_matrix((np.ones(len(held)), held, indptr), shape)
            total += (occurrences.T @ membership[first:end]).toarray()
    return totals


def _chunks(rows: TokenRows) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """First row, end, ids and lengths of runs of rows of about as many tokens."""
    ends = np.cumsum(rows.lengths, dtype=np.int64)
    first, begin = 0, 0
    while first < len(ends):
        end = int(np.searchsorted(ends, begin + _CHUNK, side="right"))
        end = min(max(end, first + 1), len(ends))
        ids = np.asarray(rows.ids[begin : ends[end - 1]], np.int32)
        yield first, end, ids, rows.lengths[first:end]
        first, begin = end, int(ends[end - 1])


def _log_ratios(counts: np.ndarray, multi_label: bool) -> np.ndarray:
    """`(vectors, num_classes)`; 0 for runs that do not occur."""
    own, everything = counts[:, :-1], counts[:, -1:]
    occurs = everything[:, 0] > 0
    if not occurs.any():  # texts of one token hold no pairs
        return np.zeros_like(own)

    def log_shares(part: np.ndarray) -> np.ndarray:
        smoothed = part + _SMOOTHING
        return np.log(smoothed / smoothed[occurs].sum(axis=0))

    ratios = log_shares(own)
    if multi_label:
        ratios -= log_shares(everything - own)
    else:
        ratios -= ratios.mean(axis=1, keepdims=True)
    ratios[~occurs] = 0.0
    return ratios
