"""PlainPanel: series laid flat on a regular time grid, without pandas."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from keras_seq.forecasting.covariates import Covariates, ranges


@dataclass(frozen=True)
class PlainPanel:
    """Many series as one flat array, gaps filled with NaN.

    Attributes:
        ids: `(num_series,)`, sorted.
        offsets: int64, `(num_series + 1,)`; series i is
            `values[offsets[i]:offsets[i + 1]]`.
        values: float64, in the unit of the target column; NaN is missing.
        first: int64, `(num_series,)`: the grid position of each series' first step.
        grid: The stamps all series share: `freq`, and `stamps(first, count)`.
        covariates: Columns beside the values; None where there are none.
    """

    ids: np.ndarray
    offsets: np.ndarray
    values: np.ndarray
    first: np.ndarray
    grid: Any
    covariates: Covariates | None = None

    @property
    def lengths(self) -> np.ndarray:
        """Steps of each series, gaps included: int64, `(num_series,)`."""
        return np.diff(self.offsets)

    @cached_property
    def observed_lengths(self) -> np.ndarray:
        """Steps of each series up to its last value: int64, `(num_series,)`."""
        ends = np.flatnonzero(np.isfinite(self.values)) + 1
        newest = np.append(0, ends)[np.searchsorted(ends, self.offsets[1:], "right")]
        return np.maximum(newest - self.offsets[:-1], 0)

    @property
    def end(self) -> int:
        """The grid position just after the last step of any series."""
        return int((self.first + self.lengths).max())

    @property
    def observed_end(self) -> int:
        """The grid position just after the last value of any series."""
        observed = self.observed_lengths
        return int(np.where(observed > 0, self.first + observed, 0).max())

    def until(self, position: int) -> Self:
        """The part before a grid position; series that begin later are left out.

        Future covariates stay known beyond it.
        """
        kept = np.clip(position - self.first, 0, self.lengths)
        return self._part(np.zeros_like(kept), kept)

    def tail(self, steps: int) -> Self:
        """The last `steps` of each series."""
        return self._part(np.maximum(self.lengths - steps, 0), self.lengths)

    def extended(self, values: np.ndarray) -> Self:
        """Adds steps after each series: `(num_series, steps)`."""
        steps = values.shape[1]
        offsets, _ = ranges(self.offsets[:-1], self.lengths + steps)
        _, old = ranges(offsets[:-1], self.lengths)
        _, new = ranges(offsets[1:] - steps, np.full_like(self.lengths, steps))
        merged = np.empty(offsets[-1])
        merged[old], merged[new] = self.values, values.reshape(-1)
        beside = self.covariates and self.covariates.stretched(old, offsets[-1])
        return replace(self, offsets=offsets, values=merged, covariates=beside)

    def _part(self, low: np.ndarray, high: np.ndarray) -> Self:
        """Steps `low[i]:high[i]` of each series; empty ones are left out."""
        kept = high > low
        offsets, flat = ranges((self.offsets[:-1] + low)[kept], (high - low)[kept])
        return replace(
            self,
            ids=self.ids[kept],
            offsets=offsets,
            values=self.values[flat],
            first=(self.first + low)[kept],
            covariates=self.covariates and self.covariates.part(kept, low, flat),
        )


def lay_flat(
    starts: np.ndarray, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the rows of a table stand once its gaps are filled.

    Args:
        starts: int64, `(num_series,)`: the first row of each series in the table.
        positions: int64, `(rows,)`: on the grid, increasing within a series.

    Returns:
        `first` and `offsets` of the panel, and the place of each row in its values.
    """
    bounds = np.append(starts, len(positions))
    first, last = positions[starts], positions[bounds[1:] - 1]
    offsets = np.concatenate([[0], np.cumsum(last - first + 1)])
    before = np.repeat(first - offsets[:-1], np.diff(bounds))
    return first, offsets, np.subtract(positions, before, out=before)
