"""Does the future reach what was fitted before it? Change it, and look."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from keras_seq.errors import check_choice, check_integer
from keras_seq.forecasting.columns import from_polars
from keras_seq.forecasting.panel import cut_frame
from keras_seq.training.runtime import derive_seed

if TYPE_CHECKING:
    from keras_seq.forecasting.forecaster import Forecaster

ALTERATIONS = ("noise", "extremes", "missing")


@dataclass(frozen=True)
class LeakageReport:
    """What moved when everything after a cutoff was changed.

    Attributes:
        table: One row per alteration and part: `alteration`; `part`, which is
            `"scaling"`, `"weights"`, `"forecasts"` or `"column NAME"`; `change`, the
            largest one, relative to the largest value; `moved`.
    """

    table: pd.DataFrame

    @property
    def leaks(self) -> tuple[str, ...]:
        """The parts that moved, columns first, since the others follow from them."""
        moved = self.table.loc[self.table["moved"], "part"].unique()
        return tuple(sorted(moved, key=lambda part: not part.startswith("column")))

    def __str__(self) -> str:
        if not self.leaks:
            tried = ", ".join(self.table["alteration"].unique())
            return f"No leak: what follows the cutoff ({tried}) moves nothing before."
        return "LEAK: what follows the cutoff moves " + ", ".join(self.leaks) + "."


def audit_leakage(
    forecaster: "Forecaster",
    df: pd.DataFrame | pd.Series,
    cutoff: Any,
    *,
    make_features: Callable[[Any], Any] | None = None,
    known: Sequence[str] = (),
    alterations: Sequence[str] = ALTERATIONS,
    max_steps: int = 20,
    seed: int = 0,
) -> LeakageReport:
    """Changes everything after a cutoff and shows whether anything before it moves.

    After the cutoff the target and every other numeric column that is not known in
    advance (neither static, nor a future covariate, nor in `known`) become noise,
    extremes, or are missing. Three things are then compared with what they were: the
    columns that `make_features` makes; scaling and weights of a network fitted on the
    rows up to the cutoff; and the forecasts that `backtest`, given all rows, makes at
    the cutoff.

    A covariate that was computed beforehand, such as a centred rolling mean, already
    holds the future in the rows before the cutoff, which no change of the finished
    frame can show: give the function that computes it as `make_features`.

    Args:
        forecaster: Fitted or not; clones of it are fitted, it is not changed.
        df: Long frame, as for `fit`, or as for `make_features`; at least one horizon
            beyond the cutoff.
        cutoff: The last stamp that may be known.
        make_features: From a frame like `df`, of pandas or polars as that is, to the
            frame that `fit` takes, with the same rows.
        known: Further columns that are known in advance, such as those of a plan of
            which `make_features` makes future covariates.
        alterations: Of `"noise"`, `"extremes"`, `"missing"`.
        max_steps: Of each training: what leaks does so from the first step on.
        seed: Of what is put in place of the future.

    Returns:
        The report; `leaks` is empty where nothing moved.

    Raises:
        ValueError: If the cutoff is no stamp of the data, or leaves less than one
            horizon.

    Example:
        >>> report = audit_leakage(f, df, "2015-12-01")                # doctest: +SKIP
        >>> report.leaks                                               # doctest: +SKIP
        ()
    """
    for alteration in alterations:
        check_choice("alterations", alteration, ALTERATIONS)
    check_integer("max_steps", max_steps, 1)
    audit = _Audit(forecaster, df, cutoff, make_features, max_steps, known)
    before = audit.run(audit.frame)
    again: dict[str, Any] | None = None
    rows = []
    for alteration in alterations:
        random = np.random.default_rng(derive_seed(seed, alteration))
        after = audit.run(audit.alter(alteration, random))
        for part, value in before.items():
            change = _change(value, after[part])
            moved = change > 0
            if moved and not part.startswith("column"):
                # On some devices the same training is not the same twice.
                again = again or audit.run(audit.frame)
                moved = change > 10 * _change(value, again[part])
            rows.append((alteration, part, change, moved))
    columns = ["alteration", "part", "change", "moved"]
    return LeakageReport(pd.DataFrame(rows, columns=columns))


class _Audit:
    """The frame, where it is cut, and what is compared."""

    def __init__(
        self,
        forecaster: "Forecaster",
        df: Any,
        cutoff: Any,
        make_features: Callable[[Any], Any] | None,
        max_steps: int,
        known: Sequence[str] = (),
    ):
        panel = forecaster._panel(make_features(df) if make_features else df)
        stamps = panel.grid.stamps(0, panel.end)
        if isinstance(stamps, pd.DatetimeIndex):
            cutoff = pd.Timestamp(cutoff)
        place = stamps.get_indexer([cutoff])[0]
        horizon = forecaster.horizon
        if place < 0 or place + horizon >= len(stamps):
            zone = getattr(stamps, "tz", None)
            where = f", in the time zone {zone}," if zone else ""
            raise ValueError(
                f"`cutoff` must be a stamp of the data{where} with at least {horizon} "
                f"steps (one horizon) after it; they go from {stamps[0]} to "
                f"{stamps[-1]}. Received: {cutoff=}"
            )
        self.columns = forecaster._columns
        self.frame = cut_frame(df, self.columns, stamps[-1]).reset_index(drop=True)
        known = [known] if isinstance(known, str) else known
        absent = [name for name in known if name not in self.frame]
        if absent:
            raise ValueError(
                f"`known` must name columns of the data: {list(self.frame.columns)}. "
                f"Received: known={list(known)}, of which there is no {absent[0]!r}"
            )
        self.make_features = make_features and _taking(make_features, df)
        self.cutoff, self.end = stamps[place], stamps[place + horizon]
        self.known = {
            *known,
            *forecaster.static_covariates,
            *forecaster.future_covariates,
        }
        self.future = tuple(forecaster.future_covariates)
        # rows that are missing must not change the time step
        self.forecaster = clone(forecaster).set_params(
            max_steps=max_steps, freq=panel.grid.freq
        )

    def alter(self, alteration: str, random: np.random.Generator) -> pd.DataFrame:
        """The frame with another future."""
        frame, names = self.frame.copy(), {self.columns.id, self.columns.time}
        time = frame[self.columns.time]
        later = (time > self.cutoff).to_numpy()
        altered = [
            name
            for name in frame.select_dtypes("number")
            if name not in names | self.known
        ]
        gone = later & (random.uniform(size=len(frame)) < 0.5)
        # the last steps stay: they say where the backtest's cutoff is
        gone &= (time < self.end).to_numpy()
        for name in altered:
            values = frame[name].to_numpy(np.float64, na_value=np.nan, copy=True)
            size = np.nanstd(values) + 1.0
            if alteration == "missing":
                values[gone] = np.nan
            elif alteration == "noise":
                values[later] += 5 * size * random.normal(size=later.sum())
            else:
                values[later] = 1e6 * size * random.choice([-1, 1], size=later.sum())
            frame[name] = values
        if alteration == "missing" and not self.future:
            frame = frame[~gone]
        return frame

    def run(self, frame: pd.DataFrame) -> dict[str, Any]:
        """All that a different future must not move."""
        if self.make_features:
            frame = self.make_features(frame)
        past = cut_frame(frame, self.columns, self.cutoff)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of a network trained too little
            fitted = clone(self.forecaster).fit(past, verbose=0)
            windows = self.forecaster.backtest(
                cut_frame(frame, self.columns, self.end), num_windows=1, verbose=0
            )
        weights = {w.path: np.asarray(w, np.float64) for w in fitted.model_.weights}
        keys = self.columns.names()[:-1]
        shown = [name for name in windows if str(name).startswith("y_hat")]
        return {
            **self._features(frame, past, keys),
            "scaling": {k: v for k, v in weights.items() if k.startswith("scaler")},
            "weights": {k: v for k, v in weights.items() if not k.startswith("scaler")},
            "forecasts": windows.set_index(keys)[shown],
        }

    def _features(
        self, frame: pd.DataFrame, past: pd.DataFrame, keys: list[str]
    ) -> dict[str, Any]:
        """The columns, up to the cutoff; those known in advance, beyond it as well."""
        if self.make_features is None:
            return {}
        return {
            f"column {name}": (frame if name in self.future else past).set_index(keys)[
                [name]
            ]
            for name in frame.select_dtypes("number")
            if name not in keys
        }


def _taking(make_features: Callable[[Any], Any], df: Any) -> Callable[[Any], Any]:
    """The function from pandas to pandas, whatever frames like `df` it works on."""
    if from_polars(df) is df:
        return make_features
    import polars

    return lambda frame: from_polars(make_features(polars.from_pandas(frame)))


def _change(one: Any, two: Any) -> float:
    """The largest difference, relative to the largest value; rows are matched."""
    if isinstance(one, dict):
        return max((_change(one[key], two[key]) for key in one), default=0.0)
    if isinstance(one, pd.DataFrame):
        rows = one.index.intersection(two.index)
        one, two = (
            x.loc[rows].to_numpy(np.float64, na_value=np.nan) for x in (one, two)
        )
    if (np.isnan(one) != np.isnan(two)).any():
        return float("inf")
    if not np.isfinite(one).any():
        return 0.0
    return float(np.nanmax(np.abs(one - two)) / max(np.nanmax(np.abs(one)), 1e-30))
