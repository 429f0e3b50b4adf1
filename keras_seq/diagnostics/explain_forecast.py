"""explain_forecast: what each step of the window and each covariate adds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
from keras import ops

from keras_seq import html
from keras_seq.diagnostics.explain_path import (
    Effort,
    Integrated,
    integrate,
    standing_in,
)
from keras_seq.errors import check_integer, did_you_mean
from keras_seq.forecasting import fitting
from keras_seq.forecasting.panel import Panel
from keras_seq.forecasting.windows import Windows, WindowSource
from keras_seq.training.autodiff import as_numpy, check_backend
from keras_seq.training.ensemble import members_of

Tensor = Any

CALENDAR = "calendar"
# Series that HTML shows.
_SHOWN = 3


@dataclass(frozen=True, repr=False)
class ForecastExplanation:
    """What inputs add to point forecasts, in the unit of the target.

    Attributes:
        contributions: One row per series, horizon step, and input step: the id column;
            `horizon_step`, from 1; `input`, the target column, a covariate or
            `"calendar"`; the time column, that of the input (missing for what belongs
            to a series); `lag`, steps from the input to the step that is forecast (0
            and less: known ahead); `contribution`.
        forecasts: One row per series and horizon step: the id column, `horizon_step`,
            the time column, `y_hat`, and `baseline`, to which the contributions are
            added; `gap`, what they add up to beyond the difference; `steps`, gradients
            taken.
        id_col: Name of the id column; None: there is none, and one series.
        time_col: Name of the time column.
        target_col: Name of the target column.
    """

    contributions: pd.DataFrame
    forecasts: pd.DataFrame
    id_col: str | None
    time_col: str
    target_col: str

    def totals(self) -> pd.DataFrame:
        """Contributions summed over input steps: a row per series, step and input."""
        ids = [] if self.id_col is None else [self.id_col]
        keys = [*ids, "horizon_step", "input"]
        groups = self.contributions.groupby(keys, sort=False)["contribution"]
        return groups.sum().reset_index()

    def _of(self, frame: pd.DataFrame, name: Any) -> pd.DataFrame:
        return frame if self.id_col is None else frame[frame[self.id_col] == name]

    def plot(self, series: Any = None, step: int | None = None, ax: Any = None) -> Any:
        """Draws one forecast's contributions; returns the axes.

        Args:
            series: Whose; None: the first.
            step: Which step of the horizon; None: the first that is explained.
            ax: Matplotlib axes; None makes them.
        """
        from keras_seq import plotting

        draw = plotting.plot_forecast_contributions
        return draw(self, series=series, step=step, ax=ax)

    def to_html(self) -> str:
        """Totals by input and horizon step, for a page that is light or dark."""
        names = ["series"]
        if self.id_col is not None:
            names = list(self.forecasts[self.id_col].unique())
        parts = [self._html_series(name) for name in names[:_SHOWN]]
        if len(names) > _SHOWN:
            parts.append(html.note(f"{len(names) - _SHOWN:,} more series"))
        subtitle = f"contributions to {self.target_col}, {len(names):,} series"
        return html.card("Explanation", subtitle, *parts)

    def _html_series(self, name: Any) -> str:
        own = self._of(self.forecasts, name)
        totals = self._of(self.totals(), name)
        wide = totals.pivot(
            index="input", columns="horizon_step", values="contribution"
        )
        wide = wide.loc[totals["input"].unique()]
        largest = float(np.abs(wide.to_numpy()).max(initial=0.0))
        steps = own.set_index("horizon_step")
        return html.tinted_table(
            str(name),
            [f"step {step}" for step in wide.columns],
            {
                "baseline": [(v, 0.0) for v in steps["baseline"]],
                **{
                    str(row): [
                        (v, v / largest if largest else 0.0) for v in wide.loc[row]
                    ]
                    for row in wide.index
                },
                "forecast": [(v, 0.0) for v in steps["y_hat"]],
            },
        )

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        lines = []
        totals = self.totals()
        for row in self.forecasts.to_dict("records"):
            name = row.get(self.id_col, "series")
            own = self._of(totals, name)
            own = own[own["horizon_step"] == row["horizon_step"]]
            parts = ", ".join(
                f"{given} {value:+.4g}"
                for given, value in zip(own["input"], own["contribution"], strict=True)
            )
            lines.append(
                f"{name}, step {row['horizon_step']}: {row['y_hat']:.6g} = "
                f"{row['baseline']:.6g} {parts} (gap {row['gap']:+.2g})"
            )
            if len(lines) == 20 and len(self.forecasts) > 20:
                lines.append(f"... {len(self.forecasts) - 20:,} more")
                break
        return "\n".join(lines)

    __repr__ = __str__


def explain_forecast(
    forecaster: Any,
    history: pd.DataFrame | pd.Series | None = None,
    future: pd.DataFrame | None = None,
    *,
    series: Any = None,
    step: int | Iterable[int] | None = None,
    steps: int = 16,
    tolerance: float = 0.02,
    max_steps: int = 512,
) -> ForecastExplanation:
    """Tells what window steps and covariates add to `y_hat`, by integrated gradients.

    The path begins at a window that stays at its own mean, with covariates at the mean
    of the training rows (categories unknown, no calendar); the forecast there is the
    `baseline`, and the contributions add up to `y_hat` less it. The scale that the
    network measures a window by is held fixed, so that a covariate has all of its
    effect and not part of it with the window. What is linear is explained exactly.
    A step that is missing adds nothing. A forecast that `predict` keeps from falling
    below zero (`nonnegative`) is explained as it was before.

    Args:
        forecaster: A fitted `Forecaster`; of an `ensemble` the median is explained.
        history: Long frame, as in `predict`; None: the end of the training data.
        future: Future covariates, as in `predict`.
        series: Ids to explain, or one; None: all.
        step: Steps of the horizon to explain, or one, from 1; None: all.
        steps: Gradients taken along the path; forecasts with a larger gap are done
            again with twice as many.
        tolerance: The gap that is left be: what contributions lack in adding up, over
            the sum of their sizes.
        max_steps: Gradients taken at most.

    Returns:
        Tables, which a notebook shows as a map of inputs and horizon steps.

    Raises:
        TypeError, ValueError: If an argument breaks a rule; the message names it.

    Example:
        >>> explain_forecast(f, step=1).contributions                 # doctest: +SKIP

    Reference:
        Sundararajan et al., 2017, Axiomatic Attribution for Deep Networks.
    """
    effort = Effort.checked(steps, tolerance, max_steps)
    check_backend()
    if not hasattr(forecaster, "lookback_"):
        raise TypeError(
            "`forecaster` must be a Forecaster after `fit`. "
            f"Received: {type(forecaster).__name__}"
        )
    forecaster._check_fitted()
    if forecaster.stateful:
        raise ValueError(
            "`forecaster` must have stateful=False: what a carried state holds came "
            "from no window. Received: stateful=True"
        )
    ahead = _choose_steps(step, forecaster.horizon)
    fitted = forecaster._tail
    panel = fitted if history is None else forecaster._panel(history, fitted=True)
    panel = forecaster._look_ahead(panel, future)
    chosen = _choose_series(panel, series)
    source = WindowSource(panel, forecaster._spec)
    windows = source.gather(chosen, panel.lengths[chosen])
    found, parts = _explain(forecaster, windows, ahead, effort)
    return _tabulate(forecaster, panel, chosen, ahead, windows, found, parts)


def _choose_steps(step: Any, horizon: int) -> np.ndarray:
    """Horizon steps to explain, from 0."""
    if step is None:
        return np.arange(horizon)
    given = list(step) if isinstance(step, Iterable) else [step]
    for one in given:
        if check_integer("step", one, 1) > horizon:
            raise ValueError(
                f"`step` must not exceed the fitted horizon, {horizon}. "
                f"Received: step={one}"
            )
    if not given:
        raise ValueError("`step` must name at least one step. Received: none")
    return np.array(sorted(set(given))) - 1


def _choose_series(panel: Panel, series: Any) -> np.ndarray:
    if series is None:
        return np.arange(len(panel.ids))
    known = {name: index for index, name in enumerate(panel.ids)}
    several = isinstance(series, list | tuple | set | np.ndarray | pd.Index | pd.Series)
    chosen = list(series) if several else [series]
    for name in chosen:
        if name not in known:
            hint = did_you_mean(str(name), map(str, known))
            raise ValueError(
                f"`series` must be among the ids.{hint} Received: {name!r}"
            )
    if not chosen:
        raise ValueError("`series` must name at least one. Received: none")
    return np.array([known[name] for name in chosen])


class _Part(NamedTuple):
    """Contributions of one input: `values`, `(rows, steps)`, from step `first` on.

    Steps count from the forecast origin; None: it belongs to the series as a whole.
    """

    name: Any
    first: int | None
    values: np.ndarray


def _explain(
    forecaster: Any, windows: Windows, ahead: np.ndarray, effort: Effort
) -> tuple[Integrated, list[_Part]]:
    """Contributions, a row for each window and step, steps running fastest."""
    model = forecaster.model_
    repeat = len(ahead)
    given = {
        name: np.repeat(array, repeat, axis=0)
        for name, array in fitting.model_inputs(windows).items()
    }
    fixed = {"target": given["target"].astype(np.float32)}
    if "static_ids" in given:
        fixed["static_ids"] = given["static_ids"]
    onehot = np.eye(forecaster.horizon, dtype=np.float32)[ahead]
    fixed["step"] = np.tile(onehot, (len(windows.past), 1))
    inputs: dict[str, np.ndarray] = {}
    start: dict[str, np.ndarray] = {}
    for name in ("past", "future", "static"):
        if name in given:
            inputs[name] = given[name]
            start[name] = np.broadcast_to(
                _usual(forecaster, name, given[name].shape[-1]), given[name].shape
            )
    for number, member in enumerate(members_of(model)):
        seen = member.input["target"].shape[1]
        scaled, observed, location, scale = as_numpy(
            member.scaler(given["target"][:, -seen:].astype(np.float32))
        )
        count = np.maximum(observed.sum(axis=1, keepdims=True), 1)
        level = scaled.sum(axis=1, keepdims=True) / count
        inputs[f"window_{number}"] = scaled
        start[f"window_{number}"] = level * observed
        for name, array in zip(
            ("observed", "location", "scale"), (observed, location, scale), strict=True
        ):
            fixed[f"{name}_{number}"] = array
        for index in range(given.get("static_ids", np.zeros((1, 0))).shape[1]):
            embed = member.get_layer(f"static_{index}")
            vectors = np.asarray(ops.convert_to_numpy(embed.embeddings), np.float32)
            name = f"static_{index}_{number}"
            inputs[name] = vectors[given["static_ids"][:, index]]
            start[name] = np.broadcast_to(vectors[0], inputs[name].shape)
    score = _point_forecast(model)
    found = integrate(score, model.variables, inputs, start, fixed, effort)
    each = {
        name: found.gradients[name] * (inputs[name] - start[name]) for name in inputs
    }
    return found, list(_gather_parts(forecaster, windows, each))


def _usual(forecaster: Any, kind: str, width: int) -> np.ndarray:
    """What covariates are where they say nothing: at their mean, and observed."""
    usual = np.zeros(width, np.float32)
    columns = list(_columns(forecaster, kind))
    place = width - sum(column.width for column in columns)  # behind the calendar
    for column in columns:
        place += column.width
        if column.categories is None and column.flagged:
            usual[place - 1] = 1.0
    return usual


def _columns(forecaster: Any, kind: str) -> Iterator[Any]:
    encoder = forecaster._encoder
    return iter(()) if encoder is None else encoder._shown(kind)


def _point_forecast(model: keras.Model) -> Any:
    """A function of what comes after scaling to the point forecast of a step."""
    members = members_of(model)
    point = model.point_index

    def score(inputs: dict[str, Tensor], fixed: dict[str, Tensor]) -> Tensor:
        stand_ins = {}
        for number, member in enumerate(members):
            names = [f"{n}_{number}" for n in ("observed", "location", "scale")]
            told = (inputs[f"window_{number}"], *(fixed[name] for name in names))
            stand_ins[member.scaler] = lambda *_, told=told, **__: told
            for layer in member.layers:
                name = f"{layer.name}_{number}"
                if isinstance(layer, keras.layers.Embedding) and name in inputs:
                    stand_ins[layer] = lambda *_, to=inputs[name], by=layer, **__: (
                        ops.cast(to, by.compute_dtype)
                    )
        shared = {**fixed, **inputs}
        given = {name: shared[name] for name in model.input}
        with standing_in(stand_ins):
            outputs = model(given, training=False)
        return ops.sum(ops.cast(outputs[..., point], "float32") * fixed["step"], axis=1)

    return score


def _gather_parts(
    forecaster: Any, windows: Windows, each: dict[str, np.ndarray]
) -> Iterator[_Part]:
    """Numbers of the network's inputs to those of the frame's columns."""
    lookback = windows.past.shape[1]
    target = np.zeros((len(each["window_0"]), lookback))
    for name, values in each.items():
        if name.startswith("window_"):
            target[:, lookback - values.shape[1] :] += values
    yield _Part(forecaster.target_col, -lookback, target)
    width = windows.calendar.shape[-1]
    if width:
        known = each["future"][..., :width].sum(axis=-1)
        yield _Part(CALENDAR, -lookback, known)
    for kind in ("past", "future", "static"):
        place = width if kind == "future" else 0
        for column in _columns(forecaster, kind):
            values = each[kind][..., place : place + column.width].sum(axis=-1)
            place += column.width
            first = None if kind == "static" else -lookback
            yield _Part(column.name, first, values.reshape(len(target), -1))
    encoder = forecaster._encoder
    for index, column in enumerate(encoder._static_ids() if encoder else ()):
        own = [each[name] for name in each if name.startswith(f"static_{index}_")]
        values = sum(array.sum(axis=-1, keepdims=True) for array in own)
        yield _Part(column.name, None, np.asarray(values))


def _tabulate(
    forecaster: Any,
    panel: Panel,
    chosen: np.ndarray,
    ahead: np.ndarray,
    windows: Windows,
    found: Integrated,
    parts: list[_Part],
) -> ForecastExplanation:
    repeat, rows = len(ahead), len(chosen) * len(ahead)
    ids = np.repeat(panel.ids[chosen], repeat)
    steps = np.tile(ahead, len(chosen))  # from 0
    lookback = windows.past.shape[1]
    stamps = panel.grid.stamps(-lookback, lookback + panel.end + forecaster.horizon)
    origins = np.repeat(panel.first[chosen] + panel.lengths[chosen], repeat) + lookback
    missing = np.isnan(np.repeat(windows.past, repeat, axis=0))
    frames = []
    for part in parts:
        count = part.values.shape[1]
        frame = {
            "unique_id": np.repeat(ids, count),
            "horizon_step": np.repeat(steps + 1, count),
            "input": pd.Series([part.name] * (rows * count), dtype=object),
        }
        if part.first is None:
            empty = stamps[:1].repeat(rows).to_series(index=range(rows))
            frame["ds"] = empty.mask(np.ones(rows, bool))
            frame["lag"] = pd.array([pd.NA] * rows, dtype="Int64")
        else:
            places = part.first + np.arange(count)
            flat = (origins[:, None] + places).reshape(-1)
            frame["ds"] = stamps[flat]
            lags = (steps[:, None] - places).reshape(-1)
            frame["lag"] = pd.array(lags, dtype="Int64")
        frame["contribution"] = part.values.reshape(-1)
        made = pd.DataFrame(frame)
        if part.name == forecaster.target_col:
            made = made[~missing.reshape(-1)]
        frames.append(made)
    contributions = pd.concat(frames, ignore_index=True).infer_objects()
    shift = np.repeat(windows.shift, repeat)
    forecasts = pd.DataFrame(
        {
            "unique_id": ids,
            "horizon_step": steps + 1,
            "ds": stamps[origins + steps],
            "y_hat": found.value + shift,
            "baseline": found.baseline + shift,
            "gap": found.gap,
            "steps": found.steps,
        }
    ).infer_objects()
    rename = forecaster._columns.rename
    return ForecastExplanation(
        rename(contributions),
        rename(forecasts),
        forecaster.id_col,
        forecaster.time_col,
        forecaster.target_col,
    )
