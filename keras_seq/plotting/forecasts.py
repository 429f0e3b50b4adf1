"""Figures of forecasts: after their history, and by horizon step."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from keras_seq.errors import did_you_mean
from keras_seq.plotting.axes import (
    add_legend,
    check_columns,
    colors_of,
    legend_beside,
    many_scripts,
    new_axes,
    plain,
    take_axes,
    tidy,
    tidy_dates,
    whole_steps,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@many_scripts
def plot_forecasts(
    history: pd.DataFrame,
    forecasts: pd.DataFrame,
    *,
    id_col: str | None = "unique_id",
    time_col: str = "ds",
    target_col: str = "y",
    ids: Iterable[Any] | None = None,
    actuals: pd.DataFrame | None = None,
    history_steps: int | None = None,
    axes: Any = None,
) -> np.ndarray:
    """Draws forecasts and their intervals after the history, one series per axes.

    Args:
        history: Long frame of what came before.
        forecasts: As `Forecaster.predict` or `backtest` returns: `y_hat`, and
            `y_hat_q*` in pairs around the median, each an interval. Windows of a
            `cutoff` column are drawn apart.
        id_col: Column with the series' names; None: the frames are one series.
        time_col: Column with stamps or whole numbers.
        target_col: Column that is forecast.
        ids: Series to draw; None: the first six of `forecasts`.
        actuals: Long frame of what came after, where it is known.
        history_steps: Last steps of `history` to draw; None: three times as many as
            are forecast.
        axes: One Matplotlib axes per series; None makes a figure.

    Returns:
        The axes drawn on, a 1-d array.

    Raises:
        ValueError: If a column or a series is missing, or the axes are too few.
    """
    keys = [time_col] if id_col is None else [id_col, time_col]
    check_columns("history", history, [*keys, target_col])
    check_columns("forecasts", forecasts, [*keys, "y_hat"])
    if actuals is not None:
        check_columns("actuals", actuals, [*keys, target_col])
    names = [None] if id_col is None else _choose_ids(forecasts[id_col], ids)
    made = axes is None
    axes = take_axes(axes, len(names), "series")
    for ax, name in zip(axes, names, strict=True):
        past, ahead, after = (
            _one_series(frame, id_col, name, time_col)
            for frame in (history, forecasts, actuals)
        )
        default = 3 * ahead[time_col].nunique()
        past = past.tail(default if history_steps is None else history_steps)
        _draw_series(ax, past, ahead, after, time_col, target_col)
        ax.set_title("" if name is None else plain(name), fontsize="medium")
    add_legend(axes, plain(target_col) if made else None)
    return axes


@many_scripts
def plot_backtest(
    windows: pd.DataFrame,
    *,
    id_col: str | None = "unique_id",
    time_col: str = "ds",
    target_col: str = "y",
    ids: Iterable[Any] | None = None,
    baseline: str | None = "seasonal_naive",
    axes: Any = None,
) -> np.ndarray:
    """Draws forecasts by cutoff over what came, one series per axes.

    A dotted line stands at each cutoff; right of it only what came before was known.

    Args:
        windows: As `Forecaster.backtest` returns.
        id_col: Column with the series' names; None: the frame is one series.
        time_col: Column with stamps or whole numbers.
        target_col: Column that is forecast.
        ids: Series to draw; None: the first six.
        baseline: Column to draw beside `y_hat`; None: none.
        axes: One Matplotlib axes per series; None makes a figure.

    Returns:
        The axes drawn on, a 1-d array.

    Raises:
        ValueError: If a column or a series is missing, or the axes are too few.
    """
    keys = [time_col] if id_col is None else [id_col, time_col]
    beside = [] if baseline is None else [baseline]
    needed = [*keys, "cutoff", target_col, "y_hat", *beside]
    check_columns("windows", windows, needed)
    names = [None] if id_col is None else _choose_ids(windows[id_col], ids, "windows")
    made = axes is None
    axes = take_axes(axes, len(names), "series")
    for ax, name in zip(axes, names, strict=True):
        own = _one_series(windows, id_col, name, time_col)
        actual = own.drop_duplicates(time_col)
        none = pd.DataFrame()
        _draw_series(ax, actual, own, none, time_col, target_col, label="actual")
        ours = colors_of(ax)
        for number, (cutoff, window) in enumerate(own.groupby("cutoff")):
            label = "cutoff" if not number else None
            ax.axvline(cutoff, color=ours.other, ls=":", lw=1, label=label)
            if baseline is not None:
                shown = str(baseline).replace("_", " ") if not number else None
                style: dict[str, Any] = {"color": ours.accent, "lw": 1, "ls": "--"}
                ax.plot(window[time_col], window[baseline], label=shown, **style)
        ax.set_title("" if name is None else plain(name), fontsize="medium")
    add_legend(axes, plain(target_col) if made else None)
    return axes


@many_scripts
def plot_horizon_errors(
    windows: pd.DataFrame,
    *,
    id_col: str | None = "unique_id",
    time_col: str = "ds",
    target_col: str = "y",
    relative: bool = True,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws the mean absolute error by horizon step, beside the baselines'.

    Args:
        windows: As `Forecaster.backtest` returns.
        id_col: Column with the series' names; None: the frame is one series.
        time_col: Column with stamps or whole numbers.
        target_col: Column that is forecast.
        relative: Whether errors of a series are divided by the mean absolute error of
            its first baseline, so that each series weighs the same and 1 is as good as
            the baseline is on the average; series without such errors are left out.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: If a column is missing, or nothing can be drawn.
    """
    keys = [time_col] if id_col is None else [id_col, time_col]
    check_columns("windows", windows, [*keys, "cutoff", target_col, "y_hat"])
    rivals = [name for name in ("seasonal_naive", "naive") if name in windows]
    if relative and not rivals:
        raise ValueError(
            "`relative` needs a column 'seasonal_naive' or 'naive' in `windows`. "
            f"Received: columns {list(windows)}"
        )
    # All series have the same stamps after a cutoff, some of them without a value.
    step = windows.groupby("cutoff")[time_col].rank(method="dense").astype(int)
    errors = windows[["y_hat", *rivals]].sub(windows[target_col], axis=0).abs()
    if relative:
        series = windows[id_col] if id_col else pd.Series(0, windows.index)
        scale = errors[rivals[0]].groupby(series.to_numpy()).transform("mean")
        errors = errors.div(scale.where(scale > 0), axis=0)
    means = errors.groupby(step.to_numpy()).mean()
    if not np.isfinite(means["y_hat"]).any():
        raise ValueError(
            "`windows` must have rows with an actual value and a forecast. Received: "
            f"{len(windows)} rows"
        )
    ax = ax if ax is not None else new_axes(1, (6.4, 4.0))[0]
    ours = colors_of(ax)
    styles = {
        "y_hat": ("forecast", ours.main, "-"),
        "seasonal_naive": ("seasonal naive", ours.accent, "--"),
        "naive": ("naive", ours.other, ":"),
    }
    for name, (label, color, line) in styles.items():
        if name in means:
            ax.plot(
                means.index, means[name], line, marker=".", color=color, label=label
            )
    tidy(ax)
    ax.set_ylim(bottom=0)
    whole_steps(ax)
    unit = f"over {rivals[0].replace('_', ' ')}'s" if relative else plain(target_col)
    ax.set(xlabel="horizon step", ylabel=f"mean absolute error, {unit}")
    ax.set_title("Error by horizon step")
    legend_beside(ax)
    return ax


