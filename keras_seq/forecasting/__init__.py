"""Time-series forecasting: long frame -> panel -> windows -> network -> forecasts."""
