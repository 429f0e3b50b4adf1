"""Fitted estimators for other runtimes: Keras, TensorFlow, ONNX, LiteRT and NumPy.

Importing it registers all layers and models with Keras, which `.keras` files need.
"""

from keras_seq.export.exporter import TARGETS, export_model
from keras_seq.export.plan import Comparison, Plan, Port, plan_of_model
from keras_seq.forecasting import ensemble as _  # noqa: F401
from keras_seq.text import builder as __  # noqa: F401

__all__ = ["TARGETS", "Comparison", "Plan", "Port", "export_model", "plan_of_model"]
