"""Training on streams: lanes of chunks, with the loss of a forecast at every step."""

from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd

from keras_seq.errors import check_integer
from keras_seq.forecasting.ensemble import build_member
from keras_seq.forecasting.fitting import (
    divide_steps,
    find_floor,
    fit_network,
    hide_categories,
)
from keras_seq.forecasting.streams import first_values, gather_chunk
from keras_seq.forecasting.weights import WindowWeights
from keras_seq.forecasting.windows import Split, WindowSource
from keras_seq.layers.scaling import WindowScaler
from keras_seq.layers.state import copy_weights
from keras_seq.training.fit import Batches
from keras_seq.training.lanes import Chunk, Lanes
from keras_seq.training.runtime import derive_seed

LONGEST_CHUNK = 100
# What validation reads before its first origin of a series, in chunks and in contexts.
WARM_CHUNKS, WARM_CONTEXTS = 8, 4


def train_stream(
    builder_args: dict[str, Any],
    source: WindowSource,
    split: Split,
    *,
    steps: int,
    batch_size: int | str,
    chunk_length: int | str,
    seed: int,
    **options: Any,
) -> tuple[keras.Model, pd.DataFrame]:
    """Builds a network and trains it on series as streams.

    Args:
        builder_args: Of `build_member`.
        source: Of the panel.
        split: How far each series trains; where it holds validation windows, training
            may stop early and the best weights are kept.
        steps: Upper limit, rounded up to whole epochs of 50.
        batch_size: Lanes, or `"auto"`.
        chunk_length: Steps of a chunk, or `"auto"`.
        seed: Of weights, lanes and dropout.
        options: Patience, callbacks, verbosity, title and checkpoint of `fit_model`.

    Returns:
        The model that takes and returns its states; and its history, as of
        `fitting.train`.
    """
    epochs, per_epoch = divide_steps(steps)
    if chunk_length == "auto":
        chunk_length = min(LONGEST_CHUNK, int(split.end.max()))
    size = check_integer("chunk_length", chunk_length, 1)
    if batch_size == "auto":
        batch_size = choose_lanes(split.end, size)
    count = check_integer("batch_size", batch_size, 1)
    model = build_member(
        builder_args,
        decay_steps=epochs * per_epoch,
        batch_size=count,
        chunk_length=size,
    )
    windows = WindowScaler(model.scaler.scaling)
    model.scaler.floor.assign(find_floor(windows, source, split, seed))
    shift = first_values(source)
    season = builder_args["season_length"]
    weights = WindowWeights.learn(model.scaler, source, split, season, seed)
    about = source, split, shift, weights, count, size
    validation = None
    if len(split.series):
        validation = validation_chunks(*about, model.scaler.context)
    training = training_chunks(*about, per_epoch, seed)
    history = fit_network(
        model, training, validation, epochs=epochs, seed=seed, **options
    )
    free = build_member(builder_args)
    copy_weights(model, free)
    return free, history


