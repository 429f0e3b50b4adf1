"""Figures of scores, training and forecasts, drawn on Matplotlib axes.

Every function draws on the axes it is given, or on a new figure, and returns the axes:
save with `ax.figure.savefig(path)`. In a notebook, and where pyplot is in use, a new
figure is pyplot's and shows as its figures do; elsewhere nothing has to be closed.
"""

import itertools
import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from keras_seq.errors import did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito 2008, a palette that colour-blind readers can tell apart.
_BLACK, _BLUE, _VERMILION = "#000000", "#0072B2", "#D55E00"
_MAX_ANNOTATED = 20


def plot_confusion_matrix(
    labels: Sequence[Any],
    predicted: Sequence[Any],
    *,
    classes: Sequence[Any] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws how often each class was taken for each other one.

    A cell holds the count and its share of the true class (its row); the colour is
    the share, so that rare classes are as visible as frequent ones.

    Args:
        labels: True labels.
        predicted: Predicted labels, as many.
        classes: Order of the classes; None: all that occur, sorted.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: If lengths differ, there are no labels, or a label is not in
            `classes`.
    """
    true, guessed = list(labels), list(predicted)
    if len(true) != len(guessed) or not true:
        raise ValueError(
            "`labels` and `predicted` must be equally long and not empty. Received: "
            f"{len(true)} labels and {len(guessed)} predictions"
        )
    occurring = set(true) | set(guessed)
    names = sorted(occurring) if classes is None else list(classes)
    unknown = sorted(occurring - set(names), key=str)
    if unknown:
        raise ValueError(
            f"`classes` must name every label. Missing: {unknown[:5]}. "
            f"Received: classes={names}"
        )
    place = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, ([place[t] for t in true], [place[g] for g in guessed]), 1)
    accuracy = np.trace(counts) / counts.sum()
    size = min(4 + 0.5 * len(names), 14)
    ax = ax if ax is not None else _new_axes(1, (size + 1, size))[0]
    _draw_matrix(ax, counts, [str(name) for name in names])
    ax.set_title(f"Accuracy {accuracy:.1%} of {len(true):,} examples")
    return ax


def plot_label_counts(
    labels: Sequence[Sequence[Any]],
    predicted: Sequence[Sequence[Any]],
    *,
    classes: Sequence[Any] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws how often each label was found, missed, and given wrongly.

    Args:
        labels: The labels that each text has.
        predicted: Those that it was given, for as many texts.
        classes: Order of the labels; None: all that occur, sorted.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: If lengths differ, there are no texts, or a label is not in
            `classes`.
    """
    if len(labels) != len(predicted) or not len(labels):
        raise ValueError(
            "`labels` and `predicted` must be equally long and not empty. Received: "
            f"{len(labels)} lists of labels and {len(predicted)} of predictions"
        )
    zipped = zip(labels, predicted, strict=True)
    pairs = [(set(true), set(given)) for true, given in zipped]
    occurring = set().union(*(true | given for true, given in pairs))
    names = sorted(occurring) if classes is None else list(classes)
    unknown = sorted(occurring - set(names), key=str)
    if unknown:
        raise ValueError(
            f"`classes` must name every label. Missing: {unknown[:5]}. "
            f"Received: classes={names}"
        )
    counts = {
        "found": [sum(n in true & given for true, given in pairs) for n in names],
        "missed": [sum(n in true - given for true, given in pairs) for n in names],
        "wrong": [-sum(n in given - true for true, given in pairs) for n in names],
    }
    if ax is None:
        ax = _new_axes(1, (6.4, min(1.6 + 0.3 * len(names), 14)))[0]
    places = np.arange(len(names))
    bars = {"found": (_BLUE, 1.0), "missed": (_BLUE, 0.3), "wrong": (_VERMILION, 1.0)}
    for kind, (color, alpha) in bars.items():
        left = counts["found"] if kind == "missed" else None
        ax.barh(places, counts[kind], left=left, color=color, alpha=alpha, label=kind)
    _tidy(ax)
    ax.set_yticks(places, [str(name) for name in names])
    ax.invert_yaxis()
    ax.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.10g}")
    ax.axvline(0, color=_BLACK, linewidth=0.8)
    right = sum(true == given for true, given in pairs) / len(pairs)
    ax.set(
        xlabel="texts", title=f"All labels right in {right:.1%} of {len(pairs):,} texts"
    )
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return ax


