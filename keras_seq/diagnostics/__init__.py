"""Instruments: how gradients flow, what a network costs, whether the future leaks."""

from keras_seq.diagnostics.clipping import ClippingSuggestion, suggest_clipping
from keras_seq.diagnostics.cost import Cost, choose_units, estimate_cost
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
    "GradientReport",
    "LeakageReport",
    "Machine",
    "RecordGradientFlow",
    "audit_leakage",
    "calibrate",
    "choose_units",
    "estimate_cost",
    "gradient_flow",
    "inspect_gradients",
    "suggest_clipping",
]
