"""Axes, colours and ticks that all figures share."""

import functools
import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from keras_seq.errors import did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Options = ParamSpec("Options")
Drawn = TypeVar("Drawn")


class Colors(NamedTuple):
    """What lines are drawn in, so that they show on the axes' background.

    Attributes:
        ink: What was observed: black, or white on dark axes.
        main: What a model says.
        accent: What it is to be compared with.
        other: What is to stand back.
        shade: How opaque the widest interval is.
    """

    ink: str
    main: str
    accent: str
    other: str
    shade: float


# Okabe & Ito 2008, a palette that colour-blind readers can tell apart.
ON_LIGHT = Colors("#000000", "#0072B2", "#D55E00", "#707070", 0.15)
ON_DARK = Colors("#FFFFFF", "#56B4E9", "#E69F00", "#A8A8A8", 0.3)

# Fonts that have what Matplotlib's own has not, where they are installed.
_MANY_SCRIPTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "Arial Unicode MS",
    "Noto Sans",
    "Noto Emoji",
)


def colors_of(ax: "Axes") -> Colors:
    """The colours that show on axes; transparent ones are on the page's background."""
    from matplotlib import rcParams
    from matplotlib.colors import to_rgba

    behind: Any = ax.get_facecolor()
    if to_rgba(behind)[3] < 0.5:
        behind = ax.figure.get_facecolor()
    dark = _brightness(behind) < 0.5
    if to_rgba(behind)[3] < 0.5:  # text was chosen to show there
        dark = _brightness(rcParams["text.color"]) > 0.5
    return ON_DARK if dark else ON_LIGHT


def _brightness(color: Any) -> float:
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def legend_beside(ax: "Axes", *entries: Any) -> None:
    """A legend to the right, where it hides nothing, if the figure makes room there."""
    if ax.figure.get_layout_engine() is None:
        ax.legend(*entries, loc="best")
    else:
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
        ax.legend(*entries, **place, frameon=False)


def draw_cells(ax: "Axes", columns: Any, values: np.ndarray, **options: Any) -> Any:
    """A map of `values`, its columns around places or stamps, rows from top to bottom.

    Args:
        ax: Axes to draw on.
        columns: `(num_columns,)`, ascending.
        values: `(num_rows, num_columns)`.
        options: Of `pcolormesh`.

    Returns:
        What a colour bar needs.
    """
    # With shading="nearest" Matplotlib 3.11 draws a single row or column without width.
    edges = _edges(columns), np.arange(len(values) + 1) - 0.5
    image = ax.pcolormesh(*edges, values, shading="flat", **options)
    ax.invert_yaxis()
    return image


def _edges(centers: Any) -> np.ndarray:
    """Where cells begin and end whose centres these are, one more than they are."""
    centers = np.asarray(centers)
    if len(centers) == 1:
        numbers = np.issubdtype(centers.dtype, np.number)
        half = np.array([0.5 if numbers else np.timedelta64(12, "h")])
    else:
        half = np.diff(centers) / 2
    first, last = centers[:1] - half[:1], centers[-1:] + half[-1:]
    return np.concatenate([first, centers[:-1] + half[: len(centers) - 1], last])


def diverging(ax: "Axes") -> Any:
    """A colour map from the accent through the background to the main colour."""
    from matplotlib.colors import LinearSegmentedColormap

    colors = colors_of(ax)
    middle = "#FFFFFF" if colors is ON_LIGHT else "#202020"
    parts = [colors.accent, middle, colors.main]
    return LinearSegmentedColormap.from_list("against_for", parts)


def check_columns(name: str, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raises unless a frame has all columns; `name` is the argument's."""
    for column in columns:
        if column not in frame:
            known = [str(known) for known in frame.columns]
            raise ValueError(
                f"`{name}` has no column {column!r}.{did_you_mean(column, known)} Its "
                f"columns are: {', '.join(known)}."
            )


def take_axes(axes: Any, count: int, what: str) -> Any:
    """The first `count` of those given, or new ones."""
    if axes is None:
        return new_axes(count)
    given = np.atleast_1d(axes).reshape(-1)
    if len(given) < count:
        raise ValueError(
            f"`axes` must hold one axes per {what}, {count}. Received: {len(given)}"
        )
    return given[:count]


def new_axes(count: int, size: tuple[float, float] | None = None) -> np.ndarray:
    """Axes on a figure of its own, laid out in at most three columns; 1-d array."""
    columns = 1 if count == 1 else 2 if count in (2, 4) else 3
    rows = math.ceil(count / columns)
    size = size or (max(4.2 * columns, 6.4), 2.7 * rows + 0.6)
    figure = new_figure(size)
    grid = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for ax in grid[count:]:
        ax.remove()
    return grid[:count]


def new_figure(size: tuple[float, float]) -> "Figure":
    """A figure that shows itself in a notebook and nowhere else needs closing."""
    if "ipykernel" in sys.modules or "matplotlib.pyplot" in sys.modules:
        from matplotlib import pyplot

        return pyplot.figure(figsize=size, layout="constrained")
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def add_legend(axes: np.ndarray, unit: str | None) -> None:
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
        legend_beside(axes[-1], handles, labels)


def tidy(ax: "Axes") -> None:
    """Plain numbers, a faint grid, and no frame above and to the right."""
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    ax.set_axisbelow(True)


def tidy_dates(ax: "Axes") -> None:
    """Three to six dates, each as short as it can be."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=6)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def plain(text: object) -> str:
    """A label as it is: a dollar sign in it begins no formula."""
    return str(text).replace("$", r"\$")


def whole_steps(ax: "Axes") -> None:
    """Ticks at whole numbers alone, also where there is but one step."""
    ax.locator_params(axis="x", integer=True, min_n_ticks=1)


def many_scripts(draw: Callable[Options, Drawn]) -> Callable[Options, Drawn]:
    """Gives what a function has written in other scripts the fonts that have them."""

    @functools.wraps(draw)
    def drawn(*args: Options.args, **kwargs: Options.kwargs) -> Drawn:
        from matplotlib.text import Text

        axes = draw(*args, **kwargs)
        families = font_families()
        # Legends and labels of the whole figure are not among its axes' children.
        for text in np.ravel(np.asarray(axes, object))[0].figure.findobj(Text):
            if not text.get_text().isascii():
                text.set_fontfamily(families)
        return axes

    return drawn


def font_families() -> list[str]:
    """The fonts in use, and after them installed ones with more scripts."""
    from matplotlib import font_manager, rcParams

    used = rcParams["font.family"]
    known = set(font_manager.get_font_names())
    return [*used, *(name for name in _MANY_SCRIPTS if name in known)]