def plot_history(
    history: pd.DataFrame, ax: "Axes | None" = None, *, metric: str = "loss"
) -> "Axes":
    """Draws a value over training, and where it was best on validation.

    Args:
        history: `history_` of an estimator: a column `epoch` or `step`, and one per
            value; a column `member` parts the lines of an ensemble.
        ax: Axes to draw on; None makes a figure.
        metric: Column to draw, together with `val_` + its name where there is one.
            The least validation value is marked, but for an ensemble.

    Returns:
        The axes.

    Raises:
        ValueError: If the frame lacks these columns or has no row.
    """
    time = next((name for name in ("epoch", "step") if name in history), None)
    if time is None or len(history) == 0:
        raise ValueError(
            "`history` must have rows and a column 'epoch' or 'step'. Received: "
            f"{len(history)} rows with columns {list(history)}"
        )
    _check_columns("history", history, [metric])
    drawn = [name for name in (metric, f"val_{metric}") if name in history]
    ax = ax if ax is not None else _new_axes(1, (6.4, 4.0))[0]
    steps = history[time].to_numpy()
    styles = {metric: (_BLUE, "training"), f"val_{metric}": (_VERMILION, "validation")}
    members = history["member"].to_numpy() if "member" in history else 0 * steps
    for name in drawn:
        color, label = styles[name]
        for member in np.unique(members):
            rows = members == member
            values = history[name].to_numpy()[rows]
            ax.plot(steps[rows], values, color=color, marker=".", label=label)
            label = "_"  # the others of an ensemble are not told again
    best = history[drawn[-1]]
    alone = "member" not in history
    if alone and drawn[-1].startswith("val_") and best.notna().any():
        row = int(best.to_numpy().argmin())
        where = f"best, {time} {steps[row]:,}"
        ax.axvline(steps[row], color=_BLACK, linestyle=":", linewidth=1, label=where)
    _tidy(ax)
    ax.locator_params(axis="x", integer=True)
    ax.set(xlabel=time, ylabel=metric, title=f"{metric} over training".capitalize())
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return ax


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
    _check_columns("history", history, [*keys, target_col])
    _check_columns("forecasts", forecasts, [*keys, "y_hat"])
    if actuals is not None:
        _check_columns("actuals", actuals, [*keys, target_col])
    names = [None] if id_col is None else _choose_ids(forecasts[id_col], ids)
    made = axes is None
    axes = _take_axes(axes, len(names), "series")
    for ax, name in zip(axes, names, strict=True):
        past, ahead, after = (
            _one_series(frame, id_col, name, time_col)
            for frame in (history, forecasts, actuals)
        )
        default = 3 * ahead[time_col].nunique()
        past = past.tail(default if history_steps is None else history_steps)
        _draw_series(ax, past, ahead, after, time_col, target_col)
        ax.set_title("" if name is None else str(name), fontsize="medium")
    _add_legend(axes, target_col if made else None)
    return axes


def plot_trials(
    trials: pd.DataFrame, *, name: str, maximize: bool, ax: "Axes | None" = None
) -> "Axes":
    """Draws the score of each trial of a search, and the best so far.

    Args:
        trials: `trials_` of a `SearchResult`; failed trials have no score.
        name: Name of the score.
        maximize: Whether larger is better.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The axes.
    """
    ax = ax if ax is not None else _new_axes(1, (6.4, 4.0))[0]
    score = trials["score"]
    best = score.cummax() if maximize else score.cummin()
    ax.step(trials["trial"], best.ffill(), where="post", color=_BLUE, label="best")
    points: dict[str, Any] = {"color": _BLACK, "marker": "o", "s": 16}
    ax.scatter(trials["trial"], score, label="trial", **points)
    failed = trials.loc[score.isna(), "trial"]
    if len(failed):
        ax.plot(
            failed,
            [0] * len(failed),
            "x",
            color=_VERMILION,
            clip_on=False,
            transform=ax.get_xaxis_transform(),
            label="failed",
        )
    _tidy(ax)
    ax.locator_params(axis="x", integer=True)
    ax.set(xlabel="trial", ylabel=name, title=f"{name} over the search")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return ax


def as_numbers(values: pd.Series) -> pd.Series | None:
    """An argument's values if they are numbers, NaN for None and "auto"; else None."""
    # The estimator as it was may say "auto" where the search tries numbers.
    values = values.mask(values.astype(object).eq("auto"))
    numbers = pd.to_numeric(values, errors="coerce")
    all_numbers = numbers.notna().any() and (numbers.notna() | values.isna()).all()
    return numbers if all_numbers else None