def choose_lanes(end: np.ndarray, chunk_length: int) -> int:
    """A quarter of the chunks there are, from 8 to 64, a power of two."""
    chunks = int((-(-end // chunk_length)).sum())
    return min(64, max(8, 1 << ((chunks // 4) | 1).bit_length() - 1))


def training_chunks(
    source: WindowSource,
    split: Split,
    shift: np.ndarray,
    weights: WindowWeights | None,
    count: int,
    chunk_length: int,
    steps_per_epoch: int,
    seed: int,
) -> Batches:
    """Chunk after chunk, pass after pass; epochs are only where training is looked at.

    Args:
        source: Of the panel.
        split: How far each series trains.
        shift: float64, `(num_series,)`, subtracted.
        weights: What the series' errors count; None: as they are scaled.
        count: Number of lanes.
        chunk_length: Steps of a chunk.
        steps_per_epoch: Batches of an epoch.
        seed: Of order and beginnings.
    """
    lanes = Lanes(split.end, count, chunk_length, seed)

    def get_batch(epoch: int, step: int) -> tuple[Any, ...]:
        chunk = lanes[epoch * steps_per_epoch + step]
        inputs, target = gather_chunk(source, chunk, chunk_length, split.end, shift)
        random = np.random.default_rng(derive_seed(seed, epoch, step, "streams"))
        hide_categories(inputs, random)
        return _batch(inputs, chunk, target, weights)

    return Batches(steps_per_epoch, get_batch, endless=True)


def validation_chunks(
    source: WindowSource,
    split: Split,
    shift: np.ndarray,
    weights: WindowWeights | None,
    count: int,
    chunk_length: int,
    context: int,
) -> Batches:
    """The validation origins, each series read up to them by an own lane.

    Of what comes before the first origin of a long series only the last chunks are
    read. Origins that lie far apart are reached from starts of their own.

    Args:
        source: Of the panel.
        split: Its origins.
        shift: float64, `(num_series,)`, subtracted.
        weights: What the series' errors count; None: as they are scaled.
        count: Number of lanes.
        chunk_length: Steps of a chunk.
        context: Last values that the network sees at once.
    """
    stretches = _cut_stretches(
        split, max(WARM_CHUNKS * chunk_length, WARM_CONTEXTS * context)
    )
    plan = _side_by_side(stretches, count, chunk_length)
    offsets = source.panel.offsets
    asked = np.zeros(len(source.panel.values), bool)
    asked[offsets[split.series] + split.origins - 1] = True

    def get_batch(_: int, step: int) -> tuple[Any, ...]:
        chunk, since = _read_on(stretches, *plan[step], count, chunk_length)
        inputs, target = gather_chunk(
            source, chunk, chunk_length, source.panel.lengths, shift
        )
        place = chunk.first[:, None] + np.arange(chunk_length)
        inside = np.arange(chunk_length) < chunk.length[:, None]
        inside &= place + 1 >= since[:, None]
        flat = offsets[chunk.sequence][:, None] + np.where(inside, place, 0)
        wanted = inside & asked[flat]
        target = np.where(wanted[..., None], target, np.float32(np.nan))
        return _batch(inputs, chunk, target, weights)

    return Batches(len(plan), get_batch)


def _batch(
    inputs: dict[str, np.ndarray],
    chunk: Chunk,
    target: np.ndarray,
    weights: WindowWeights | None,
) -> tuple[Any, ...]:
    """What a step takes: inputs, targets, and what one unit counts in each lane."""
    told = {**inputs, "reset": chunk.reset}
    if weights is None:
        return told, target
    return told, target, weights.of_unit(chunk.sequence)


class _Stretches(NamedTuple):
    """Parts of series that validation reads.

    Attributes:
        series: int64, `(num_stretches,)`.
        start: First step that is read.
        first: The first origin.
        stop: The last origin, where reading ends.
    """

    series: np.ndarray
    start: np.ndarray
    first: np.ndarray
    stop: np.ndarray


def _cut_stretches(split: Split, warm: int) -> _Stretches:
    """A stretch ends where the series does, or farther than `warm` from an origin."""
    order = np.lexsort((split.origins, split.series))
    series, origins = split.series[order], split.origins[order]
    apart = (np.diff(series) > 0) | (np.diff(origins) > warm)
    low = np.flatnonzero(np.concatenate([[True], apart]))
    high = np.append(low[1:], len(series)) - 1
    first = origins[low]
    return _Stretches(series[low], np.maximum(first - warm, 0), first, origins[high])


def _side_by_side(
    stretches: _Stretches, count: int, chunk_length: int
) -> list[tuple[np.ndarray, int]]:
    """Which stretches each batch reads, at most `count`, and the steps read before."""
    size = stretches.stop - stretches.start
    longest_first = np.argsort(-size, kind="stable")
    groups = [longest_first[i : i + count] for i in range(0, len(size), count)]
    return [
        (group, done)
        for group in groups
        for done in range(0, int(size[group].max()), chunk_length)
    ]


def _read_on(
    stretches: _Stretches, group: np.ndarray, done: int, count: int, chunk_length: int
) -> tuple[Chunk, np.ndarray]:
    """The next chunk of some stretches, and the first origin in each lane.

    Lanes without a stretch read nothing.
    """
    spare = count - len(group)
    first = stretches.start[group] + done
    length = np.clip(stretches.stop[group] - first, 0, chunk_length)
    chunk = Chunk(
        np.pad(stretches.series[group], (0, spare)),
        np.pad(np.where(length > 0, first, 0), (0, spare)),
        np.pad(length, (0, spare)).astype(np.int32),
        np.full(count, done == 0),
    )
    return chunk, np.pad(stretches.first[group], (0, spare))
