"""WindowWeights: how much each window counts in training."""

from dataclasses import dataclass
from typing import Self

import keras
import numpy as np

from keras_seq.forecasting.model import WEIGHT_LIMITS
from keras_seq.forecasting.scores import naive_scale
from keras_seq.forecasting.windows import Split, Windows, WindowSource
from keras_seq.layers.scaling import WindowScaler
from keras_seq.numpy_runtime.scaling import Scaler

# Windows that tell which weight is the usual one.
_SAMPLE = 2048


@dataclass(frozen=True)
class WindowWeights:
    """Brings errors from the scale of each window to one unit for the whole series.

    The network's errors are in the scale of their window, of which a calm week has a
    small one: counted alike, an error of a calm week would weigh more than the same one
    of a lively week. Weighed by its scale over the seasonal naive error of the series,
    each error counts as in MASE.

    Attributes:
        scaler: Of the network.
        unit: float64, `(num_series,)`: mean seasonal naive error of each series, times
            what makes the usual window count 1; NaN where there is none.
    """

    scaler: Scaler
    unit: np.ndarray

    @classmethod
    def learn(
        cls,
        scaler: WindowScaler,
        source: WindowSource,
        split: Split,
        season: int,
        seed: int,
    ) -> Self | None:
        """From what training may see.

        Args:
            scaler: Of the network, with the least scale set.
            source: Windows.
            split: Whose `end` says what training may see.
            season: Steps in a season.
            seed: Of the windows that say what is usual.

        Returns:
            None where all windows count alike: where no series has a seasonal naive
            error, and where windows are not scaled.
        """
        unit = naive_scale(source.panel, season, split.end)
        if scaler.scaling == "none" or np.isnan(unit).all():
            return None
        floor = keras.ops.convert_to_numpy(scaler.floor)
        weights = cls(Scaler(scaler.scaling, floor), unit)
        series, origins = split.draw(_SAMPLE, np.random.default_rng(seed))
        scale = weights._scale(source.gather(series, origins, split.end))
        ratio = (scale / unit[series])[scale > floor]  # others have no scale
        ratio = ratio[~np.isnan(ratio)]
        return cls(weights.scaler, unit * np.median(ratio)) if len(ratio) else None

    def __call__(self, windows: Windows, series: np.ndarray) -> np.ndarray:
        """Of each window: float32, `(batch,)`; 1 where its series has no unit.

        Args:
            windows: A batch.
            series: int64, `(batch,)`: which series each is of.
        """
        ratio = self._scale(windows) / self.unit[series]
        weights = np.clip(np.where(np.isnan(ratio), 1.0, ratio), *WEIGHT_LIMITS)
        return weights.astype(np.float32)

    def of_unit(self, series: np.ndarray) -> np.ndarray:
        """What one unit of the target counts in a series: float32, NaN without one."""
        return (1.0 / self.unit[series]).astype(np.float32)

    def _scale(self, windows: Windows) -> np.ndarray:
        """What an error of 1 is in the unit of the target: `(batch,)`."""
        location, scale = self.scaler.location_and_scale(windows.past)
        if self.scaler.scaling == "log":  # errors are shares of the window's level
            scale = np.exp(location)
        return np.asarray(scale[:, 0])
