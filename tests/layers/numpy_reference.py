"""A RecurrentEncoder's weights in the NumPy runtime, to compare with."""

import numpy as np

from keras_seq import numpy_runtime


def run_encoder(encoder, inputs, lengths):
    """Runs a built RecurrentEncoder's weights over right-padded rows, in float64.

    Returns:
        Output `(batch, time, units)` with zeros at padding, and the list of final
        states in the encoder's order.
    """
    return numpy_runtime.run_encoder(
        encoder.cell,
        [layer.get_weights() for layer in encoder.forward],
        np.asarray(inputs, np.float64),
        lengths,
        backward=[layer.get_weights() for layer in encoder.backward],
        activation=encoder.activation,
    )
