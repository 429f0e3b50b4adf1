"""Figures of training: learning curves, and how far gradients reach."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from keras_seq.plotting.axes import (
    check_columns,
    colors_of,
    draw_cells,
    legend_beside,
    many_scripts,
    new_axes,
    take_axes,
    tidy,
    whole_steps,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@many_scripts
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
    check_columns("history", history, [metric])
    drawn = [name for name in (metric, f"val_{metric}") if name in history]
    ax = ax if ax is not None else new_axes(1, (6.4, 4.0))[0]
    steps = history[time].to_numpy()
    ours = colors_of(ax)
    styles = {
        metric: (ours.main, "training"),
        f"val_{metric}": (ours.accent, "validation"),
    }
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
        row = int(np.nanargmin(best.to_numpy(float)))
        where = f"best, {time} {steps[row]:,}"
        ax.axvline(steps[row], color=ours.ink, linestyle=":", linewidth=1, label=where)
    tidy(ax)
    whole_steps(ax)
    ax.set(xlabel=time, ylabel=metric, title=f"{metric} over training".capitalize())
    legend_beside(ax)
    return ax


@many_scripts
def plot_learning_curves(history: pd.DataFrame, *, axes: Any = None) -> np.ndarray:
    """Draws the loss, the gradient's norm before clipping, and how often it clips.

    Args:
        history: `history_` of an estimator.
        axes: Three Matplotlib axes; None makes a figure.

    Returns:
        The axes drawn on, a 1-d array of three.

    Raises:
        ValueError: If the frame lacks a column or has no row, or the axes are too few.
    """
    columns = ["loss", "grad_norm_mean", "grad_norm_max", "clipped_fraction"]
    check_columns("history", history, columns)
    loss, norms, clipped = axes = take_axes(axes, 3, "panel")
    plot_history(history, ax=loss)
    loss.legend(frameon=False)
    time = "epoch" if "epoch" in history else "step"
    ours = colors_of(norms)
    members = history["member"] if "member" in history else history[time] * 0
    for number, (_, own) in enumerate(history.groupby(members.to_numpy())):
        for name, style, color in (
            ("mean", "-", ours.main),
            ("max", "--", ours.accent),
        ):
            label = f"{name} of the steps" if not number else "_"
            line = own[f"grad_norm_{name}"]
            norms.plot(own[time], line, style, marker=".", color=color, label=label)
        share = own["clipped_fraction"]
        clipped.plot(own[time], share, marker=".", color=colors_of(clipped).main)
    if (history[["grad_norm_mean", "grad_norm_max"]] > 0).all(axis=None):
        norms.set_yscale("log")
    for ax in (norms, clipped):
        tidy(ax)
        whole_steps(ax)
        ax.set_xlabel(time)
    norms.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    norms.yaxis.set_minor_formatter(_some_minor(norms))
    norms.set(title="Gradient norm before clipping", ylabel="L2 norm")
    norms.legend(frameon=False)
    clipped.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    clipped.set(title="Clipped", ylabel="share of steps", ylim=(-0.02, 1.02))
    return axes


def _some_minor(ax: "Axes") -> Any:
    """Labels some ticks of an axis that spans less than two powers of ten."""

    def label(value: float, _: Any) -> str:
        low, high = ax.get_ylim()
        if low <= 0 or high > 100 * low or value <= 0:
            return ""
        shown = "25" if high > 10 * low else "2345678"
        return f"{value:g}" if f"{value:e}"[0] in shown else ""

    return label


@many_scripts
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
    check_columns("flow", flow, ["layer", "lag", value])
    drawn = flow[np.isfinite(flow[value])]
    positive = drawn.loc[drawn[value] > 0, value]
    if positive.empty:
        raise ValueError(
            f"`flow` must have finite values above 0 in {value!r}. Received: "
            f"{len(flow)} rows, none of them such"
        )
    names = list(drawn["layer"].unique()) if over_epochs else [None]
    made = axes is None
    axes = take_axes(axes, len(names), "map")
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
    image = draw_cells(ax, lags, shown.to_numpy(), norm=norm, cmap="cividis")
    enough = (table.T >= 0.01 * table.max(axis=1)).T.to_numpy()
    last = [lags[np.flatnonzero(row)[-1]] for row in enough]
    for place, lag in zip(places, last, strict=True):
        ends = [place - 0.5, place + 0.5]
        ax.plot([lag, lag], ends, color="white", linewidth=3)
        ax.plot([lag, lag], ends, color="#D55E00", linewidth=1.5)
    step = max(1, len(places) // 10)
    ax.set_yticks(places[::step], [str(name) for name in table.index[::step]])
    whole_steps(ax)
    return image
