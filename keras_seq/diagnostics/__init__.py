"""Instruments: how gradients flow through time, and what a network costs."""

from keras_seq.diagnostics.clipping import ClippingSuggestion, suggest_clipping
from keras_seq.diagnostics.findings import Finding
from keras_seq.diagnostics.gradients import (
    GradientReport,
    RecordGradientFlow,
    gradient_flow,
    inspect_gradients,
)

__all__ = [
    "ClippingSuggestion",
    "Finding",
    "GradientReport",
    "RecordGradientFlow",
    "gradient_flow",
    "inspect_gradients",
    "suggest_clipping",
]
