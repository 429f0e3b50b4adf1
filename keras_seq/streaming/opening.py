"""Sessions of fitted forecasters, of Keras or of NumPy."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any

import numpy as np

from keras_seq.errors import ArtifactError, check_choice
from keras_seq.forecasting.features import CovariateEncoder
from keras_seq.forecasting.intervals import Calibration, ScaledForecasts
from keras_seq.forecasting.names import Columns
from keras_seq.forecasting.nonnegative import no_knees
from keras_seq.forecasting.streams import StreamStates
from keras_seq.numpy_runtime.clock import Clock
from keras_seq.numpy_runtime.forecast_network import ForecastNetwork
from keras_seq.numpy_runtime.stream_network import StreamNetwork
from keras_seq.numpy_runtime.tables import ClockGrid
from keras_seq.streaming.covariate_rows import CovariateReader
from keras_seq.streaming.covariates import CovariateMemory
from keras_seq.streaming.engines import keras_forward, numpy_forward, pad_batch
from keras_seq.streaming.fingerprint import model_fingerprint, model_weights
from keras_seq.streaming.observations import Rows
from keras_seq.streaming.rows import Array, check_keys
from keras_seq.streaming.sessions import ForecastSession
from keras_seq.streaming.stateful import StatefulStepper, keras_stream
from keras_seq.streaming.windowed import Finish, WindowedStepper

ENGINES = ("auto", "numpy", "keras")


def open_session(
    forecaster: Any,
    *,
    history: Any = None,
    engine: str = "auto",
    on_late: str = "error",
    max_keys: int | None = None,
    on_full: str = "drop",
    spill: str | PathLike[str] | None = None,
) -> ForecastSession:
    """A session of a fitted `Forecaster`.

    Args:
        forecaster: Fitted.
        history: What keys start from. None: nothing; `"fit"`: the end of the training
            data; or a long frame (or Series) of any keys, as `predict` takes it.
        engine: `"numpy"`, `"keras"`, or `"auto"`: NumPy where it can run the network.
        on_late: As in `ForecastSession`.
        max_keys: As in `KeyedStates`, and so the others.
        on_full: As in `KeyedStates`.
        spill: As in `KeyedStates`.

    Raises:
        NotFittedError: Before `fit` or `load`.
        ValueError: If an argument breaks a rule.
    """
    forecaster._check_fitted()
    check_choice("engine", engine, ENGINES)
    named = isinstance(history, str)
    if named and history != "fit":
        raise ValueError(
            "`history` must be None, 'fit' or a long frame. "
            f"Received: history={history!r}"
        )
    if history is not None and not named:
        history = forecaster._panel(history, fitted=True)
    return serve(
        _serve(forecaster),
        engine=engine,
        history=history,
        on_late=on_late,
        max_keys=max_keys,
        on_full=on_full,
        spill=spill,
    )


@dataclass(frozen=True)
class Served:
    """What a session has to know of a forecaster, whichever runtime it comes from.

    Attributes:
        builder: Arguments of its network.
        weights: By path.
        model: The Keras model; None where there is NumPy alone.
        clock: Of the training data, which begin at position 0.
        tail: The end of the training data, a panel.
        columns: Names of a long frame's columns.
        encoder: Of covariates; None without any.
        quantiles: Of the outputs.
        point_index: Which output is the point forecast.
        centered: As in `WindowSpec`.
        nonnegative: As in `WindowSpec`.
        log: Whether the scaling is logarithmic.
        calibration: What calibrates the quantiles; None: nothing.
        stream: Where training left a stateful forecaster's series, in the tail.
    """

    builder: dict[str, Any]
    weights: dict[str, Array]
    model: Any
    clock: Clock
    tail: Any
    columns: Columns
    encoder: CovariateEncoder | None
    quantiles: tuple[float, ...]
    point_index: int
    centered: bool | None
    nonnegative: bool
    log: bool
    calibration: Calibration | None
    stream: StreamStates | None

    @property
    def network(self) -> dict[str, Any]:
        """Arguments of the network, of the first of several."""
        return self.builder.get("members", [self.builder])[0]

    @property
    def fingerprint(self) -> str:
        """Of all that decides what a session answers."""
        deviations = None if self.calibration is None else self.calibration.deviations
        encoded = [] if self.encoder is None else [self.encoder.get_state()]
        bent = ["nonnegative"] if self.nonnegative else []
        about = deviations, *encoded, *bent
        return model_fingerprint(self.builder, self.weights, *about)


def serve(
    served: Served, *, engine: str, history: Any, **options: Any
) -> ForecastSession:
    """A session of any runtime.

    Args:
        served: The forecaster.
        engine: As in `open_session`.
        history: What keys start from. None: nothing; `"fit"`: the end of the training
            data; or a panel.
        options: Of `ForecastSession`.
    """
    stateful = served.stream is not None
    memory = None
    if served.encoder is not None:
        seen = 1 if stateful else served.network["lookback"]
        reader = CovariateReader(served.encoder, served.columns)
        memory = CovariateMemory(reader, seen, served.network["horizon"])
    make: Any = _stateful_stepper if stateful else _windowed_stepper
    session = ForecastSession(
        make(served, engine, memory),
        served.clock,
        start=served.tail.end,
        outputs=("y_hat", *(f"y_hat_q{q:g}" for q in served.quantiles)),
        names=served.columns.without_covariates(),
        memory=memory,
        **options,
    )
    if isinstance(history, str):
        rows = _panel_rows(served.tail, 0, memory)
        session.learn(_go_on(session, served, rows) if stateful else rows)
    elif history is not None:
        session.learn(_panel_rows(history, _offset(history, served.clock), memory))
    return session


def _serve(forecaster: Any) -> Served:
    """A fitted `Forecaster`."""
    model, calibration = forecaster.model_, forecaster._calibration
    builder = forecaster._builder_args
    if not forecaster.stateful and "members" not in builder:
        # Files from before there were segments do not name a decoder.
        builder = {"decoder": "direct", **builder}
    return Served(
        builder=builder,
        weights=model_weights(model),
        model=model,
        clock=forecaster_clock(forecaster),
        tail=forecaster._tail,
        columns=forecaster._columns,
        encoder=forecaster._encoder,
        quantiles=forecaster.quantiles_,
        point_index=model.point_index,
        centered=forecaster._spec.centered,
        nonnegative=forecaster._spec.nonnegative,
        log=forecaster.scaling_ == "log",
        calibration=calibration
        if forecaster.conformal and calibration.usable
        else None,
        stream=forecaster._stream,
    )


def forecaster_clock(forecaster: Any) -> Clock:
    """The clock of a forecaster's training data; position 0 is where they begin."""
    grid, rounds = forecaster._tail.grid, forecaster.calendar_
    if isinstance(grid.freq, int):
        return Clock(grid.freq, grid.start)
    return Clock(grid.freq, _plain_stamp(grid.start), _zone(grid.start), rounds)


