"""What a saved forecaster knows beside its weights."""

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_seq.forecasting.features import CovariateEncoder
from keras_seq.forecasting.intervals import Calibration
from keras_seq.forecasting.panel import Panel
from keras_seq.forecasting.streams import StreamStates
from keras_seq.numpy_runtime.clock import calendar_rounds
from keras_seq.training.history import pack_history, unpack_history

if TYPE_CHECKING:
    from keras_seq.forecasting.forecaster import Forecaster

# Saved as they are; what follows from them is settled again on load.
_LEARNED = (
    "freq_",
    "season_length_",
    "lookback_",
    "scaling_",
    "nonnegative_",
    "calendar_",
    "best_step_",
    "validation_",
)


def get_state(
    forecaster: "Forecaster",
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """JSON-able values, and arrays, from which `set_state` makes it fitted again."""
    learned = {name: getattr(forecaster, name) for name in _LEARNED}
    # JSON has no NaN, which is what a score is that nothing could be compared with.
    learned["validation_"] = {
        name: None if np.isnan(value) else value
        for name, value in forecaster.validation_.items()
    }
    history = pack_history(forecaster.history_)
    tail, arrays = forecaster._tail.get_state()
    arrays = {**arrays, "calibration": forecaster._calibration.deviations}
    if forecaster._stream is not None:
        arrays |= forecaster._stream.get_state()
    state: dict[str, Any] = {"learned": learned, "history": history, "tail": tail}
    if forecaster._encoder:
        state["covariates"] = forecaster._encoder.get_state()
    return state, arrays


def set_state(
    forecaster: "Forecaster", state: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    """Gives a forecaster of the same arguments what `get_state` told."""
    # Files from before it was chosen do not name the calendar, which was all there is,
    # nor whether forecasts are kept from falling below zero, which they were not.
    learned = {
        "calendar_": calendar_rounds(state["learned"]["freq_"]),
        "nonnegative_": False,
    }
    learned |= state["learned"]
    for name in _LEARNED:
        setattr(forecaster, name, learned[name])
    forecaster.calendar_ = tuple(forecaster.calendar_)
    forecaster.validation_ = {
        name: np.nan if value is None else value
        for name, value in forecaster.validation_.items()
    }
    forecaster.history_ = unpack_history(state["history"])
    forecaster._tail = Panel.from_state(state["tail"], arrays)
    forecaster._encoder = None
    if "covariates" in state:
        forecaster._encoder = CovariateEncoder.from_state(state["covariates"])
    none = np.zeros((0, forecaster.horizon), np.float32)  # saved before there was any
    forecaster._calibration = Calibration(arrays.get("calibration", none))
    forecaster._stream = (
        StreamStates.from_state(arrays) if forecaster.stateful else None
    )
    forecaster._settle()
