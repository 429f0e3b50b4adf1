"""default_space: what a search varies where the caller does not say."""

from typing import Any

# Around the defaults, as far as anyone has found it to help. What an estimator has
# itself is always among the choices, so that trial 0 teaches the search as well.
_COMMON: dict[str, Any] = {
    "units": [32, 64, 128],
    "num_layers": [1, 2],
    "cell": ["gru", "lstm"],
    "dropout": (0.0, 0.6),
    "recurrent_dropout": (0.0, 0.4),
    "learning_rate": (3e-4, 1e-2, "log"),
    # One of the three at a time.
    "global_clipnorm": (0.1, 10.0, "log"),
    "clipnorm": (0.1, 10.0, "log"),
    "clipvalue": (0.01, 1.0, "log"),
}
_TEXT: dict[str, Any] = {
    **_COMMON,
    "batch_size": [32, 64, 128],
    "max_tokens": [5_000, 20_000, 50_000],
    "embedding_dim": [64, 128, 256],
    "pooling": ["attention", "last", "max", "mean"],
}
_SERIES: dict[str, Any] = {
    **_COMMON,
    "batch_size": [64, 128, 256],
    "scaling": ["log", "mean_abs", "standard"],
}
_LOOKBACKS = (0.5, 1, 2, 3)  # times the one that "auto" chooses


def default_space(estimator: Any, data: tuple[Any, ...]) -> dict[str, Any]:
    """The space for an estimator and the data it is to be fitted on.

    Args:
        estimator: Arguments that it does not have are left out.
        data: What its `fit` takes.
    """
    params = estimator.get_params(deep=False)
    space = _COMMON
    if "max_tokens" in params:
        space = _TEXT
    elif "lookback" in params:
        space = {**_SERIES, **_for_series(estimator, data[0])}
    left_out: set[str] = set()
    if not isinstance(params.get("units", 0), int):  # one for each layer
        left_out |= {"units", "num_layers"}
    if params.get("cell") == "transformer":
        left_out |= {"cell", "recurrent_dropout"}
    if not isinstance(params.get("ensemble", 1), int):  # it lists lookbacks
        left_out.add("lookback")
    if hasattr(estimator, "pretrained_"):  # the network and its vocabulary are settled
        left_out |= {*estimator.pretrained_.arguments, "max_tokens"}
    return {
        name: _with_own(limits, params[name])
        for name, limits in space.items()
        if name in params and name not in left_out
    }


def _for_series(forecaster: Any, df: Any) -> dict[str, Any]:
    """What depends on the series: how far to look back, and how to scale."""
    from keras_seq.forecasting.features import default_season_length
    from keras_seq.forecasting.windows import choose_lookback

    panel = forecaster._panel(df)
    season = forecaster.season_length or default_season_length(panel.grid.freq)
    about = season, forecaster.horizon, panel.grid.freq
    chosen = choose_lookback(panel.lengths, *about)
    # Longer ones than a series can fill are an error.
    usable = max(int(panel.lengths.max()) - forecaster.horizon, chosen)
    lookbacks = {
        min(max(2, round(chosen * times)), usable): None for times in _LOOKBACKS
    }
    positive = not (panel.values <= 0).any()  # else logarithms say little
    scalings = ["log"] * positive + ["mean_abs", "standard"]
    # What "auto" stands for is not to be tried under two names.
    auto: dict[str, Any] = {"lookback": chosen, "scaling": "standard"}
    return {
        name: [
            "auto"
            if value == auto[name] and getattr(forecaster, name) == "auto"
            else value
            for value in values
        ]
        for name, values in (("lookback", list(lookbacks)), ("scaling", scalings))
    }


def _with_own(limits: Any, own: Any) -> Any:
    if isinstance(limits, list) and own not in limits:
        return [*limits, own]
    return limits
