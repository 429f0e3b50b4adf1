"""Training the networks of a forecaster: one or several, on windows or on streams."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd

from keras_seq.errors import warn
from keras_seq.forecasting import fitting
from keras_seq.forecasting.panel import Panel
from keras_seq.forecasting.stream_fitting import train_stream
from keras_seq.forecasting.windows import Split, WindowSource, split_origins
from keras_seq.training.ensemble import member_seed

if TYPE_CHECKING:
    from keras_seq.forecasting.forecaster import Forecaster


def window_sources(forecaster: "Forecaster", panel: Panel) -> list[WindowSource]:
    """The windows of each network, which are as long as its own lookback."""
    lookbacks = [
        own.get("lookback", forecaster.lookback_) for own in forecaster._member_args()
    ]
    made = {
        steps: WindowSource(panel, replace(forecaster._spec, lookback=steps))
        for steps in set(lookbacks)
    }
    return [made[steps] for steps in lookbacks]


def can_validate(sources: Sequence[WindowSource]) -> bool:
    """Whether something is held back that tells how good each network is.

    Warns where series are long enough for that, and values too far apart.
    """
    splits = [_split(source, validation=True) for source in sources]
    if not len(splits[0].series):
        return False
    found = all(
        source.can_train(split) and source.tell(split.series, split.origins).any()
        for source, split in zip(sources, splits, strict=True)
    )
    if not found:
        warn(
            "Nothing can be held back for validation: its values, or those before it, "
            f"are too far apart for lookback={sources[-1].spec.lookback} and horizon="
            f"{sources[-1].spec.horizon}. How long to train, calibration and "
            "`validation_` have nothing to go by."
        )
    return found


def train_members(
    forecaster: "Forecaster",
    sources: Sequence[WindowSource],
    steps: Sequence[int],
    title: str,
    *,
    validation: bool,
    **options: Any,
) -> tuple[list[keras.Model], list[pd.DataFrame]]:
    """Trains new networks, one after another.

    Args:
        forecaster: Its arguments, and those of its networks.
        sources: Of each network.
        steps: Upper limit of each.
        title: Of the training.
        validation: Whether the end of each series is held back to stop by.
        options: Callbacks, verbosity and checkpoint of `fit_model`.

    Returns:
        The networks, and their histories.
    """
    train: Any = partial(fitting.train, distribution=forecaster.distribution)
    if forecaster.stateful:
        train = partial(train_stream, chunk_length=forecaster.chunk_length)
    models, histories = [], []
    arguments = forecaster._member_args()
    for number, source in enumerate(sources, start=1):
        which = f" member {number} of {len(sources)}" if len(sources) > 1 else ""
        model, history = train(
            arguments[number - 1],
            source,
            _split(source, validation),
            steps=steps[number - 1],
            batch_size=forecaster.batch_size,
            patience=forecaster.patience,
            seed=member_seed(forecaster.seed, number),
            title=f"{title}{which}",
            **options,
        )
        models.append(model)
        histories.append(history)
    return models, histories


def calibrate_members(
    members: Sequence[keras.Model], sources: Sequence[WindowSource]
) -> list[np.ndarray]:
    """Sets how wide the quantiles of each network spread, by what was held back."""
    return [
        fitting.calibrate(member, source, _split(source, validation=True))
        for member, source in zip(members, sources, strict=True)
    ]


def set_spreads(members: Sequence[keras.Model], spreads: Sequence[np.ndarray]) -> None:
    """Makes quantiles spread as `calibrate_members` found, in other networks too."""
    for member, spread in zip(members, spreads, strict=True):
        member.get_layer("quantiles").spread.assign(spread)


def _split(source: WindowSource, validation: bool) -> Split:
    return split_origins(source.panel.observed_lengths, source.spec, validation)
