"""Figures of explanations: what tokens, or inputs of a forecast, add to it."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from keras_seq.errors import check_integer
from keras_seq.plotting.axes import (
    colors_of,
    diverging,
    draw_cells,
    many_scripts,
    new_axes,
    plain,
    tidy,
    tidy_dates,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Characters of a token that are shown.
_LONGEST = 24


@many_scripts
def plot_text_contributions(
    explanation: Any, *, num_tokens: int = 20, ax: "Axes | None" = None
) -> "Axes":
    """Draws what the strongest tokens of a text add, in the order of the text.

    Args:
        explanation: One `TextExplanation` of `diagnostics.explain_text`.
        num_tokens: Tokens to draw at most.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: If the text has no tokens, or the number is below 1.
    """
    check_integer("num_tokens", num_tokens, 1)
    tokens = explanation.tokens
    if not len(tokens):
        raise ValueError("`explanation` must have a token. Received: a text of none")
    sizes = -tokens["contribution"].abs().to_numpy()
    shown = tokens.iloc[np.sort(np.argsort(sizes, kind="stable")[:num_tokens])]
    if ax is None:
        ax = new_axes(1, (6.4, 1.4 + 0.25 * len(shown)))[0]
    ours, values = colors_of(ax), shown["contribution"].to_numpy()
    places = np.arange(len(shown))
    ax.barh(places, values, color=np.where(values > 0, ours.main, ours.accent).tolist())
    names = [plain(_shortened(token)) for token in shown["token"]]
    ax.set_yticks(places, names)
    tidy(ax)
    ax.yaxis.set_major_formatter(lambda place, _: _name_at(names, place))
    ax.invert_yaxis()
    ax.axvline(0, color=ours.ink, lw=0.8)
    ax.set_xlabel("contribution to the log-odds")
    left_out = len(tokens) - len(shown)
    more = f", {left_out} weaker tokens left out" if left_out else ""
    label = plain(explanation.label)
    ax.set_title(f"{label}: p = {explanation.probability:.3g}{more}", fontsize="medium")
    return ax


@many_scripts
def plot_forecast_contributions(
    explanation: Any,
    *,
    series: Any = None,
    step: int | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws what each input adds to one forecast at each time, as a map.

    Blue adds, orange takes away. Beside each input's name stands its sum; what belongs
    to a series as a whole has no time, and only its sum is shown. A line marks where
    the forecast begins.

    Args:
        explanation: Of `diagnostics.explain_forecast`.
        series: Whose forecast; None: the first.
        step: Which step of the horizon, from 1; None: the first that is explained.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        ValueError: If the series or the step is not explained.
    """
    id_col, time_col = explanation.id_col, explanation.time_col
    forecasts, parts = explanation.forecasts, explanation.contributions
    if id_col is not None:
        series = forecasts[id_col].iloc[0] if series is None else series
        forecasts = forecasts[forecasts[id_col] == series]
        parts = parts[parts[id_col] == series]
    step = forecasts["horizon_step"].min() if step is None and len(forecasts) else step
    forecast = forecasts[forecasts["horizon_step"] == step]
    if not len(forecast):
        raise ValueError(
            "`series` and `step` must be among those explained. "
            f"Received: series={series!r}, step={step!r}"
        )
    own = parts[parts["horizon_step"] == step]
    names = list(own["input"].unique())
    timed = own[own["lag"].notna()]
    table = timed.pivot_table(
        index="input", columns="lag", values="contribution", aggfunc="sum"
    ).reindex(names)
    table = table[table.columns[::-1]]  # earliest first
    stamps = timed.drop_duplicates("lag").set_index("lag")[time_col]
    stamps = stamps.loc[table.columns].to_numpy()
    ax = ax if ax is not None else new_axes(1, (8.0, 1.6 + 0.4 * len(names)))[0]
    _draw_map(ax, stamps, table.to_numpy(float), plain(explanation.target_col))
    # The forecast step's own stamp has lag 0, the first one ahead has `step` - 1.
    origin = int((table.columns >= step).sum())
    if 0 < origin < len(stamps):
        begin = stamps[origin - 1] + (stamps[origin] - stamps[origin - 1]) / 2
        ax.axvline(begin, color=colors_of(ax).ink, lw=1.2)
    sums = own.groupby("input")["contribution"].sum()
    labels = [f"{plain(name)}  {sums[name]:+.3g}" for name in names]
    ax.set_yticks(np.arange(len(names)), labels)
    row = forecast.iloc[0]
    title = f"step {step}: {row['y_hat']:.4g} from {row['baseline']:.4g}"
    ax.set_title(f"{plain(series)}, {title}" if series is not None else title)
    return ax


def _draw_map(ax: "Axes", stamps: Any, values: np.ndarray, unit: str) -> None:
    highest = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    limits = {"vmin": -highest, "vmax": highest}
    shown = np.ma.masked_invalid(values)
    image = draw_cells(ax, stamps, shown, cmap=diverging(ax), **limits)
    ax.figure.colorbar(image, ax=ax, label=f"contribution, {unit}")
    ax.spines[["top", "right"]].set_visible(False)
    if pd.api.types.is_datetime64_any_dtype(np.asarray(stamps).dtype):
        tidy_dates(ax)


def _shortened(token: str) -> str:
    return token if len(token) <= _LONGEST else f"{token[: _LONGEST - 1]}\u2026"


def _name_at(names: list[str], place: float) -> str:
    index = round(place)
    return names[index] if 0 <= index < len(names) else ""
