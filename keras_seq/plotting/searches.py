"""Figures of searches: scores by trial, and by argument."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from keras_seq.plotting.axes import (
    colors_of,
    legend_beside,
    many_scripts,
    new_axes,
    tidy,
    whole_steps,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@many_scripts
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
    ax = ax if ax is not None else new_axes(1, (6.4, 4.0))[0]
    ours = colors_of(ax)
    score = trials["score"]
    best = score.cummax() if maximize else score.cummin()
    ax.step(trials["trial"], best.ffill(), where="post", color=ours.main, label="best")
    points: dict[str, Any] = {"color": ours.ink, "marker": "o", "s": 16}
    ax.scatter(trials["trial"], score, label="trial", **points)
    failed = trials.loc[score.isna(), "trial"]
    if len(failed):
        ax.plot(
            failed,
            [0] * len(failed),
            "x",
            color=ours.accent,
            clip_on=False,
            transform=ax.get_xaxis_transform(),
            label="failed",
        )
    tidy(ax)
    whole_steps(ax)
    ax.set(xlabel="trial", ylabel=name, title=f"{name} over the search")
    legend_beside(ax)
    return ax


def as_numbers(values: pd.Series) -> pd.Series | None:
    """An argument's values if they are numbers, NaN for None and "auto"; else None."""
    # The estimator as it was may say "auto" where the search tries numbers.
    values = values.mask(values.astype(object).eq("auto"))
    numbers = pd.to_numeric(values, errors="coerce")
    all_numbers = numbers.notna().any() and (numbers.notna() | values.isna()).all()
    return numbers if all_numbers else None


@many_scripts
def plot_arguments(
    trials: pd.DataFrame, importance: pd.Series, *, name: str, axes: Any = None
) -> "list[Axes]":
    """Draws the score of each trial against each argument that a search varied.

    Args:
        trials: `trials_` of a `SearchResult`; failed trials are left out.
        importance: Of each argument, most important first; NaN: not known. Where an
            argument has numbers, trials that had None or "auto" stand on the left edge.
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
    panels = list(new_axes(len(importance)) if axes is None else axes)
    if len(panels) != len(importance):
        raise ValueError(
            f"`axes` must hold one axes per argument, {len(importance)}. "
            f"Received: {len(panels)}"
        )
    for ax, (argument, weight) in zip(panels, importance.items(), strict=True):
        ours = colors_of(ax)
        values = trials[argument]
        names = values.astype(object).where(values.notna(), "None").map(str)
        shown = as_numbers(values)
        if shown is None:
            shown = names
        elif shown.min() > 0 and shown.max() >= 20 * shown.min():
            ax.set_xscale("log")
        kept = shown.notna()
        ax.scatter(shown[kept], trials.loc[kept, "score"], s=16, color=ours.ink)
        if not kept.all():  # None or "auto" among numbers has no place on their axis
            others = " or ".join(names[~kept].unique())
            edge: dict[str, Any] = {"transform": ax.get_yaxis_transform()}
            edge |= {"color": ours.ink, "clip_on": False, "label": others}
            scores = trials.loc[~kept, "score"]
            ax.plot(np.zeros(len(scores)), scores, "<", **edge)
        first = trials["trial"] == 0
        ax.scatter(
            shown[kept & first],
            trials.loc[kept & first, "score"],
            s=90,
            facecolors="none",
            edgecolors=ours.accent,
            label="as it was",
        )
        tidy(ax)
        known = "" if np.isnan(weight) else f", importance {weight:.0%}"
        ax.set(xlabel=str(argument), ylabel=name, title=f"{argument}{known}")
        if ax is panels[0] or not kept.all():
            ax.legend(frameon=False)
    return panels
