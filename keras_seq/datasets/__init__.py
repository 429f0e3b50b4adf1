"""Two real data sets that ship with the package, for examples and the demo."""

from keras_seq.datasets.loaders import load_aus_retail, load_sms_spam

__all__ = ["load_aus_retail", "load_sms_spam"]
