"""Instruments: how gradients flow, what an answer comes from, what a network costs."""

from keras_seq.diagnostics.clipping import ClippingSuggestion, suggest_clipping
from keras_seq.diagnostics.cost import Cost, choose_units, estimate_cost
from keras_seq.diagnostics.explain_attention import attention_weights
from keras_seq.diagnostics.explain_forecast import ForecastExplanation, explain_forecast
from keras_seq.diagnostics.explain_text import explain_text
from keras_seq.diagnostics.explain_view import TextExplanation, TextExplanations
from keras_seq.diagnostics.findings import Finding
from keras_seq.diagnostics.gradients import (
    GradientReport,
    RecordGradientFlow,
    gradient_flow,
    inspect_gradients,
)
from keras_seq.diagnostics.machine import Machine, calibrate
from keras_seq.forecasting.audit import LeakageReport, audit_leakage

__all__ = [
    "ClippingSuggestion",
    "Cost",
    "Finding",
    "ForecastExplanation",
    "GradientReport",
    "LeakageReport",
    "Machine",
    "RecordGradientFlow",
    "TextExplanation",
    "TextExplanations",
    "attention_weights",
    "audit_leakage",
    "calibrate",
    "choose_units",
    "estimate_cost",
    "explain_forecast",
    "explain_text",
    "gradient_flow",
    "inspect_gradients",
    "suggest_clipping",
]
