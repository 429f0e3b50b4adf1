"""Series as streams: chunks of them, and a network that reads them to the end."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from keras_seq.forecasting.windows import WindowSource
from keras_seq.training.lanes import Chunk

# Series and steps that are read at once after training.
ROWS, STEPS = 256, 128
_STORED = "stream/states/"


class StreamModel(Protocol):
    """A network that reads streams: of Keras, or of NumPy.

    Attributes:
        state_widths: Numbers of each state of one stream, by name.
        num_outputs: Of each forecast step.
    """

    state_widths: Any
    num_outputs: Any

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As the model of `build_stream_forecaster` without lanes."""


class StreamForecasts(NamedTuple):
    """Forecasts from origins, and the scale they were made in.

    Attributes:
        values: float64, `(num_origins, horizon, outputs)`, in the unit of the target.
        location: float64, `(num_origins, 1)`, of the scaling.
        scale: float64, `(num_origins, 1)`, of the scaling.
        shift: float64, `(num_origins, 1)`: was subtracted before scaling.
    """

    values: np.ndarray
    location: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True)
class StreamStates:
    """Where streams stand: after the first steps of each series of a panel.

    Attributes:
        after: int64, `(num_series,)`: steps read.
        shift: float64, `(num_series,)`: what is subtracted from the series.
        arrays: Of the network, each `(num_series, width)`, by name.
    """

    after: np.ndarray
    shift: np.ndarray
    arrays: dict[str, np.ndarray]

    @classmethod
    def cold(cls, model: StreamModel, source: WindowSource) -> Self:
        """Before the first step of each series."""
        count = len(source.panel.ids)
        arrays = {
            name: np.zeros((count, width), np.float32)
            for name, width in model.state_widths.items()
        }
        return cls(np.zeros(count, np.int64), first_values(source), arrays)

    def get_state(self) -> dict[str, np.ndarray]:
        """Arrays that `from_state` takes."""
        named = {f"{_STORED}{name}": array for name, array in self.arrays.items()}
        return {"stream/after": self.after, "stream/shift": self.shift, **named}

    @classmethod
    def from_state(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Rebuilds it from `get_state`."""
        named = {
            name.removeprefix(_STORED): array
            for name, array in arrays.items()
            if name.startswith(_STORED)
        }
        return cls(arrays["stream/after"], arrays["stream/shift"], named)


def first_values(source: WindowSource) -> np.ndarray:
    """What is subtracted from each series: its first value, float64, `(num_series,)`.

    Only where the scaling does not see the level; else 0. float32 then holds the digits
    that matter, whatever the level is, and nothing is told of the future. NaN of a
    series without a value, so that its forecasts are NaN.
    """
    panel = source.panel
    shift = np.full(len(panel.ids), np.nan)
    known = np.flatnonzero(np.isfinite(panel.values))
    owner = np.searchsorted(panel.offsets, known, side="right") - 1
    series, where = np.unique(owner, return_index=True)
    shift[series] = panel.values[known[where]] if source.spec.centered else 0.0
    return shift


def gather_chunk(
    source: WindowSource,
    chunk: Chunk,
    steps: int,
    end: np.ndarray,
    shift: np.ndarray,
    ahead: bool = True,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The network's inputs for a chunk, and the targets of its steps.

    Args:
        source: Of the panel; its encoder makes numbers of the covariates.
        chunk: What each row reads.
        steps: Of the chunk, padding included.
        end: int64, `(num_series,)`: steps of each series that may be seen.
        shift: float64, `(num_series,)`, subtracted.
        ahead: Whether targets are wanted.

    Returns:
        `target`, `length` and covariates; and float32, `(rows, steps, horizon)`, NaN
        where nothing is known or nothing was read.
    """
    panel, horizon = source.panel, source.spec.horizon
    series = chunk.sequence
    place = chunk.first[:, None] + np.arange(steps + horizon)
    read = np.arange(steps) < chunk.length[:, None]  # (rows, steps)
    inside = place < end[series][:, None]
    flat = panel.offsets[series][:, None] + np.where(inside, place, 0)
    values = np.where(inside, panel.values[flat], np.nan) - shift[series][:, None]
    values = values.astype(np.float32)
    inputs = {
        "target": np.where(read, values[:, :steps], np.float32(np.nan)),
        "length": chunk.length.astype(np.int32),
    }
    encoder, covariates = source.spec.encoder, panel.covariates
    if encoder is not None and covariates is not None:
        rows = np.where(inside & (place < panel.lengths[series][:, None]), flat, -1)
        inputs |= encoder.gather(covariates, series, place, rows[:, :steps])
    if source.calendar.width:
        # Rows that are only padding may lie beyond the calendar.
        grid = source.spec.lookback + panel.first[series][:, None] + place
        calendar = source.calendar[np.minimum(grid, len(source.calendar) - 1)]
        known = [calendar, *([inputs["future"]] if "future" in inputs else [])]
        inputs["future"] = np.concatenate(known, axis=-1)
    if not ahead:
        return inputs, np.zeros((len(series), 0, horizon), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(values[:, 1:], horizon, axis=1)
    return inputs, np.where(read[..., None], windows, np.float32(np.nan))


def run_streams(
    model: StreamModel,
    source: WindowSource,
    series: np.ndarray,
    origins: np.ndarray,
    start: StreamStates | None = None,
) -> StreamForecasts:
    """Forecasts from the given origins, each series read once from its first step.

    Args:
        model: Of `build_stream_forecaster`, without lanes.
        source: Of the panel.
        series: int64, `(num_origins,)`.
        origins: int64, `(num_origins,)`: steps of that series before the first target,
            more than those that `start` has read.
        start: Where the streams stand; None: before the first step.
    """
    shape = len(series), source.spec.horizon, model.num_outputs
    found = StreamForecasts(
        np.zeros(shape), *(np.zeros((len(series), 1)) for _ in range(3))
    )
    for wanted, rows, outputs, shift in _advance(model, source, series, origins, start):
        for here, number in enumerate(wanted):
            row, position = rows[here]
            found.values[number] = outputs["forecast"][row, position]
            found.location[number] = outputs["location"][row, position]
            found.scale[number] = outputs["scale"][row, position]
            found.shift[number] = shift[row]
    found.values[...] += found.shift[:, None]
    return found


def read_states(
    model: StreamModel, source: WindowSource, after: np.ndarray
) -> StreamStates:
    """Where the streams stand after so many steps of each series.

    Args:
        model: Of `build_stream_forecaster`, without lanes.
        source: Of the panel.
        after: int64, `(num_series,)`.
    """
    states = StreamStates.cold(model, source)
    states = StreamStates(after, states.shift, states.arrays)
    reading = np.flatnonzero(after)
    for _ in _advance(model, source, reading, after[reading], None, states):
        pass
    return states


def _advance(
    model: StreamModel,
    source: WindowSource,
    series: np.ndarray,
    origins: np.ndarray,
    start: StreamStates | None = None,
    keep: StreamStates | None = None,
) -> Iterator[tuple[np.ndarray, list[tuple[int, int]], dict[str, Any], np.ndarray]]:
    """Reads series of about equal length side by side, chunk by chunk.

    Yields:
        Numbers of the origins that a chunk reaches; row and position of each in its
        outputs; the outputs; and the shift of each row.
    """
    start = start or StreamStates.cold(model, source)
    order = np.lexsort((origins, series))
    names, begin = np.unique(series[order], return_index=True)
    asked = np.split(order, begin[1:])  # numbers of the origins of each series
    last = np.array([origins[numbers[-1]] for numbers in asked], np.int64)
    left = last - start.after[names]
    longest_first = np.argsort(-left, kind="stable")
    for group in np.array_split(longest_first, max(-(-len(names) // ROWS), 1)):
        if not len(group):
            continue
        some, done = names[group], start.after[names[group]].copy()
        states = {name: array[some] for name, array in start.arrays.items()}
        # Few shapes, since each is compiled.
        padding = (1 << (len(group) - 1).bit_length()) - len(group)
        padded = np.concatenate([some, np.repeat(some[:1], padding)])
        while (done < last[group]).any():
            reach = int((last[group] - done).max())
            steps = min(STEPS, 1 << (reach - 1).bit_length())
            length = np.clip(last[group] - done, 0, steps)
            chunk = Chunk(
                padded,
                np.pad(done, (0, padding)),
                np.pad(length, (0, padding)).astype(np.int32),
                np.zeros(len(padded), bool),
            )
            shift = start.shift
            inputs, _ = gather_chunk(
                source, chunk, steps, source.panel.lengths, shift, ahead=False
            )
            numbers, rows, at = _reached(
                [asked[g] for g in group], origins, done, length, len(padded)
            )
            fed = {k: np.pad(v, ((0, padding), (0, 0))) for k, v in states.items()}
            outputs = model.run({**inputs, **fed, "at": at})
            states = {name: outputs[name][: len(group)] for name in states}
            done = done + length
            yield numbers, rows, outputs, shift[padded]
        if keep is not None:
            for name, array in states.items():
                keep.arrays[name][some] = array


def _reached(
    asked: list[np.ndarray],
    origins: np.ndarray,
    done: np.ndarray,
    length: np.ndarray,
    rows: int,
) -> tuple[np.ndarray, list[tuple[int, int]], np.ndarray]:
    """Which origins lie in the steps that are read now, and where."""
    numbers, places, per_row = [], [], []
    for row, mine in enumerate(asked):
        low, high = np.searchsorted(
            origins[mine], [done[row] + 1, done[row] + length[row] + 1]
        )
        here = mine[low:high]
        per_row.append(origins[here] - done[row] - 1)
        numbers.append(here)
        places += [(row, position) for position in range(len(here))]
    most = max(len(steps) for steps in per_row)
    at = np.zeros((rows, 1 << (max(most, 1) - 1).bit_length()), np.int32)
    for row, steps in enumerate(per_row):
        at[row, : len(steps)] = steps
    return np.concatenate(numbers), places, at
