"""Fitted estimators for other runtimes: Keras, TensorFlow, ONNX, LiteRT and NumPy.

Importing it registers all layers and models with Keras, which `.keras` files need.
"""

import keras_seq.forecasting.ensemble
import keras_seq.text.builder  # noqa: F401
from keras_seq.export.exporter import TARGETS, export_model
from keras_seq.export.plan import Comparison, Plan, Port, plan_of_model

__all__ = ["TARGETS", "Comparison", "Plan", "Port", "export_model", "plan_of_model"]
