"""Sessions of fitted estimators."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from os import PathLike
from typing import Any

import numpy as np

from keras_seq.errors import ArtifactError, check_choice
from keras_seq.forecasting.intervals import ScaledForecasts
from keras_seq.forecasting.names import Columns
from keras_seq.numpy_runtime.clock import Clock
from keras_seq.numpy_runtime.forecast_network import ForecastNetwork
from keras_seq.numpy_runtime.stream_network import StreamNetwork
from keras_seq.numpy_runtime.text_network import TextNetwork
from keras_seq.streaming.documents import TextSession
from keras_seq.streaming.engines import keras_forward, numpy_forward, pad_batch
from keras_seq.streaming.observations import Rows
from keras_seq.streaming.pieces import PieceReader
from keras_seq.streaming.readers import (
    CarryingReader,
    Reader,
    WholeReader,
    keras_advance,
)
from keras_seq.streaming.rows import Array, check_keys
from keras_seq.streaming.sessions import ForecastSession, Stepper
from keras_seq.streaming.stateful import Advance, StatefulStepper, keras_stream
from keras_seq.streaming.windowed import Finish, WindowedStepper
from keras_seq.text.calibration import apply_temperature
from keras_seq.text.preprocessing import TokenRows, head_length

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
    stepper: Stepper | None = None,
) -> ForecastSession:
    """A session of a fitted `Forecaster`.

    Args:
        forecaster: Fitted, without covariates.
        history: What keys start from. None: nothing; `"fit"`: the end of the training
            data; or a long frame (or Series) of any keys, as `predict` takes it.
        engine: `"numpy"`, `"keras"`, or `"auto"`: NumPy where it can run the network.
        on_late: As in `ForecastSession`.
        max_keys: As in `KeyedStates`, and so the others.
        on_full: As in `KeyedStates`.
        spill: As in `KeyedStates`.
        stepper: What advances states; None: that of the forecaster's windows.

    Raises:
        NotFittedError: Before `fit` or `load`.
        ValueError: If an argument breaks a rule, or the forecaster has covariates.
    """
    forecaster._check_fitted()
    check_choice("engine", engine, ENGINES)
    _refuse_covariates(forecaster)
    clock = forecaster_clock(forecaster)
    if stepper is None:
        make = _stateful_stepper if forecaster.stateful else _windowed_stepper
        stepper = make(forecaster, clock, engine)
    quantiles = [f"y_hat_q{quantile:g}" for quantile in forecaster.quantiles_]
    tail = forecaster._tail
    session = ForecastSession(
        stepper,
        clock,
        start=tail.end,
        outputs=("y_hat", *quantiles),
        names=Columns(forecaster.id_col, forecaster.time_col, forecaster.target_col),
        on_late=on_late,
        max_keys=max_keys,
        on_full=on_full,
        spill=spill,
    )
    if history is not None:
        whole = isinstance(history, str) and history == "fit"
        if isinstance(history, str) and not whole:
            raise ValueError(
                "`history` must be None, 'fit' or a long frame. "
                f"Received: history={history!r}"
            )
        panel = tail if whole else forecaster._panel(history, fitted=True)
        rows = _panel_rows(panel, clock)
        if whole and forecaster.stateful:
            rows = _go_on(session, forecaster, rows)
        session.learn(rows)
    return session


def forecaster_clock(forecaster: Any) -> Clock:
    """The clock of a forecaster's training data; position 0 is where they begin."""
    grid = forecaster._tail.grid
    if isinstance(grid.freq, int):
        return Clock(grid.freq, grid.start)
    return Clock(grid.freq, _plain_stamp(grid.start), _zone(grid.start))


def model_fingerprint(*parts: Any) -> str:
    """A digest of JSON-able values, arrays, and dicts and lists of them."""
    digest = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, np.ndarray):
            digest.update(repr((part.dtype.str, part.shape)).encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, dict):
            for name in sorted(part):
                digest.update(repr(name).encode())
                add(part[name])
        else:
            digest.update(json.dumps(part, sort_keys=True, default=repr).encode())
        digest.update(b"\0")

    for part in parts:
        add(part)
    return digest.hexdigest()


def model_weights(model: Any) -> dict[str, Array]:
    """Copies of weights by path, as the artefact names them; no carried states."""
    return {
        weight.path: np.array(weight)
        for weight in model.weights
        if not weight.path.rsplit("/", 1)[-1].startswith("state_")
    }


def order_outputs(values: Array, *_: Any, point: int, count: int) -> Array:
    """The network's outputs in the order of the columns: the point, then quantiles."""
    return np.concatenate(
        [values[..., point : point + 1], values[..., :count]], axis=-1
    )