def order_outputs(values: Array, *_: Any, point: int, count: int) -> Array:
    """The network's outputs in the order of the columns: the point, then quantiles."""
    return np.concatenate(
        [values[..., point : point + 1], values[..., :count]], axis=-1
    )


def _windowed_stepper(
    served: Served, engine: str, memory: CovariateMemory | None
) -> WindowedStepper:
    network = _numpy_network(ForecastNetwork, served, engine)
    forward = numpy_forward(network) if network else keras_forward(served.model)
    return WindowedStepper(
        lookback=served.network["lookback"],
        horizon=served.network["horizon"],
        clock=served.clock,
        centered=served.centered,
        nonnegative=served.nonnegative,
        forward=forward,
        fingerprint=served.fingerprint,
        finish=_finish_windows(served, network),
        memory=memory,
    )


def _stateful_stepper(
    served: Served, engine: str, memory: CovariateMemory | None
) -> StatefulStepper:
    network = _numpy_network(StreamNetwork, served, engine)
    return StatefulStepper(
        context=served.network["context"],
        horizon=served.network["horizon"],
        widths=(network or served.model).state_widths,
        clock=served.clock,
        centered=served.centered,
        advance=network.advance if network else keras_stream(served.model),
        fingerprint=served.fingerprint,
        finish=_finish(served),
        memory=memory,
    )


def _numpy_network(make: Any, served: Served, engine: str) -> Any:
    """The network in NumPy; None where Keras is to run it."""
    if engine == "keras":
        return None
    try:
        return make(served.builder, served.weights)
    except ArtifactError:
        if engine == "numpy" or served.model is None:
            raise
        return None


def _go_on(session: ForecastSession, served: Served, rows: Rows) -> Rows:
    """Puts keys where training left them; returns the steps they have yet to read."""
    stream, tail = served.stream, served.tail
    if stream is None:
        return rows
    state = {**stream.arrays, "shift": stream.shift}
    positions = np.asarray(rows.positions)
    session.place(rows.keys, state, positions[tail.offsets[:-1]] + stream.after - 1)
    steps = np.arange(len(tail.values)) - np.repeat(tail.offsets[:-1], tail.lengths)
    unread = steps >= np.repeat(stream.after, tail.lengths)
    return rows._replace(
        codes=rows.codes[unread],
        values=rows.values[unread],
        positions=positions[unread],
        source=np.flatnonzero(unread),
    )