def plot_arguments(
    trials: pd.DataFrame, importance: pd.Series, *, name: str, axes: Any = None
) -> "list[Axes]":
    """Draws the score of each trial against each argument that a search varied.

    Args:
        trials: `trials_` of a `SearchResult`; failed trials are left out.
        importance: Of each argument, most important first; NaN: not known.
        name: Name of the score.
        axes: One Matplotlib axes per argument; None makes a figure.

    Returns:
        One axes per argument, in the order of `importance`.

    Raises:
        ValueError: If no argument had more than one value, or the axes are not as many.
    """
    if importance.empty:
        raise ValueError(
            "There is nothing to draw: in the trials that completed no argument had "
            f"more than one value. Received: {len(trials)} trials"
        )
    trials = trials[trials["score"].notna()]
    panels = list(_new_axes(len(importance)) if axes is None else axes)
    if len(panels) != len(importance):
        raise ValueError(
            f"`axes` must hold one axes per argument, {len(importance)}. "
            f"Received: {len(panels)}"
        )
    for ax, (argument, weight) in zip(panels, importance.items(), strict=True):
        values = trials[argument]
        shown = as_numbers(values)
        if shown is None:
            shown = values.astype(object).where(values.notna(), "None").map(str)
        elif shown.min() > 0 and shown.max() >= 20 * shown.min():
            ax.set_xscale("log")
        kept = shown.notna()
        ax.scatter(shown[kept], trials.loc[kept, "score"], s=16, color=_BLACK)
        first = trials["trial"] == 0
        ax.scatter(
            shown[kept & first],
            trials.loc[kept & first, "score"],
            s=90,
            facecolors="none",
            edgecolors=_VERMILION,
            label="as it was",
        )
        _tidy(ax)
        known = "" if np.isnan(weight) else f", importance {weight:.0%}"
        ax.set(xlabel=str(argument), ylabel=name, title=f"{argument}{known}")
    panels[0].legend(frameon=False)
    return panels


def plot_gradient_flow(
    flow: pd.DataFrame, *, value: str = "norm", axes: Any = None
) -> np.ndarray:
    """Draws how much of the gradient is left k steps before, as a heat map.

    Lags run along the axis, the colour is logarithmic, and a line marks the last lag
    at which at least 1 % of the row's largest value is left.

    Args:
        flow: As `gradient_flow` returns, with a row of the map for each layer; or
            `RecordGradientFlow.flow_`, with axes for each layer and a row for each
            epoch.
        value: Column to draw: `"norm"`, `"jacobian"`, `"influence"`, ...
        axes: One Matplotlib axes per map; None makes a figure.

    Returns:
        The axes drawn on, a 1-d array.

    Raises:
        ValueError: If a column is missing, there is nothing to draw, or the axes are
            too few.
    """
    over_epochs = "epoch" in flow
    rows = "epoch" if over_epochs else "layer"
    _check_columns("flow", flow, ["layer", "lag", value])
    drawn = flow[np.isfinite(flow[value])]
    positive = drawn.loc[drawn[value] > 0, value]
    if positive.empty:
        raise ValueError(
            f"`flow` must have finite values above 0 in {value!r}. Received: "
            f"{len(flow)} rows, none of them such"
        )
    names = list(drawn["layer"].unique()) if over_epochs else [None]
    made = axes is None
    axes = _take_axes(axes, len(names), "map")
    highest = positive.max()
    limits = {"vmin": max(positive.min(), 1e-6 * highest), "vmax": highest}
    for ax, name in zip(axes, names, strict=True):
        own = drawn if name is None else drawn[drawn["layer"] == name]
        table = own.pivot(index=rows, columns="lag", values=value)
        table = table.loc[own[rows].unique()]  # as they came, not sorted by name
        table = table.ffill(axis=1)  # lags that were left out
        image = _draw_heat(ax, table, limits)
        ax.set(xlabel="lag, steps", title="" if name is None else str(name))
        if over_epochs:
            ax.set_ylabel("epoch")
    shown = list(axes) if made else axes[-1]
    axes[0].figure.colorbar(image, ax=shown, label=value)
    return axes