def _windowed_stepper(forecaster: Any, clock: Clock, engine: str) -> WindowedStepper:
    model, weights = forecaster.model_, model_weights(forecaster.model_)
    network = _numpy_network(forecaster, weights, engine)
    calibrated = forecaster.conformal and forecaster._calibration.usable
    deviations = forecaster._calibration.deviations if calibrated else None
    finish = partial(
        order_outputs, point=model.point_index, count=len(forecaster.quantiles_)
    )
    return WindowedStepper(
        lookback=forecaster.lookback_,
        horizon=forecaster.horizon,
        clock=clock,
        centered=forecaster._spec.centered,
        forward=numpy_forward(network) if network else keras_forward(model),
        fingerprint=model_fingerprint(forecaster._builder_args, weights, deviations),
        finish=_calibrate_windows(forecaster, network) if calibrated else finish,
    )


def _stateful_stepper(forecaster: Any, clock: Clock, engine: str) -> StatefulStepper:
    model, weights = forecaster.model_, model_weights(forecaster.model_)
    advance: Advance | None = None
    if engine != "keras":
        try:
            advance = StreamNetwork(forecaster._builder_args, weights).step
        except ArtifactError:
            if engine == "numpy":
                raise
    calibrated = forecaster.conformal and forecaster._calibration.usable
    deviations = forecaster._calibration.deviations if calibrated else None
    finish = partial(
        order_outputs, point=model.point_index, count=len(forecaster.quantiles_)
    )
    return StatefulStepper(
        context=forecaster.lookback_,
        horizon=forecaster.horizon,
        widths=model.state_widths,
        clock=clock,
        centered=forecaster._spec.centered,
        advance=advance or keras_stream(model),
        finish=_calibrate(forecaster) if calibrated else finish,
        fingerprint=model_fingerprint(forecaster._builder_args, weights, deviations),
    )


def _go_on(session: ForecastSession, forecaster: Any, rows: Rows) -> Rows:
    """Puts keys where training left them; returns the steps they have yet to read."""
    stream, tail = forecaster._stream, forecaster._tail
    state = dict(stream.arrays)
    if "shift" in session.stepper.arrays:
        state["shift"] = stream.shift
    positions = np.asarray(rows.positions)
    session.place(rows.keys, state, positions[tail.offsets[:-1]] + stream.after - 1)
    steps = np.arange(len(tail.values)) - np.repeat(tail.offsets[:-1], tail.lengths)
    unread = steps >= np.repeat(stream.after, tail.lengths)
    return rows._replace(
        codes=rows.codes[unread],
        values=rows.values[unread],
        positions=positions[unread],
    )


def _numpy_network(
    forecaster: Any, weights: dict[str, Array], engine: str
) -> ForecastNetwork | None:
    """The network in NumPy; None where Keras is to run it."""
    if engine == "keras":
        return None
    # Files from before there were segments do not name a decoder.
    arguments = {"decoder": "direct", **forecaster._builder_args}
    if "members" in arguments:
        arguments = forecaster._builder_args
    try:
        return ForecastNetwork(arguments, weights)
    except ArtifactError:
        if engine == "numpy":
            raise
        return None


def _calibrate_windows(forecaster: Any, network: ForecastNetwork | None) -> Finish:
    """`_calibrate` for windows, which are measured first."""
    model = forecaster.model_
    measure = network.scaler.location_and_scale if network else _keras_scale(model)
    finish = _calibrate(forecaster)

    def finish_windows(raw: Array, past: Array, shift: Array) -> Array:
        location, scale = measure(past)
        return finish(raw, location, scale, shift)

    return finish_windows