def _finish_windows(served: Served, network: ForecastNetwork | None) -> Finish:
    """`_finish` for windows, which are measured where that matters."""
    finish = _finish(served)
    if served.calibration is None:
        return lambda raw, past, shift: finish(raw, past, past, shift)
    measure: Any = (
        network.scaler.location_and_scale if network else _keras_scale(served.model)
    )

    def finish_windows(raw: Array, past: Array, shift: Array) -> Array:
        location, scale = measure(past)
        return finish(raw, location, scale, shift)

    return finish_windows


def _finish(served: Served) -> Callable[[Array, Array, Array, Array], Array]:
    """From the network's answer to the columns, quantiles calibrated if asked for."""
    levels, point = served.quantiles, served.point_index
    if served.calibration is None:
        return partial(order_outputs, point=point, count=len(levels))
    shares = np.array(levels)
    # Of a median of 0 and widths of 1 the calibrated quantiles are the factors.
    unit = np.sign(shares - 0.5) * np.ones((1, served.network["horizon"], 1))
    none, straight = np.zeros((1, 1)), no_knees(1)  # who steps bends
    factors = served.calibration.quantiles(
        ScaledForecasts(unit, levels, none, none, none, none, served.log, straight),
        shares,
    )

    def finish(raw: Array, location: Array, scale: Array, shift: Array) -> Array:
        location, scale = location.astype(np.float64), scale.astype(np.float64)
        moved = raw[..., : len(levels)] - shift[:, None, None]
        if served.log:  # the least float32: an exponential may have become 0
            scaled = np.log(np.maximum(moved, 1e-38)) - location[..., None]
        else:
            scaled = (moved - location[..., None]) / scale[..., None]
        told = ScaledForecasts(
            scaled, levels, none, location, scale, shift[:, None], served.log, straight
        )
        above, below = told.width(True)[..., None], told.width(False)[..., None]
        away = factors * np.where(shares > 0.5, above, below)
        quantiles = told.unscale(told.median[..., None] + away)
        return np.concatenate([raw[..., point : point + 1], quantiles], axis=-1)

    return finish


def _keras_scale(model: Any) -> Callable[[Array], tuple[Array, ...]]:
    """Location and scale of windows, each `(batch, 1)`."""
    from keras_seq.training.autodiff import compiled

    scaler = model.scaler
    run = compiled(lambda past: scaler.location_and_scale(past))

    def measure(past: Array) -> tuple[Array, ...]:
        size = 1 << (len(past) - 1).bit_length()  # few shapes to compile
        return tuple(np.asarray(x)[: len(past)] for x in run(pad_batch(past, size)))

    return measure


def _panel_rows(panel: Any, offset: int, memory: CovariateMemory | None) -> Rows:
    """All steps of a panel, missing ones as NaN.

    Args:
        panel: Series.
        offset: Where its first stamp is on the clock.
        memory: Of covariates; None without any.
    """
    lengths = panel.lengths
    codes = np.repeat(np.arange(len(lengths)), lengths)
    steps = np.arange(len(panel.values)) - np.repeat(panel.offsets[:-1], lengths)
    positions = panel.first[codes] + steps + offset
    keys = check_keys(panel.ids.tolist(), "history")
    covariates = None if memory is None else memory.reader.read_panel(panel)
    return Rows(keys, codes, panel.values, positions, covariates)


def _offset(panel: Any, clock: Clock) -> int:
    """Where a panel's first stamp is on the clock."""
    grid = panel.grid
    start = grid.clock.start if isinstance(grid, ClockGrid) else grid.start
    if hasattr(start, "tzinfo"):
        zone = _zone(start)
        if (zone is None) != (clock.tz is None):
            raise ValueError(
                f"`history` must have the time zone of the training data, {clock.tz}. "
                f"Received: {zone}"
            )
        start = _plain_stamp(start)
    return int(clock.positions(np.asarray([start]))[0])


def _plain_stamp(stamp: Any) -> Any:
    """A pandas stamp as NumPy has it, in UTC if it has a time zone."""
    if stamp.tzinfo is not None:
        stamp = stamp.tz_convert("UTC").tz_localize(None)
    return stamp.to_datetime64()


def _zone(stamp: Any) -> str | None:
    return None if stamp.tzinfo is None else str(stamp.tzinfo)
