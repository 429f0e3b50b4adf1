"""What a forecaster's arguments come to, once a panel is known.

What is left to `"auto"` is settled here. A forecaster is only read, never changed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_seq.errors import check_choice, check_integer, warn
from keras_seq.forecasting.features import choose_rounds, default_season_length
from keras_seq.forecasting.panel import Panel
from keras_seq.forecasting.windows import (
    WindowSource,
    choose_lookback,
    split_origins,
)
from keras_seq.layers.recurrent import CELLS
from keras_seq.layers.segments import choose_segment
from keras_seq.numpy_runtime.clock import calendar_rounds
from keras_seq.training.ensemble import member_seed
from keras_seq.training.runtime import resolve_precision

if TYPE_CHECKING:
    from keras_seq.forecasting.forecaster import Forecaster

# Largest value over least of the usual series from which on logarithms are taken. Sets
# with 1.5 to 11 gained by them, and below a logarithm hardly bends.
_LEAST_GROWTH = 1.25
# Sizes of the largest value whose sums and scales float32 still holds.
_SMALLEST, _LARGEST = 1e-15, 1e30
# Those that the builder takes under the same name.
_BUILDER_ARGS = (
    "horizon",
    "cell",
    "units",
    "num_layers",
    "quantiles",
    "point",
    "dropout",
    "recurrent_dropout",
    "normalization",
    "residual",
    "activation",
    "forget_bias",
    "memory_steps",
    "num_heads",
    "conv_filters",
    "conv_width",
    "decoder_units",
    "auxiliary",
    "auxiliary_weight",
    "learning_rate",
    "global_clipnorm",
    "clipnorm",
    "clipvalue",
    "jit",
    "seed",
)
# What a network that reads series as streams has no part for: left as it is here.
_WINDOWED_ARGS: dict[str, Any] = {
    "recurrent_dropout": 0.0,
    "num_heads": "auto",
    "conv_filters": None,
    "conv_width": 3,
    "auxiliary": None,
    "auxiliary_weight": 0.1,
    "decoder": "auto",
    "segment_length": "auto",
    "decoder_units": 64,
    "ensemble": 1,
    "distribution": None,
}


def check_panel(forecaster: "Forecaster", panel: Panel) -> None:
    """Raises unless there is anything to learn from, in what can be learned."""
    values = np.add.reduceat(np.isfinite(panel.values), panel.offsets[:-1], dtype=int)
    if values.max() < 2:
        raise ValueError(
            "`fit` needs a series with at least two values in "
            f"{forecaster.target_col!r}. Received: {len(panel.ids)} series, "
            f"{values.sum()} values in all"
        )
    for name in panel.ids:
        plain = name.item() if isinstance(name, np.generic) else name
        if not isinstance(plain, str | int | float):
            raise ValueError(
                f"Column {forecaster.id_col!r} must hold strings or numbers, since no "
                "file could hold the forecaster otherwise: astype(str) makes strings. "
                f"Received: {name!r}"
            )
    largest = float(np.nanmax(np.abs(panel.values)))
    if largest and not _SMALLEST <= largest <= _LARGEST:
        raise ValueError(
            f"Column {forecaster.target_col!r} must hold values of a size between "
            f"{_SMALLEST:g} and {_LARGEST:g}, which is what float32 computes with: "
            f"choose another unit. Received: a largest size of {largest:g}"
        )


def check_gaps(forecaster: "Forecaster", sources: Sequence[WindowSource]) -> None:
    """Raises where values are so few that no window holds one and what follows it."""
    for source in sources:
        spec, panel = source.spec, source.panel
        split = split_origins(panel.observed_lengths, spec, validation=False)
        if forecaster.stateful or source.can_train(split):
            continue
        known = np.flatnonzero(np.isfinite(panel.values))
        owner = np.searchsorted(panel.offsets, known, side="right")
        gaps = np.diff(known)[np.diff(owner) == 0]
        raise ValueError(
            f"`lookback` and `horizon` must reach from a value of "
            f"{forecaster.target_col!r} to the next one: no window holds a value to "
            "see and one to forecast. Give a longer `lookback`, or a coarser `freq` to "
            f"rows that are summed up. Received: lookback={spec.lookback}, "
            f"horizon={spec.horizon}, values at least {gaps.min()} steps apart"
        )


def warn_of_missing_end(forecaster: "Forecaster", panel: Panel) -> None:
    """Warns where a horizon and more without values ends a series: a plan, perhaps."""
    observed = panel.observed_lengths
    missing = (panel.lengths - observed)[observed > 0]
    ending = missing[missing >= forecaster.horizon]
    if len(ending):
        warn(
            f"{len(ending)} series end in {ending.min()} steps or more without a value "
            f"of {forecaster.target_col!r}. They are neither trained on nor held back, "
            "and `predict` forecasts what follows them. If they are the steps to "
            "forecast, leave their rows out here and give them to `predict` as "
            "`future`."
        )


def check_stateful(forecaster: "Forecaster") -> None:
    """Raises unless the arguments go together with `stateful`."""
    check_choice("stateful", forecaster.stateful, (True, False))
    if forecaster.chunk_length != "auto":
        check_integer("chunk_length", forecaster.chunk_length, 1)
    if not forecaster.stateful:
        return
    check_choice("cell", forecaster.cell, CELLS)  # a transformer has no state
    for name, usual in _WINDOWED_ARGS.items():
        given = getattr(forecaster, name)
        if given != usual:
            raise ValueError(
                f"`{name}` does not go with stateful=True: leave it at {usual!r}. "
                f"Received: {name}={given!r}"
            )


def check_logarithms(forecaster: "Forecaster", panel: Panel) -> None:
    """Raises where values have no logarithm; that of zero is of the least value."""
    least = float(np.nanmin(panel.values))
    if forecaster.scaling == "log" and least < 0:
        raise ValueError(
            f"`scaling` must not be 'log' where {forecaster.target_col!r} is negative. "
            f"Received: scaling='log', the least value is {least:g}"
        )


def resolve_season(forecaster: "Forecaster", panel: Panel) -> int:
    """Steps in a season."""
    if forecaster.season_length is None:
        return default_season_length(panel.grid.freq)
    return check_integer("season_length", forecaster.season_length, 1)


def resolve_lookbacks(
    forecaster: "Forecaster", panel: Panel, season_length: int
) -> list[int]:
    """That of each network, the longest first."""
    ensemble, lookback = forecaster.ensemble, forecaster.lookback
    if isinstance(ensemble, list | tuple):
        if lookback != "auto" or not ensemble:
            raise ValueError(
                "`ensemble` as a list must hold lookbacks, and `lookback` be 'auto'. "
                f"Received: ensemble={ensemble}, lookback={lookback!r}"
            )
        name, lookbacks = "ensemble", list(ensemble)
    else:
        count = check_integer("ensemble", ensemble, 1)
        if lookback == "auto":
            about = season_length, forecaster.horizon, panel.grid.freq
            return [choose_lookback(panel.lengths, *about)] * count
        name, lookbacks = "lookback", [lookback] * count
    longest = int(panel.lengths.max())
    for steps in lookbacks:
        if check_integer(name, steps, 1) >= longest:
            raise ValueError(
                f"`{name}` must leave a step to forecast: the longest series has "
                f"{longest} steps, so {longest - 1} is the longest usable. "
                f"Received: {name}={steps}"
            )
    return sorted(map(int, lookbacks), reverse=True)


def resolve_calendar(
    forecaster: "Forecaster", panel: Panel, end: np.ndarray
) -> tuple[str, ...]:
    """The rounds of the calendar that the network is told its place in.

    Args:
        forecaster: Its argument `calendar`.
        panel: What it is trained on.
        end: Steps of each series before the validation part.
    """
    asked = forecaster.calendar
    if asked == "auto":
        return choose_rounds(panel.grid, int((panel.first + end).max()))
    known = calendar_rounds(panel.grid.freq)
    if isinstance(asked, str) or not set(asked) <= set(known):
        raise ValueError(
            f"`calendar` must be 'auto' or a list of some of {list(known)}, which are "
            f"the rounds longer than a step of {panel.grid.freq!r}. "
            f"Received: calendar={asked!r}"
        )
    return tuple(name for name in known if name in asked)


def choose_scalings(scaling: str, count: int, panel: Panel) -> list[str]:
    """The scaling of each of `count` networks.

    One alone is standard: a constant added to its series moves its forecasts by that
    constant. Of several, standard scores and logarithms err differently, so that the
    median of both is better than either; of an odd number most take logarithms, which
    never go far astray. Where a value is not positive, or so little changes that a
    logarithm is nearly a straight line, all are standard.

    Args:
        scaling: As in `Forecaster`.
        count: Number of networks.
        panel: What they are trained on.
    """
    if scaling != "auto":
        return [scaling] * count
    if count == 1:
        return ["standard"]
    first = panel.offsets[:-1]
    least = np.fmin.reduceat(panel.values, first)  # NaN where nothing is known
    most = np.fmax.reduceat(panel.values, first)
    known = np.isfinite(least)
    positive = bool((least[known] > 0).all())
    if positive and np.median(most[known] / least[known]) >= _LEAST_GROWTH:
        return [("log", "standard")[number % 2] for number in range(count)]
    return ["standard"] * count


def resolve_nonnegative(forecaster: "Forecaster", panel: Panel) -> bool:
    """Whether forecasts are kept from falling below zero."""
    asked, least = forecaster.nonnegative, float(np.nanmin(panel.values))
    check_choice("nonnegative", asked, (True, False, "auto"))
    if asked == "auto":
        return least >= 0 and not forecaster.stateful
    if asked and forecaster.stateful:
        raise ValueError(
            "`nonnegative` does not go with stateful=True, where no window tells what "
            "is usual: leave it at 'auto'. Received: nonnegative=True"
        )
    if asked and least < 0:
        raise ValueError(
            f"`nonnegative` must be False where {forecaster.target_col!r} is negative. "
            f"Received: nonnegative=True, the least value is {least:g}"
        )
    return bool(asked)


def network_arguments(
    forecaster: "Forecaster",
    lookbacks: list[int],
    scalings: list[str],
    num_calendar: int,
) -> dict[str, Any]:
    """What networks are built with, nothing left to `"auto"` that may change.

    Args:
        forecaster: Its arguments, and what `fit` has settled of scaling, season and
            covariates.
        lookbacks: Of each network.
        scalings: Of each network.
        num_calendar: Features of the calendar.

    Returns:
        Arguments of `ensemble.build_member`; of several networks `members`, a list of
        such, and `jit`.
    """
    encoder = forecaster._encoder
    widths = encoder.widths() if encoder else {"num_future": 0}
    shared = {
        **widths,
        **{name: getattr(forecaster, name) for name in _BUILDER_ARGS},
        "precision": resolve_precision(forecaster.precision),
        "scaling": scalings[0],
        "num_future": num_calendar + widths["num_future"],
    }
    if forecaster.stateful:
        return _stream_arguments(forecaster, shared, num_calendar)
    members = [{**shared, **_window_arguments(forecaster, n)} for n in lookbacks]
    if len(members) == 1:
        return members[0]
    for number, own in enumerate(members, start=1):
        own |= {
            "member": number,
            "scaling": scalings[number - 1],
            "seed": member_seed(forecaster.seed, number),
        }
    return {"members": members, "jit": forecaster.jit}


def _window_arguments(forecaster: "Forecaster", lookback: int) -> dict[str, Any]:
    """What arguments of `build_forecaster` follow from a lookback."""
    season = _reachable_season(forecaster, lookback)
    segment = choose_segment(
        forecaster.decoder,
        forecaster.segment_length,
        lookback=lookback,
        season_length=season,
    )
    return {
        "lookback": lookback,
        "season_length": season,
        # Settled here, since what "auto" means may change after saving.
        "decoder": "direct" if segment is None else "segment",
        "segment_length": segment or "auto",
    }


def _stream_arguments(
    forecaster: "Forecaster", shared: dict[str, Any], num_calendar: int
) -> dict[str, Any]:
    """Arguments of `build_stream_forecaster`."""
    return {
        "stateful": True,
        "context": forecaster.lookback_,
        "season_length": _reachable_season(forecaster, forecaster.lookback_),
        "num_calendar": num_calendar,
        **{k: v for k, v in shared.items() if k not in _WINDOWED_ARGS},
    }


def _reachable_season(forecaster: "Forecaster", lookback: int) -> int:
    """A season that the lookback holds, or none."""
    season = forecaster.season_length_
    return season if season <= lookback else 1