def _calibrate(forecaster: Any) -> Callable[[Array, Array, Array, Array], Array]:
    """The network's answer in the order of the columns, its quantiles calibrated."""
    model, levels = forecaster.model_, forecaster.quantiles_
    point, log = model.point_index, model.scaler.scaling == "log"
    shares = np.array(levels)
    # Of a median of 0 and widths of 1 the calibrated quantiles are the factors.
    unit = np.sign(shares - 0.5) * np.ones((1, forecaster.horizon, 1))
    none = np.zeros((1, 1))
    factors = forecaster._calibration.quantiles(
        ScaledForecasts(unit, levels, none, none, none, none, log), shares
    )

    def finish(raw: Array, location: Array, scale: Array, shift: Array) -> Array:
        location, scale = location.astype(np.float64), scale.astype(np.float64)
        moved = raw[..., : len(levels)] - shift[:, None, None]
        if log:  # the least float32: an exponential may have become 0
            scaled = np.log(np.maximum(moved, 1e-38)) - location[..., None]
        else:
            scaled = (moved - location[..., None]) / scale[..., None]
        told = ScaledForecasts(
            scaled, levels, none, location, scale, shift[:, None], log
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


def _refuse_covariates(forecaster: Any) -> None:
    for kind in ("static", "past", "future"):
        names = getattr(forecaster, f"{kind}_covariates")
        if len(names):
            raise ValueError(
                "A session takes values of the target alone: this Forecaster was "
                f"fitted with covariates. Received: {kind}_covariates={list(names)}"
            )


def _panel_rows(panel: Any, clock: Clock) -> Rows:
    """All steps of a panel, missing ones as NaN."""
    lengths = panel.lengths
    codes = np.repeat(np.arange(len(lengths)), lengths)
    steps = np.arange(len(panel.values)) - np.repeat(panel.offsets[:-1], lengths)
    positions = panel.first[codes] + steps + _offset(panel, clock)
    return Rows(
        check_keys(panel.ids.tolist(), "history"), codes, panel.values, positions
    )


def _offset(panel: Any, clock: Clock) -> int:
    """Where a panel's first stamp is on the clock."""
    start = panel.grid.start
    if not isinstance(start, int):
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


def open_text_session(
    classifier: Any,
    *,
    engine: str = "auto",
    max_keys: int | None = None,
    on_full: str = "drop",
    spill: str | PathLike[str] | None = None,
) -> TextSession:
    """A session of a fitted `TextClassifier`.

    Args:
        classifier: Fitted. One that is `stateful` carries its state on from piece to
            piece; another keeps the ids that it reads, and runs anew.
        engine: `"numpy"`, `"keras"`, or `"auto"`: NumPy where it can run the network.
        max_keys: As in `KeyedStates`, and so the others.
        on_full: As in `KeyedStates`.
        spill: As in `KeyedStates`.

    Raises:
        NotFittedError: Before `fit` or `load`.
        ValueError: If an argument breaks a rule, if a function splits the texts, or if
            a stateful classifier reads the end of long texts.
    """
    classifier._check_fitted()
    check_choice("engine", engine, ENGINES)
    weights = model_weights(classifier.model_)
    prepared, arrays = classifier.preprocessor_.get_state()
    settings = {
        "builder": classifier._builder_args,
        "preprocessor": prepared,
        "truncation": classifier.truncation,
        "split": repr(classifier.split),
        "temperature": classifier.temperature_,
    }
    temperature, several = classifier.temperature_, classifier.multi_label
    preprocessor = classifier.preprocessor_
    return TextSession(
        _text_reader(classifier, weights, engine),
        PieceReader(preprocessor._splitter, preprocessor._ids),
        fingerprint=model_fingerprint(settings, arrays, weights),
        classes=classifier.classes_,
        calibrate=lambda raw: apply_temperature(raw, temperature, several),
        choose=classifier._choose_labels,
        max_keys=max_keys,
        on_full=on_full,
        spill=spill,
    )


def _text_reader(classifier: Any, weights: dict[str, Array], engine: str) -> Reader:
    longest, truncation = classifier.preprocessor_.row_length_, classifier.truncation
    network = None
    if engine != "keras":
        try:
            network = TextNetwork(classifier._builder_args, weights)
        except ArtifactError:
            if engine == "numpy":
                raise
    if not classifier.stateful:
        head = 0 if longest is None else head_length(truncation, longest)
        return WholeReader(network or _keras_classifier(classifier), longest, head)
    if longest is not None and truncation != "head":
        raise ValueError(
            "`truncation` must be 'head' to read on in a stateful classifier: what it "
            f"has read it cannot leave out. Received: {truncation=}, "
            f"max_length={classifier.max_length!r}"
        )
    if network is not None:
        return CarryingReader(network.advance, network.initial, longest)
    model, rows = classifier.model_, classifier._builder_args["batch_size"]
    return CarryingReader(*keras_advance(model, rows, classifier.chunk_length), longest)


def _keras_classifier(classifier: Any) -> Callable[[dict[str, Array]], Array]:
    """Whole texts through the Keras network, in the lengths it was trained in."""

    def answer(inputs: dict[str, Array]) -> Array:
        tokens, length = inputs["tokens"], inputs["length"]
        valid = np.arange(tokens.shape[1]) < length[:, None]
        return classifier._raw_probabilities(TokenRows(tokens[valid], length))

    return answer
