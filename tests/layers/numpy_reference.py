"""SimpleRNN, LSTM and GRU as plain loops over NumPy vectors, to compare with."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def run_row(cell, weights, inputs):
    """Runs one row of valid steps; returns every `h` and the final state.

    Args:
        cell: "rnn", "lstm" or "gru".
        weights: Kernel, recurrent kernel and bias in Keras's layout.
        inputs: `(time, features)`.
    """
    kernel, recurrent, bias = (np.asarray(w, np.float64) for w in weights)
    units = recurrent.shape[0]
    h, c, outputs = np.zeros(units), np.zeros(units), []
    for x in np.asarray(inputs, np.float64):
        if cell == "rnn":
            h = np.tanh(x @ kernel + h @ recurrent + bias)
        elif cell == "lstm":
            i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:  # reset_after=True: the reset gate acts on the projected state
            xz, xr, xh = np.split(x @ kernel + bias[0], 3)
            hz, hr, hh = np.split(h @ recurrent + bias[1], 3)
            z, r = sigmoid(xz + hz), sigmoid(xr + hr)
            h = z * h + (1 - z) * np.tanh(xh + r * hh)
        outputs.append(h)
    state = [h, c] if cell == "lstm" else [h]
    return np.array(outputs).reshape(-1, units), state


def run_encoder(encoder, inputs, lengths):
    """Runs a built RecurrentEncoder's weights over right-padded rows.

    Returns:
        Output `(batch, time, units)` with zeros at padding, and the list of final
        states in the encoder's order.
    """
    batch, time, _ = inputs.shape
    sequence, states = np.asarray(inputs, np.float64), []
    for index in range(encoder.num_layers):
        outputs = []
        for direction in (encoder.forward, encoder.backward):
            if not direction:
                continue
            layer = direction[index]
            flip = -1 if direction is encoder.backward else 1
            output = np.zeros((batch, time, layer.units))
            finals = []
            for row, length in enumerate(lengths):
                valid = sequence[row, :length][::flip]
                hidden, final = run_row(encoder.cell, layer.get_weights(), valid)
                output[row, :length] = hidden[::flip]
                finals.append(final)
            outputs.append(output)
            states.extend(np.stack(part) for part in zip(*finals, strict=True))
        sequence = np.concatenate(outputs, axis=-1)
    return sequence, states