def _draw_series(
    ax: "Axes",
    past: pd.DataFrame,
    ahead: pd.DataFrame,
    after: pd.DataFrame,
    time_col: str,
    target_col: str,
    label: str = "history",
) -> None:
    ours = colors_of(ax)
    ax.plot(past[time_col], past[target_col], color=ours.ink, lw=1.2, label=label)
    windows = ahead.groupby("cutoff") if "cutoff" in ahead else [(None, ahead)]
    intervals = _intervals(ahead)
    for number, (_, window) in enumerate(windows):
        shown = number == 0  # one entry in the legend, not one per window
        stamps = window[time_col]
        for depth, (low, high, level) in enumerate(intervals):
            name = f"{level:g}% interval" if shown else None
            low_values, high_values = window[low], window[high]
            shade: dict[str, Any] = {
                "color": ours.main,
                "alpha": ours.shade + 0.1 * depth,
                "lw": 0,
            }
            ax.fill_between(stamps, low_values, high_values, label=name, **shade)
        point = "forecast" if shown else None
        ax.plot(
            stamps, window["y_hat"], color=ours.main, lw=1.5, marker=".", label=point
        )
    if len(after):
        style: dict[str, Any] = {"color": ours.accent, "ls": "--", "lw": 1.2}
        ax.plot(after[time_col], after[target_col], label="actual", **style)
    tidy(ax)
    if pd.api.types.is_datetime64_any_dtype(ahead[time_col]):
        tidy_dates(ax)


def _intervals(forecasts: pd.DataFrame) -> list[tuple[str, str, float]]:
    """Pairs of quantile columns around the median, the widest first: low, high, %."""
    columns = {
        round(float(name.removeprefix("y_hat_q")), 10): name
        for name in forecasts
        if isinstance(name, str) and name.startswith("y_hat_q")
    }
    return [
        (low, columns[round(1 - quantile, 10)], round(100 * (1 - 2 * quantile), 6))
        for quantile, low in sorted(columns.items())
        if quantile < 0.5 and round(1 - quantile, 10) in columns
    ]


def _choose_ids(
    column: pd.Series, ids: Iterable[Any] | None, frame: str = "forecasts"
) -> list[Any]:
    known = list(column.unique())
    if not known:
        raise ValueError(f"`{frame}` must have a row. Received: none")
    if ids is None:
        return known[:6]
    chosen = list(ids)
    for name in chosen:
        if name not in known:
            hint = did_you_mean(str(name), map(str, known))
            raise ValueError(f"`{frame}` has no series {name!r}.{hint}")
    if not chosen:
        raise ValueError("`ids` must name at least one series. Received: none")
    return chosen


def _one_series(
    frame: pd.DataFrame | None, id_col: str | None, name: Any, time_col: str
) -> pd.DataFrame:
    if frame is None:
        return pd.DataFrame()
    own = frame if id_col is None else frame[frame[id_col] == name]
    return own.sort_values(time_col)
