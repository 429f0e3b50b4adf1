"""The leakage audit: silent where nothing leaks, and it names what does."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from keras_seq import Forecaster
from keras_seq.diagnostics import audit_leakage

FORECASTER = Forecaster(
    horizon=3, units=2, lookback=6, season_length=1, max_steps=2, refit_full=False
)


@pytest.fixture(scope="module")
def frame():
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "unique_id": np.repeat(["a", "b"], 40),
            "ds": np.tile(pd.date_range("2024-01-01", periods=40), 2),
            "y": random.normal(size=80).cumsum(),
            "price": random.uniform(1, 2, size=80),
        }
    )


def test_fit_and_backtest_do_not_see_the_future(frame):
    tried = ["extremes"]
    report = audit_leakage(FORECASTER, frame, "2024-01-30", alterations=tried)
    assert report.leaks == () and str(report).startswith("No leak")
    assert set(report.table["alteration"]) == set(tried)
    assert set(report.table["part"]) == {"scaling", "weights", "forecasts"}
    assert (report.table["change"] == 0).all()
    assert not hasattr(FORECASTER, "model_")


def make_features(frame):
    """A trailing mean, which is honest, and a target smoothed by its future."""

    def mean(centred):
        rolling = frame.groupby("unique_id")["y"].rolling(5, 1, center=centred)
        return rolling.mean().reset_index(level=0, drop=True)

    return frame.assign(trailing=mean(False), y=mean(True))


@pytest.mark.slow
def test_features_that_hold_the_future_are_named(frame):
    report = audit_leakage(
        FORECASTER,
        frame,
        "2024-01-30",
        make_features=make_features,
        alterations=["extremes"],
    )
    assert "column trailing" in set(report.table["part"])
    # the last rows only validate here, which chooses where training starts
    assert report.leaks == ("column y", "weights", "forecasts")
    expected = "LEAK: what follows the cutoff moves column y, weights, forecasts."
    assert str(report) == expected


@pytest.mark.slow
def test_polars_frames_and_columns_of_a_plan(frame):
    polars = pytest.importorskip("polars")
    planned = polars.from_pandas(frame)

    def make_features(frame):
        return frame.with_columns(cheap=(polars.col("price") < 1.5).cast(polars.Int8))

    forecaster = clone(FORECASTER).set_params(future_covariates=["cheap"])
    tried = {"make_features": make_features, "alterations": ["extremes"]}
    report = audit_leakage(forecaster, planned, "2024-01-30", known=["price"], **tried)
    assert report.leaks == () and "column cheap" in set(report.table["part"])
    with pytest.raises(ValueError, match="`known` must name columns.*no 'prize'"):
        audit_leakage(forecaster, planned, "2024-01-30", known=["prize"], **tried)


def test_a_cutoff_is_in_the_time_zone_of_the_data(frame):
    zoned = frame.assign(ds=frame["ds"].dt.tz_localize("Asia/Tokyo"))
    with pytest.raises(ValueError, match="in the time zone Asia/Tokyo, with"):
        audit_leakage(FORECASTER, zoned, "2024-01-30")


def test_the_frame_is_changed_after_the_cutoff_only(frame):
    from keras_seq.forecasting.audit import _Audit

    audit = _Audit(FORECASTER, frame, "2024-01-30", None, 2)
    for alteration in ("noise", "extremes", "missing"):
        changed = audit.alter(alteration, np.random.default_rng(0))
        past = [f[f["ds"] <= "2024-01-30"] for f in (frame, changed)]
        pd.testing.assert_frame_equal(*past)
        both = frame.merge(changed, on=["unique_id", "ds"], suffixes=("", "_new"))
        both = both[both["ds"] > "2024-01-30"]
        if alteration == "missing":
            assert 10 < len(changed) - 60 < 20
        else:
            assert (both["y"] != both["y_new"]).all()
            assert (both["price"] != both["price_new"]).all()


@pytest.mark.parametrize("cutoff", ["2024-02-08", "2023-05-05", "2024-01-30 12:00"])
def test_bad_cutoffs(frame, cutoff):
    with pytest.raises(
        ValueError, match="`cutoff` must be a stamp .* at least 3 steps"
    ):
        audit_leakage(FORECASTER, frame, cutoff)


def test_bad_alterations(frame):
    with pytest.raises(ValueError, match="`alterations` must be one of"):
        audit_leakage(FORECASTER, frame, "2024-01-30", alterations=["drop"])
