"""What was trained, in NumPy alone: no Keras, no TensorFlow, no JAX, no pandas."""

from keras_seq.numpy_runtime.recurrence import run, run_encoder, sigmoid, step

__all__ = ["run", "run_encoder", "sigmoid", "step"]
