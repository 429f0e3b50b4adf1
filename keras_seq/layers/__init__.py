"""Keras layers on `keras.ops` alone: right-padded rows with lengths, no masks."""

from keras_seq.layers.attention import SelfAttentionEncoder
from keras_seq.layers.convolution import ConvolutionFront
from keras_seq.layers.normalization import SequenceNormalization
from keras_seq.layers.pooling import SequencePooling
from keras_seq.layers.quantiles import QuantileHead
from keras_seq.layers.recurrent import ChronoBias, RecurrentEncoder
from keras_seq.layers.scaling import WindowScaler, WindowUnscaler

__all__ = [
    "ChronoBias",
    "ConvolutionFront",
    "QuantileHead",
    "RecurrentEncoder",
    "SelfAttentionEncoder",
    "SequenceNormalization",
    "SequencePooling",
    "WindowScaler",
    "WindowUnscaler",
]