def _draw_heat(ax: "Axes", table: pd.DataFrame, limits: dict[str, float]) -> Any:
    """A map of `table`, rows from top to bottom, with the line of 1 %."""
    from matplotlib.colors import LogNorm

    lags, places = table.columns.to_numpy(), np.arange(len(table))
    low, high = limits["vmin"], limits["vmax"]
    norm = LogNorm(low, high if high > low else low * 1.001)
    # Cividis (Nunez et al. 2018) looks the same to colour-blind readers.
    shown = table.clip(lower=low)  # zero has no logarithm
    image = ax.pcolormesh(
        lags, places, shown, norm=norm, cmap="cividis", shading="nearest"
    )
    enough = (table.T >= 0.01 * table.max(axis=1)).T.to_numpy()
    last = [lags[np.flatnonzero(row)[-1]] for row in enough]
    for place, lag in zip(places, last, strict=True):
        ends = [place - 0.5, place + 0.5]
        ax.plot([lag, lag], ends, color="white", linewidth=3)
        ax.plot([lag, lag], ends, color=_VERMILION, linewidth=1.5)
    step = max(1, len(places) // 10)
    ax.set_yticks(places[::step], [str(name) for name in table.index[::step]])
    ax.locator_params(axis="x", integer=True)
    ax.invert_yaxis()
    return image


def _draw_series(
    ax: "Axes",
    past: pd.DataFrame,
    ahead: pd.DataFrame,
    after: pd.DataFrame,
    time_col: str,
    target_col: str,
) -> None:
    ax.plot(past[time_col], past[target_col], color=_BLACK, lw=1.2, label="history")
    windows = ahead.groupby("cutoff") if "cutoff" in ahead else [(None, ahead)]
    intervals = _intervals(ahead)
    for number, (_, window) in enumerate(windows):
        shown = number == 0  # one entry in the legend, not one per window
        stamps = window[time_col]
        for depth, (low, high, level) in enumerate(intervals):
            label = f"{level:g}% interval" if shown else None
            low_values, high_values = window[low], window[high]
            shade: dict[str, Any] = {
                "color": _BLUE,
                "alpha": 0.15 + 0.1 * depth,
                "lw": 0,
            }
            ax.fill_between(stamps, low_values, high_values, label=label, **shade)
        label = "forecast" if shown else None
        ax.plot(stamps, window["y_hat"], color=_BLUE, lw=1.5, marker=".", label=label)
    if len(after):
        style: dict[str, Any] = {"color": _VERMILION, "ls": "--", "lw": 1.2}
        ax.plot(after[time_col], after[target_col], label="actual", **style)
    _tidy(ax)
    if pd.api.types.is_datetime64_any_dtype(ahead[time_col]):
        _tidy_dates(ax)


def _draw_matrix(ax: "Axes", counts: np.ndarray, names: list[str]) -> None:
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    colorbar = ax.figure.colorbar(image, ax=ax, shrink=0.8)
    colorbar.set_label("share of the true class")
    colorbar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    places = np.arange(len(names))
    long = max(map(len, names)) > 8 or len(names) > 8
    ax.set_xticks(places, names, rotation=90 if long else 0)
    ax.set_yticks(places, names)
    ax.set(xlabel="predicted class", ylabel="true class")
    if len(names) > _MAX_ANNOTATED:
        return
    for row, column in itertools.product(range(len(names)), repeat=2):
        value = share[row, column]
        ax.text(
            column,
            row,
            f"{counts[row, column]:,}\n{value:.1%}",
            ha="center",
            va="center",
            color="white" if value > 0.5 else "black",
        )


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


def _choose_ids(column: pd.Series, ids: Iterable[Any] | None) -> list[Any]:
    known = list(column.unique())
    if ids is None:
        return known[:6]
    chosen = list(ids)
    for name in chosen:
        if name not in known:
            hint = did_you_mean(str(name), map(str, known))
            raise ValueError(f"`forecasts` has no series {name!r}.{hint}")
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


def _check_columns(name: str, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in frame:
            known = [str(known) for known in frame.columns]
            raise ValueError(
                f"`{name}` has no column {column!r}.{did_you_mean(column, known)} Its "
                f"columns are: {', '.join(known)}."
            )


def _take_axes(axes: Any, count: int, what: str) -> Any:
    """The first `count` of those given, or new ones."""
    if axes is None:
        return _new_axes(count)
    given = np.atleast_1d(axes).reshape(-1)
    if len(given) < count:
        raise ValueError(
            f"`axes` must hold one axes per {what}, {count}. Received: {len(given)}"
        )
    return given[:count]


def _new_axes(count: int, size: tuple[float, float] | None = None) -> np.ndarray:
    """Axes on a figure of its own, laid out in at most three columns; 1-d array."""
    columns = 1 if count == 1 else 2 if count in (2, 4) else 3
    rows = math.ceil(count / columns)
    size = size or (max(4.2 * columns, 6.4), 2.7 * rows + 0.6)
    figure = _new_figure(size)
    grid = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for ax in grid[count:]:
        ax.remove()
    return grid[:count]


def _new_figure(size: tuple[float, float]) -> "Figure":
    """A figure that shows itself in a notebook and nowhere else needs closing."""
    if "ipykernel" in sys.modules or "matplotlib.pyplot" in sys.modules:
        from matplotlib import pyplot

        return pyplot.figure(figsize=size, layout="constrained")
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _add_legend(axes: np.ndarray, unit: str | None) -> None:
    """One legend for all: below a figure of our own, else beside the last axes.

    Args:
        axes: All axes.
        unit: Label of the figure's value axis; None: the figure is the caller's.
    """
    handles, labels = axes[0].get_legend_handles_labels()
    if unit is not None:
        axes[0].figure.supylabel(unit)
        axes[0].figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=len(labels) if len(axes) > 1 else 3,
            frameon=False,
        )
    else:
        place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "frameon": False}
        axes[-1].legend(handles, labels, **place)


def _tidy(ax: "Axes") -> None:
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)


def _tidy_dates(ax: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=6)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
